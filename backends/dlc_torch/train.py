"""Training with PyTorch: the emitted module on batches that the loop gives.

Parameters and what the optimizers remember stay in f32; a program of another precision gets casts of them,
through which gradients flow back. Random draws begin anew at every step, from a seed that is put back
afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlc.backend import Artifact, Batch, LossScale, Recipe, Setup, Update, no_device
from dlc_torch.arrays import dtype, to_numpy, to_torch
from dlc_torch.load import build, by_name, parameters_of
from dlc_torch.rows import FUSED

Array = NDArray[Any]
EVALUATION = 0xE7A1  # sets evaluation's draws apart from those of training
SCALE = "loss scale"  # no path of a parameter, as it has a space
OTHERS = "it holds the state of other optimizers"
SMALL = 200_000_000  # FLOPs of a batch: threads that wait for each other cost more than they save below


OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def make(setup: Setup) -> TorchTrainer:
    """Raises SpecError for a device that is not there."""
    return TorchTrainer(setup, _device(setup.device))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise no_device(name, str(error).splitlines()[0]) from None
    return device


class TorchTrainer:
    """See `dlc.backend.Trainer`."""

    def __init__(self, setup: Setup, device: torch.device) -> None:
        self.setup = setup
        self.device = device
        self.evaluation = _Program(setup.evaluation, device, training=False)
        self.tensors = {path: self._kept(path, value) for path, value in setup.weights.items()}
        self.updates = {each.name: self._update(each) for each in setup.updates}

    def _kept(self, path: str, value: Array) -> Tensor:
        return to_torch(np.asarray(value)).to(self.device, dtype(self.setup.dtypes[path]))

    def _update(self, update: Update) -> _Update:
        held = frozenset(path for each in self.setup.updates for path in each.paths)
        program = _Program(update.program, self.device, training=True, held=held)
        scale = None if self.setup.loss_scale is None else LossScale(self.setup.loss_scale)
        return _Update(update, program, [self._optimizer(recipe) for recipe in update.recipes], scale)

    def _optimizer(self, recipe: Recipe) -> torch.optim.Optimizer:
        tensors = [self.tensors[path] for path in recipe.paths]
        if recipe.program is not None:
            return Written(recipe, _Program(recipe.program, self.device, training=True), tensors)
        return _made(recipe, tensors)

    # --- steps
    # -------------------------------------------------------------------------------------------------

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
        update: str = "",
    ) -> list[dict[str, Array]]:
        found, now = [], self.updates[update]
        with self._threads(), self._trained(now):
            for number, batch in enumerate(batches):
                with self._draws(now.program, step, number):
                    outputs = now.program(self.tensors, batch)
                    if shares:
                        loss = self._minimised(outputs, shares)
                        (loss if now.scale is None else loss * now.scale.scale).backward()
                found.append(_arrays(outputs))
            self._apply(now, step, rates)
        return found

    @contextlib.contextmanager
    def _trained(self, update: _Update) -> Iterator[None]:
        """Gradients are those of what an update trains, and of nothing else."""
        tensors = [self.tensors[path] for path in update.paths]
        for each in tensors:
            each.requires_grad_(True)
        try:
            yield
        finally:
            for each in tensors:
                each.requires_grad_(False)

    def _minimised(self, outputs: Mapping[str, Tensor], shares: Mapping[str, Array]) -> Tensor:
        parts = [self._part(outputs[name].float(), np.asarray(each)) for name, each in shares.items()]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

    def _part(self, loss: Tensor, share: Array) -> Tensor:
        """Of most blocks it is the loss as it is."""
        if not share.ndim and share == 1:
            return loss.sum() if loss.ndim else loss
        return (loss * torch.from_numpy(share.astype(np.float32)).to(self.device)).sum()

    def outputs(self, step: int, number: int, batch: Batch, update: str = "") -> dict[str, Array]:
        program = self.updates[update].program
        buffers = {path: self.tensors[path].clone() for path in program.buffers}
        with torch.no_grad(), self._threads(), self._draws(program, step, number):
            return _arrays(program({**self.tensors, **buffers}, batch))

    def _apply(self, update: _Update, step: int, rates: Sequence[float | None]) -> None:
        parameters = [self.tensors[path] for path in update.paths]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad.stride() != parameter.stride():  # a fused optimizer takes both as they lie
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
        if update.scale is not None and parameters and not _unscaled(parameters, update.scale):
            for optimizer in update.optimizers:
                optimizer.zero_grad()
            return
        if self.setup.clip_norm is not None and parameters:
            nn.utils.clip_grad_norm_(parameters, self.setup.clip_norm)
        for optimizer, rate in zip(update.optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
                group["step"] = step
                group["t"] = update.scale.t if update.scale and update.scale.is_dynamic else step + 1
            optimizer.step()
            optimizer.zero_grad()

    def evaluate(self, number: int, batch: Batch) -> dict[str, Array]:
        with torch.no_grad(), self._threads(), self._draws(self.evaluation, EVALUATION, number):
            return _arrays(self.evaluation(self.tensors, batch))

    @contextlib.contextmanager
    def _threads(self) -> Iterator[None]:
        """One thread for a small network, for a while."""
        before = torch.get_num_threads()
        small = self.setup.flops is not None and self.setup.flops < SMALL
        if not small or before == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @contextlib.contextmanager
    def _draws(self, program: _Program, *place: int) -> Iterator[None]:
        """PyTorch's generators, seeded from the run's seed and a place in it, for a while."""
        if not program.meta["draws"]:
            yield
            return
        seed = int(np.random.SeedSequence([self.setup.seed, *place]).generate_state(1, np.uint64)[0] >> 1)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(seed)
            if devices:
                index = torch.cuda.current_device() if self.device.index is None else self.device.index
                torch.cuda.default_generators[index].manual_seed(seed)
            yield

    # --- state
    # -------------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Array]:
        return {path: to_numpy(tensor).copy() for path, tensor in self.tensors.items()}

    def scales(self) -> dict[str, float]:
        each = ((name, update.scale) for name, update in self.updates.items() if update.optimizers)
        return {name: scale.scale for name, scale in each if scale is not None and scale.is_dynamic}

    def state(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for update in self.updates.values():
            if update.scale is not None and update.optimizers:
                found |= {f"{update.prefix}{SCALE}/{key}": each for key, each in update.scale.state().items()}
            for path, optimizer in update.by_path():
                for name, value in optimizer.state[self.tensors[path]].items():
                    if value is not None:
                        found[f"{update.prefix}{path}/{name}"] = to_numpy(value).copy()
        return found

    def restore(self, weights: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        if weights.keys() != self.tensors.keys():
            raise ValueError("it holds other parameters than the networks have")
        with torch.no_grad():
            for path, tensor in self.tensors.items():
                tensor.copy_(to_torch(np.asarray(weights[path])))
        remembered: dict[str, dict[str, Array]] = {}
        for key, value in state.items():
            path, _, name = key.rpartition("/")
            remembered.setdefault(path, {})[name] = value
        for update in self.updates.values():
            if update.scale is not None and update.optimizers:
                update.scale.restore(remembered.pop(f"{update.prefix}{SCALE}", {}))
            for recipe, optimizer in zip(update.recipes, update.optimizers, strict=True):
                held = {path: remembered.pop(f"{update.prefix}{path}", {}) for path in recipe.paths}
                self._restore(optimizer, recipe, held)
        if remembered:
            raise ValueError(OTHERS)

    def _restore(
        self, optimizer: torch.optim.Optimizer, recipe: Recipe, held: Mapping[str, Mapping[str, Array]]
    ) -> None:
        """What an optimizer remembers of its parameters: of all the same, or nothing yet. Raises ValueError."""
        is_written = isinstance(optimizer, Written)
        names = None if is_written else _remembered(recipe)
        has_stepped = is_written or any(held.values())
        for path, found in held.items():
            tensor = self.tensors[path]
            known = optimizer.state[tensor].keys() if names is None else names
            if has_stepped and found.keys() != known:
                raise ValueError(OTHERS)
            for name, value in found.items():
                shapes = {optimizer.state[tensor][name].shape} if is_written else {(), tensor.shape}
                if np.shape(value) not in shapes:
                    raise ValueError(f"`{path}/{name}` has another shape")
            optimizer.state[tensor] = {name: self._state(found[name]) for name in found}

    def _state(self, value: Array) -> Tensor:
        return to_torch(np.asarray(value)).to(self.device)


class _Update:
    """One update of a turn: its program, and an optimizer for each of its recipes."""

    def __init__(
        self,
        update: Update,
        program: _Program,
        optimizers: Sequence[torch.optim.Optimizer],
        scale: LossScale | None,
    ) -> None:
        self.scale = scale
        self.program = program
        self.recipes = update.recipes
        self.paths = update.paths
        self.optimizers = optimizers
        self.prefix = f"{update.name}:" if update.name else ""

    def by_path(self) -> Iterator[tuple[str, torch.optim.Optimizer]]:
        for recipe, optimizer in zip(self.recipes, self.optimizers, strict=True):
            yield from ((path, optimizer) for path in recipe.paths)


def _made(recipe: Recipe, tensors: Sequence[Tensor]) -> torch.optim.Optimizer:
    """One of PyTorch's own."""
    args = {key: tuple(value) if isinstance(value, list) else value for key, value in recipe.args.items()}
    fused = {"fused": True} if recipe.optimizer in FUSED else {}
    return OPTIMIZERS[recipe.optimizer](tensors, **args, **fused)


