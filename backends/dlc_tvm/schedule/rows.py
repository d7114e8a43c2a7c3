"""Kernels that reduce along rows and use the result on the same row: softmax, norms, means, dot products.

Threads share the rows. On one row, each block runs in turn while the row is in cache; a reduction keeps one partial
result per vector lane and joins the lanes at the end of the row.

Blocks get into the common loop by merging loops: `compute_at` forgets the guard of a last vector that isn't full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.elementwise import SPLIT_OFF_TAIL, inline, vectorize_tail
from dlc_tvm.schedule.nest import (
    Kernel,
    NotApplicable,
    calls,
    constant,
    contiguous,
    divides,
    extent,
    fuse,
    loads,
    loops_by_kind,
    parts_safely,
    reduction_blocks,
    same,
)
from dlc_tvm.schedule.padding import pad_reductions

LONG_ROW = 16  # vectors; from here on, several chains of additions hide the latency of one
CHAINS = 4


def rows(kernel: Kernel) -> None:
    axes = _row_axes(kernel)
    kernel.replace(pad_reductions(kernel))
    kept = _inline(kernel, kernel.blocks[:-1])
    blocks = [b for b in kernel.blocks[:-1] if not b.is_injective() or b in kept] + kernel.blocks[-1:]
    _check_rows(kernel, blocks, axes)
    pieces = [piece for block in blocks for piece in _in_lanes(kernel, block, axes)]
    merged, depths = zip(*[_vectorize(kernel, piece, axes) for piece in pieces], strict=True)
    kernel.sch.parallel(kernel.sch.merge(*merged) if len(merged) > 1 else merged[0])
    for piece, depth in zip(pieces, depths, strict=True):
        if depth:
            kernel.sch.decompose_reduction(piece, depth[0])


def _inline(kernel: Kernel, blocks: Sequence[SBlockInfo]) -> list[SBlockInfo]:
    """Inline elementwise steps, but those with a call in them (exp) only if that doesn't repeat it; returns the rest."""
    injective = [block for block in blocks if block.is_injective()]
    costly = [block for block in injective if calls(kernel.stmt(block).body)]
    kept = inline(
        kernel, costly, limit=0
    )  # softmax reads exp(x - max) twice: for the sum, and for the result
    return kept + inline(kernel, [block for block in injective if block not in costly])


def _row_axes(kernel: Kernel) -> int:
    """How many leading axes are rows: the outputs of every reduction, and the first axes of every other block."""
    reductions = reduction_blocks(kernel)
    kinds = {block.dom_kind() for block in reductions}
    counts = {kind.count("S") for kind in kinds}
    if (
        len(counts) != 1
        or counts == {0}
        or any(kind.strip("S").strip("R") or not kind.startswith("S") for kind in kinds)
    ):
        raise NotApplicable("no reductions over the same rows")
    count = counts.pop()
    sizes = reductions[0].dom()[:count]
    if not all(same(block.dom()[:count], sizes) for block in kernel.blocks):
        raise NotApplicable("blocks with other rows")
    # Lanes hold neighbours along the reduced axis. Where those are far apart in memory, gathering them costs more than it saves.
    if not all(contiguous(kernel.stmt(block), -1) for block in reductions):
        raise NotApplicable("the reduced axis isn't contiguous in the inputs")
    return count


def _check_rows(kernel: Kernel, blocks: Sequence[SBlockInfo], axes: int) -> None:
    """A block may use other blocks' results of its own row only, for others may not be there yet."""
    stmts = [kernel.stmt(block) for block in blocks]
    written = [region.source for stmt in stmts for region in stmt.writes]
    for stmt in stmts:
        row = [axis.var for axis in stmt.iter_vars[:axes] if constant(axis.dom.extent) != 1]
        accesses = [(load.source, load.indices) for load in loads(stmt.body)]
        accesses += [(region.source, [r.min for r in region.region]) for region in stmt.writes]
        for buffer, indices in accesses:
            if any(buffer.same_as(other) for other in written):
                used = [i for i, size in zip(indices, buffer.shape, strict=True) if constant(size) != 1]
                if not same(used[: len(row)], row):
                    raise NotApplicable("a block uses another row's result")


def _in_lanes(kernel: Kernel, block: SBlockInfo, axes: int) -> list[Any]:
    """The blocks that compute `block`: for a long reduction, some that reduce into lanes, and one that joins lanes."""
    sch, lanes = kernel.sch, kernel.lanes(block)
    if block.is_injective():
        return [block.block_rv]
    depth = fuse(sch, sch.get_loops(block.block_rv)[axes:])
    size = extent(sch, depth)
    if (size is not None and size < 2 * lanes) or not divides(lanes, sch.get(depth).extent):
        return [block.block_rv]
    # One addition must wait for the one before it, some four cycles long: one chain would use a fraction of the adder.
    wide = size is not None and size >= LONG_ROW * lanes and size % (CHAINS * lanes) == 0
    partition = parts_safely(sch.get(depth))
    outer, partial = sch.split(depth, [None, CHAINS * lanes if wide else lanes])
    if partition:
        sch.annotate(outer, SPLIT_OFF_TAIL, 1)  # should the last vector be guarded
    pieces = [sch.rfactor(partial, -1)]
    if wide:  # join the chains in vectors, before joining lanes
        *_, lane = sch.split(sch.get_loops(block.block_rv)[-1], [None, lanes])
        pieces.append(sch.rfactor(lane, -1))
    return [*pieces, block.block_rv]


def _vectorize(kernel: Kernel, block: Any, axes: int) -> tuple[Any, list[Any]]:
    """Vector lanes along the last axis of outputs; returns the loop over rows, and those that are summed over."""
    sch = kernel.sch
    lanes = kernel.machine.lanes(sch.get(block).writes[0].source.dtype)
    loops = loops_by_kind(sch, block)
    row, inside = fuse(sch, [loop for loop, _ in loops[:axes]]), loops[axes:]
    depth = [loop for loop, reduces in inside if reduces]
    lane = [loop for loop, reduces in inside if not reduces][-1:]
    # Lanes innermost: they are what `rfactor` left side by side, and each adds to a sum of its own.
    if depth and lane:
        sch.reorder(*depth, *lane)
    for loop in lane:
        vectorize_tail(sch, loop, lanes)
    return row, depth
