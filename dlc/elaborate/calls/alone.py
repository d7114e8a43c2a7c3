"""Whether a function treats the rows of its input each for itself: what an expert must do, since who else is sent to it is chance.

Found on the primitive ops by the axis of rows, which has a size of its own name: every value that depends on rows has it as one axis,
whole, and no op counts along it, joins or reorders it."""

from __future__ import annotations

from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Op, Program, walk
from dlc.passes.lower import alone, flatten
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

# Ops that reorder, join or pick along their axis, and keep its size all the same.
_READING = (
    "take",
    "take_along",
    "scatter",
    "scatter_add",
    "scatter_max",
    "update_slice",
    "top_k",
    "argsort",
    "cumsum",
    "cumprod",
    "flip",
)


def joins_rows(program: Program, rows: str) -> Op | None:
    """The first op of the entry that is not done row by row; None if all are."""
    function = flatten(alone(program, program.entry)).main
    types = function.types()
    return next((op for op in walk(function.body) if _joins(op, rows, types)), None)


def _joins(op: Op, rows: str, types: dict[str, TensorType]) -> bool:
    before = [types[name] for name in op.inputs if name]
    reads = any(_has(type, rows) for type in before)
    if any(not _whole(type, rows) for type in (*before, *(out.type for out in op.outputs))):
        return True
    if op.op in ("arange", "size"):  # numbers of rows, or how many there are
        return any(isinstance(value, Dim) and rows in value.symbols for _, value in op.attrs)
    if not reads:
        return False
    if op.op == LOOP:
        loop = Loop.of(op)
        return any(rows in types[each.source].axes[each.axis].symbols for each in loop.sequences)
    if any(not _has(out.type, rows) for out in op.outputs):
        return True
    if op.op == "reshape":
        return _before(before[0], rows) != _before(op.out.type, rows)
    if op.op == "matmul" and rows in before[1].axes[-2 if before[1].rank > 1 else 0].symbols:
        return True
    if op.op not in _READING:
        return False
    axes = op.integers("axes") if op.op == "flip" else (op.integer("axis"),)
    return any(rows in before[0].axes[axis].symbols for axis in axes)


def _has(type: TensorType, rows: str) -> bool:
    return any(rows in axis.symbols for axis in type.axes)


def _whole(type: TensorType, rows: str) -> bool:
    """Whether at most one axis is of rows, and is nothing else."""
    found = [axis for axis in type.axes if rows in axis.symbols]
    return not found or found == [Dim.symbol(rows)]


def _before(type: TensorType, rows: str) -> Dim:
    """How many elements stand in front of the axis of rows."""
    total = Dim.of(1)
    for axis in type.axes:
        if rows in axis.symbols:
            break
        total = total * axis
    return total
