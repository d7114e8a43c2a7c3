"""Layers whose turns are computed again on the way back, instead of kept: less memory, for the time of another way forward.

Before:

    module Layer(%x: [B, 4]) -> (y: %y) {
        %e: [B, 4] = exp(%x)
        %y: [B, 4] = mul(%x, %e)
    }
    model Net(%x: [B, 4]) -> (y: %y) {
        %y: [B, 4] = loop(%x) {count=3, start=0, step=1} do (%c: [B, 4]) {
            %z: [B, 4] = call(%c) -> Layer [B=B]
            yield %z
        }
    }

After:

    module Layer(%x: [B, 4]) -> (y: %y) {
        %e: [B, 4] = exp(%x)
        %y: [B, 4] = mul(%x, %e)
    }
    model Net(%x: [B, 4]) -> (y: %y) {
        %y: [B, 4] = loop(%x) {count=3, start=0, step=1, recompute=true} do (%c: [B, 4]) {
            %z: [B, 4] = call(%c) -> Layer [B=B]
            yield %z
        }
    }

Chen et al., "Training deep nets with sublinear memory cost" (2016). A turn that updates a buffer is kept: computed again, it would update it twice.
Scans are kept, too: what a step of theirs computes is small beside what it carries.
"""

from __future__ import annotations

from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.ir.splice import within
from dlc.passes.base import each_function, functions_with
from dlc.records import dataclass, replace


@dataclass(frozen=True, slots=True)
class Recompute:
    """Marks loops over layers; changes nothing else."""

    name: str = "recompute"

    def run(self, program: Program) -> Program:
        updating = functions_with(program, lambda op: op.op == "update")

        def change(op: Op) -> Op:
            if op.op != LOOP or op.attr("shared"):
                return within(op, change)
            acts = any(each.op == "update" or each.callee in updating for each in walk((op,)))
            return op if acts else replace(Loop.of(op), recompute=True).op()

        def changed(function: Function) -> Function:
            return replace(function, body=tuple(map(change, function.body)))

        return each_function(program, changed)
