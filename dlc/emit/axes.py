"""The slots of a row that are axes: `{axis}` is the number from 0 on, `{neat_axis}` what a person writes for it."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.emit.tree import Expr, Num, Seq, Word
from dlc.ir.nodes import Attr, Op
from dlc.ops.axes import axes_from_zero
from dlc.types.tensor import TensorType


def axis_slots(op: Op, types: Mapping[str, TensorType], neat: Mapping[str, Expr]) -> dict[str, Expr]:
    """By name, where `neat` has the attributes as a person writes them in the framework."""
    rank = types[op.inputs[0]].rank if op.inputs and op.inputs[0] else 0
    found = axes_from_zero(op, rank)
    written = {f"neat_{name}": neat[name] for name in found}
    return {**{name: _numbers(value) for name, value in found.items()}, **written}


def _numbers(value: Attr) -> Expr:
    """An axis or several; None for all of them."""
    if isinstance(value, tuple):
        return Seq(tuple(map(_numbers, value)))
    return Num(value, "axis") if isinstance(value, int) else Word("None")
