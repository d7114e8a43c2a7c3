"""Sums, products and other ways from many elements to one. Narrow floats are added up in f32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tvm import te, tirx
from tvm.relax import op as R

from dlc_tvm.elementwise import is_nan
from dlc_tvm.emission import NARROW, Emission, Row, constant


def reduce(function: Callable[..., Any], empty: float) -> Row:
    """A reduction over axes; of no elements at all it is `empty`."""

    def row(e: Emission, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        if not axis:
            return x
        if any(constant(x.ty.shape[each]) == 0 for each in axis):
            return e.filled(empty, str(x.ty.dtype))
        return function(x, axis=list(axis), keepdims=keepdims)

    return row


def total(e: Emission, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """A sum."""
    plain = reduce(R.sum, 0)
    if "float" not in str(x.ty.dtype) or any(constant(each) == 0 for each in x.ty.shape):
        return plain(e, x, axis=axis, keepdims=keepdims)
    x, axes = _in_stages(e, R.sum, x, axis)
    return plain(e, x, axis=axes, keepdims=keepdims)


STAGE = 256  # numbers that are added up one after the other, where it can be chosen


def _in_stages(e: Emission, function: Any, x: Any, axis: Iterable[int]) -> tuple[Any, tuple[int, ...]]:
    """What is left to be summed (or averaged) over which axes, when sums over parts are made: added up one after the other, thousands of
    numbers lose half of their digits, as where the slopes of a norm are summed over all pixels of a batch."""
    axes = sorted({each % int(x.ty.ndim) for each in axis})
    rest = [*axes]
    while rest and _is_long([x.ty.shape[each] for each in rest]):
        last = rest.pop()
        x = _halved(e, function, x, last)
        if rest:
            x = e.emit(function(x, axis=[last], keepdims=True))
    return x, tuple(axes)


def _is_long(sizes: Sequence[Any]) -> bool:
    """Of several axes one that is not known counts as long; it can't be parted where it stands alone."""
    known = [constant(each) for each in sizes]
    return math.prod(each for each in known if each) > STAGE if None not in known else len(known) > 1


