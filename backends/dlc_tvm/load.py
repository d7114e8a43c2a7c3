"""Running a compiled artifact by the names of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dlc import ops
from dlc.backend import Artifact
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Function, Value
from dlc.ops.arrays import dtype_name, numpy_dtype
from dlc.runtime.interpret import InputError, bind_dims
from dlc.types.dims import Dim, parse_dim
from dlc.types.relations import COMPARISONS
from dlc.types.tensor import TensorType
from dlc_tvm.arrays import from_tensor, to_tensor
from dlc_tvm.runtime import Library
from dlc_tvm.runtime import load as load_library
from dlc_tvm.text import digest

Array = NDArray[Any]
DEVICES = ("cpu", "cuda")
NARROW = "V"  # NumPy's kind of bf16 and the like, which it knows no casts for
NUMBERS = f"biuf{NARROW}"


def load(artifact: Artifact, weights: Mapping[str, Array], *, device: str = "cpu") -> TvmRunnable:
    """An artifact's library with its weights prepared, on "cpu" or "cuda". Raises SpecError for another device, for a library
    that is damaged, and for a weight that is missing or of another shape."""
    library = opened(artifact, device)
    arrays = [weight(path, type_of(json), weights, device) for path, json in artifact.meta["parameters"]]
    return TvmRunnable(artifact.meta, library, library.prepare(arrays), device)


def opened(artifact: Artifact, device: str) -> Library:
    """An artifact's library. Raises as `load`."""
    if device not in DEVICES:
        message = f"TVM runs on {' and '.join(DEVICES)} here, not on `{device}`"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])
    name = next(each for each in artifact.files if each.endswith(".so"))
    content = artifact.files[name]
    assert isinstance(content, bytes)
    if (
        digest(content) != artifact.meta["library"]
    ):  # a library that was cut off would take the process with it
        _refused(f"`{name}` is damaged, or not the library that was compiled with these inputs and outputs")
    return load_library(content, device=device)


def weight(path: str, type: TensorType, weights: Mapping[str, Array], device: str) -> Any:
    if path not in weights:
        raise SpecError([problems.WEIGHTS_MISSING.at(NO_SPAN, count=1, names=path)])
    array = np.asarray(weights[path])
    if array.shape != type.shape:
        raise SpecError(
            [problems.WEIGHTS_SHAPE.at(NO_SPAN, path=path, found=list(array.shape), expected=type)]
        )
    return to_tensor(array, type.dtype, device)


