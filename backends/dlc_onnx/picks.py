"""`x[2]`, a slice of one place whose axis goes at once, as one operation.

    %slice: [1, B, d] = slice(%x) {start=[2, 0, 0], …}      =>      %v: [B, d] = reshape(%x) {shape=[B, d], axis=0, place=2}
    %v: [B, d] = reshape(%slice) {shape=[B, d]}

`methods.reshape` makes a Gather of that, as PyTorch's exporter does; a Slice and a Squeeze would be two nodes, with four operands more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dlc.ir.nodes import Function, Op, Program
from dlc.passes.base import use_counts
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


def with_picks(program: Program) -> Program:
    """The program with every such pair as one operation."""
    functions = {name: _Picks.of(each).function(each) for name, each in program.functions.items()}
    return replace(program, functions=functions)


@dataclass(frozen=True)
class _Picks:
    """Of one function: how often its values are read, and their types."""

    uses: Mapping[str, int]
    types: Mapping[str, TensorType]

    @staticmethod
    def of(function: Function) -> _Picks:
        return _Picks(use_counts(function), function.types())

    def function(self, function: Function) -> Function:
        return replace(function, body=self.body(function.body))

    def body(self, ops: Iterable[Op]) -> tuple[Op, ...]:
        slices: dict[str, Op] = {}
        found: dict[str, Op | None] = {}  # by the value that it makes; None where its reshape says all
        for op in ops:
            pick = self._pick(slices.get(op.inputs[0]), op) if op.op == "reshape" else None
            if pick is not None:
                found[op.inputs[0]] = None
            elif op.op == "slice":
                slices[op.out.name] = op
            elif op.region is not None:
                pick = replace(op, region=replace(op.region, body=self.body(op.region.body)))
            found[str(len(found)) if not op.outputs else op.outputs[0].name] = pick or op
        return tuple(op for op in found.values() if op is not None)

    def _pick(self, cut: Op | None, op: Op) -> Op | None:
        """A reshape of what is cut as one of a place; None if that is not what the two say."""
        if cut is None or self.uses[cut.out.name] != 1:
            return None
        axes = self._cut(cut)
        sizes, target = cut.out.type.axes, op.out.type.axes
        if (
            len(axes) != 1
            or sizes[axes[0]] != Dim.of(1)
            or target != (*sizes[: axes[0]], *sizes[axes[0] + 1 :])
        ):
            return None
        place = cut.sizes("start")[axes[0]]
        return replace(op, inputs=cut.inputs, attrs=(*op.attrs, ("axis", axes[0]), ("place", place)))

    def _cut(self, cut: Op) -> list[int]:
        """The axes of which not all is taken."""
        whole = zip(
            self.types[cut.inputs[0]].axes,
            cut.sizes("start"),
            cut.sizes("stop"),
            cut.integers("step"),
            strict=True,
        )
        return [
            axis
            for axis, (size, start, stop, step) in enumerate(whole)
            if start != Dim.of(0) or stop != size or step != 1
        ]
