"""Copies of a module whose parameters are stacked: one function of tensors, and parameters with a first axis more.

    module Expert(%x: [N, 8]) -> (y: %y)                 fn Expert_2(%x: [N, 8], %w: [8, 8]) -> (y: %y) {
        param w: [8, 8] = init                               %y: [N, 8] = matmul(%x, %w)
    {                                               ->   }
        %w: [8, 8] = param() {path="w"}                  … and where four copies stand:  param w: [4, 8, 8] = init_2
        %y: [N, 8] = matmul(%x, %w)
    }

Whoever applies a copy passes its slice of every parameter. So what differs between copies is data, and no backend makes a
function for each."""

from __future__ import annotations

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.trees import below
from dlc.elaborate.calls.resolve import inner_parameters
from dlc.elaborate.state.body import Body, Session
from dlc.ir.nodes import Function, Parameter, Program, Value
from dlc.ir.splice import Names, defined_names
from dlc.passes.lower import alone, inline, unroll
from dlc.records import dataclass, replace
from dlc.syntax import ast


@dataclass(frozen=True)
class Lifted:
    """A module as a function of its inputs and then of its `parameters`, in this order."""

    function: Function
    parameters: tuple[Parameter, ...]


def lifted(body: Body, name: str, span: Span) -> Lifted:
    """The module function `name` of the session with its parameters, those of its parts included, as inputs."""
    session = body.context.session
    key = ("lifted", name)
    if key not in session.helpers:
        session.helpers[key] = _lifted(body, name, span)
    found: Lifted = session.helpers[key]
    return found


def _lifted(body: Body, name: str, span: Span) -> Lifted:
    session = body.context.session
    for function in alone(Program(session.functions, name), name).functions.values():
        if _keeps_state(session, function):
            message = (
                f"`{function.source}` updates a buffer, and a module that is copied or changed keeps no state"
            )
            body.report.fail(problems.COPIED, span, message=message)
    flat = _flat(session, name)
    types = {op.text("path"): op.out.type for op in flat.body if op.op == "param"}
    parameters = tuple(
        replace(each, type=types.get(each.path, each.type)) for each in inner_parameters(session, name)
    )
    names = Names(set(defined_names(flat)) - {op.out.name for op in flat.body if op.op == "param"})
    inputs = {each.path: Value(names.fresh(each.path.rpartition(".")[2]), each.type) for each in parameters}
    values = {op.out.name: inputs[op.text("path")].name for op in flat.body if op.op == "param"}
    rest = tuple(op.renamed(values) for op in flat.body if op.op != "param")
    function = replace(
        flat,
        name=session.unique(flat.source),
        kind="fn",
        library=False,  # whatever it was made of: no backend has it by itself
        inputs=(*flat.inputs, *inputs.values()),
        outputs=tuple((label, values.get(value, value)) for label, value in flat.outputs),
        body=rest,
        params=(),
        children=(),
    )
    session.functions[function.name] = function
    return Lifted(function, parameters)


def _keeps_state(session: Session, function: Function) -> bool:
    """Whether a function updates a buffer, if only in training: whoever runs it in evaluation is told as well."""
    if all(each.kind != "buffer" for each in function.params):
        return False
    written = (each.node for each in session.project.reached if each.node.span == function.span)
    return any(below(node, ast.Update) for node in written)


def _flat(session: Session, name: str) -> Function:
    """The function with the bodies of its parts in its own; what has no parameters stays a call."""
    whole = unroll(alone(Program(session.functions, name), name), lambda loop: not loop.attr("shared"))
    return inline(whole, lambda op: not session.has_parameters(op.callee)).functions[name]
