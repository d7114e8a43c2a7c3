"""Models at work in onnxruntime: NumPy (or DLPack) in and out, by name."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dlc import ops
from dlc.backend import Artifact
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Function, Value
from dlc.ops.arrays import dtype_name, numpy_dtype
from dlc.runtime.interpret import CheckFailed, InputError, bind_dims
from dlc.types.dims import Dim, parse_dim
from dlc.types.relations import COMPARISONS
from dlc.types.tensor import TensorType
from dlc_onnx.rows import DTYPES, TYPES
from dlc_onnx.weights import embedded, external_values, parsed, with_weights

Array = np.ndarray

# What onnxruntime (1.31) makes of `(1 / a) * (1 / b)` lacks `1 / a` where that is used elsewhere too, and of products of `(x * 0.5) * 0.5`
# what `x * 0.5` was, where that is used elsewhere.
BROKEN = ["DivMulFusion", "MatMulScaleFusion"]

# What would merge what is computed again with what was computed first, and so keep that.
MERGING = "CommonSubexpressionElimination"


def load(artifact: Artifact, weights: Mapping[str, Array], *, device: str = "cpu") -> OnnxRunnable:
    """A session over the model with its weights, on "cpu" or "cuda". Raises SpecError if that can't be had."""
    complete = with_weights(artifact, weights)
    values = {each: ort_value(array) for each, array in external_values(complete).items()}
    return OnnxRunnable(session_of(complete, values, device), complete, values)


def session_of(artifact: Artifact, values: Mapping[str, Any], device: str) -> Any:
    """onnxruntime's session over a model, with values for its initializers that stand elsewhere. Raises as `load`."""
    import onnxruntime

    name, _ = parsed(artifact)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and needs no second telling on stderr
    options.intra_op_num_threads = _threads()
    if values:
        options.add_external_initializers(list(values), list(values.values()))
    try:
        return onnxruntime.InferenceSession(
            artifact.files[name],
            options,
            providers=providers(device),
            disabled_optimizers=[*BROKEN, *([MERGING] if artifact.meta.get("recompute") else [])],
        )
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
        raise _no_kernel(error) from error


def _threads() -> int:
    """What OMP_NUM_THREADS says, as for other backends (onnxruntime doesn't read it); 0 lets onnxruntime choose."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() else 0


def _no_kernel(error: Exception) -> SpecError:
    """The model is right, but onnxruntime computes some kind of node not in some dtype."""
    found = re.search(r"implementation for (\w+)\(", str(error))
    place = re.search(r"node with name '([^']+)'", str(error))
    reason = "onnxruntime has no kernel for its dtype" + (f" at the node {place[1]}" if place else "")
    op = found[1] if found else str(error).splitlines()[0]
    return SpecError([problems.UNSUPPORTED.at(NO_SPAN, backend="onnx", op=op, reason=reason)])


def providers(device: str) -> list[Any]:
    """onnxruntime's names for a device. float32 stays float32 on a GPU, so that results agree with other backends."""
    import onnxruntime

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"use_tf32": 0}), "CPUExecutionProvider"]
    reason = f"onnxruntime here has no provider for the device {device}"
    help = "pip install onnxruntime-gpu" if device == "cuda" else "devices are cpu and cuda"
    raise SpecError([problems.NO_BACKEND.at(NO_SPAN, name="onnx", reason=reason, help=help)])


