"""A module with another weight than the one it was made with: what `spectral_norm` and `weight_norm` of the library are written with.

    weight, axis = _weight(layer, x, "weight_orig")      # the layer's own weight, a parameter of this body, and its axis of outputs
    return _with_weight(layer, x, weight / sigma)        # what the layer makes of x with the weight that is given

The layer's operations stand in this body, its other parameters right below the label. So nothing stands between the weight and
its use, and a backend needs to know nothing."""

from __future__ import annotations

from typing import Any, cast

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Tensor
from dlc.elaborate.builtins.call import Call, builtin
from dlc.elaborate.builtins.copied import Applied, applied, declared
from dlc.elaborate.calls.lent import CallersDraws
from dlc.ir.nodes import Parameter, Value
from dlc.ir.splice import Names, Splice, dims_of, statics_of
from dlc.ops.calls import REQUIRED

WEIGHT = "weight"
DOES = "changes the weight of a module: `{name}(linear(d))`, not of"


def _weight(call: Call) -> Any:
    """The weight of the layer as a parameter of the body, called `name` there, and its axis of outputs."""
    one, name = _layer(call), call.text("name")
    value = declared(call, one, _own(call, one), name)
    emission = call.body.emission
    emission.declared[name] = emission.starts[value.name] = name  # initial values behind it may read it
    emission.named.add(value.name)
    transposed = call["layer"].definition.name.startswith("conv_transpose")
    return Tensor(value, call.node.span, "weight"), int(transposed)


def _own(call: Call, one: Applied) -> Parameter:
    found = next((each for each in one.lifted.parameters if each.path == WEIGHT), None)
    if found is None:
        name, layer = call.body.context.name, call["layer"].definition.name
        call.fail(problems.COPIED, "layer", message=f"`{name}` changes a `weight`, and `{layer}` has none")
    assert found is not None
    return found


def _with_weight(call: Call) -> Tensor:
    """What the layer makes of x with this weight."""
    body, node, one = call.body, call.node, _layer(call)
    given = {WEIGHT: call.tensor("weight").value}
    values = [given.get(each.path) or declared(call, one, each, each.path) for each in one.lifted.parameters]
    builder, function = body.emission.builder, one.lifted.function
    out = Value("", one.result)
    op = one.op([call.tensor("x").name, *(each.name for each in values)], out, {}, node)
    names = dict(zip((each.name for each in function.inputs), op.inputs, strict=True))
    splice = Splice(
        cast(Names, builder), CallersDraws(builder), names, dims_of(op), str, statics=statics_of(op)
    )
    builder.body += splice.body(function.body)
    ((_, result),) = function.outputs
    return Tensor(Value(names[result], one.result), node.span, "layer")


def _layer(call: Call) -> Applied:
    return applied(call, "layer", call.tensor("x").type, DOES)


BUILTINS = (
    builtin("_weight", {"layer": REQUIRED, "x": REQUIRED, "name": REQUIRED}, _weight),
    builtin("_with_weight", {"layer": REQUIRED, "x": REQUIRED, "weight": REQUIRED}, _with_weight),
)