def _remembered(recipe: Recipe) -> frozenset[str]:
    """What an optimizer of PyTorch's own remembers of a parameter once it has stepped: one that does says so."""
    probe = torch.zeros(1, requires_grad=True)
    probe.grad = torch.zeros(1)
    optimizer = _made(recipe, [probe])
    optimizer.step()
    return frozenset(name for name, value in optimizer.state[probe].items() if value is not None)


def _unscaled(parameters: Sequence[Tensor], scale: LossScale) -> bool:
    """Divide gradients by the scale of their loss. False where the step is to be left out, as one of them is not finite."""
    grads = [each.grad for each in parameters]
    finite = not scale.is_dynamic or bool(torch.stack([each.isfinite().all() for each in grads]).all())
    for each in grads:
        each.mul_(scale.factor)
    scale.counted(finite)
    return finite


def _arrays(outputs: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: to_numpy(value).copy() for name, value in outputs.items()}


class _Program:
    """An emitted module. Parameters are given with every call, and stay in it, as layers that are computed again on the way back
    read them once more; buffers are written into it before and read after, since a module may replace its own. What optimizers
    `held` stays the tensor that it is."""

    def __init__(
        self,
        artifact: Artifact,
        device: torch.device,
        *,
        training: bool,
        held: frozenset[str] = frozenset(),
    ) -> None:
        built = build(artifact)
        module = built if isinstance(built, nn.Module) else _Stateless(built)
        self.module = module.to(device).train(training)
        self.inputs = [(name, dtype(kind)) for name, kind in artifact.meta["inputs"]]
        self.meta = artifact.meta
        self.device = device
        self.updates = training
        self.held = held
        own = parameters_of(module)
        self.parameters = [(path, each.dtype, _places(module, each)) for path, each in own.items()]
        state = module.state_dict(keep_vars=True)
        tensors = dict(module.named_buffers(remove_duplicate=False))
        names = {id(each): name for name, each in tensors.items()}
        held_in = {
            path: path if path in tensors else names[id(each)]
            for path, each in state.items()
            if path not in own
        }
        self.buffers: Mapping[str, str] = held_in

    def __call__(self, tensors: dict[str, Tensor], batch: Mapping[str, Array | Tensor]) -> dict[str, Tensor]:
        for path, kind, places in self.parameters:
            given = tensors[path]
            given = given if given.dtype == kind else given.to(kind)
            given._is_param = True  # so that get_parameter takes it for one
            for holder, name in places:
                holder[name] = given
        arguments = tuple(_tensor(batch[name]).to(self.device, kind) for name, kind in self.inputs)
        self._write(tensors)
        results = self.module(*arguments)
        if self.updates:
            self._read(tensors)
        return by_name(results, self.meta)

    def _write(self, tensors: Mapping[str, Tensor]) -> None:
        for path, attribute in self.buffers.items():
            owner, _, name = attribute.rpartition(".")
            module = self.module.get_submodule(owner)
            # (Detached, it is no parameter, though it may be one of another program.)
            setattr(module, name, tensors[path].detach().to(getattr(module, name).dtype))

    def _read(self, tensors: dict[str, Tensor]) -> None:
        for path, attribute in self.buffers.items():
            now, before = self.module.get_buffer(attribute).detach(), tensors[path]
            if now.dtype != before.dtype and torch.equal(now, before.to(now.dtype)):
                continue  # read, and not changed: it is kept as it was, not as it was rounded
            new = now.to(before.dtype)
            if path in self.held:
                tensors[path].copy_(new)
            else:
                tensors[path] = new


