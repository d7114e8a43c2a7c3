"""`gradient(y, x)`: the derivative of a scalar of this body by values of it, as operations of this body.

    score = gradient(sum(energy(x)), x)

The calls that lead from `x` to `y` are replaced by their operations, and the derivative stands behind them, in the same ops that specs
are written in. So it has a derivative itself, and a backend needs to know nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from dlc.autodiff import NotDifferentiable
from dlc.autodiff.bodies import active, backward
from dlc.autodiff.reverse import straight
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.handles import flat
from dlc.elaborate.base.values import Tensor, type_name
from dlc.elaborate.builtins.call import Call, builtin
from dlc.elaborate.calls.lent import CallersDraws
from dlc.elaborate.state.body import Body
from dlc.ir.loops import LOOP
from dlc.ir.needed import reads
from dlc.ir.nodes import Function, Op, Program, Value, walk
from dlc.ir.splice import Names, Splice
from dlc.ops.calls import REQUIRED
from dlc.types.tensor import TensorType


def _gradient(call: Call) -> Any:
    """The gradient of `y`, a float scalar, by `x`: a tensor, or tensors in a list or tuple."""
    y = call.tensor("y")
    if y.type.rank or not y.type.is_float:
        hint = "add its elements up: `gradient(sum(y), x)`" if y.type.is_float else ""
        message = f"a gradient is one of a float scalar, not of {y.type}"
        call.fail(problems.GRADIENT, "y", message=message, help=hint)
    xs = flat(call["x"])
    wrong = [f"{each.type}" for each in xs if not each.type.is_float] or [type_name(call["x"])]
    if not xs or not all(each.type.is_float for each in xs):
        call.fail(problems.GRADIENT, "x", message=f"a gradient is one by float tensors, not by {wrong[0]}")
    found = _appended(call, y, xs)
    if isinstance(call["x"], Tensor):
        return found[0]
    return found if isinstance(call["x"], list) else tuple(found)


def _appended(call: Call, y: Tensor, xs: list[Tensor]) -> list[Tensor]:
    body, builder = call.body, call.body.emission.builder
    builder.body = _opened(body, builder.body, y.name, {x.name for x in xs})
    types = _types(body)
    unknown = [name for op in builder.body for name in reads(op) if name not in types]
    if y.name not in types or unknown:
        call.fail(problems.NOT_YET, "y", what="a gradient through what stands outside of this loop")
    if y.name not in {*active(builder.body, {x.name for x in xs}), *(x.name for x in xs)}:
        read = {each.name for op in builder.body if op.op == "param" for each in op.outputs}
        help = "parameters are trained, not differentiated by" if any(x.name in read for x in xs) else ""
        message = "`y` does not depend on `x` in a way that has a derivative"
        call.fail(problems.GRADIENT, "y", message=message, help=help)
    inputs = tuple(Value(name, type) for name, type in types.items())
    function = Function("gradient", "gradient", "fn", inputs, (), tuple(builder.body))
    behind, builder.body = builder.body, []
    builder.span = call.node.span
    try:
        one = builder.const(1.0, y.type.dtype, hint="one")
        changed, grads = backward(builder, function, {y.name: one}, [x.value for x in xs])
    except NotDifferentiable as error:
        builder.body = behind
        where = f" (at {error.span.file}:{error.span.line})" if error.span.line else ""
        call.fail(problems.GRADIENT, "y", message=f"there is no gradient: {error.message}{where}")
    found = [
        Tensor(
            builder.op("full", shape=x.type.axes, value=0.0, dtype=x.type.dtype) if grad is None else grad,
            call.node.span,
            "gradient",
        )
        for x, grad in zip(xs, grads, strict=True)
    ]
    builder.body = [*changed, *builder.body]
    return found


def _types(body: Body) -> dict[str, TensorType]:
    """The types of the values that are known here."""
    emission = body.emission
    tensors = [each for value in body.scope.names.values() for each in flat(value)]
    found = {each.name: each.type for each in tensors}
    found |= {each.name: each.type for each in emission.inputs}
    for op in walk(emission.builder.body):
        found.update((each.name, each.type) for each in op.outputs)
        found.update((each.name, each.type) for each in (op.region.args if op.region else ()))
    return found


def _opened(body: Body, ops: Iterable[Op], y: str, xs: set[str]) -> list[Op]:
    """The operations with calls, and loops over parameters of their own, replaced where they lead from `xs` to `y`."""
    ops = list(ops)
    behind, ahead = set(xs), {y}
    for op in ops:
        if op.op != "stop_gradient" and not behind.isdisjoint(reads(op)):
            behind.update(each.name for each in op.outputs)
    for op in reversed(ops):
        if any(each.name in ahead for each in op.outputs):
            ahead.update(reads(op))
    on_the_way = behind & ahead
    types = _types(body)
    found: list[Op] = []
    for op in ops:
        leads = any(each.name in on_the_way for each in op.outputs) and not behind.isdisjoint(reads(op))
        if leads and any(each.callee or each.op == LOOP for each in walk((op,))):
            found += _replaced(body, op, types)
        else:
            found.append(op)
    return found


def _replaced(body: Body, op: Op, types: Mapping[str, TensorType]) -> list[Op]:
    """A call, or a loop that holds some, as what it does."""
    session, builder = body.context.session, body.emission.builder
    names = dict.fromkeys(filter(None, reads(op)))
    own = {
        each.name for one in walk((op,)) for each in (*one.outputs, *(one.region.args if one.region else ()))
    }
    inputs = tuple(Value(name, types[name]) for name in names if name not in own and name in types)
    outputs = tuple((f"{i}", each.name) for i, each in enumerate(op.outputs))
    name = session.unique("gradient")
    alone = Function(name, "gradient", "fn", inputs, outputs, (op,), training=session.training)
    flat_ = straight(Program({**session.functions, name: alone}, name)).main
    values = {each.name: each.name for each in inputs}
    values |= {
        inner: each.name
        for (_, inner), each in zip(flat_.outputs, op.outputs, strict=True)
        if inner not in values
    }
    ops = Splice(cast(Names, builder), CallersDraws(builder), values, {}, str).body(flat_.body)
    # A result may be one of the operands, or another result.
    for (_, inner), each in zip(flat_.outputs, op.outputs, strict=True):
        if values[inner] != each.name:
            ops.append(Op("reshape", (values[inner],), (each,), (("shape", each.type.axes),), span=op.span))
    for relation in flat_.facts:  # proved at the call
        body.emission.where.append(relation)
        body.emission.facts = body.emission.facts.assume(relation)
    return ops


BUILTINS = (builtin("gradient", {"y": REQUIRED, "x": REQUIRED}, _gradient),)
