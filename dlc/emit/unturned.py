"""Numbers in functions of the library without the switches that no call turns.

hidden if proj is None else proj                         hidden                  where every call leaves out `proj`
1 / sqrt(e) if scale is None else scale                  1 / sqrt(e)             … `scale`
len(["", "_reverse"] if bidirectional else [""])         1                       where none is bidirectional
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dlc.emit.origins import renumbered
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.types.dims import Dim
from dlc.types.opaque import substituted
from dlc.types.terms import moved, term
from dlc.types.traced import Term


def unturned(program: Program) -> Program:
    """The program with the library's numbers at these switches' defaults. What is asked of them elsewhere stays."""
    calls: dict[str, list[Op]] = {}
    for op in (op for function in program.functions.values() for op in walk(function.body) if op.callee):
        calls.setdefault(op.callee, []).append(op)
    functions = dict(program.functions)
    for name, function in functions.items():
        values = _switches(function, calls.get(name, [])) if function.library else {}
        if values:
            functions[name] = renumbered(function, partial(_number, values), partial(_told, values))
    return program.with_functions(functions)


def _switches(function: Function, calls: list[Op]) -> Mapping[str, Any]:
    """What is on or off, or is not there, and is so for every call."""
    static = dict(function.static)
    found: dict[str, Any] = {}
    for setting in function.settings:
        default = setting.default
        if default is None or default.op != "const" or not isinstance(default.args[0], bool | None):
            continue
        value = default.args[0]
        if static.get(setting.name) == value and all(_leaves(op, setting.name, value) for op in calls):
            found[setting.name] = value
    return found


def _leaves(op: Op, name: str, value: Any) -> bool:
    """Whether a call leaves a switch as it is."""
    return op.attr(name, value) == value and dict(op.given).get(name, term(value)) == term(value)


def _told(values: Mapping[str, Any], told: Term) -> Term:
    return substituted(told, values)


def _number(values: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, Dim):
        return value.substitute(values)
    return moved(value, values) if isinstance(value, int | float) else value
