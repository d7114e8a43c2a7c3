"""What can still be checked of a statement that is in error, or depends on one: its calls' names and static arguments.

Tensors are not computed again. The modules that it would have instantiated are noted with their static values, so that
their bodies can be checked by themselves."""

from __future__ import annotations

from functools import partial
from typing import Any

from dlc.elaborate.base.budget import HELPED
from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import POISON, GroupValue, Instance, Poison, Tensor
from dlc.elaborate.calls.arguments import Given, match_arguments
from dlc.elaborate.calls.calls import make_instance
from dlc.elaborate.names import lookup as names
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.scope import Scope
from dlc.syntax import ast

_SIMPLE = (ast.Assign, ast.Return, ast.ExprStmt, ast.Minimize, ast.Metric, ast.Sample)


def salvage(body: Body, statement: ast.Stmt) -> None:
    """Report what is wrong with the calls of a statement, as far as that can be said without its tensors."""
    if (
        not isinstance(statement, _SIMPLE)
        or body.context.library
        or body.context.session.findings.failures > HELPED
    ):
        return
    told = body.context.session.diagnostics
    before, known = len(told), {each.span for each in told}
    for callee, args, place in _calls(statement):
        body.report.guarded(partial(_probe, body, callee, args, place))
    told[before:] = [each for each in told[before:] if each.span not in known]


def _calls(statement: ast.Stmt) -> list[tuple[ast.Expr, tuple[ast.Arg, ...], ast.Expr]]:
    """The callees of a statement with their arguments; a stage of a pipe may have none."""
    found: list[tuple[ast.Expr, tuple[ast.Arg, ...], ast.Expr]] = []
    stack: list[Any] = [statement]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Call):
            found.append((each.callee, each.args, each))
        elif isinstance(each, ast.Pipe):
            stage = each.stage.value if isinstance(each.stage, ast.Labeled) else each.stage
            if isinstance(stage, ast.Name):
                found.append((stage, (), stage))
        if isinstance(each, ast.ListComp | ast.Label):
            continue  # they bind names of their own
        stack += ast.children(each, "target")
    return found


def _probe(body: Body, callee: ast.Expr, args: tuple[ast.Arg, ...], place: ast.Expr) -> None:
    if not isinstance(callee, ast.Name):
        return
    found = names.callable_named(body, callee.id, callee.span)
    if not isinstance(found, Definition):
        return
    given = _given(body, args)
    if isinstance(found.node, ast.ModuleDef):
        if any(value is POISON for value, _ in given.positional):
            # A tensor among static arguments is told as that; how many there are is no error besides.
            del given.positional[len(found.node.static) :]
        make_instance(body, found, given, place, None)
    elif isinstance(found.node, ast.FnDef):
        parameters = [str(each.name) for each in found.node.params]
        named = {name: value for name, value in given.named.items() if name not in parameters}
        match_arguments(
            body.report, found.name, parameters, Given(named=named, names=given.names), place.span
        )


def _given(body: Body, args: tuple[ast.Arg, ...]) -> Given:
    """The static arguments; those that need a tensor stand in as POISON."""
    given = Given()
    for arg in args:
        if isinstance(arg.value, ast.Ellipsis_):
            given.rest = True
            continue
        node = arg.value
        value = (
            body.report.guarded(partial(body.evaluate, node), POISON) if _static(body.scope, node) else POISON
        )
        if arg.name is None:
            given.positional.append((value, node.span))
        else:
            given.named[arg.name] = (value, node.span)
            given.names[arg.name] = arg.span.inside(0, len(arg.name))
    return given


def _static(scope: Scope, node: ast.Expr) -> bool:
    """Whether an expression can be evaluated again without computing or instantiating anything."""
    stack: list[Any] = [node]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Pipe | ast.Labeled | ast.ListComp):
            return False
        if isinstance(each, ast.Name):
            value = scope.names.get(each.id)
            if isinstance(value, Tensor | GroupValue | Instance | Poison):
                return False
        stack += ast.children(each)
    return True
