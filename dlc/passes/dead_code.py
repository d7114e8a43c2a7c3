"""What nothing reads is not computed; functions that nothing refers to any more go.

Before:

    model Net(%x: [B, 4]) -> (y: %y) {
        %unused: [B, 4] = exp(%x)
        %y: [B, 4] = neg(%x)
    }

After:

    model Net(%x: [B, 4]) -> (y: %y) {
        %y: [B, 4] = neg(%x)
    }

Updates of buffers and run-time checks stay, and calls of functions that hold some. An instance whose call goes stays a part of the
function, as a checkpoint has it, and remembers the call.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from dlc.ir.loops import Loop
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.ir.splice import callees
from dlc.once import once
from dlc.passes.base import ACTING, each_function, functions_with, is_acting, remembering
from dlc.passes.lower import drop_orphans
from dlc.records import dataclass, replace


@dataclass(frozen=True, slots=True)
class DeadCode:
    """Needs nothing; keeps parameters, instances and the interface of every function."""

    name: str = "dead-code"

    def run(self, program: Program) -> Program:
        acting = functions_with(program, is_acting)
        cleaned = each_function(
            program, lambda function: _clean(function, acting.intersection(callees(function)))
        )
        return drop_orphans(program, cleaned)


@once
def _clean(function: Function, acting: frozenset[str]) -> Function:
    live = {value for _, value in function.outputs}
    body = _live(function.body, live, acting)
    if len(body) == len(function.body) and body == function.body:
        return function
    return replace(function, body=body, children=remembering(function.children, function.body, body))


def _live(body: Iterable[Op], live: set[str], acting: frozenset[str]) -> tuple[Op, ...]:
    """The ops that `live` values need; what they read in turn is added to `live`."""
    kept: list[Op] = []
    for op in reversed(tuple(body)):
        if not (_acts(op, acting) or any(value.name in live for value in op.outputs)):
            continue
        if op.region is not None:
            op = Loop.of(op).needed(live, partial(_live, acting=acting)).op()
        live.update(op.inputs)
        kept.append(op)
    return tuple(reversed(kept))


def _acts(op: Op, acting: frozenset[str]) -> bool:
    return any(each.op in ACTING or each.callee in acting for each in walk((op,)))
