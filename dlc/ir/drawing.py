"""What draws: the ops that take the next numbers of a generator, and the functions that do."""

from __future__ import annotations

from dlc.ir.nodes import Op, Program, walk
from dlc.once import once


def is_random(op: Op) -> bool:
    return isinstance(op.attr("draw"), int)


@once
def drawing_functions(program: Program) -> frozenset[str]:
    """The functions that draw, or call one that does, among those that the entry reaches."""
    found: set[str] = set()
    for name in program.reachable():
        if any(is_random(op) or op.callee in found for op in walk(program.functions[name].body)):
            found.add(name)
    return frozenset(found)