def _places(module: nn.Module, parameter: Tensor) -> list[tuple[dict[str, Tensor], str]]:
    """Where a module holds a parameter: once, or, where it is shared, several times."""
    held = ((each._parameters, name) for each in module.modules() for name in each._parameters)
    return [(holder, name) for holder, name in held if holder[name] is parameter]


class _Stateless(nn.Module):  # type: ignore[misc]
    """An emitted function, where a module is wanted."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def _tensor(value: Array | Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else to_torch(value)


class Written(torch.optim.Optimizer):  # type: ignore[misc]
    """An optimizer that the spec or the library writes, as emitted; what it remembers of a parameter is in `state`, by name."""

    def __init__(self, recipe: Recipe, program: _Program, parameters: Sequence[Tensor]) -> None:
        super().__init__(parameters, {"lr": None, "t": 0, "step": 0})
        self.recipe = recipe
        self.program = program
        for path, parameter in zip(recipe.paths, parameters, strict=True):
            prefix = f"optimizer.{path}."
            self.state[parameter] = {
                key.removeprefix(prefix): to_torch(np.array(value)).to(parameter.device)
                for key, value in recipe.state.items()
                if key.startswith(prefix)
            }

    def step(self, closure: Any = None) -> None:
        (group,) = self.param_groups
        pairs = list(zip(self.recipe.paths, group["params"], strict=True))
        held = {
            f"optimizer.{path}.{name}": value
            for path, parameter in pairs
            for name, value in self.state[parameter].items()
        }
        given: dict[str, Array | Tensor] = {
            "t": np.asarray(group["t"], np.int64),
            "rate": np.asarray(group["lr"] or 0.0, np.float32),
        }
        given |= self.recipe.draws(group["step"]) if self.recipe.draws is not None else {}
        for i, (_, parameter) in enumerate(pairs):
            given |= {f"value_{i}": parameter, f"gradient_{i}": parameter.grad}
        with torch.no_grad():
            outputs = self.program(held, given)
            for i, (path, parameter) in enumerate(pairs):
                parameter.copy_(outputs[f"value_{i}"])
                state = self.state[parameter]
                state.update({name: held[f"optimizer.{path}.{name}"] for name in state})
