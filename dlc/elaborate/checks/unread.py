"""Static parameters that decide nothing, found in the text of a file that is right otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dlc.diagnostics import Diagnostic
from dlc.diagnostics import warnings as problems
from dlc.elaborate.base.units import Unit
from dlc.syntax import ast

Declared = tuple[str, Sequence[ast.Field], Any]
"""Whose, its parameters, and all the text that may read them."""


def unread(unit: Unit) -> Iterator[Diagnostic]:
    """The static parameters of a file's items that nothing reads. `weights` blocks of the file may, and `f(...)` passes on
    whatever `f` has."""
    weights = tuple(item for item in unit.file.items if isinstance(item, ast.Weights))
    for item in unit.file.items:
        for owner, fields, text in _declared(item):
            names = _names((text, *weights))
            if ... in names:
                continue
            for each in fields:
                if each.name and each.name not in names:
                    help = f"leave it out, or let it decide what it is for: whoever sets `{each.name}` changes nothing"
                    yield problems.UNREAD.at(each.span, name=each.name, owner=owner, help=help)


def _declared(item: ast.Item) -> Iterator[Declared]:
    match item:
        case ast.ModuleDef(name, static, inputs, outputs, where, body):
            yield name, static, (static, inputs, outputs, where, body)
            for entry in body:
                if isinstance(entry, ast.Entry) and entry.static:
                    yield f"{name}.{entry.name}", entry.static, entry
        case ast.FnDef(name, params, outputs, where, body):
            fields = [each for each in params if isinstance(each.type, ast.NamedTypeExpr)]
            yield name, fields, (params, outputs, where, body)
        case ast.Train(name, static, body):
            yield name, static, (static, body)
        case _:
            pass


def _names(tree: Any) -> set[Any]:
    """All that a tree reads by its name; `...` where a call passes on what stands around it."""
    found: set[Any] = set()
    stack: list[Any] = [tree]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Name):
            found.add(each.id)
        elif isinstance(each, ast.Arg) and isinstance(each.value, ast.Ellipsis_):
            found.add(...)
        stack += ast.children(each)
    return found