@dataclass
class OnnxRunnable:
    """A loaded model. `native` is the ModelProto, with its weights unless they are too large for one message.

    A program that draws takes `key`, a seed or a NumPy Generator: it draws what the reference would."""

    session: Any
    artifact: Artifact
    initializers: Mapping[str, Any]  # kept, as the session may read their memory
    updates: dict[str, Array] = field(default_factory=dict)
    """The new values of buffers of the last call, by path."""

    @cached_property
    def native(self) -> Any:
        return embedded(self.artifact)

    @property
    def meta(self) -> Mapping[str, Any]:
        return self.artifact.meta

    @cached_property
    def _entry(self) -> Function:
        """The entry's inputs as the program declares them."""
        inputs = tuple(Value(name, _type(type)) for name, _, type in self.meta["inputs"])
        sizes = tuple((name, Dim.symbol(name)) for name, _ in self.meta["sizes"])
        return Function("main", self.meta["source"], "model", inputs, (), (), static=sizes)

    def __call__(self, /, **inputs: Any) -> dict[str, Array]:
        """The outputs by name. Raises InputError for inputs that don't fit, CheckFailed for a fact or `require` that does
        not hold."""
        outputs, updates = self.computed(inputs, {})
        self.updates = {path: numpy_of(each) for path, each in updates.items()}
        return outputs

    def computed(
        self, inputs: dict[str, Any], parameters: Mapping[str, Any]
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """The outputs, and onnxruntime's own values of what is updated, by path. `parameters` are its values for those that are inputs
        of the graph, by ONNX's names. Raises as a call does."""
        key = None if "key" in self._names else inputs.pop("key", None)
        arrays = self._arrays(inputs)
        dims = bind_dims(self._entry, arrays, inputs)
        self._check_facts(dims)
        feeds = {name: array for (_, name, _), array in zip(self.meta["inputs"], arrays, strict=True)}
        feeds |= {name: np.asarray(dims[size], np.int64) for size, name in self.meta["sizes"]}
        feeds |= self._draws(key, dims)
        results = self._run({**{name: ort_value(each) for name, each in feeds.items()}, **parameters})
        for message, name in self.meta["requires"]:
            if not numpy_of(results[name]).all():
                raise CheckFailed(message)
        outputs = {name: numpy_of(results[value]) for name, value, _ in self.meta["outputs"]}
        return outputs, {path: results[name] for path, name in self.meta["updates"]}

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return self._entry.input_names

    def _arrays(self, inputs: Mapping[str, Any]) -> list[Array]:
        names = self._names
        wrong = [f"{name} is missing" for name in names if name not in inputs]
        wrong += [f"{name} is unknown" for name in inputs if name not in names]
        if wrong:
            raise InputError(f"inputs of {self.meta['source']}: {', '.join(wrong)}")
        return [_array(value, inputs[value.name]) for value in self._entry.inputs]

    def _check_facts(self, dims: Mapping[str, int]) -> None:
        for left, relation, right in self.meta["facts"]:
            a, b = parse_dim(left), parse_dim(right)
            if a.symbols | b.symbols <= dims.keys():
                sizes = a.evaluate(dims), b.evaluate(dims)
                if not COMPARISONS[relation](*sizes):
                    found = f"{sizes[0]} {relation} {sizes[1]} does not hold"
                    raise CheckFailed(f"{self.meta['source']} needs {left} {relation} {right}: {found}")

    def _draws(self, key: Any, dims: Mapping[str, int]) -> dict[str, Array]:
        rng = key if isinstance(key, np.random.Generator) else np.random.default_rng(key or 0)
        return {name: _drawn(op, attrs, rng, dims) for name, op, attrs in self.meta["draws"]}

    def _run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        names = [each.name for each in self.session.get_outputs()]
        values = self.session.run_with_ort_values(names, dict(feeds))
        return dict(zip(names, values, strict=True))


def _type(json: Mapping[str, Any]) -> TensorType:
    return TensorType(json["dtype"], tuple(map(parse_dim, json["axes"])))


def _array(value: Value, given: Any) -> Array:
    """An input as NumPy, in the dtype that the model declares."""
    array, dtype = _as_numpy(value.name, given), numpy_dtype(value.type.dtype)
    low_precision = dtype.kind == "V" or array.dtype.kind == "V"
    if array.dtype != dtype and not low_precision and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise InputError(f"{value.name} must be {value.type}, not {array.dtype}")
    with np.errstate(over="ignore"):  # what f16 has no number for is infinite, on every backend
        return np.require(array.astype(dtype, copy=False), requirements="C")


def _as_numpy(name: str, given: Any) -> Array:
    shares = not isinstance(given, np.ndarray) and hasattr(given, "__dlpack__")
    try:
        return np.from_dlpack(given) if shares else np.asarray(given)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:  # as frameworks see fit
        raise InputError(f"`{name}` can't be read as a NumPy array: {error}") from None


def _drawn(op: str, attrs: Mapping[str, Any], rng: np.random.Generator, dims: Mapping[str, int]) -> Array:
    """A draw, made by the op's reference."""
    values = {
        name: tuple(parse_dim(size).evaluate(dims) for size in value) if isinstance(value, list) else value
        for name, value in attrs.items()
    }
    return np.require(ops.get(op).reference(**values, rng=rng), requirements="C")


def ort_value(array: Array) -> Any:
    from onnxruntime import OrtValue

    return OrtValue.ortvalue_from_numpy_with_onnx_type(array, TYPES[dtype_name(array.dtype)])


def numpy_of(value: Any) -> Array:
    """An output as NumPy. onnxruntime hands out no bf16: its bytes are copied."""
    dtype = DTYPES[value.element_type()]
    if dtype not in ("bf16", "f8e4m3", "f8e5m2"):
        found: Array = value.numpy()
        return found
    content = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(bytearray(content), numpy_dtype(dtype)).reshape(value.shape())