def _halved(e: Emission, function: Any, x: Any, axis: int) -> Any:
    """An axis of so many elements that their root is a stage, as sums of pieces of it."""
    shape = list(x.ty.shape)
    length = constant(shape[axis]) or 0
    count = max((each for each in range(2, math.isqrt(length) + 1) if length % each == 0), default=1)
    if length <= 4 * STAGE or count == 1:
        return x
    pieces = e.emit(R.reshape(x, [*shape[:axis], count, length // count, *shape[axis + 1 :]]))
    return e.emit(function(pieces, axis=[axis + 1]))


def reduce_bools(function: Callable[..., Any], empty: bool) -> Row:
    """As bytes: TVM reduces no bools."""
    bytewise = reduce(function, empty)

    def row(e: Emission, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        return R.astype(e.emit(bytewise(e, e.cast(x, "uint8"), axis=axis, keepdims=keepdims)), "bool")

    return row


def extreme(function: Callable[..., Any], better: Callable[[Any, Any], Any], empty: float) -> Row:
    """The greatest or least; TVM's own passes over nan, which this one keeps once it has met it."""
    plain = reduce(function, empty)

    def row(e: Emission, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        if (
            "float" not in str(x.ty.dtype)
            or not axis
            or any(constant(x.ty.shape[each]) == 0 for each in axis)
        ):
            return plain(e, x, axis=axis, keepdims=keepdims)

        def kept(a: Any, b: Any) -> Any:
            return tirx.Select(tirx.any(is_nan(a), better(a, b)), a, b)

        reducer = te.comm_reducer(kept, lambda dtype: tirx.const(empty, dtype), name="extreme")
        return e.cast(e.emit(_reduced(e, e.wide(x), axis, keepdims, reducer)), e.dtype)

    return row


def choice(better: Callable[[Any, Any], Any], empty: float) -> Row:
    """The place of the greatest or least, the first of equal ones; that of the first nan, where there is one."""

    def row(e: Emission, x: Any, axis: int, keepdims: bool) -> Any:
        floats = "float" in str(x.ty.dtype)

        def first(a: Any, b: Any) -> Any:
            before = tirx.any(better(a[1], b[1]), tirx.all(a[1] == b[1], a[0] < b[0]))
            if floats:
                only = tirx.any(tirx.Not(is_nan(b[1])), a[0] < b[0])
                before = tirx.any(before, tirx.all(is_nan(a[1]), only))
            return tirx.Select(before, a[0], b[0]), tirx.Select(before, a[1], b[1])

        def nothing(place: str, value: str) -> Any:
            worst = tirx.const(empty, value) if floats else _worst(value, empty)
            return tirx.max_value(place), worst

        return _reduced(
            e, e.wide(x), (axis,), keepdims, te.comm_reducer(first, nothing, name="choice"), places=True
        )

    return row


def _worst(dtype: str, empty: float) -> Any:
    return tirx.min_value(dtype) if empty < 0 else tirx.max_value(dtype)


def _reduced(
    e: Emission, x: Any, axes: tuple[int, ...], keepdims: bool, reducer: Any, *, places: bool = False
) -> Any:
    """A kernel that reduces over the axes; a reducer of places and values gives the places."""

    def compute(t: te.Tensor, shape: Any) -> te.Tensor:
        over = {axis: te.reduce_axis((0, t.shape[axis]), name=f"k{axis}") for axis in axes}
        kept = [i for i in range(len(t.shape)) if i not in over]

        def at(*index: Any) -> list[Any]:
            own = index if keepdims else dict(zip(kept, index, strict=True))
            return [over[i].var if i in over else own[i] for i in range(len(t.shape))]

        def body(*index: Any) -> Any:
            element = t(*at(*index))
            if not places:
                return reducer(element, axis=list(over.values()))
            return reducer((over[axes[0]].var, element), axis=list(over.values()))

        found = te.compute(shape, body, name="reduced")
        return te.compute(shape, lambda *i: found[0](*i), name="places") if places else found

    return e.kernel("reduced", compute, x, sizes=(e.shape,))


def mean(e: Emission, x: Any, axis: Any, keepdims: bool) -> Any:
    """The library's `mean`: `axis` is one, several or none for all; bools are counted."""
    rank = int(x.ty.ndim)
    axes = range(rank) if axis is None else (axis,) if isinstance(axis, int) else axis
    if not rank or not tuple(axes):
        return e.cast(x, e.dtype)
    if any(constant(x.ty.shape[each % rank]) == 0 for each in axes):
        return e.filled(math.nan)  # TVM stops at the constant 0 that it would divide by
    wide = e.cast(x, "float32" if e.dtype in NARROW else e.dtype)
    wide, left = _in_stages(e, R.mean, wide, axes)
    found = R.mean(wide, axis=[*left], keepdims=keepdims)
    return R.astype(e.emit(found), e.dtype) if e.dtype in NARROW else found


def scan(function: Callable[..., Any]) -> Row:
    return lambda e, x, axis: function(x, axis, str(x.ty.dtype))


def matmul(e: Emission, a: Any, b: Any) -> Any:
    if constant(a.ty.shape[-1]) == 0:
        return e.filled(0)
    if e.dtype not in NARROW:
        return R.matmul(a, b)
    return R.astype(e.emit(R.matmul(a, b, out_dtype="float32")), e.dtype)


def einsum(e: Emission, *xs: Any, pattern: str) -> Any:
    """A product over all letters, summed over those that the result lacks."""
    *reads, result = pattern.replace("->", ",").replace(" ", "").split(",")
    dtype = "float32" if e.dtype in NARROW else e.dtype
    if any(constant(size) == 0 for x in xs for size in x.ty.shape):
        return e.filled(0)

    def compute(*tensors: te.Tensor) -> te.Tensor:
        size = {
            letter: n
            for each, t in zip(reads, tensors, strict=True)
            for letter, n in zip(each, t.shape, strict=True)
        }
        summed = {
            letter: te.reduce_axis((0, size[letter]), name=letter) for letter in size if letter not in result
        }

        def body(*index: Any) -> Any:
            at = {**summed, **dict(zip(result, index, strict=True))}
            factors = [
                t(*(at[letter] for letter in each)).astype(dtype)
                for each, t in zip(reads, tensors, strict=True)
            ]
            product = factors[0]
            for factor in factors[1:]:
                product = product * factor
            return te.sum(product, axis=list(summed.values())) if summed else product

        return te.compute([size[letter] for letter in result], body, name="einsum")

    return e.cast(e.emit(e.kernel("einsum", compute, *xs)), e.dtype)
