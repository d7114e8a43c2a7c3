"""Composites of the library that are one kernel here: each row is read once, while it is in cache."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx
from tvm.relax import op as R

from dlc_tvm.emission import Emission


def softmax(e: Emission, x: Any, axis: int) -> Any:
    return R.nn.softmax(x, axis % int(x.ty.ndim))


def log_softmax(e: Emission, x: Any, axis: int) -> Any:
    return R.nn.log_softmax(x, axis % int(x.ty.ndim))


def relu(e: Emission, x: Any) -> Any:
    """The constant first: TVM's `max(a, b)` is `a > b ? a : b`, which is nan if b is. `R.nn.relu` of nan is 0."""
    return R.maximum(e.const(0.0), x)


def layer_norm(e: Emission, x: Any, eps: float, axes: int, **_: Any) -> Any:
    return e.kernel("layer_norm", _normalised(axes, eps, centred=True), x, *_affine(e))


def rms_norm(e: Emission, x: Any, eps: float, **_: Any) -> Any:
    return e.kernel("rms_norm", _normalised(1, eps, centred=False), x, *_affine(e))


def group_norm(e: Emission, x: Any, groups: int, eps: float, **_: Any) -> Any:
    batch, channels, *space = e.shape
    rows = e.emit(R.reshape(x, [batch, groups, channels // groups * _product(space)]))
    flat = e.emit(e.kernel("normalised", _normalised(1, eps, centred=True), rows))
    y = e.emit(R.reshape(flat, e.shape))
    for operation, name in ((R.multiply, "weight"), (R.add, "bias")):
        if name in e.params:
            y = e.emit(operation(y, e.emit(R.reshape(e.params[name], [channels, *[1] * len(space)]))))
    return y


def _product(sizes: list[Any]) -> Any:
    total: Any = 1
    for size in sizes:
        total = total * size
    return total


def _affine(e: Emission) -> list[Any]:
    return [e.params[name] for name in ("weight", "bias") if name in e.params]


def _normalised(axes: int, eps: float, *, centred: bool) -> Any:
    """(x - mean) / sqrt(variance + eps) over the last axes, then times the weight, plus the bias, where there are any.

    The variance is the mean square of what is centred: the mean of squares less the square of the mean loses all digits
    where the mean is large. Narrow floats are computed in f32 and rounded before the weight."""

    def compute(x: te.Tensor, *affine: te.Tensor) -> te.Tensor:
        dtype = "float64" if x.dtype == "float64" else "float32"
        rows, width = list(x.shape[: len(x.shape) - axes]), list(x.shape[len(x.shape) - axes :])
        count = _product(width).astype(dtype) if not isinstance(_product(width), int) else _product(width)

        def mean(value: Any, name: str) -> te.Tensor:
            inner = [te.reduce_axis((0, size), name=f"k{i}") for i, size in enumerate(width)]
            total = te.compute(rows, lambda *i: te.sum(value(*i, *inner), axis=inner), name=f"{name}_sum")
            return te.compute(rows, lambda *i: total(*i) / count, name=name)

        def wide(*i: Any) -> Any:
            return x(*i).astype(dtype)

        middle = mean(wide, "mean") if centred else None

        def shifted(*i: Any) -> Any:
            return wide(*i) - middle(*i[: len(rows)]) if middle is not None else wide(*i)

        variance = mean(lambda *i: shifted(*i) * shifted(*i), "variance")

        def result(*i: Any) -> Any:
            scale = tirx.rsqrt(variance(*i[: len(rows)]) + tirx.const(eps, dtype))
            value = (shifted(*i) * scale).astype(x.dtype)
            for operation, term in zip((lambda a, b: a * b, lambda a, b: a + b), affine, strict=False):
                value = operation(value, term(*i[len(rows) :]))
            return value

        return te.compute(x.shape, result, name="normalised")

    return compute
