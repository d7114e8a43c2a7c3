"""The way from checkpoints to the tree that `apply` takes, and back: `from_flat` and `to_flat`, and a table of what is called otherwise.

PATHS = {"h": lambda i: f"h.{i}"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from dlc.emit.file import Library
from dlc.emit.forms import labelled
from dlc.emit.layout import INDENT, layout
from dlc.emit.python import quoted
from dlc.emit.tree import Binary, Expr, Num, Text, Word, text
from dlc.ir.nodes import Program
from dlc.records import replace
from dlc_jax.places import ANY, Places, Stack

Lines = list[str]


LIBRARY = Library(Path(__file__).with_name("library.py"))


def checkpoints(program: Program, places: Places, *, has_config: bool) -> tuple[Lines, list[Lines]]:
    """The table, empty where all is called as in the checkpoint, and the functions."""
    names = places.names()
    back = LIBRARY.functions["to_flat" if names else "flatten"].replace("flatten(", "to_flat(")
    there = _from_flat(program, "filled" if names else "arranged", has_config)
    return _table(names) if names else [], [there, back.splitlines()]


def looked_up(lines: Lines, table: Lines) -> Lines:
    """Lines that look places up in the table, where that has `*` for numbers."""
    if not any(re.match(rf'{INDENT}"[^"]*\{ANY}', line) for line in table):
        return lines
    by_number = re.compile(r'PATHS\.get\((here|"\."\.join\(names\[:n\]\))')
    return [by_number.sub(rf'PATHS.get(re.sub(r"\\d+", "{ANY}", \1)', line) for line in lines]


def _from_flat(program: Program, filled: str, has_config: bool) -> Lines:
    """The form of the tree is that of what `init` gives."""
    state = any(each.kind == "buffer" for each in program.parameters)
    given = "flat: Params, config: Config = CONFIG" if has_config else "flat: Params"
    made = f"jax.eval_shape({'lambda key: init(key, config)' if has_config else 'init'}, jax.random.key(0))"
    held = ["params", "state"] if state else ["params"]
    lines = [
        *layout(f"def from_flat({given}) -> {'tuple[Params, State]' if state else 'Params'}:"),
        f'{INDENT}"""What `init` gives, of parameters by their paths in checkpoints."""',
    ]
    if not state:
        return [*lines, *layout(f"return {filled}({made}, flat)", 1)]
    lines += layout(f"{', '.join(held)} = {made}", 1)
    return [*lines, f"{INDENT}return {', '.join(f'{filled}({each}, flat)' for each in held)}"]


def _table(names: Mapping[str, tuple[str, Stack | None]]) -> Lines:
    """What checkpoints call what the tree calls otherwise."""
    lines = [
        "# What checkpoints call parts that have another place here; layers by their number.",
        "PATHS: dict[str, Any] = {",
    ]
    for place, (label, stack) in names.items():
        value = quoted(label) if stack is None else f"lambda i: {_label(label, stack)}"
        lines.append(f"{INDENT}{quoted(place)}: {value},")
    return [*lines, "}"]


def _label(label: str, stack: Stack) -> str:
    number: Expr = Word("i") if stack.step == 1 else Binary("*", Num(stack.step), Word("i"))
    number = Binary("+", number, Num(stack.start)) if stack.start else number
    *parents, last = label.split(".")
    around = (Text(f"{'.'.join(parents)}."),) if parents else ()
    made = labelled(last, number)
    return text(replace(made, parts=(*around, *made.parts)))
