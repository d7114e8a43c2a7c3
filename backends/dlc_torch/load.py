"""Running what was emitted."""

from __future__ import annotations

import functools
import inspect
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlc.backend import Artifact
from dlc.emit.file import loaded
from dlc.emit.names import identifier
from dlc_torch.arrays import dtype, to_numpy, to_torch

Array = NDArray[Any]


class TorchRunnable:
    """A model on a device. `native` is the module, or the function of a program without parameters."""

    def __init__(self, native: Any, meta: Mapping[str, Any], device: torch.device) -> None:
        self.native = native
        self.meta = meta
        self.device = device

    @property
    def _has_method(self) -> bool:
        """Whether an entry is a method: of a model without parts it is a function of its own."""
        return bool(self.meta["method"] and self.meta["is_class"])

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The outputs by name, with their history where gradients are on. Raises TypeError for inputs that
        are missing or unknown."""
        wanted: list[list[str]] = self.meta["inputs"]
        names = [*(name for name, _ in wanted), *self.meta["sizes"]]
        if set(names) != inputs.keys():
            raise TypeError(f"inputs are {', '.join(names)}, not {', '.join(inputs)}")
        given = {name: to_torch(inputs[name]).to(self.device, dtype(kind)) for name, kind in wanted}
        tensors = map(given.get, self.meta["arguments"])
        sizes = {identifier(name): int(inputs[name]) for name in self.meta["sizes"]}
        method = getattr(self.native, self.meta["method"]) if self._has_method else self.native
        return by_name(method(*tensors, **sizes), self.meta)

    def __call__(self, /, **inputs: Any) -> dict[str, Array]:
        """The outputs by name. `key`, where no input is called so, seeds what the model draws."""
        own = {*(name for name, _ in self.meta["inputs"]), *self.meta["sizes"]}
        key = None if "key" in own else inputs.pop("key", None)
        with torch.no_grad(), _seeded(key, self.device):
            return {name: to_numpy(tensor) for name, tensor in self.forward(inputs).items()}


DRAWING = threading.Lock()
"""PyTorch's generators are the process's: calls that seed them go one after another."""


@contextmanager
def _seeded(key: Any, device: torch.device) -> Iterator[None]:
    """Draws of a seed, after which the process's own go on as if there had been none; without one they are the process's."""
    if key is None:
        yield
        return
    devices = [device] if device.type == "cuda" else []
    with DRAWING, torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(key))
        yield


def by_name(results: Any, meta: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What a model returns, by the names of the program's outputs."""
    if hasattr(results, "_fields"):
        return {name: getattr(results, meta["fields"][name]) for name in meta["outputs"]}
    results = results if isinstance(results, tuple) else (results,)
    return dict(zip(meta["outputs"], results, strict=True))


def parameters_of(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters by the names that checkpoints have for them."""
    tensors = module.state_dict(keep_vars=True)
    return {path: each for path, each in tensors.items() if isinstance(each, torch.nn.Parameter)}


def module_of(artifact: Artifact) -> types.ModuleType:
    """The emitted file as a fresh module."""
    path = f"{artifact.meta['name']}.py"
    content = artifact.files[path]
    assert isinstance(content, str)
    return loaded(path, content)


def build(artifact: Artifact) -> Callable[..., Any]:
    """The model as it is initialised by its constructor; draws of randomness outside are left as they
    were."""
    made = getattr(module_of(artifact), artifact.meta["class"])
    if not artifact.meta["is_class"]:
        return made  # type: ignore[no-any-return]
    with torch.random.fork_rng(devices=[]):
        return made()  # type: ignore[no-any-return]


def load(artifact: Artifact, weights: Mapping[str, Array], device: str = "cpu") -> TorchRunnable:
    """The model with these weights, ready to run. Raises KeyError for weights that are missing or unknown,
    ValueError for one of another shape."""
    native = build(artifact)
    place = torch.device(device)
    if isinstance(native, torch.nn.Module):
        _fill(native, weights, artifact.meta["dtypes"])
        native.to(place)
        native.train(bool(artifact.meta["training"]))
    elif artifact.meta["training"] and "training" in inspect.signature(native).parameters:
        native = functools.partial(native, training=True)
    return TorchRunnable(native, artifact.meta, place)


def _fill(module: torch.nn.Module, weights: Mapping[str, Array], dtypes: Mapping[str, str]) -> None:
    own = module.state_dict(keep_vars=True)
    missing, unknown = own.keys() - weights.keys(), weights.keys() - own.keys() - dtypes.keys()
    if missing or unknown:
        raise KeyError(f"weights are missing: {sorted(missing)}; weights are unknown: {sorted(unknown)}")
    with torch.no_grad():
        for path, tensor in own.items():
            value = to_torch(np.asarray(weights[path]))
            if value.shape != tensor.shape:
                raise ValueError(f"{path} is {list(tensor.shape)}, the weights have {list(value.shape)}")
            wanted = dtype(dtypes[path]) if path in dtypes else tensor.dtype
            tensor.data = value.to(wanted)
