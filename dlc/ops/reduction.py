"""Ops that combine the elements along axes: reductions and running totals.

`axis` lists the reduced axes, none twice; the empty list reduces nothing. With `keepdims` they stay, at size
1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.ops.calls import Arg, X, form
from dlc.ops.definition import LazyModule, OpDef, OpError, Sample, op
from dlc.ops.derivatives import keepdims
from dlc.ops.rules import check_at_least, check_axes, check_axis, present
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

if TYPE_CHECKING:
    import numpy as np

    from dlc.ir.builder import Builder
    from dlc.ir.nodes import Op, Value
    from dlc.ops.arrays import Array
    from dlc.ops.derivatives import Gradients
else:
    np = LazyModule("numpy")

Types = Sequence[TensorType | None]
Attrs = Mapping[str, Any]


# --- references ---------------------------------------------------------------------------------------------


def _reducing(function: str) -> Any:
    """NumPy's reduction over a list of axes, in the operand's own dtype. The greatest of no elements is an error, unless nobody asks
    for it, as the result is empty, too."""

    def reference(x: Array, *, axis: Sequence[int], keepdims: bool) -> Array:
        if not x.size:
            kept = [1 if i in axis else size for i, size in enumerate(x.shape)]
            if 0 in kept:
                empty = np.zeros(kept, x.dtype)
                return empty if keepdims else empty.squeeze(tuple(axis))
        with np.errstate(all="ignore"):
            result = getattr(np, function)(x, axis=tuple(axis), keepdims=keepdims)
            return np.asarray(result).astype(x.dtype)

    return reference


def _choosing(function: str) -> Any:
    def reference(x: Array, *, axis: int, keepdims: bool) -> Array:
        return np.asarray(getattr(np, function)(x, axis=axis, keepdims=keepdims)).astype(np.int64)

    return reference


def _running(function: str) -> Any:
    def reference(x: Array, *, axis: int) -> Array:
        with np.errstate(all="ignore"):
            result: Array = getattr(np, function)(x, axis=axis, dtype=x.dtype)
            return result

    return reference


# --- types --------------------------------------------------------------------------------------------------


def _reduced(x: TensorType, axes: Sequence[int], keepdims: bool) -> TensorType:
    one = Dim.of(1)
    kept = [one if i in axes else size for i, size in enumerate(x.axes) if keepdims or i not in axes]
    return x.with_axes(tuple(kept))


def _infer_reduce(name: str) -> Any:
    def infer(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = present(inputs)
        return (_reduced(x, check_axes(name, attrs["axis"], x), attrs["keepdims"]),)

    return infer


def _infer_extreme(name: str) -> Any:
    """A reduction that has no value over nothing: every reduced axis must have a size of 1 or more."""

    def infer(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = present(inputs)
        axes = check_axes(name, attrs["axis"], x)
        _check_not_empty(facts, name, x, axes)
        return (_reduced(x, axes, attrs["keepdims"]),)

    return infer


def _infer_choose(name: str) -> Any:
    def infer(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = present(inputs)
        axes = (check_axis(name, attrs["axis"], x),)
        _check_not_empty(facts, name, x, axes)
        return (_reduced(x, axes, attrs["keepdims"]).with_dtype("i64"),)

    return infer


def _check_not_empty(facts: Facts, name: str, x: TensorType, axes: Sequence[int]) -> None:
    for axis in axes:
        size = x.axes[axis]
        if size.constant == 0:
            raise OpError(f"`{name}` over axis {axis} has no value: its size is 0")
        check_at_least(facts, size, Dim.of(1), f"`{name}` over axis {axis} needs an element")


def _infer_running(name: str) -> Any:
    def infer(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = present(inputs)
        check_axis(name, attrs["axis"], x)
        return (x,)

    return infer


# --- derivatives --------------------------------------------------------------------------------------------


def _axes(op: Op) -> tuple[int, ...]:
    axes = op.attr("axis")
    assert isinstance(axes, tuple)
    return tuple(axis for axis in axes if isinstance(axis, int))


def _axis(op: Op) -> int:
    axis = op.attr("axis")
    assert isinstance(axis, int)
    return axis


def _sum_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (x,) = grads[0], operands
    if dy is None:
        return [None]
    spread = keepdims(b, dy, x, _axes(op)) if dy.type.rank else dy
    return [b.broadcast(spread, x.type.axes)]


def _extreme_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    # Equal extremes share the gradient equally.
    dy, (x,), axes = grads[0], operands, _axes(op)
    if dy is None:
        return [None]
    chosen = b.cast(b.op("eq", x, keepdims(b, outputs[0], x, axes)), x.type.dtype)
    share = b.div(keepdims(b, dy, x, axes), b.sum(chosen, axes, keepdims=True))
    return [b.mul(chosen, share)]


def _prod_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    # The product of all others, without a division, so that zeros are no exception: one reduced axis at a
    # time.
    dy, (x,) = grads[0], operands
    if dy is None:
        return [None]
    stages = [x]
    for axis in _axes(op)[:-1]:
        stages.append(b.op("prod", stages[-1], axis=(axis,), keepdims=True))
    grad = keepdims(b, dy, x, _axes(op))
    for axis, stage in zip(reversed(_axes(op)), reversed(stages), strict=False):
        before = _exclusive(b, stage, axis)
        after = b.op("flip", _exclusive(b, b.op("flip", stage, axes=(axis,)), axis), axes=(axis,))
        grad = b.mul(b.mul(before, after), grad)
    return [grad]


def _exclusive(b: Builder, x: Value, axis: int) -> Value:
    """The product of the elements before each one along `axis` (1 for the first)."""
    return _shifted(b, b.op("cumprod", x, axis=axis), axis, 1, fill=1.0)


def _shifted(b: Builder, x: Value, axis: int, by: int, fill: float, *, up: bool = True) -> Value:
    """x moved `by` places along `axis` (towards the end if `up`), `fill` in the places that become free."""
    zero = [Dim.of(0)] * x.type.rank
    gap = list(zero)
    gap[axis] = Dim.of(by)
    sizes = x.type.axes
    if up:
        padded = b.op("pad", x, before=tuple(gap), after=tuple(zero), value=fill)
        start = zero
    else:
        padded = b.op("pad", x, before=tuple(zero), after=tuple(gap), value=fill)
        start = gap
    stop = tuple(begin + size for begin, size in zip(start, sizes, strict=True))
    return b.op("slice", padded, start=tuple(start), stop=stop, step=(1,) * x.type.rank)


def _cumsum_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, axis = grads[0], _axis(op)
    if dy is None:
        return [None]
    back = b.op("flip", dy, axes=(axis,))
    return [b.op("flip", b.op("cumsum", back, axis=axis), axes=(axis,))]


def _cumprod_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    # dx[k] = (product of x before k) * s[k] with s[k] = dy[k] + x[k+1] * s[k+1]: right for zeros too.
    dy, (x,), axis = grads[0], operands, _axis(op)
    if dy is None:
        return [None]
    size = x.type.axes[axis].constant
    solve = _suffix_by_pairs if size is None else _suffix_by_doubling
    return [b.mul(_exclusive(b, x, axis), solve(b, x, dy, axis))]


def _suffix_by_doubling(b: Builder, x: Value, dy: Value, axis: int) -> Value:
    """s with s[k] = dy[k] + x[k+1] * s[k+1], in log2(n) steps (Hillis and Steele, 1986)."""
    total, factor = dy, _shifted(b, x, axis, 1, fill=0.0, up=False)
    by, size = 1, x.type.axes[axis].constant or 0
    while by < size:
        total = b.add(total, b.mul(factor, _shifted(b, total, axis, by, fill=0.0, up=False)))
        factor = b.mul(factor, _shifted(b, factor, axis, by, fill=0.0, up=False))
        by *= 2
    return total


def _suffix_by_pairs(b: Builder, x: Value, dy: Value, axis: int) -> Value:
    """The same for an axis of unknown size n, over n*n pairs: s[k] = sum of dy[i] * x[k+1] * … * x[i] over i
    >= k."""
    rank, size = x.type.rank, x.type.axes[axis]
    order = (*(i for i in range(rank) if i != axis), axis)
    places = b.op("arange", start=0, stop=size, dtype="i64")
    k, i = b.reshape(places, (size, 1)), b.reshape(places, (1, size))
    moved, weight = b.permute(x, order), b.permute(dy, order)
    lead = moved.type.axes[:-1]
    pairs = b.broadcast(b.reshape(moved, (*lead, 1, size)), (*lead, size, size))
    products = b.op("cumprod", b.where(b.op("gt", i, k), pairs, 1.0), axis=rank)
    terms = b.mul(products, b.reshape(weight, (*lead, 1, size)))
    total = b.sum(b.where(b.op("ge", i, k), terms, 0.0), (rank,))
    return b.permute(total, tuple(order.index(i) for i in range(rank)))


# --- the ops ------------------------------------------------------------------------------------------------


def _shapes(**facts: Any) -> tuple[Sample, ...]:
    return (
        Sample(("f32[2, 3]",), {"axis": (1,), "keepdims": False}, **facts),
        Sample(("f32[2, 3, 4, 1]",), {"axis": (0, 2), "keepdims": True}, **facts),
        Sample(("f32[5]",), {"axis": (0,), "keepdims": False}, **facts),
        Sample(("f32[2, 1]",), {"axis": (), "keepdims": False}, **facts),
        Sample(("f32[0, 3]",), {"axis": (1,), "keepdims": False}, **facts),
    )


_INTEGERS = Sample(([[3, -1, 2], [0, 5, -4]],), {"axis": (1,), "keepdims": False})
# Integers that f64 has not, and whose product wraps.
_LONG = (
    Sample(([[2**53 + 1, 2, 3], [2**62, 5, -7]],), {"axis": (1,), "keepdims": False}),
    Sample(([[[2**53 + 1, 2], [2**40, 3]]],), {"axis": (0, 2), "keepdims": True}),
)
_EMPTY = Sample(("f32[2, 0]",), {"axis": (1,), "keepdims": False})
_TIES = Sample(([[1.0, 1.0, 0.0], [-0.0, 0.0, 0.0]],), {"axis": (1,), "keepdims": False}, grad=False)
_ZEROS = Sample(([[1.5, 0.0, 2.0], [0.0, 0.0, 3.0], [2.0, -1.0, 0.5]],), {"axis": (0, 1), "keepdims": False})
_BOOLS = (
    Sample(([[True, False], [False, False]],), {"axis": (1,), "keepdims": False}),
    Sample(("bool[2, 3, 1]",), {"axis": (0, 1), "keepdims": True}),
    Sample(("bool[2, 0]",), {"axis": (1,), "keepdims": False}),
)
_CHOICES = (
    Sample(([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]],), {"axis": 1, "keepdims": False}),
    Sample(("f32[2, 3, 4]",), {"axis": 0, "keepdims": True}),
    Sample(([4, -7, 9, 9],), {"axis": 0, "keepdims": False}),
)
_RUNS = (
    Sample(("f32[2, 5]",), {"axis": 1}),
    Sample(("f32[3, 1, 2]",), {"axis": 0}),
    Sample(("f32[1]",), {"axis": 0}),
    Sample(("f32[2, 0]",), {"axis": 1}),
    Sample(([2.0, 0.0, 3.0, 0.0, 1.5],), {"axis": 0}),
    Sample(([1, 2, -3],), {"axis": 0}),
)


KEEPDIMS = Arg("keepdims", "bool", False)


def _chosen(types: Sequence[TensorType], read: Attrs) -> Attrs:
    """Without an axis, the place in the flattened operand: a scalar."""
    return {"axis": 0, "keepdims": False} if read["axis"] is None else read


def _reduce(
    name: str, doc: str, reference: Any, infer: Any, samples: tuple[Sample, ...], **facts: Any
) -> OpDef:
    call = form(X, Arg("axis", "axes", None), KEEPDIMS, bools="i64" if name == "sum" else "")
    signature = f"{name}(x: [*S], axis: axes, keepdims: bool = false) -> [*R]"
    return op(signature, doc, reference, infer=infer, flops="size(x)", samples=samples, call=call, **facts)


def _choose(name: str, doc: str) -> OpDef:
    return op(
        f"{name}(x: [*S], axis: axis, keepdims: bool = false) -> i64[*R]",
        doc,
        _choosing(name),
        infer=_infer_choose(name),
        flops="size(x)",
        samples=_CHOICES,
        dtypes="number",
        differentiable=False,
        call=form(X, Arg("axis", "flat", None), KEEPDIMS, attrs=_chosen),
    )


def _run(name: str, doc: str, vjp: Any) -> OpDef:
    return op(
        f"{name}(x: [*S], axis: axis) -> [*S]",
        doc,
        _running(name),
        infer=_infer_running(name),
        flops="size(x)",
        samples=_RUNS,
        dtypes="number",
        vjp=vjp,
        call=form(X, Arg("axis", "axis", -1)),
    )


OPS: tuple[OpDef, ...] = (
    _reduce(
        "sum",
        "The sum; 0 over nothing.",
        _reducing("sum"),
        _infer_reduce("sum"),
        (*_shapes(), _EMPTY, _INTEGERS, *_LONG),
        dtypes="number",
        vjp=_sum_vjp,
    ),
    _reduce(
        "max",
        "The greatest element; nan if there is one.",
        _reducing("max"),
        _infer_extreme("max"),
        (*_shapes(), _TIES, _INTEGERS),
        dtypes="number",
        vjp=_extreme_vjp,
    ),
    _reduce(
        "min",
        "The least element; nan if there is one.",
        _reducing("min"),
        _infer_extreme("min"),
        (*_shapes(), _TIES, _INTEGERS),
        dtypes="number",
        vjp=_extreme_vjp,
    ),
    _reduce(
        "prod",
        "The product; 1 over nothing.",
        _reducing("prod"),
        _infer_reduce("prod"),
        (*_shapes(), _EMPTY, _ZEROS, _INTEGERS, *_LONG),
        dtypes="number",
        vjp=_prod_vjp,
    ),
    _reduce(
        "any",
        "Whether any element is true; false over nothing.",
        _reducing("any"),
        _infer_reduce("any"),
        _BOOLS,
        dtypes="bool",
        differentiable=False,
    ),
    _reduce(
        "all",
        "Whether all elements are true; true over nothing.",
        _reducing("all"),
        _infer_reduce("all"),
        _BOOLS,
        dtypes="bool",
        differentiable=False,
    ),
    _choose("argmax", "The place of the greatest element along an axis; of equal ones, the first."),
    _choose("argmin", "The place of the least element along an axis; of equal ones, the first."),
    _run("cumsum", "The sum of the elements up to and with each one.", _cumsum_vjp),
    _run("cumprod", "The product of the elements up to and with each one.", _cumprod_vjp),
)
