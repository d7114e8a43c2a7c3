"""What derivative rules share. A rule is called as `vjp(b, op, gradients, operands, outputs)` and gives one
gradient per operand, None where it is zero. The helpers here make such rules from the short ones that most
ops need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dlc.types.dims import Dim

if TYPE_CHECKING:
    from dlc.ir.builder import Builder
    from dlc.ir.nodes import Op, Value
    from dlc.ops.definition import Vjp

    Gradients = Sequence[Value | None]
    # (builder, gradient of the result, operand, result) -> gradient of the operand
    Unary = Callable[[Builder, Value, Value, Value], Value]
    # (builder, gradient of the result, first operand, second operand, result) -> gradient, before
    # unbroadcasting
    Binary = Callable[[Builder, Value, Value, Value, Value], Value]


def no_gradient(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    """The rule of a function that is flat wherever it has a derivative (`floor`, `sign`)."""
    return [None] * len(operands)


def unary(rule: Unary) -> Vjp:
    """The rule of an elementwise function of one operand."""

    def vjp(
        b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
    ) -> Gradients:
        return [None if grads[0] is None else rule(b, grads[0], operands[0], outputs[0])]

    return vjp


def binary(first: Binary | None, second: Binary | None) -> Vjp:
    """The rule of an elementwise function of two operands that broadcast."""

    def vjp(
        b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
    ) -> Gradients:
        dy, (x, y) = grads[0], operands
        if dy is None:
            return [None, None]
        sides = ((first, x), (second, y))
        return [None if f is None else unbroadcast(b, f(b, dy, x, y, outputs[0]), v) for f, v in sides]

    return vjp


def unbroadcast(b: Builder, grad: Value, operand: Value) -> Value:
    """`grad` summed over the axes along which `operand` was broadcast, so that it has the operand's shape."""
    extra = grad.type.rank - operand.type.rank
    wanted = operand.type.axes
    summed = [
        extra + i
        for i, size in enumerate(wanted)
        if size.constant == 1 and grad.type.axes[extra + i].constant != 1
    ]
    if not extra and not summed:
        return grad
    total = b.sum(grad, [*range(extra), *summed])
    return b.reshape(total, wanted) if total.type.axes != wanted else total


def zeros(b: Builder, like: Value) -> Value:
    """A tensor of zeros with the type of `like`."""
    return b.op("full", shape=like.type.axes, value=0.0, dtype=like.type.dtype, hint="zeros")


def keepdims(b: Builder, reduced: Value, like: Value, axes: Sequence[int]) -> Value:
    """A result reduced over `axes` of `like`, with those axes put back at size 1."""
    shape = tuple(Dim.of(1) if i in axes else size for i, size in enumerate(like.type.axes))
    return reduced if reduced.type.axes == shape else b.reshape(reduced, shape)
