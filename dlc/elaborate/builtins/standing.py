"""Networks that a train block uses without training them: `frozen(net)`, `eval(net)`, `ema(net)`."""

from __future__ import annotations

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Instance, type_name
from dlc.elaborate.builtins.call import Call, builtin
from dlc.elaborate.names import paths
from dlc.ops.calls import REQUIRED
from dlc.records import replace
from dlc.syntax import ast


def _frozen(call: Call) -> Instance:
    """A copy that begins as the network does and never changes."""
    return _copy(call, _network(call))


def _ema(call: Call) -> Instance:
    """A copy whose parameters are a moving average of the network's: `decay` of what they were, and the rest of what these are."""
    decay, network = call.number("decay"), _network(call)
    if not 0.0 <= decay <= 1.0:
        call.fail(
            problems.STATIC_TYPE,
            "decay",
            callee="ema",
            name="decay",
            expected="a number from 0 to 1",
            found=f"{decay:g}",
        )
    return _copy(call, network, decay=decay, trains=call.flag("training"))


def _eval(call: Call) -> Instance:
    """The network itself, outside of training and without a gradient."""
    network = _network(call)
    path = paths.instance_path(call.body, network)
    return replace(network, standing="eval", of=network, path=path, trains=False, span=call.node.span)


def _network(call: Call) -> Instance:
    value, body = call["net"], call.body
    if body.context.kind != "train":
        what = f"`{call.name}` is for the networks of a train block"
        body.report.fail(problems.MISPLACED, call.node.span, what=what)
    if not isinstance(value, Instance) or value.owner is not body:
        call.fail(
            problems.STATIC_TYPE,
            "net",
            callee=call.name,
            name="net",
            expected="a network that the block binds",
            found=type_name(value),
        )
    network: Instance = value
    return network.of if network.standing == "eval" and network.of is not None else network


def _copy(call: Call, network: Instance, decay: float | None = None, trains: bool = False) -> Instance:
    body, node = call.body, call.node
    paths.instance_path(body, network)
    name = node.callee.id if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name) else ""
    copy = Instance(
        network.definition,
        dict(network.static),
        node.span,
        owner=body,
        loops=tuple(body.scope.loops),
        places=network.places,
        terms=network.terms,
        standing=name,
        of=network,
        decay=decay,
        trains=trains,
    )
    body.emission.copies.append(copy)
    return copy


BUILTINS = (
    builtin("frozen", {"net": REQUIRED}, _frozen),
    builtin("eval", {"net": REQUIRED}, _eval),
    builtin("ema", {"net": REQUIRED, "decay": 0.999, "training": False}, _ema),
)
