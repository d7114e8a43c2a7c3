"""Ops that make tensors from static values and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.ops.definition import LazyModule, OpDef, OpError, Sample, op
from dlc.ops.rules import check_at_least, check_dtype, simplified
from dlc.ops.shape import check_sizes, sizes_of
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import FLOATS, INTS, TensorType

if TYPE_CHECKING:
    import numpy as np

    from dlc.ops.arrays import Array
else:
    np = LazyModule("numpy")

Types = Sequence[TensorType | None]
Attrs = Mapping[str, Any]


def _arange(*, start: int, stop: int, step: int, dtype: str) -> Array:
    from dlc.ops.arrays import numpy_dtype

    return np.arange(start, stop, step).astype(numpy_dtype(dtype))


def _full(*, shape: Sequence[int], value: float, dtype: str) -> Array:
    from dlc.ops.arrays import numpy_dtype

    return np.full(tuple(shape), value, numpy_dtype(dtype))


def _size(*, dim: int) -> Array:
    return np.asarray(dim, np.int64)


def _infer_arange(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    start, stop, step = Dim.of(attrs["start"]), Dim.of(attrs["stop"]), attrs["step"]
    if step == 0:
        raise OpError("`arange` needs a step other than 0", kind="value")
    low, high = (start, stop) if step > 0 else (stop, start)
    check_at_least(facts, high, low, f"`arange` from {start} to {stop} by {step}")
    dtype = check_dtype("arange", attrs["dtype"], (*FLOATS, *INTS))
    stride = abs(step)
    return (simplified(facts, dtype, [(high - low + (stride - 1)) // stride]),)


def infer_shape(name: str, allowed: Sequence[str]) -> Any:
    """The type of an op whose result has the shape and the dtype that its attributes say."""

    def infer(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        shape = sizes_of(attrs["shape"])
        check_sizes(facts, name, shape)
        return (simplified(facts, check_dtype(name, attrs.get("dtype", "i64"), allowed), shape),)

    return infer


def _at(**attrs: Any) -> Sample:
    return Sample((), attrs, grad=False)


OPS: tuple[OpDef, ...] = (
    op(
        'arange(start: dim, stop: dim, step: int = 1, dtype: str = "i64") -> [n]',
        "The numbers from `start` to before `stop`, `step` apart.",
        _arange,
        infer=_infer_arange,
        flops="size()",
        call=None,  # specs call it with one bound or two, of any numbers
        dtypes="any",
        differentiable=False,
        samples=(
            _at(start=0, stop=5, step=1, dtype="i64"),
            _at(start=7, stop=-2, step=-3, dtype="f32"),
            _at(start=2, stop=2, step=1, dtype="i64"),
            _at(start=1, stop=8, step=3, dtype="i32"),
        ),
    ),
    op(
        'full(shape: list[dim], value: float, dtype: str = "float") -> [*S]',
        "A tensor of one value.",
        _full,
        infer=infer_shape("full", (*FLOATS, *INTS, "bool")),
        call=None,  # `zeros`, `ones`, `full` and their likes
        dtypes="any",
        differentiable=False,
        samples=(
            _at(shape=(2, 3), value=1.5, dtype="f32"),
            _at(shape=(), value=-3, dtype="i64"),
            _at(shape=(0, 2), value=0.0, dtype="f64"),
            _at(shape=(2,), value=True, dtype="bool"),
            _at(shape=(1,), value=float("-inf"), dtype="f32"),
        ),
    ),
    op(
        "size(dim: dim) -> i64[]",
        "A size as a number in the computation.",
        _size,
        call=None,  # a size stands for itself
        differentiable=False,
        dtypes="any",
        samples=(_at(dim=5), _at(dim=0)),
    ),
)
