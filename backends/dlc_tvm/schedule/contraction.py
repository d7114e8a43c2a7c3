"""Matrix products, batched products and convolutions with channels last, with what follows them fused in.

All of them are one nest: rows that index one operand, columns that index the other, and a depth that is summed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import sym, tirx
from tvm.ir import TensorLoad
from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.nest import Kernel, NotApplicable, constant, same, variables
from dlc_tvm.schedule.tiles import Tiling, even, only_reduction, output_axes, tile

UNKNOWN_ROWS = 8  # the tile height where the number of rows is known at run time only


@dataclass(frozen=True)
class Operands:
    """The two factors: `rows` is read one element at a time, `columns` in vectors along the last output axis."""

    rows: Any
    columns: Any


def contraction(kernel: Kernel) -> None:
    main = only_reduction(kernel)
    axes = output_axes(kernel, main)
    operands = _operands(kernel, main, axes[-1])
    tile(kernel, main, _tiling(kernel, main, axes, operands), inlines=lambda block: _is_copy(kernel, block))


def _is_copy(kernel: Kernel, block: SBlockInfo) -> bool:
    return isinstance(kernel.stmt(block).body.value, TensorLoad)


def _operands(kernel: Kernel, main: SBlockInfo, column: Any) -> Operands:
    # Which factor stands left says nothing: the roles follow from which of them the last output axis, the lanes', indexes.
    first, second = _factors(kernel.stmt(main).body)
    if column in variables(first.indices):
        first, second = second, first
    if column in variables(first.indices) or column not in variables(second.indices):
        raise NotApplicable("the last axis doesn't index one operand alone")
    return Operands(rows=first, columns=second)


def _factors(store: Any) -> tuple[Any, Any]:
    """The two loads whose product is summed."""
    value = store.value if isinstance(store, tirx.BufferStore) else None
    terms = (value.a, value.b) if isinstance(value, tirx.Add) else ()
    for term in terms:
        if isinstance(term, tirx.Mul):
            # A product of narrow numbers is summed in a wider dtype: what is read lies below the casts.
            factors = [f.value if isinstance(f, tirx.Cast) else f for f in (term.a, term.b)]
            if all(isinstance(f, TensorLoad) for f in factors):
                return factors[0], factors[1]
    raise NotApplicable("not a sum of products of two loads")


def _tiling(kernel: Kernel, main: SBlockInfo, axes: list[Any], operands: Operands) -> Tiling:
    in_rows, in_columns = variables(operands.rows.indices), variables(operands.columns.indices)
    sizes, column = main.dom(), len(axes) - 1
    row = [i for i, v in enumerate(axes[:-1]) if v in in_rows and v not in in_columns]
    # Flattening several row axes costs a division for each row of a tile. With a known last one (the width of an image) that is
    # not needed; with an unknown one that is 1, as in decoding, tiles would hold a row each.
    if row and constant(sizes[row[-1]]) is not None:
        row = row[-1:]
    lanes, vectors = _width(kernel, main, constant(sizes[column]), _panel(operands, axes[-1]))
    rows = _rows(kernel, constant(sizes[row[-1]]), vectors) if row else 1
    # Vectors that begin at multiples of an unknown width can't be read whole at its end, so they are copied into panels.
    copied = operands.columns if constant(sizes[column]) is None else None
    return Tiling(row, column, rows, vectors, lanes, copied)


def _panel(operands: Operands, column: Any) -> int | None:
    """The panel width of a column operand indexed `[n // w, …, n % w]`; None where it is indexed `[…, n]`."""
    *before, last = operands.columns.indices
    if column not in variables(before):
        if column not in variables([sym.Analyzer().simplify(last - column)]):
            return None
    elif isinstance(last, tirx.FloorMod) and last.a.same_as(column) and constant(last.b) is not None:
        width = int(last.b)
        if same([i for i in before if column in variables([i])], [tirx.floordiv(column, width)]):
            return width
    raise NotApplicable("the columns aren't next to each other in memory")


def _width(kernel: Kernel, main: SBlockInfo, columns: int | None, panel: int | None) -> tuple[int, int]:
    """The lanes of a vector, and the vectors in a row of a tile; no more columns than there are."""
    lanes = kernel.lanes(main)
    if panel is not None:
        return lanes, panel // lanes
    if columns is None:
        return lanes, 2
    if columns < 2 * lanes:
        return min(lanes, 1 << (columns.bit_length() - 1)), 1
    return lanes, min(
        columns, kernel.machine.panel(columns, kernel.stmt(main).writes[0].source.dtype)
    ) // lanes


def _rows(kernel: Kernel, rows: int | None, vectors: int) -> int:
    most = kernel.machine.rows(vectors)
    return min(most, UNKNOWN_ROWS) if rows is None else even(rows, most)
