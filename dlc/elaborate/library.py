"""Instances of the standard library on demand: what a pass needs to put a composite where it found its pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError
from dlc.elaborate.calls import Given
from dlc.elaborate.elaborator import Elaborator
from dlc.elaborate.functions import call_fn
from dlc.elaborate.project import Project, library_definition
from dlc.elaborate.values import Tensor
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
    elaborator = Elaborator(Project())
    frame = elaborator.static_frame(definition.unit, library=True)
    for type in types:
        for symbol in type.symbols if type else ():
            frame.dims[symbol] = Dim.symbol(symbol)
    operands = [
        (None if type is None else Tensor(Value(frame.builder.fresh("x"), type)), NO_SPAN) for type in types
    ]
    given = Given(list(operands), {key: (value, NO_SPAN) for key, value in static.items()})
    done = frame.guarded(lambda: (call_fn(frame, definition, given, ast.Node()),))
    if done is None or not frame.builder.body:
        found: list[Diagnostic] = elaborator.diagnostics
        raise SpecError(found)
    return Program(dict(elaborator.functions), frame.builder.body[-1].callee)
