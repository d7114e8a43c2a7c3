"""What a row can't say: what depends on shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from dlc.emit.draft import DONE, Say, dim_of
from dlc.emit.forms import (
    alias,
    alike,
    call,
    element,
    entries,
    layers,
    method,
    parameter,
    partition,
    require,
    sizes,
    sliced,
    stackable,
    told,
    vector_product,
)
from dlc.emit.origins import size
from dlc.emit.steps import Steps
from dlc.emit.tree import Expr, Keyword, Seq, Text, Word
from dlc.ir.loops import LOOP, Loop, Stacked
from dlc.ir.nodes import Op
from dlc.types.dims import Dim
from dlc_arrays.drafter import ArrayDrafter


def const(d: ArrayDrafter, op: Op) -> Expr:
    dtype = d.dtype_of(op.out.name)
    return call("np.array", d.constant(op.attr("value"), dtype), d.dtype_word(dtype))


def cast(d: ArrayDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    if d.dtype_of(name) == d.dtype_of(op.out.name):
        return alias(d, op, name)
    return method(d.tensor(name), "astype", d.dtype_word(op.out.type.dtype))


def full(d: ArrayDrafter, op: Op) -> Expr:
    return filled(d, op, d.constant(op.attr("value"), d.dtype_of(op.out.name)))


def filled(d: ArrayDrafter, op: Op, value: Expr) -> Expr:
    return call("np.full", Seq(sizes(op.out.type.axes)), value, d.dtype_word(op.out.type.dtype))


def arange(d: ArrayDrafter, op: Op) -> Expr:
    bounds = (size(dim_of(op.attr(name)), name) for name in ("start", "stop", "step"))
    return call("np.arange", *bounds, d.dtype_word(op.out.type.dtype))


def reshape(d: ArrayDrafter, op: Op) -> Expr:
    return (
        same(d, op)
        or element(d, op)
        or vector_product(d, op)
        or method(d.tensor(op.inputs[0]), "reshape", Seq(sizes(op.out.type.axes)))
    )


def broadcast(d: ArrayDrafter, op: Op) -> Expr:
    shape = Seq(sizes(op.out.type.axes))
    return same(d, op) or call("np.broadcast_to", d.tensor(op.inputs[0]), shape)


def same(d: ArrayDrafter, op: Op) -> Expr | None:
    """A number in the shape of the result, or what has that shape already."""
    (name,) = op.inputs
    if name in d.host:
        return filled(d, op, d.inline[name])
    return alias(d, op, name) if told(d.types[name].axes) == told(op.out.type.axes) else None


def concat(d: ArrayDrafter, op: Op) -> Expr:
    bare = stackable(d, op)
    parts = Seq(tuple(map(d.tensor, bare or op.inputs)), "[]")
    axis = Keyword("axis", Word(str(op.integer("axis"))))
    return call("np.stack" if bare else "np.concatenate", parts, axis)


def pad(d: ArrayDrafter, op: Op) -> Expr:
    pairs = zip(entries(op, "before"), entries(op, "after"), strict=True)
    widths = Seq(tuple(Seq((size(a, "before"), size(b, "after"))) for a, b in pairs))
    value = Keyword("constant_values", d.attribute(op, "value", op.attr("value")))
    return call("np.pad", d.tensor(op.inputs[0]), widths, value)


def divided(x: Expr, parts: Sequence[Dim], axis: int, dim: Expr) -> Expr:
    """`q, k, v = np.split(x, 3, axis=-1)`."""
    if not parts:
        return front(x, axis)
    places = Seq(sizes(tuple(accumulate(parts[:-1])), "index"), "[]")
    return call("np.split", x, Word(str(len(parts))) if alike(parts) else places, Keyword("axis", dim))


def front(x: Expr, axis: int) -> Expr:
    return x if axis == 0 else call("np.moveaxis", x, Word(str(axis)), Word("0"))


def slice_(d: ArrayDrafter, op: Op) -> Expr:
    return DONE if partition(d, op, divided) else sliced(d, op)


def einsum(d: ArrayDrafter, op: Op) -> Expr:
    return call("np.einsum", Text(op.text("pattern")), *map(d.tensor, op.inputs))


class ArraySteps(Steps):
    def slices(self, x: Expr, axis: int) -> Expr:
        return front(x, axis)

    def stacked(self, items: Expr, axis: int) -> Expr:
        return call("np.stack", items, Keyword("axis", Word(str(axis))))

    def empty(self, stacked: Stacked) -> Expr:
        shape = Seq(sizes(stacked.out.type.axes))
        return call("np.empty", shape, self.drafter.dtype_word(stacked.out.type.dtype))


def loop(d: ArrayDrafter, op: Op) -> Expr | None:
    if not op.attr("shared"):
        return layers(d, op, "np.stack")
    d.body += ArraySteps(d, Loop.of(op)).statements()
    return DONE


SAY: Mapping[str, Say] = {
    "param": parameter,
    "require": require,
    "const": const,
    "cast": cast,
    "full": full,
    "arange": arange,
    "reshape": reshape,
    "broadcast": broadcast,
    "concat": concat,
    "pad": pad,
    "slice": slice_,
    "einsum": einsum,
    LOOP: loop,
}
