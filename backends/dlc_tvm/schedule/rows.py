"""Kernels that reduce along rows and use the result on the same row: softmax, norms, means, dot products.

Threads share the rows. On one row, each block runs in turn while the row is in cache; a reduction keeps one partial
result per vector lane and combines them at the end of the row.
"""

from __future__ import annotations

from typing import Any

from tvm import sym, tirx
from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.elementwise import inline, vectorize_tail
from dlc_tvm.schedule.nest import (
    Kernel,
    NotApplicable,
    calls,
    extent,
    fuse,
    loads,
    loops_by_kind,
    reduction_blocks,
    same,
    variables,
)


LONG_ROW = 16  # vectors; from here on, several chains of additions hide the latency of one
CHAINS = 4


def rows(kernel: Kernel) -> None:
    axes = _row_axes(kernel)
    *others, last = kernel.blocks
    kept = {id(block) for block in _inline(kernel, others)}
    blocks = [b for b in others if not b.is_injective() or id(b) in kept]
    work = [piece for block in blocks for piece in _in_lanes(kernel, block, axes)]
    *_, final = pieces = _in_lanes(kernel, last, axes)
    sch = kernel.sch
    row = fuse(sch, sch.get_loops(final)[:axes])
    sch.parallel(row)
    for block in reversed([*work, *pieces[:-1]]):
        sch.compute_at(block, row, preserve_unit_loops=True)
    for block in [*work, *pieces]:
        _vectorize(kernel, block)


def _inline(kernel: Kernel, blocks: list[SBlockInfo]) -> list[SBlockInfo]:
    """Inline elementwise steps; those with a call in them (exp) only if that doesn't repeat them."""
    injective = [block for block in blocks if block.is_injective()]
    costly = [block for block in injective if calls(kernel.stmt(block).body)]
    kept = inline(kernel, costly, limit=0)
    return kept + inline(kernel, [block for block in injective if block not in costly])


def _row_axes(kernel: Kernel) -> int:
    """How many leading axes are rows: the outputs of every reduction, and the first axes of every other block."""
    reductions = reduction_blocks(kernel)
    if not reductions:
        raise NotApplicable("no reduction")
    kinds = {block.dom_kind() for block in reductions}
    counts = {kind.count("S") for kind in kinds}
    if any(kind.strip("S").strip("R") or not kind.startswith("S") for kind in kinds) or len(counts) != 1:
        raise NotApplicable("reductions over different rows")
    count = counts.pop()
    sizes = reductions[0].dom()[:count]
    if not all(same(block.dom()[:count], sizes) for block in kernel.blocks):
        raise NotApplicable("blocks with other rows")
    if not all(_along(kernel, block) for block in reductions):
        raise NotApplicable("the reduced axis isn't contiguous in the inputs")
    return count


def _along(kernel: Kernel, block: SBlockInfo) -> bool:
    stmt = kernel.stmt(block)
    axis = stmt.iter_vars[-1].var
    reads = [load.indices for load in loads(stmt.body) if axis in variables(load.indices)]
    return bool(reads) and all(
        axis not in variables(i[:-1]) and axis not in variables([sym.Analyzer().simplify(i[-1] - axis)]) for i in reads
    )


def _in_lanes(kernel: Kernel, block: SBlockInfo, axes: int) -> list[Any]:
    """The blocks that compute `block`: for a long reduction, some that reduce into lanes, and one that joins lanes."""
    sch, lanes = kernel.sch, kernel.lanes(block)
    if block.is_injective():
        return [block.block_rv]
    depth = fuse(sch, sch.get_loops(block.block_rv)[axes:])
    size = extent(sch, depth)
    if size is not None and size < 2 * lanes:
        return [block.block_rv]
    wide = size is not None and size >= LONG_ROW * lanes and size % (CHAINS * lanes) == 0
    *_, partial = sch.split(depth, [None, CHAINS * lanes if wide else lanes])
    pieces = [sch.rfactor(partial, -1)]
    if wide:  # join the chains in vectors, before joining lanes
        *_, lane = sch.split(sch.get_loops(block.block_rv)[-1], [None, lanes])
        pieces.append(sch.rfactor(lane, -1))
    return [*pieces, block.block_rv]


def _vectorize(kernel: Kernel, block: Any) -> None:
    """Vector lanes along the last axis of outputs; what is summed over, outside of it."""
    sch = kernel.sch
    lanes = kernel.machine.lanes(sch.get(block).writes[0].source.dtype)
    _, *inside = loops_by_kind(sch, block)
    depth = [loop for loop, reduces in inside if reduces]
    lane = [loop for loop, reduces in inside if not reduces and extent(sch, loop) != 1][-1:]
    if depth and lane:
        sch.reorder(*depth, *lane)
    for loop in lane:
        vectorize_tail(sch, loop, lanes)
    if depth:
        sch.decompose_reduction(block, depth[0])
