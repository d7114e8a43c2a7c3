"""Matrix products, batched products and convolutions with channels last, with what follows them fused in.

All of them are one nest: rows that index one operand, columns that index the other, and a depth summed over. A tile
of rows x columns is held in registers while the whole depth passes by; the tile is then finished by the epilogue
and stored once. Panels of columns are the outer loop, so that a panel of weights stays in cache for all rows.

    for m, n, k: c[m, n] += a[m, k] * b[k, n]
    =>
    parallel n0: for m0:  tile[8, 48] = 0
                          for k: tile[m1, n1] += a[m0 + m1, k] * b[k, n0 + n1]     # m1 unrolled, n1 in vectors
                          out[m0 + m1, n0 + n1] = epilogue(tile[m1, n1])
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvm import sym, tirx
from tvm.ir import TensorLoad
from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.elementwise import inline, spread
from dlc_tvm.schedule.nest import (
    Kernel,
    NotApplicable,
    constant,
    extent,
    fuse,
    in_step,
    loads,
    reduction_blocks,
    same,
    variables,
)

ENOUGH_CHUNKS = 16  # with fewer pieces of work than this, threads can't be kept equally busy


@dataclass(frozen=True)
class Roles:
    """Which axes of the output do what, as positions; `row` is None where there is only one row."""

    batch: list[int]
    outer: list[int]
    row: int | None
    column: int
    panel: int | None  # the width of the panels that the column operand is packed in


def contraction(kernel: Kernel) -> None:
    main = _only_reduction(kernel)
    roles = _roles(kernel, main)
    last = _surround(kernel, main)
    rows, vectors = _tile(kernel, main, roles)
    at = _tile_output(kernel, last, roles, rows, vectors)
    _tile_product(kernel, main, roles, at)


def _only_reduction(kernel: Kernel) -> SBlockInfo:
    reductions = reduction_blocks(kernel)
    if len(reductions) != 1:
        raise NotApplicable("not exactly one reduction")
    kinds = reductions[0].dom_kind()
    if kinds.strip("S").strip("R") or not kinds.startswith("S") or "R" not in kinds:
        raise NotApplicable(f"axes in the order {kinds}")
    return reductions[0]


def _operands(kernel: Kernel, main: SBlockInfo) -> tuple[Any, Any]:
    """The two loads whose product is summed."""
    store = kernel.stmt(main).body
    value = store.value if isinstance(store, tirx.BufferStore) else None
    if not isinstance(value, tirx.Add):
        raise NotApplicable("not a sum")
    for term in (value.a, value.b):
        if isinstance(term, tirx.Mul):
            factors = [f.value if isinstance(f, tirx.Cast) else f for f in (term.a, term.b)]
            if all(isinstance(f, TensorLoad) for f in factors):
                return factors[0], factors[1]
    raise NotApplicable("not a sum of products of two loads")


def _roles(kernel: Kernel, main: SBlockInfo) -> Roles:
    axes = [axis.var for axis in kernel.stmt(main).iter_vars if axis.iter_type == tirx.IterVar.DataPar]
    first, second = _operands(kernel, main)
    column = axes[-1]
    if column in variables(first.indices):
        first, second = second, first
    if column in variables(first.indices) or column not in variables(second.indices):
        raise NotApplicable("the last axis doesn't index one operand alone")
    panel = _panel(second.indices, column)
    in_rows, in_columns = variables(first.indices), variables(second.indices)
    sizes = main.dom()
    batch = [i for i, v in enumerate(axes[:-1]) if v in in_columns]
    rows = [i for i, v in enumerate(axes[:-1]) if v not in in_columns and v in in_rows and sizes[i] != 1]
    row = rows[-1] if rows else None
    outer = [i for i in range(len(axes) - 1) if i not in batch and i != row]
    return Roles(batch, outer, row, len(axes) - 1, panel)


def _panel(indices: Any, column: Any) -> int | None:
    """The panel width of an operand indexed `[n // w, …, n % w]`; None where the last index is the column itself."""
    *before, last = indices
    if column not in variables(before):
        if column not in variables([sym.Analyzer().simplify(last - column)]):
            return None
    elif isinstance(last, tirx.FloorMod) and last.a.same_as(column) and constant(last.b) is not None:
        width = int(last.b)
        uses = [i for i in before if column in variables([i])]
        if len(uses) == 1 and same(uses, [tirx.floordiv(column, width)]):
            return width
    raise NotApplicable("the columns aren't next to each other in memory")


def _surround(kernel: Kernel, main: SBlockInfo) -> SBlockInfo:
    """Deal with the blocks before and after the product; returns the one that stores the output."""
    before = _transitive_producers(kernel, main)
    others = [b for b in kernel.blocks if b is not main]
    for block in [b for b in others if b.name in before]:
        if not _is_copy(kernel, block) or inline(kernel, [block]):
            spread(kernel, block)
    after = [b for b in others if b.name not in before]
    if not after:
        cached = kernel.sch.cache_write(main.block_rv, 0, "global")
        return SBlockInfo("cached", main.iters, cached)
    if inline(kernel, after[:-1]):
        raise NotApplicable("the epilogue is too large to join the product")
    _check_epilogue(kernel, main, after[-1])
    return after[-1]


def _transitive_producers(kernel: Kernel, main: SBlockInfo) -> set[str]:
    found: set[str] = set()
    pending = [main.block_rv]
    while pending:
        for producer in kernel.sch.get_producers(pending.pop()):
            name = kernel.sch.get(producer).name_hint
            if name not in found:
                found.add(name)
                pending.append(producer)
    return found


def _is_copy(kernel: Kernel, block: SBlockInfo) -> bool:
    return isinstance(kernel.stmt(block).body.value, TensorLoad)


def _check_epilogue(kernel: Kernel, main: SBlockInfo, last: SBlockInfo) -> None:
    """The epilogue must go over the same rows in step, and over no more columns."""
    product, stmt = kernel.stmt(main).writes[0].source, kernel.stmt(last)
    axes = [axis.var for axis in stmt.iter_vars]
    mine = [size for size, kind in zip(main.dom(), main.dom_kind(), strict=True) if kind == "S"]
    if len(axes) != len(mine) or not same(last.dom()[:-1], mine[:-1]):
        raise NotApplicable("the epilogue has another shape")
    reads = [load for load in loads(stmt.body) if load.source.same_as(product)]
    if not all(in_step(product.shape, load.indices, axes) for load in reads):
        raise NotApplicable("the epilogue reads the product out of step")


def _tile(kernel: Kernel, main: SBlockInfo, roles: Roles) -> tuple[int, int]:
    """Rows, and vectors of columns, in the register tile."""
    lanes, columns = kernel.lanes(main), constant(main.dom()[roles.column])
    if roles.panel is not None:
        vectors = max(1, roles.panel // lanes)
    elif columns is None or columns < 2 * lanes:
        vectors = 1 if columns is not None and columns <= lanes else 2
    else:
        vectors = kernel.machine.panel(columns, kernel.stmt(main).writes[0].source.dtype) // lanes
    most = kernel.machine.rows(vectors)
    if roles.row is None:
        return 1, vectors
    size = constant(main.dom()[roles.row])
    return (min(most, 8) if size is None else _even(size, most)), vectors


def _even(size: int, most: int) -> int:
    """The tile height for `size` rows: a divisor if there is a good one, or else tiles of nearly equal height."""
    divisors = [d for d in range(most, most // 2, -1) if size % d == 0]
    return divisors[0] if divisors else -(-size // -(-size // most))


def _tile_output(kernel: Kernel, last: SBlockInfo, roles: Roles, rows: int, vectors: int) -> Any:
    """Cut the output's loops into tiles and spread them over threads; returns the loop around one tile."""
    sch, lanes = kernel.sch, kernel.lanes(last)
    loops = [loop for loop in sch.get_loops(last.block_rv) if extent(sch, loop) != 1]
    batch, outer = [loops[i] for i in roles.batch], [loops[i] for i in roles.outer]
    column, vector, lane = sch.split(loops[roles.column], [None, vectors, lanes])
    row, in_row = ([x] for x in sch.split(loops[roles.row], [None, rows])) if roles.row is not None else ([], [])
    sch.reorder(*batch, column, *outer, *row, *in_row, vector, lane)
    for loop in (*in_row, vector):
        sch.unroll(loop)
    sch.vectorize(lane)
    whole_columns = _cut_tail(sch, column, last.dom()[roles.column], vectors * lanes)
    whole_rows = all([_cut_tail(sch, loop, last.dom()[roles.row], rows) for loop in row])
    if whole_columns:
        return _parallel_tiles(sch, [*batch, column, *outer], row, whole_rows)
    return _parallel_ragged(sch, batch, column, outer, row)


