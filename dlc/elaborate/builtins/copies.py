"""Many copies of a module, their parameters stacked: side by side (`copies`), and chosen row by row (`mixture`).

The library's modules of these names call what stands here, for what no statement of the language says."""

from __future__ import annotations

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Tensor
from dlc.elaborate.builtins.call import Call, builtin
from dlc.elaborate.builtins.copied import Applied, applied, stacks
from dlc.elaborate.builtins.routing import ROWS, routed_function
from dlc.elaborate.calls.alone import joins_rows
from dlc.ir.builder import Builder
from dlc.ir.nodes import Op, Program, Value
from dlc.ir.routing import ROUTED
from dlc.ops.calls import REQUIRED
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import rooted
from dlc.types.traced import Term


def _copies(call: Call) -> Tensor:
    """Copy i applied to x[i]: x: [n, …] -> [n, …]."""
    body, node, x = call.body, call.node, call.tensor("x")
    copies = call.integer("n")
    one = applied(call, "inner", TensorType(x.type.dtype, x.type.axes[1:]))
    parameters = stacks(call, one, call.size("n"))

    def turn(inner: Builder, xi: Value, *slices: Value) -> list[Value]:
        out = Value(inner.fresh("y"), one.result)
        inner.append(one.op([xi.name, *(each.name for each in slices)], out, {}, node))
        return [out]

    builder = body.emission.builder
    builder.span = node.span
    (whole,) = builder.loop(
        copies, turn, sequences=[(each, 0) for each in (x.value, *parameters)], stacked=(0,)
    )
    return Tensor(whole, node.span, "copies")


def _routed(call: Call) -> Tensor:
    """What each expert that `choice` names makes of a position: x: [*S, i], choice: i64[*S, k] -> [*S, k, o]."""
    body, node, x, choice = call.body, call.node, call.tensor("x"), call.tensor("choice")
    experts = call.integer("experts")
    one = applied(call, "expert", TensorType(x.type.dtype, (Dim.symbol(ROWS), x.type.axes[-1])))
    if one.result.rank != 2 or one.result.axes[0] != Dim.symbol(ROWS) or ROWS in one.result.axes[1].symbols:
        message = f"an expert takes rows [N, {x.type.axes[-1]}] and gives a row for each, this one gives {one.result}"
        call.fail(problems.COPIED, "expert", message=message)
    _check_rows(call, one)
    parameters = stacks(call, one, call.size("experts"))
    function = routed_function(call, one, parameters, x.type, choice.type.axes[-1], experts)
    *outside, k = choice.type.axes
    count = Dim.of(1)
    for size in outside:
        count = count * size
    rows = call.emit("reshape", x, shape=(count, x.type.axes[-1]))
    chosen = call.emit("reshape", choice, shape=(count, k))
    out = Value(body.emission.builder.fresh("y"), one.result.with_axes((count, k, one.result.axes[1])))
    operands = (rows.name, chosen.name, *(each.name for each in parameters))
    dims = {"R": count, "k": k}
    # It is part of this body: what its numbers are called here, they are called there.
    traced = one.bound.traced
    attrs = tuple((name, rooted(name, value) if traced else value) for name, value in function.static)
    body.emission.builder.append(
        Op(
            ROUTED,
            operands,
            (out,),
            attrs,
            function.name,
            dims=tuple((name, dims[name]) for name in function.dims),
            span=node.span,
            given=tuple((name, Term("param", (name,))) for name, _ in attrs if traced),
            names=tuple(value.name for value in function.inputs if traced),
        )
    )
    return call.emit("reshape", Tensor(out, node.span, "mixture"), shape=(*outside, k, one.result.axes[1]))


def _check_rows(call: Call, one: Applied) -> None:
    session, function = call.body.context.session, one.lifted.function
    op = joins_rows(
        Program(session.functions, function.name), "".join(function.inputs[0].type.axes[0].symbols)
    )
    if op is not None:
        message = f"an expert treats each row for itself, and `{function.source}` joins them"
        where = f"{op.span.file or 'here'}:{op.span}" if op.span.line else ""
        call.fail(problems.COPIED, "expert", message=message, notes=[f"at {where}"] if where else [])


BUILTINS = (
    builtin("_copies", {"inner": REQUIRED, "n": REQUIRED, "x": REQUIRED}, _copies),
    builtin("_routed", {"expert": REQUIRED, "experts": REQUIRED, "x": REQUIRED, "choice": REQUIRED}, _routed),
)
