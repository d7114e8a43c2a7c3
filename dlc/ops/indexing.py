"""Ops that read or write at places given by integers, and ops that find an order.

An index counts from 0 and must be in range: 0 <= index < size of the axis. Sizes that decide it are proved (`dlc/ir/indices.py`), data are
checked before a backend sees them (`dlc/runtime/indices.py`): the reference raises IndexError, backends may do anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.ops.calls import Arg, X, form
from dlc.ops.definition import LazyModule, OpDef, OpError, Sample, op
from dlc.ops.derivatives import zeros
from dlc.ops.rules import check_at_least, check_axis, check_equal, present, product
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


def _checked(index: Array, size: int) -> Array:
    if index.size and (index.min() < 0 or index.max() >= size):
        raise IndexError(f"an index is {index.min()} or {index.max()}, outside 0 <= index < {size}")
    return index


def _take(x: Array, index: Array, *, axis: int) -> Array:
    return np.take(x, _checked(index, x.shape[axis]), axis=axis)


def _take_along(x: Array, index: Array, *, axis: int) -> Array:
    result: Array = np.take_along_axis(x, _checked(index, x.shape[axis]), axis=axis)
    return result


def _places(index: Array, axis: int) -> tuple[Array, ...]:
    """The full coordinates of each element of `index`, its values standing for those along `axis`."""
    grid: list[Array] = list(np.indices(index.shape, sparse=True))
    grid[axis] = index
    return tuple(grid)


def _scatter(x: Array, index: Array, values: Array, *, axis: int) -> Array:
    result = np.array(x)
    result[_places(_checked(index, x.shape[axis]), axis)] = values
    return result


def _scatter_add(x: Array, index: Array, values: Array, *, axis: int) -> Array:
    result = np.array(x)
    np.add.at(result, _places(_checked(index, x.shape[axis]), axis), values)
    return result


def _scatter_max(x: Array, index: Array, values: Array, *, axis: int) -> Array:
    result = np.array(x)
    with np.errstate(invalid="ignore"):  # nan
        np.maximum.at(result, _places(_checked(index, x.shape[axis]), axis), values)
    return result


def _update_slice(x: Array, values: Array, start: Array, *, axis: int) -> Array:
    result, begin, length = np.array(x), int(start), values.shape[axis]
    if begin < 0 or begin + length > x.shape[axis]:
        raise IndexError(f"{begin}:{begin + length} is outside an axis of size {x.shape[axis]}")
    np.moveaxis(result, axis, 0)[begin : begin + length] = np.moveaxis(values, axis, 0)
    return result


def _argsort(x: Array, *, axis: int, descending: bool) -> Array:
    # Descending, it is reversed twice, so that equal elements keep their order.
    places = np.argsort(np.flip(x, axis) if descending else x, axis=axis, kind="stable")
    result: Array = np.flip(x.shape[axis] - 1 - places, axis) if descending else places
    return result.astype(np.int64)


def _top_k(x: Array, *, k: int, axis: int) -> tuple[Array, Array]:
    places = np.take(_argsort(x, axis=axis, descending=True), np.arange(k), axis=axis)
    values: Array = np.take_along_axis(x, places, axis=axis)
    return values, places


# --- types --------------------------------------------------------------------------------------------------


def _infer_take(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, index = present(inputs)
    axis = check_axis("take", attrs["axis"], x)
    return (x.with_axes((*x.axes[:axis], *index.axes, *x.axes[axis + 1 :])),)


def _check_alike(name: str, facts: Facts, x: TensorType, other: TensorType, axis: int, operand: str) -> None:
    """Raise unless `other` has the shape of `x`, except along `axis`."""
    check_axis(name, axis, x)
    if other.rank != x.rank:
        raise OpError(
            f"`{name}` needs `{operand}` to have as many axes as `x`: {other.rank} are not {x.rank}"
        )
    for i, (a, b) in enumerate(zip(x.axes, other.axes, strict=True)):
        if i != axis:
            check_equal(facts, a, b, f"`{name}` needs axis {i} of `x` and `{operand}` to agree")


def _infer_take_along(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, index = present(inputs)
    _check_alike("take_along", facts, x, index, attrs["axis"], "index")
    return (x.with_axes(index.axes),)


def _infer_scatter(name: str) -> Any:
    def infer(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        x, index, values = present(inputs)
        axis = attrs["axis"]
        _check_alike(name, facts, x, index, axis, "index")
        _check_alike(name, facts, x, values, axis, "values")
        check_equal(facts, index.axes[axis], values.axes[axis], f"`{name}` needs one value per index")
        return (x,)

    return infer


def _infer_update_slice(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, values, start = present(inputs)
    axis = attrs["axis"]
    if start.rank:
        raise OpError(f"`update_slice` needs `start` to be a scalar: {start} is none")
    _check_alike("update_slice", facts, x, values, axis, "values")
    check_at_least(
        facts, x.axes[axis], values.axes[axis], f"`update_slice` needs `values` to fit along axis {axis}"
    )
    return (x,)


def _infer_top_k(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    axis, k = check_axis("top_k", attrs["axis"], x), Dim.of(attrs["k"])
    check_at_least(facts, k, Dim.of(1), "`top_k` needs k to be 1 or more")
    check_at_least(facts, x.axes[axis], k, f"`top_k` needs at least k elements along axis {axis}")
    found = x.with_axes((*x.axes[:axis], k, *x.axes[axis + 1 :]))
    return found, found.with_dtype("i64")


def _infer_argsort(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    check_axis("argsort", attrs["axis"], x)
    return (x.with_dtype("i64"),)


# --- derivatives --------------------------------------------------------------------------------------------


def _axis(op: Op) -> int:
    axis = op.attr("axis")
    assert isinstance(axis, int)
    return axis


def _take_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    # Seen as [before, n, after], row i of x gets the sum of the gradients of all places that took it.
    dy, (x, index), axis = grads[0], operands, _axis(op)
    if dy is None:
        return [None, None]
    before, after = product(x.type.axes[:axis]), product(x.type.axes[axis + 1 :])
    taken = index.type.size
    flat = b.op("full", shape=(before, x.type.axes[axis], after), value=0.0, dtype=x.type.dtype)
    places = b.broadcast(b.reshape(index, (taken, 1)), (before, taken, after))
    grad = b.op("scatter_add", flat, places, b.reshape(dy, (before, taken, after)), axis=1)
    return [b.reshape(grad, x.type.axes), None]


def _take_along_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (x, index) = grads[0], operands
    if dy is None:
        return [None, None]
    return [b.op("scatter_add", zeros(b, x), index, dy, axis=_axis(op)), None]


def _scatter_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (_, index, values), axis = grads[0], operands, _axis(op)
    if dy is None:
        return [None, None, None]
    dx = b.op("scatter", dy, index, zeros(b, values), axis=axis)
    return [dx, None, b.op("take_along", dy, index, axis=axis)]


def _scatter_add_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, index = grads[0], operands[1]
    if dy is None:
        return [None, None, None]
    return [dy, None, b.op("take_along", dy, index, axis=_axis(op))]


def _scatter_max_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    # What is equal at a place shares the gradient equally, as in `max`.
    dy, (x, index, values), axis = grads[0], operands, _axis(op)
    if dy is None:
        return [None, None, None]
    greatest = b.op("take_along", outputs[0], index, axis=axis)
    stays, comes = (
        b.cast(b.op("eq", each, y), x.type.dtype) for each, y in ((x, outputs[0]), (values, greatest))
    )
    share = b.div(dy, b.op("scatter_add", stays, index, comes, axis=axis))
    return [b.mul(stays, share), None, b.mul(comes, b.op("take_along", share, index, axis=axis))]


def _update_slice_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (_, values, start), axis = grads[0], operands, _axis(op)
    if dy is None:
        return [None, None, None]
    dx = b.op("update_slice", dy, zeros(b, values), start, axis=axis)
    places = b.add(b.op("arange", start=0, stop=values.type.axes[axis]), start)
    return [dx, b.op("take", dy, places, axis=axis), None]


def _top_k_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (x,) = grads[0], operands
    if dy is None:
        return [None]
    return [b.op("scatter_add", zeros(b, x), outputs[1], dy, axis=_axis(op))]


# --- the ops ------------------------------------------------------------------------------------------------

_SCATTER = form(X, Arg("index", "index"), Arg("values", "like"), Arg("axis", "axis"), along="axis")
_AXIS0 = {"axis": 0}
_AXIS1 = {"axis": 1}
_UNIQUE = (
    Sample(("f32[4, 2]", [[3, 0], [1, 2]], "f32[2, 2]"), _AXIS0),
    Sample(("f32[2, 1, 3]", [[[2, 0]], [[1, 2]]], "f32[2, 1, 2]"), {"axis": 2}),
    Sample(("f32[1]", [0], "f32[1]"), _AXIS0),
)
_REPEATED = Sample(("f32[3, 2]", [[0, 1], [0, 1], [0, 0]], "f32[3, 2]"), _AXIS0)
_NAN = float("nan")
_GREATEST = (
    Sample(([1.0, 5.0, -1.0], [0, 0, 2, 1], [3.0, 3.0, -1.0, 2.0]), _AXIS0, grad=False),
    Sample(([_NAN, -1.0, -1.0], [0, 1, 1, 2], [3.0, _NAN, 1.0, 2.0]), _AXIS0, grad=False),
    Sample(("f32[2, 2]", "i64[0, 2]", "f32[0, 2]"), _AXIS0),
)

OPS: tuple[OpDef, ...] = (
    op(
        "take(x: [*S], index: i64[*I], axis: axis) -> [*R]",
        "The parts of x at the given places of an axis: that axis becomes the axes of `index`.",
        _take,
        infer=_infer_take,
        vjp=_take_vjp,
        call=form(X, Arg("index", "index"), Arg("axis", "axis", 0)),
        dtypes="any",
        samples=(
            Sample(("f32[5, 2]", [[0, 4, 4], [1, 0, 2]]), _AXIS0),
            Sample(("f32[2, 3, 4]", [1]), _AXIS1),
            Sample(("f32[3]", 2), _AXIS0),
            Sample(("i64[2, 3]", [2, 2, 0]), _AXIS1),
        ),
    ),
    op(
        "take_along(x: [*S], index: i64[*I], axis: axis) -> [*I]",
        "Along an axis, the element of x at each index: y[i, j] is x[index[i, j], j] for axis 0. `index`"
        " has the shape of x except along that axis.",
        _take_along,
        infer=_infer_take_along,
        vjp=_take_along_vjp,
        call=form(X, Arg("index", "index"), Arg("axis", "axis"), along="axis"),
        dtypes="any",
        samples=(
            Sample(("f32[3, 2]", [[0, 2], [2, 2]]), _AXIS0),
            Sample(("f32[2, 1, 3]", [[[2]], [[0]]]), {"axis": 2}),
            Sample(("i64[2]", [1, 1, 0]), _AXIS0),
        ),
    ),
    op(
        "scatter(x: [*S], index: i64[*I], values: [*I], axis: axis) -> [*S]",
        "x with `values` at the given places along an axis: y[index[i, j], j] is values[i, j] for axis 0."
        " `index` and `values` have the shape of x except along that axis. Places must differ, or any of"
        " their values may stay.",
        _scatter,
        infer=_infer_scatter("scatter"),
        flops="size(values)",
        vjp=_scatter_vjp,
        call=_SCATTER,
        dtypes="any",
        samples=_UNIQUE,
    ),
    op(
        "scatter_add(x: [*S], index: i64[*I], values: [*I], axis: axis) -> [*S]",
        "x with `values` added at the given places along an axis; places may repeat. Shapes as for"
        " `scatter`.",
        _scatter_add,
        infer=_infer_scatter("scatter_add"),
        flops="size(values)",
        vjp=_scatter_add_vjp,
        call=_SCATTER,
        dtypes="number",
        samples=(*_UNIQUE, _REPEATED),
    ),
    op(
        "scatter_max(x: [*S], index: i64[*I], values: [*I], axis: axis) -> [*S]",
        "The greater of x and all of `values` that are for a place along an axis; nan where one is. Shapes as for"
        " `scatter`.",
        _scatter_max,
        infer=_infer_scatter("scatter_max"),
        flops="size(values)",
        vjp=_scatter_max_vjp,
        call=_SCATTER,
        dtypes="number",
        samples=(*_UNIQUE, _REPEATED, *_GREATEST),
    ),
    op(
        "update_slice(x: [*S], values: [*V], start: i64[], axis: axis) -> [*S]",
        "x with `values` in the place of as many elements from `start` on along an axis; they must fit in.",
        _update_slice,
        infer=_infer_update_slice,
        vjp=_update_slice_vjp,
        call=form(X, Arg("values"), Arg("start", "place"), Arg("axis", "axis")),
        dtypes="any",
        samples=(
            Sample(("f32[5, 2]", "f32[2, 2]", 3), _AXIS0),
            Sample(("f32[2, 3]", "f32[2, 3]", 0), _AXIS1),
            Sample(("i64[4]", "i64[1]", 1), _AXIS0),
        ),
    ),
    op(
        "top_k(x: [*S], k: int, axis: axis) -> (values: [*R], indices: i64[*R])",
        "The k greatest elements along an axis, greatest first, and their places; of equal ones, the first"
        " comes first.",
        _top_k,
        infer=_infer_top_k,
        flops="size(x)",
        vjp=_top_k_vjp,
        call=form(X, Arg("k", "int"), Arg("axis", "axis", -1)),
        dtypes="number",
        samples=(
            Sample(([[3.0, 1.0, 2.0], [-1.0, 5.0, 0.0]],), {"k": 2, "axis": 1}),
            Sample(([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]],), {"k": 2, "axis": 1}, grad=False),
            Sample(("f32[4, 1]",), {"k": 4, "axis": 0}),
            Sample(([4, 9, 9, -1],), {"k": 1, "axis": 0}),
        ),
    ),
    op(
        "argsort(x: [*S], axis: axis, descending: bool = false) -> i64[*S]",
        "The places of the elements along an axis in ascending order; equal ones keep their order.",
        _argsort,
        infer=_infer_argsort,
        flops="size(x)",
        call=form(X, Arg("axis", "axis", -1), Arg("descending", "bool", False)),
        dtypes="number",
        differentiable=False,
        samples=(
            Sample(([[3.0, 1.0, 2.0], [2.0, 2.0, 1.0]],), {"axis": 1, "descending": False}),
            Sample(([[3.0, 1.0, 2.0], [2.0, 2.0, 1.0]],), {"axis": 1, "descending": True}),
            Sample(([2, 1, 2],), {"axis": 0, "descending": True}),
            Sample(("f32[2, 0]",), {"axis": 1, "descending": False}),
        ),
    ),
)