@dataclass
class TvmRunnable:
    """A loaded model. `native` is the `Library`, `weights` are what its `main` takes behind the data.

    A program that draws takes `key`, a seed or a NumPy Generator: it draws what the reference would."""

    meta: Mapping[str, Any]
    native: Library
    weights: Sequence[Any]
    device: str = "cpu"
    updates: dict[str, Array] = field(default_factory=dict)
    """The new values of buffers of the last call, by path."""

    @cached_property
    def _entry(self) -> Function:
        """The entry's inputs as the program declares them."""
        inputs = tuple(Value(name, type_of(type)) for name, type in self.meta["inputs"])
        sizes = tuple((name, Dim.symbol(name)) for name in self.meta["sizes"])
        return Function("main", self.meta["source"], "model", inputs, (), (), static=sizes)

    def __call__(self, /, **inputs: Any) -> dict[str, Array]:
        """Outputs by name. Raises SpecError for a missing, unknown or ill-shaped input, and for a fact or `require` that
        does not hold."""
        outputs, updates = self.computed(inputs, self.weights)
        self.updates = {path: from_tensor(each, self._stored[path]) for path, each in updates.items()}
        return outputs

    def computed(
        self, inputs: dict[str, Any], weights: Sequence[Any]
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """The outputs with weights that the library's `main` takes, and its own tensors of what is updated, by path. Raises as a
        call does."""
        key = None if "key" in self._names else inputs.pop("key", None)
        arrays = self._arrays(inputs)
        dims = self._dims(arrays, inputs)
        arrays += self._draws(key, dims)
        tensors = [to_tensor(each, dtype_name(each.dtype), self.device) for each in arrays]
        sizes = [dims[name] for name in self.meta["sizes"]]
        results = self.native.run(*tensors, sizes=sizes, weights=weights)
        names, requires = [name for name, _ in self.meta["outputs"]], self.meta["requires"]
        told = len(names) + len(requires)
        found = [from_tensor(each, dtype) for each, dtype in zip(results[:told], self._dtypes, strict=True)]
        for message, held in zip(requires, found[len(names) :], strict=True):
            if not held.all():
                _violated(message)
        fixed = self.meta["fixed"]
        outputs = dict(zip(names, _apart(found[: len(names)], arrays), strict=True))
        updates = dict(zip(self._stored, results[told:], strict=True))
        return {name: each.copy() if name in fixed else each for name, each in outputs.items()}, updates

    @cached_property
    def _stored(self) -> dict[str, str]:
        """The dtypes of what is updated, by path."""
        return {path: type["dtype"] for path, type in self.meta["updates"]}

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return self._entry.input_names

    def _arrays(self, inputs: Mapping[str, Any]) -> list[Array]:
        names = self._names
        wrong = [f"`{name}` is missing" for name in names if name not in inputs]
        wrong += [f"`{name}` is unknown" for name in inputs if name not in names]
        if wrong:
            _refused(", ".join(wrong))
        return [_array(value, inputs[value.name]) for value in self._entry.inputs]

    def _dims(self, arrays: Sequence[Array], given: Mapping[str, Any]) -> dict[str, int]:
        try:
            dims = bind_dims(self._entry, arrays, given)
        except InputError as error:
            _refused(str(error))
        for left, relation, right in self.meta["facts"]:
            a, b = parse_dim(left), parse_dim(right)
            if a.symbols | b.symbols <= dims.keys():
                sizes = a.evaluate(dims), b.evaluate(dims)
                if not COMPARISONS[relation](*sizes):
                    _violated(f"{left} {relation} {right} ({sizes[0]} {relation} {sizes[1]})")
        return dims

    @cached_property
    def _dtypes(self) -> list[str]:
        """The dtypes of what the library returns before what it updates."""
        outputs = [type["dtype"] for _, type in self.meta["outputs"]]
        return [*outputs, *("bool" for _ in self.meta["requires"])]

    def _draws(self, key: Any, dims: Mapping[str, int]) -> list[Array]:
        try:
            rng = np.random.default_rng(0 if key is None else key)
        except (TypeError, ValueError):
            _refused(f"`key` must be a seed, 0 or more, or a NumPy Generator, not {key!r}")
        return [_drawn(op, attrs, rng, dims) for op, attrs in self.meta["draws"]]


def type_of(json: Mapping[str, Any]) -> TensorType:
    return TensorType(json["dtype"], tuple(map(parse_dim, json["axes"])))


def _array(value: Value, given: Any) -> Array:
    """An input as NumPy, in the dtype that the model declares."""
    array, dtype = _as_numpy(value.name, given), numpy_dtype(value.type.dtype)
    narrow = NARROW in (dtype.kind, array.dtype.kind)
    castable = narrow or np.can_cast(array.dtype, dtype, "same_kind")
    if array.dtype.kind not in NUMBERS or not castable:
        _refused(f"`{value.name}` must be {value.type}, not {array.dtype}")
    with np.errstate(over="ignore"):  # what f16 has no number for is infinite, on every backend
        return array.astype(dtype, copy=False)


def _as_numpy(name: str, given: Any) -> Array:
    shares = not isinstance(given, np.ndarray) and hasattr(given, "__dlpack__")
    try:
        return np.from_dlpack(given) if shares else np.asarray(given)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:  # as frameworks see fit
        _refused(f"`{name}` can't be read as a NumPy array: {error}")


def _drawn(op: str, attrs: Mapping[str, Any], rng: np.random.Generator, dims: Mapping[str, int]) -> Array:
    """A draw, made by the op's reference."""
    values = {
        name: tuple(parse_dim(size).evaluate(dims) for size in value) if isinstance(value, list) else value
        for name, value in attrs.items()
    }
    return np.asarray(ops.get(op).reference(**values, rng=rng))


def _apart(results: Sequence[Array], inputs: Sequence[Array]) -> list[Array]:
    """The results, copied where one is an input handed through, or the same as another: writing to it changes nothing else."""
    taken = list(inputs)
    apart = []
    for result in results:
        apart.append(result.copy() if any(np.may_share_memory(result, each) for each in taken) else result)
        taken.append(result)
    return apart


def _refused(message: str) -> NoReturn:
    raise SpecError([problems.BAD_INPUT.at(NO_SPAN, message=message)])


def _violated(message: str) -> NoReturn:
    raise SpecError([problems.REQUIRE_FAILED.at(NO_SPAN, message=message)])
