"""Ops that move elements without computing: other shapes, other orders, parts, and borders.

Attributes give one entry per axis. A size may be symbolic; what a shape needs must be provable from the
facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.ops.calls import Arg, X, form
from dlc.ops.definition import LazyModule, OpDef, OpError, Sample, op
from dlc.ops.derivatives import unbroadcast
from dlc.ops.rules import (
    check_at_least,
    check_axes,
    check_axis,
    check_equal,
    check_length,
    count,
    missing_equality,
    present,
    product,
    simplified,
)
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType, holds

if TYPE_CHECKING:
    import numpy as np

    from dlc.ir.builder import Builder
    from dlc.ir.nodes import Attr, Op, Value
    from dlc.ops.arrays import Array
    from dlc.ops.derivatives import Gradients
else:
    np = LazyModule("numpy")

Types = Sequence[TensorType | None]
Attrs = Mapping[str, Any]

ZERO = Dim.of(0)


def sizes_of(values: Sequence[Attr] | Attr) -> tuple[Dim, ...]:
    """A `list[dim]` attribute's entries, each as a Dim."""
    assert isinstance(values, Sequence) and not isinstance(values, str)
    return tuple(Dim.of(value) for value in values if isinstance(value, int | Dim))


def ints_of(values: Sequence[Attr] | Attr) -> tuple[int, ...]:
    assert isinstance(values, Sequence) and not isinstance(values, str)
    return tuple(value for value in values if isinstance(value, int))


# --- references ---------------------------------------------------------------------------------------------


def _reshape(x: Array, *, shape: Sequence[int]) -> Array:
    return np.reshape(x, tuple(shape))


def _permute(x: Array, *, axes: Sequence[int]) -> Array:
    return np.transpose(x, tuple(axes))


def _broadcast(x: Array, *, shape: Sequence[int]) -> Array:
    return np.broadcast_to(x, tuple(shape))


def _concat(*arrays: Array, axis: int) -> Array:
    return np.concatenate(arrays, axis=axis)


