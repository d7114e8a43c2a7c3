"""The loop nest that contractions and column reductions share: a tile of outputs kept in registers.

    for m, n, k: c[m, n] += f(m, n, k)
    =>
    parallel n0: for m0:  tile[8, 48] = 0
                          for k: tile[m1, n1] += f(m0 + m1, n0 + n1, k)            # m1 unrolled, n1 in vectors
                          out[m0 + m1, n0 + n1] = epilogue(tile[m1, n1])

Columns are the outer loop: whatever all rows of a strip of columns share (a panel of weights) then stays in cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.elementwise import SPLIT_OFF_TAIL, inline, spread
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
)

ENOUGH_CHUNKS = 16  # with fewer pieces of work than this, threads can't be kept equally busy
SHORT_LOOP = 4  # an innermost reduction this short (the colours of an image) is unrolled


@dataclass(frozen=True)
class Tiling:
    """The output's axes by position, and the size of the register tile; `row` is None where there are no rows."""

    batch: list[int]
    outer: list[int]
    row: int | None
    column: int
    rows: int
    vectors: int


def only_reduction(kernel: Kernel) -> SBlockInfo:
    """The one block that reduces; its axes must be all outputs, then all reductions."""
    reductions = reduction_blocks(kernel)
    if len(reductions) != 1:
        raise NotApplicable("not exactly one reduction")
    kinds = reductions[0].dom_kind()
    if kinds.strip("S").strip("R") or not kinds.startswith("S"):
        raise NotApplicable(f"axes in the order {kinds}")
    if constant(reductions[0].dom()[kinds.count("S") - 1]) == 1:
        raise NotApplicable("a single output")
    return reductions[0]


def output_axes(kernel: Kernel, main: SBlockInfo) -> list[Any]:
    return [axis.var for axis in kernel.stmt(main).iter_vars if axis.iter_type == tirx.IterVar.DataPar]


