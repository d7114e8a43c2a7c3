"""What can still be checked of a statement that is in error, or depends on one: its calls' names and static arguments.

Tensors are not computed again. The modules that it would have instantiated are noted with their static values, so that
their bodies can be checked by themselves."""

from __future__ import annotations

from functools import partial
from typing import Any

from dlc.elaborate import names
from dlc.elaborate.calls import Given, make_instance, match_arguments
from dlc.elaborate.frame import Frame
from dlc.elaborate.values import POISON, Definition, GroupValue, Instance, Poison, Tensor
from dlc.syntax import ast

_SIMPLE = (ast.Assign, ast.Return, ast.ExprStmt, ast.Minimize, ast.Metric)


def salvage(frame: Frame, statement: ast.Stmt) -> None:
    """Report what is wrong with the calls of a statement, as far as that can be said without its tensors."""
    if not isinstance(statement, _SIMPLE) or frame.library or frame.elaborator.failures > names.HELPED:
        return
    told = frame.elaborator.diagnostics
    before, known = len(told), {each.span for each in told}
    for callee, args, place in _calls(statement):
        frame.guarded(partial(_probe, frame, callee, args, place))
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


def _probe(frame: Frame, callee: ast.Expr, args: tuple[ast.Arg, ...], place: ast.Expr) -> None:
    if not isinstance(callee, ast.Name):
        return
    found = names.callable_named(frame, callee.id, callee.span)
    if not isinstance(found, Definition):
        return
    given = _given(frame, args)
    if isinstance(found.node, ast.ModuleDef):
        make_instance(frame, found, given, place, None)
    elif isinstance(found.node, ast.FnDef):
        parameters = [str(each.name) for each in found.node.params]
        named = {name: value for name, value in given.named.items() if name not in parameters}
        match_arguments(frame, found.name, parameters, Given(named=named, names=given.names), place.span)


def _given(frame: Frame, args: tuple[ast.Arg, ...]) -> Given:
    """The static arguments; those that need a tensor stand in as POISON."""
    from dlc.elaborate.expressions import evaluate

    given = Given()
    for arg in args:
        if isinstance(arg.value, ast.Ellipsis_):
            given.rest = True
            continue
        node = arg.value
        value = frame.guarded(partial(evaluate, frame, node), POISON) if _static(frame, node) else POISON
        if arg.name is None:
            given.positional.append((value, node.span))
        else:
            given.named[arg.name] = (value, node.span)
            given.names[arg.name] = arg.span.inside(0, len(arg.name))
    return given


def _static(frame: Frame, node: ast.Expr) -> bool:
    """Whether an expression can be evaluated again without computing or instantiating anything."""
    stack: list[Any] = [node]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Pipe | ast.Labeled | ast.ListComp):
            return False
        if isinstance(each, ast.Name):
            value = frame.env.get(each.id)
            if isinstance(value, Tensor | GroupValue | Instance | Poison):
                return False
        stack += ast.children(each)
    return True