def _slice(x: Array, *, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
    result: Array = x[tuple(map(slice, start, stop, step))]
    return result


def _pad(x: Array, *, before: Sequence[int], after: Sequence[int], value: float) -> Array:
    shape = tuple(size + a + b for size, a, b in zip(x.shape, before, after, strict=True))
    result = np.full(shape, value, x.dtype)
    result[tuple(slice(a, a + size) for a, size in zip(before, x.shape, strict=True))] = x
    return result


def _flip(x: Array, *, axes: Sequence[int]) -> Array:
    return np.flip(x, tuple(axes))


# --- types --------------------------------------------------------------------------------------------------


def _infer_reshape(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    shape = sizes_of(attrs["shape"])
    check_sizes(facts, "reshape", shape)
    before, after = x.size, product(shape)
    equal = facts.prove_eq(before, after)
    if equal is True:
        return (simplified(facts, x.dtype, shape),)
    notes = (f"x: {x}, {before} elements", f"shape: {x.with_axes(shape)}, {after} elements")
    if equal is False:
        raise OpError(f"`reshape` must keep the number of elements: {before} is not {after}", notes=notes)
    raise OpError(
        f"`reshape` must keep the number of elements: nothing says that {before} and {after} are equal",
        notes=notes,
        help=missing_equality(facts, before, after),
        kind="fact",
    )


def check_sizes(facts: Facts, name: str, shape: Sequence[Dim]) -> None:
    """Raise unless every size is provably 0 or more."""
    for size in shape:
        if not size.nonnegative:
            check_at_least(facts, size, ZERO, f"`{name}` needs sizes of 0 or more")


def _infer_permute(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    axes = ints_of(attrs["axes"])
    if sorted(axes) != list(range(x.rank)):
        given = ", ".join(map(str, axes))
        raise OpError(
            f"`permute` needs each of the {count(x.rank)} of `x` once, not [{given}]",
            help=f"count them from 0: {list(range(x.rank))} in any order",
            kind="value",
        )
    return (x.with_axes(tuple(x.axes[axis] for axis in axes)),)


def _infer_broadcast(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    shape = sizes_of(attrs["shape"])
    if x.rank > len(shape):
        raise OpError(f"`broadcast` can't drop axes: {x} has {count(x.rank)}, the shape {len(shape)}")
    offset = len(shape) - x.rank
    for i, size in enumerate(x.axes):
        if size.constant != 1:
            check_equal(facts, size, shape[offset + i], f"`broadcast` keeps axis {i}, which is not of size 1")
    check_sizes(facts, "broadcast", [each for each in shape if each not in x.axes])
    return (simplified(facts, x.dtype, shape),)


def _infer_concat(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    operands = present(inputs)
    if not operands:
        raise OpError("`concat` needs at least one tensor", kind="value")
    first, axis = operands[0], attrs["axis"]
    check_axis("concat", axis, first, "the first tensor")
    total = first.axes[axis]
    for i, other in enumerate(operands[1:], 1):
        if other.rank != first.rank:
            raise OpError(f"`concat` needs tensors of one rank: tensor 0 is {first}, tensor {i} is {other}")
        for k, (a, b) in enumerate(zip(first.axes, other.axes, strict=True)):
            if k != axis:
                check_equal(facts, a, b, f"`concat` needs axis {k} of tensors 0 and {i} to agree")
        total = total + other.axes[axis]
    axes = (*first.axes[:axis], facts.simplify(total), *first.axes[axis + 1 :])
    return (first.with_axes(axes),)


def _infer_slice(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    starts, stops, steps = sizes_of(attrs["start"]), sizes_of(attrs["stop"]), ints_of(attrs["step"])
    for name, values in (("start", starts), ("stop", stops), ("step", steps)):
        check_length("slice", name, values, x.rank)
    sizes = zip(x.axes, starts, stops, steps, strict=True)
    axes = [_sliced(facts, i, size, start, stop, step) for i, (size, start, stop, step) in enumerate(sizes)]
    return (x.with_axes(tuple(axes)),)


def _sliced(facts: Facts, axis: int, size: Dim, start: Dim, stop: Dim, step: int) -> Dim:
    """The size of a slice of an axis, its bounds proved to be in range."""
    if start == ZERO and stop == size and step == 1:
        return size
    if step < 1:
        raise OpError(
            f"`slice` needs steps of 1 or more, not {step}", help="`flip` reverses an axis", kind="value"
        )
    told = f"`slice` {start}:{stop} of axis {axis}, of size {size},"
    check_at_least(facts, start, ZERO, f"{told} begins before the axis")
    check_at_least(facts, stop, start, f"{told} ends before it begins")
    check_at_least(facts, size, stop, f"{told} ends after the axis")
    return facts.simplify((stop - start + (step - 1)) // step)


def _infer_pad(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    before, after = sizes_of(attrs["before"]), sizes_of(attrs["after"])
    for name, values in (("before", before), ("after", after)):
        check_length("pad", name, values, x.rank)
        for size in values:
            check_at_least(facts, size, ZERO, f"`pad` needs `{name}` to be 0 or more")
    if not holds(x.dtype, attrs["value"]):
        raise OpError(f"{attrs['value']:g} is out of the range of {x.dtype}", kind="number")
    return (
        simplified(facts, x.dtype, [a + size + b for a, size, b in zip(before, x.axes, after, strict=True)]),
    )


def _infer_flip(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    check_axes("flip", ints_of(attrs["axes"]), x)
    return (x,)


# --- derivatives --------------------------------------------------------------------------------------------


def _reshape_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    return [None if grads[0] is None else b.reshape(grads[0], operands[0].type.axes)]


def _permute_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    axes = ints_of(op.attr("axes"))
    back = tuple(axes.index(i) for i in range(len(axes)))
    return [None if grads[0] is None else b.permute(grads[0], back)]


def _broadcast_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    return [None if grads[0] is None else unbroadcast(b, grads[0], operands[0])]


def _concat_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, axis = grads[0], op.attr("axis")
    if dy is None or not isinstance(axis, int):
        return [None] * len(operands)
    parts, begin = [], ZERO
    for operand in operands:
        end = begin + operand.type.axes[axis]
        parts.append(part(b, dy, axis, begin, end))
        begin = end
    return parts


def part(b: Builder, x: Value, axis: int, start: int | Dim, stop: int | Dim) -> Value:
    """`x[start:stop]` along one axis."""
    starts, stops = [ZERO] * x.type.rank, list(x.type.axes)
    starts[axis], stops[axis] = Dim.of(start), Dim.of(stop)
    return b.op("slice", x, start=tuple(starts), stop=tuple(stops), step=(1,) * x.type.rank)


def _slice_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (x,) = grads[0], operands
    if dy is None:
        return [None]
    starts, stops, steps = sizes_of(op.attr("start")), sizes_of(op.attr("stop")), ints_of(op.attr("step"))
    for axis, step in enumerate(steps):
        if step != 1:
            dy = _spread(b, dy, axis, step, stops[axis] - starts[axis])
    after = tuple(size - stop for size, stop in zip(x.type.axes, stops, strict=True))
    return [b.op("pad", dy, before=starts, after=after, value=0.0)]


def _spread(b: Builder, x: Value, axis: int, step: int, length: Dim) -> Value:
    """x with its elements `step` apart along `axis`, zeros between, cut or filled to `length` (n elements of
    x stand for (n-1)*step < length <= n*step)."""
    size, axes = x.type.axes[axis], x.type.axes
    apart = b.reshape(x, (*axes[: axis + 1], 1, *axes[axis + 1 :]))
    gap = [ZERO] * apart.type.rank
    gap[axis + 1] = Dim.of(step - 1)
    filled = b.op("pad", apart, before=(ZERO,) * apart.type.rank, after=tuple(gap), value=0.0)
    flat = b.reshape(filled, (*axes[:axis], size * step, *axes[axis + 1 :]))
    return part(b, flat, axis, 0, length)


def _pad_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (x,) = grads[0], operands
    if dy is None:
        return [None]
    before = sizes_of(op.attr("before"))
    stop = tuple(a + size for a, size in zip(before, x.type.axes, strict=True))
    return [b.op("slice", dy, start=before, stop=stop, step=(1,) * x.type.rank)]


def _flip_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    return [None if grads[0] is None else b.op("flip", grads[0], axes=ints_of(op.attr("axes")))]


# --- calls --------------------------------------------------------------------------------------------------


def _forgotten_batch(facts: Facts, types: Sequence[TensorType], read: Attrs) -> str:
    """Where all that the sizes lack is the tensor's first axis."""
    (x,), sizes = types, read["shape"]
    first = x.axes[0] if x.axes else Dim.of(1)
    if first == Dim.of(1) or facts.prove_eq(product(sizes) * first, x.size) is not True:
        return ""
    return f"with the first axis: `[{', '.join(map(str, (first, *sizes)))}]`"


def _other_axis(facts: Facts, types: Sequence[TensorType], read: Attrs) -> str:
    """Where the tensors could be joined along another axis, the only one in which they differ."""
    first, *others = (each.axes for each in types)
    if any(len(each) != len(first) for each in others):
        return ""
    equal = facts.prove_eq
    differ = [i for i, size in enumerate(first) if any(equal(size, each[i]) is not True for each in others)]
    return f"did you mean `axis={differ[0]}`?" if len(differ) == 1 and differ[0] != read["axis"] else ""


def _padded(types: Sequence[TensorType], read: Attrs) -> Attrs:
    """One axis is padded: the lists of the op have zeros for the others."""
    axes, axis = range(types[0].rank), read["axis"]
    before, after = (tuple(read[side] if i == axis else ZERO for i in axes) for side in ("before", "after"))
    return {"before": before, "after": after, "value": float(read["value"])}


# --- the ops ------------------------------------------------------------------------------------------------


def _samples(*cases: tuple[tuple[str, ...], dict[str, Any]]) -> tuple[Sample, ...]:
    return tuple(Sample(shapes, attrs) for shapes, attrs in cases)


OPS: tuple[OpDef, ...] = (
    op(
        "reshape(x: [*S], shape: list[dim]) -> [*R]",
        "The same elements, in row-major order, under another shape.",
        _reshape,
        infer=_infer_reshape,
        vjp=_reshape_vjp,
        call=form(X, Arg("sizes", "fill", fills="shape"), help=_forgotten_batch),
        dtypes="any",
        samples=_samples(
            (("f32[2, 6]",), {"shape": (3, 4)}),
            (("f32[1]",), {"shape": ()}),
            (("f32[]",), {"shape": (1, 1)}),
            (("f32[0, 3]",), {"shape": (2, 0)}),
            (("i64[4]",), {"shape": (2, 1, 2)}),
        ),
    ),
    op(
        "permute(x: [*S], axes: axes) -> [*R]",
        "The axes in another order: axis i of the result is axis axes[i] of x.",
        _permute,
        infer=_infer_permute,
        vjp=_permute_vjp,
        call=form(X, Arg("axes", "order")),
        dtypes="any",
        samples=_samples(
            (("f32[2, 3]",), {"axes": (1, 0)}),
            (("f32[2, 1, 3, 4]",), {"axes": (2, 0, 3, 1)}),
            (("f32[]",), {"axes": ()}),
            (("bool[0, 2]",), {"axes": (1, 0)}),
        ),
    ),
    op(
        "broadcast(x: [*S], shape: list[dim]) -> [*R]",
        "x repeated to `shape`: axes of size 1 are stretched, new ones come in front, as NumPy broadcasts.",
        _broadcast,
        infer=_infer_broadcast,
        vjp=_broadcast_vjp,
        call=form(X, Arg("sizes", "sizes", fills="shape")),
        dtypes="any",
        samples=_samples(
            (("f32[3]",), {"shape": (2, 3)}),
            (("f32[2, 1, 3]",), {"shape": (4, 2, 5, 3)}),
            (("f32[]",), {"shape": (2,)}),
            (("f32[1]",), {"shape": (0,)}),
            (("i64[2]",), {"shape": (2,)}),
        ),
    ),
    op(
        "concat(xs, axis: axis) -> [*R]",
        "Tensors one after another along an axis.",
        _concat,
        infer=_infer_concat,
        vjp=_concat_vjp,
        call=form(
            Arg("xs", "tensors"),
            Arg("axis", "axis", 0),
            same=lambda types, read: len(types) == 1,
            help=_other_axis,
        ),
        dtypes="any",
        variadic=True,
        samples=_samples(
            (("f32[2, 3]", "f32[2, 1]", "f32[2, 2]"), {"axis": 1}),
            (("f32[2]",), {"axis": 0}),
            (("f32[0, 2]", "f32[3, 2]"), {"axis": 0}),
            (("i64[1, 2, 1]", "i64[1, 2, 1]"), {"axis": 2}),
        ),
    ),
    op(
        "slice(x: [*S], start: list[dim], stop: list[dim], step: list[int]) -> [*R]",
        "The elements from `start` to before `stop`, every `step`-th: one entry per axis,"
        " 0 <= start <= stop <= size.",
        _slice,
        infer=_infer_slice,
        vjp=_slice_vjp,
        call=None,  # `x[a:b]`
        dtypes="any",
        samples=_samples(
            (("f32[4, 5]",), {"start": (1, 0), "stop": (3, 5), "step": (1, 1)}),
            (("f32[7, 4]",), {"start": (1, 0), "stop": (7, 4), "step": (3, 2)}),
            (("f32[5]",), {"start": (0,), "stop": (4,), "step": (4,)}),
            (("f32[3]",), {"start": (2,), "stop": (2,), "step": (1,)}),
            (("i64[2, 1, 3]",), {"start": (0, 0, 1), "stop": (2, 1, 2), "step": (1, 1, 1)}),
        ),
    ),
    op(
        "pad(x: [*S], before: list[dim], after: list[dim], value: float = 0.0) -> [*R]",
        "x with a border of `value`: so many elements before and after it, one entry per axis.",
        _pad,
        infer=_infer_pad,
        vjp=_pad_vjp,
        call=form(
            X,
            Arg("axis", "axis"),
            Arg("before", "dim", 0),
            Arg("after", "dim", 0),
            Arg("value", "float", 0.0),
            attrs=_padded,
        ),
        dtypes="any",
        samples=_samples(
            (("f32[2, 3]",), {"before": (1, 0), "after": (0, 2), "value": 0.0}),
            (("f32[2]",), {"before": (0,), "after": (1,), "value": -1.0}),
            (("f32[0]",), {"before": (1,), "after": (1,), "value": 2.5}),
            (("i64[2]",), {"before": (1,), "after": (1,), "value": 7}),
        ),
    ),
    op(
        "flip(x: [*S], axes: axes) -> [*S]",
        "x with the order of its elements reversed along `axes`.",
        _flip,
        infer=_infer_flip,
        vjp=_flip_vjp,
        call=form(X, Arg("axis", "axes", fills="axes")),
        dtypes="any",
        samples=_samples(
            (("f32[2, 3]",), {"axes": (1,)}),
            (("f32[2, 1, 3]",), {"axes": (0, 2)}),
            (("f32[2]",), {"axes": ()}),
            (("bool[3]",), {"axes": (0,)}),
        ),
    ),
)
