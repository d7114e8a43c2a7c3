"""Instances of the standard library on demand: what a pass needs to put a composite where it found its pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError
from dlc.elaborate.base.project import Project, library_definition
from dlc.elaborate.base.values import Tensor
from dlc.elaborate.calls.arguments import Given
from dlc.elaborate.calls.functions import call_fn
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.state.body import static_body
from dlc.elaborate.state.scope import Scope
from dlc.ir.nodes import Program, Value
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


def instantiate(name: str, static: Mapping[str, Any], types: Sequence[TensorType | None]) -> Program:
    """The program of a library `fn` on operands of the given types (None for an absent one), the fn as its entry.

    Raises KeyError for an unknown name, SpecError where the types do not fit."""
    definition = library_definition(name)
    if definition is None:
        raise KeyError(name)
    session = Elaborator(Project())
    body = static_body(session, definition.unit, library=True)
    symbols = {symbol for type in types if type for symbol in type.symbols}
    body.scope = Scope(dims={symbol: Dim.symbol(symbol) for symbol in symbols})
    operands = [
        (None if type is None else Tensor(Value(body.emission.builder.fresh("x"), type)), NO_SPAN)
        for type in types
    ]
    given = Given(list(operands), {key: (value, NO_SPAN) for key, value in static.items()})
    done = body.report.guarded(lambda: (call_fn(body, definition, given, ast.Node()),))
    if done is None or not body.emission.builder.body:
        found: list[Diagnostic] = session.diagnostics
        raise SpecError(found)
    return Program(dict(session.functions), body.emission.builder.body[-1].callee)
