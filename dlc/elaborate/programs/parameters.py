"""Parameters of a body that is done: paths that no two may share, and what an entry sees of the main body."""

from __future__ import annotations

from functools import partial
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.spelling import parts
from dlc.elaborate.base.trees import static_fields
from dlc.elaborate.base.values import POISON, Instance
from dlc.elaborate.bodies.statements import declare_only
from dlc.elaborate.calls.inputs import main_inputs, main_statics
from dlc.elaborate.names import conditions
from dlc.elaborate.names.paths import RELABEL
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.callee import Callee
from dlc.ir.nodes import Function
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.facts import Facts


def check_paths(body: Body, function: Function) -> None:
    """A parameter of the function itself and one of a part must not share a path."""
    own = {param.name for param in function.params}
    for path, instance in body.emission.taken.items():
        if path in own and isinstance(instance, Instance):
            body.report.tell(problems.SAME_PATH, instance.span, path=path, help=RELABEL)


def enter_main(body: Body, callee: Callee) -> None:
    """Let an entry see what the main body declares: parameters, buffers, and instances bound at its top level.

    The main body runs on inputs of symbolic sizes, for what it declares alone."""
    module = callee.definition.node
    assert isinstance(module, ast.ModuleDef)
    own, main_static = body.scope, main_statics(callee)
    # An input may have the name of a static parameter, which the main body reads.
    seen = own.without(*(str(item.name) for item in callee.inputs))
    if callee.own:
        seen = seen.without_static(*(str(item.name) for item in callee.own))
    inputs = body.report.guarded(lambda: main_inputs(body, callee), {})
    body.scope = seen.changed(names={**main_static, **seen.names, **inputs}, dims=body.scope.dims)
    # What the main computation knows of its sizes is not the entry's to know, though they may have the same names.
    facts, where = body.emission.facts, list(body.emission.where)
    body.emission.facts = Facts()
    for condition in [part for each in module.where for part in parts(each)]:
        with (
            body.report.findings.silenced()
        ):  # what is wrong with it is told where the main computation is checked
            body.report.guarded(partial(conditions.assume, body, condition))
    whole = itself(body, callee)
    session = body.context.session
    # The entries that the main computation calls have it run as well: the second time without what they give.
    outlined = POISON if callee.definition in session.outlining else replace(whole, is_outline=True)
    bind_itself(body, callee, outlined)
    declare_only(body, module.body, own)
    body.emission.facts, body.emission.where = facts, where
    bind_itself(body, callee, whole)


def bind_itself(body: Body, callee: Callee, value: Any) -> None:
    """Let `self` be the module, where its header has no other use for the name."""
    if "self" not in {*callee.static, *(str(each.name) for each in callee.inputs)}:
        body.bind("self", value)


def itself(body: Body, callee: Callee) -> Instance:
    """What `self` is: the module as an instance at its own path."""
    own = body.scope
    static = {str(each.name): callee.static[str(each.name)] for each in static_fields(callee.definition.node)}
    static = {name: own.static.get(name, value) for name, value in static.items()}
    terms = {name: own.origins[name] for name in static if name in own.origins}
    return Instance(callee.definition, static, callee.definition.node.span, path="", owner=body, terms=terms)
