"""Sums, products and other ways from many elements to one. Narrow floats are added up in f32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import te
from tvm.relax import op as R

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


def reduce_bools(function: Callable[..., Any], empty: bool) -> Row:
    """As bytes: TVM reduces no bools."""
    bytewise = reduce(function, empty)

    def row(e: Emission, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        return R.astype(e.emit(bytewise(e, e.cast(x, "uint8"), axis=axis, keepdims=keepdims)), "bool")

    return row


def mean(e: Emission, x: Any, axis: Any, keepdims: bool) -> Any:
    """The library's `mean`: `axis` is one, several or none for all; bools are counted."""
    rank = int(x.ty.ndim)
    axes = range(rank) if axis is None else (axis,) if isinstance(axis, int) else axis
    if not rank or not tuple(axes):
        return e.cast(x, e.dtype)
    if any(constant(x.ty.shape[each % rank]) == 0 for each in axes):
        return e.filled(math.nan)  # TVM stops at the constant 0 that it would divide by
    wide = e.cast(x, "float32" if e.dtype in NARROW else e.dtype)
    found = R.mean(wide, axis=[each % rank for each in axes], keepdims=keepdims)
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
