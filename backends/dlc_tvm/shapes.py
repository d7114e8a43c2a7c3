"""Operations that move elements, make them from sizes, or find them by index."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.relax import op as R

from dlc_tvm.emission import Emission, constant, equal

LARGEST_CONSTANT = 65_536  # elements; what is longer is computed where it is needed


def reshape(e: Emission, x: Any, shape: Any) -> Any:
    return R.reshape(x, relax.ShapeExpr(e.shape))


def broadcast(e: Emission, x: Any, shape: Any) -> Any:
    return e.broadcast(x)


def concat(e: Emission, *xs: Any, axis: int) -> Any:
    """The sizes of the other axes are proved equal, which TVM may not see where they are written in different ways."""
    if len(xs) == 1:
        return xs[0]
    shapes = ([x.ty.shape[i] if i == axis else size for i, size in enumerate(e.shape)] for x in xs)
    return R.concat([e.shaped(x, shape) for x, shape in zip(xs, shapes, strict=True)], axis=axis)


def slice_(e: Emission, x: Any, start: Any, stop: Any, step: Any) -> Any:
    """Axes that are kept whole are left out."""
    cuts = [
        (axis, begin, end, stride)
        for axis, (begin, end, stride) in enumerate(
            zip(e.sizes.all(start), e.sizes.all(stop), step, strict=True)
        )
        if not (equal(begin, 0) and stride == 1 and equal(end, x.ty.shape[axis]))
    ]
    if not cuts:
        return x
    axes, begins, ends, strides = map(list, zip(*cuts, strict=True))
    if all(constant(size) is not None for size in (*begins, *ends)):
        return R.strided_slice(x, axes, begins, ends, strides, assume_inbound=True)
    begin_at = dict(zip(axes, begins, strict=True))

    def compute(t: te.Tensor, shape: Any, starts: Any) -> te.Tensor:
        def body(*index: Any) -> Any:
            return t(*(starts[axis] + i * step[axis] for axis, i in enumerate(index)))

        return te.compute(shape, body, name="slice")

    return e.kernel(
        "slice", compute, x, sizes=(e.shape, [begin_at.get(axis, 0) for axis in range(len(step))])
    )


def pad(e: Emission, x: Any, before: Any, after: Any, value: float) -> Any:
    low = e.sizes.all(before)
    if all(equal(size, 0) for size in (*low, *e.sizes.all(after))):
        return x

    def compute(t: te.Tensor, shape: Any, low: Any) -> te.Tensor:
        def body(*index: Any) -> Any:
            source = [i - a for i, a in zip(index, low, strict=True)]
            inside = [each for i, size in zip(source, t.shape, strict=True) for each in (i >= 0, i < size)]
            return tirx.if_then_else(tirx.all(*inside), t(*source), tirx.const(value, t.dtype))

        return te.compute(shape, body, name="pad")

    return e.kernel("pad", compute, x, sizes=(e.shape, low))


def flip(e: Emission, x: Any, axes: tuple[int, ...]) -> Any:
    for axis in axes:
        x = e.emit(R.flip(x, axis))
    return x


def arange(e: Emission, start: Any, stop: Any, step: int, dtype: str) -> Any:
    count, first = constant(e.shape[0]), constant(e.sizes.one(start))
    if count is not None and first is not None and count <= LARGEST_CONSTANT:
        numbers = np.arange(count) * step + first
        return (
            R.astype(e.const(numbers, "int64"), e.dtype) if e.dtype != "int64" else e.const(numbers, "int64")
        )

    def compute(shape: Any, begin: Any) -> te.Tensor:
        return te.compute(shape, lambda i: (begin[0] + i * step).astype(e.dtype), name="arange")

    return e.kernel("arange", compute, sizes=(e.shape, [e.sizes.one(start)]))


def full(e: Emission, shape: Any, value: float, dtype: str) -> Any:
    return e.filled(value)


def size(e: Emission, dim: Any) -> Any:
    known = e.sizes.one(dim)
    if constant(known) is not None:
        return e.const(constant(known), "int64")
    return e.kernel("size", lambda it: te.compute((), lambda: it[0], name="size"), sizes=([known],))


def take(e: Emission, x: Any, index: Any, axis: int) -> Any:
    return R.take(x, index, axis=axis)


def scatter_max(e: Emission, x: Any, index: Any, values: Any, axis: int) -> Any:
    """TVM's own passes over nan: where one comes is found beside it."""

    def greatest(a: Any, b: Any) -> Any:
        return e.emit(R.scatter_elements(a, index, b, axis=axis, reduction="max"))

    found = greatest(x, values)
    if "float" not in e.dtype:
        return found
    unknown = greatest(*(e.cast(e.emit(R.isnan(e.wide(each))), "int32") for each in (x, values)))
    return R.where(e.emit(R.greater(unknown, e.const(0, "int32"))), e.const(math.nan), found)


def update_slice(e: Emission, x: Any, values: Any, start: Any, axis: int) -> Any:
    def compute(t: te.Tensor, v: te.Tensor, at: te.Tensor) -> te.Tensor:
        def body(*index: Any) -> Any:
            offset = index[axis] - at()
            inside = tirx.all(offset >= 0, offset < v.shape[axis])
            # A vectorised kernel reads both sides: the index is kept inside the values even where they are not taken.
            near = tirx.max(tirx.min(offset, v.shape[axis] - 1), tirx.const(0, "int64"))
            source = [near if i == axis else each for i, each in enumerate(index)]
            return tirx.if_then_else(inside, v(*source), t(*index))

        return te.compute(t.shape, body, name="update_slice")

    return e.kernel("update_slice", compute, x, values, start)


def top_k(e: Emission, x: Any, k: int, axis: int) -> tuple[Any, Any]:
    """By a stable descending sort, so that of equal elements the first comes first."""
    order = argsort(e, x, axis, descending=True)
    first = e.emit(R.strided_slice(order, [axis], [0], [k], assume_inbound=True))
    return e.emit(R.gather_elements(x, first, axis=axis)), first


def argsort(e: Emission, x: Any, axis: int, descending: bool) -> Any:
    return e.emit(R.argsort(_keys(e, x), axis=axis, descending=descending, dtype="int64"))


def _keys(e: Emission, x: Any) -> Any:
    """What TVM can sort: no narrow integers, and no nan, which counts as greater than inf."""
    dtype = str(x.ty.dtype)
    if "float" not in dtype:
        return e.cast(x, "int32") if dtype in ("int16", "int8", "uint8") else x
    largest = sys.float_info.max
    finite = e.emit(R.clip(e.cast(x, "float64"), -largest, largest))
    return e.emit(R.where(e.emit(R.isnan(e.wide(x))), e.const(math.inf, "float64"), finite))