def even(size: int, most: int) -> int:
    """The tile height for `size` rows: a divisor if there is a good one, or else tiles of nearly equal height."""
    divisors = [d for d in range(most, most // 2, -1) if size % d == 0]
    return divisors[0] if divisors else -(-size // -(-size // most))


def tile(kernel: Kernel, main: SBlockInfo, tiling: Tiling, *, inlines: Callable[[SBlockInfo], bool]) -> None:
    """Schedule the whole kernel: producers (inlined where `inlines` says so), the reduction, the epilogue."""
    last = _surround(kernel, main, inlines)
    _store_by_tiles(kernel, main, tiling)
    at = _tile_output(kernel, last, tiling)
    _tile_reduction(kernel, main, tiling, at)


def _surround(kernel: Kernel, main: SBlockInfo, inlines: Callable[[SBlockInfo], bool]) -> SBlockInfo:
    """Deal with the blocks before and after the reduction; returns the one that stores the output."""
    before = _producers(kernel, main)
    others = [b for b in kernel.blocks if b is not main]
    for block in [b for b in others if b.name in before]:
        if not inlines(block) or inline(kernel, [block]):
            spread(kernel, block)
    after = [b for b in others if b.name not in before]
    if not after:
        return SBlockInfo("cached", main.iters, kernel.sch.cache_write(main.block_rv, 0, "global"))
    if inline(kernel, after[:-1]):
        raise NotApplicable("the epilogue is too large to join the reduction")
    _check_epilogue(kernel, main, after[-1])
    return after[-1]


def _store_by_tiles(kernel: Kernel, main: SBlockInfo, tiling: Tiling) -> None:
    """Index the intermediate result by tile, [m, n] as [m / 8, n / 48, 8, 48], so that TVM sees that only one tile is
    ever needed.

    Without it, and with an unknown number of rows, each thread would allocate room for all rows. Where one of the axes
    has an unknown size both are cut, as a row of the tile must stay in one piece to be kept in registers.
    """
    heights = {tiling.row: tiling.rows, tiling.column: tiling.vectors * kernel.lanes(main)}
    if all(constant(main.dom()[axis]) is not None for axis in heights if axis is not None):
        return
    axes, store = output_axes(kernel, main), kernel.stmt(main).body
    if not hasattr(store, "indices"):  # several stores, as argmax has
        raise NotApplicable("a single output")
    tiles = {
        at: heights[axis]
        for axis in heights
        if axis is not None
        for at, index in enumerate(store.indices)
        if index.same_as(axes[axis])
    }

    def tiled(*indices: Any) -> list[Any]:
        outer = [tirx.floordiv(i, tiles[at]) if at in tiles else i for at, i in enumerate(indices)]
        return [*outer, *(tirx.floormod(indices[at], size) for at, size in sorted(tiles.items()))]

    kernel.sch.transform_layout(main.block_rv, ("write", 0), tiled, assume_injective_transform=True)


def _producers(kernel: Kernel, main: SBlockInfo) -> set[str]:
    """The names of the blocks that `main` depends on."""
    found: set[str] = set()
    pending = [main.block_rv]
    while pending:
        for producer in kernel.sch.get_producers(pending.pop()):
            name = kernel.sch.get(producer).name_hint
            if name not in found:
                found.add(name)
                pending.append(producer)
    return found


def _check_epilogue(kernel: Kernel, main: SBlockInfo, last: SBlockInfo) -> None:
    """The epilogue must go over the same rows in step, and over no more columns."""
    product, stmt = kernel.stmt(main).writes[0].source, kernel.stmt(last)
    axes = [axis.var for axis in stmt.iter_vars]
    mine = [size for size, kind in zip(main.dom(), main.dom_kind(), strict=True) if kind == "S"]
    if len(axes) != len(mine) or not same(last.dom()[:-1], mine[:-1]):
        raise NotApplicable("the epilogue has another shape")
    reads = [load for load in loads(stmt.body) if load.source.same_as(product)]
    if not all(in_step(product.shape, load.indices, axes) for load in reads):
        raise NotApplicable("the epilogue reads the reduction out of step")


def _tile_output(kernel: Kernel, last: SBlockInfo, tiling: Tiling) -> Any:
    """Cut the output's loops into tiles and spread them over threads; returns the loop around one tile."""
    sch, lanes = kernel.sch, kernel.lanes(last)
    loops = [loop for loop in sch.get_loops(last.block_rv) if extent(sch, loop) != 1]
    batch, outer = [loops[i] for i in tiling.batch], [loops[i] for i in tiling.outer]
    column, vector, lane = sch.split(loops[tiling.column], [None, tiling.vectors, lanes])
    row: list[Any] = []
    in_row: list[Any] = []
    if tiling.row is not None:
        row, in_row = ([x] for x in sch.split(loops[tiling.row], [None, tiling.rows]))
    sch.reorder(*batch, column, *outer, *row, *in_row, vector, lane)
    for loop in (*in_row, vector):
        sch.unroll(loop)
    sch.vectorize(lane)
    whole_columns = _cut_tail(sch, column, last.dom()[tiling.column], tiling.vectors * lanes)
    whole_rows = tiling.row is None or _cut_tail(sch, row[0], last.dom()[tiling.row], tiling.rows)
    if whole_columns:
        return _parallel_tiles(sch, [*batch, column, *outer], row, whole_rows)
    return _parallel_ragged(sch, batch, column, outer, row)


def _cut_tail(sch: Any, loop: Any, size: Any, tile: int) -> bool:
    """Have TVM split `loop` where the last full tile ends, if the tiles don't divide `size`; says whether they do."""
    known = constant(size)
    if known is not None and known % tile == 0:
        return True
    sch.annotate(loop, SPLIT_OFF_TAIL, 1)
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
    """The loop over columns has a tail, so it can't be fused with others: one group of loops gets the threads."""
    inside = row[0] if row else (outer[-1] if outer else column)
    for group in (batch, [column], outer, row):
        if group and math.prod(extent(sch, loop) or ENOUGH_CHUNKS for loop in group) > 1:
            fused = fuse(sch, group)
            sch.parallel(fused)
            return fused if inside in group else inside
    return inside


def _tile_reduction(kernel: Kernel, main: SBlockInfo, tiling: Tiling, at: Any) -> None:
    sch, lanes = kernel.sch, kernel.lanes(main)
    sch.compute_at(main.block_rv, at, preserve_unit_loops=True)
    kinds = main.dom_kind()
    loops = sch.get_loops(main.block_rv)[-len(kinds) :]
    spatial, depth = loops[: kinds.count("S")], loops[kinds.count("S") :]
    vector, lane = sch.split(spatial[-1], [None, lanes])
    rows = [] if tiling.row is None else [spatial[tiling.row]]
    others = [loop for i, loop in enumerate(spatial[:-1]) if i != tiling.row]
    sch.reorder(*others, *depth, *rows, vector, lane)
    sch.vectorize(lane)
    for loop in (*rows, vector):
        sch.unroll(loop)
    if (extent(sch, depth[-1]) or SHORT_LOOP + 1) <= SHORT_LOOP:
        sch.unroll(depth[-1])
    sch.decompose_reduction(main.block_rv, depth[0])
