"""`routed`: each row goes through the experts that are chosen for it.

    %y: [R, k, o] = routed(%x, %choice, %w1, %w2) {experts=E} -> routed [R=…]

The operands behind `choice` are parameters of all experts, stacked. The function that it refers to does the same with what the IR
has: tiles of rows of one expert each, and a loop over them with the call of one expert in it."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, walk
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

ROUTED = "routed"


def expert_call(routed: Function) -> Op:
    """The call of one expert in the function of a `routed`."""
    loop = next(op for op in routed.body if op.op == LOOP)
    return next(op for op in Loop.of(loop).body if op.callee)


def choices(op: Op, types: Mapping[str, TensorType]) -> Dim:
    """How often an expert is applied to a row."""
    return types[op.inputs[1]].size


def share(function: Function) -> dict[str, tuple[int, int]]:
    """Of the parameters of experts that a function routes to, how many of how many a row uses: by path."""
    found: dict[str, tuple[int, int]] = {}
    ops = [op for op in walk(function.body) if op.op == ROUTED]
    if not ops:
        return found
    paths = {op.out.name: op.text("path") for op in walk(function.body) if op.op == "param"}
    types = function.types()
    for op in ops:
        k = types[op.inputs[1]].axes[-1].constant
        experts = op.integer("experts")
        found.update(
            (paths[name], (min(k or experts, experts), experts)) for name in op.inputs[2:] if name in paths
        )
    return found