def _cut_tail(sch: Any, loop: Any, size: Any, tile: int) -> bool:
    """Have TVM split `loop` where the last full tile ends, if the tiles don't divide `size`; says whether they do."""
    known = constant(size)
    if known is not None and known % tile == 0:
        return True
    sch.annotate(loop, "pragma_loop_partition_hint", 1)
    return False


def _parallel_tiles(sch: Any, loops: list[Any], row: list[Any], whole_rows: bool) -> Any:
    """All loops outside the tile become one, so that threads share any shape evenly."""
    chunks = math.prod(extent(sch, loop) or ENOUGH_CHUNKS for loop in loops)
    if whole_rows and chunks < ENOUGH_CHUNKS:
        loops, row = [*loops, *row], []
    fused = fuse(sch, loops)
    sch.parallel(fused)
    return row[0] if row else fused


def _parallel_ragged(sch: Any, batch: list[Any], column: Any, outer: list[Any], row: list[Any]) -> Any:
    """The loop over panels has a tail, so it can't be fused with others: one group of loops gets the threads."""
    inside = row[0] if row else (outer[-1] if outer else column)
    for group in (batch, [column], outer, row):
        if group and math.prod(extent(sch, loop) or ENOUGH_CHUNKS for loop in group) > 1:
            fused = fuse(sch, group)
            sch.parallel(fused)
            return fused if inside in group else inside
    return inside


def _tile_product(kernel: Kernel, main: SBlockInfo, roles: Roles, at: Any) -> None:
    sch, lanes = kernel.sch, kernel.lanes(main)
    sch.compute_at(main.block_rv, at, preserve_unit_loops=True)
    kinds = main.dom_kind()
    loops = sch.get_loops(main.block_rv)[-len(kinds) :]
    spatial, depth = loops[: kinds.count("S")], loops[kinds.count("S") :]
    outer, inner = sch.split(spatial[-1], [None, lanes])
    rows = [] if roles.row is None else [spatial[roles.row]]
    others = [loop for i, loop in enumerate(spatial[:-1]) if i != roles.row]
    sch.reorder(*others, *depth, *rows, outer, inner)
    sch.vectorize(inner)
    for loop in (*rows, outer):
        sch.unroll(loop)
    if (extent(sch, depth[-1]) or 99) <= 4:
        sch.unroll(depth[-1])
    sch.decompose_reduction(main.block_rv, depth[0])
