"""The last resort for reductions: each block on its own, in parallel and in vectors as far as it allows."""

from __future__ import annotations

from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.elementwise import has_tail, inline, spread, vectorize_tail
from dlc_tvm.schedule.nest import Kernel, contiguous, fuse, loops_by_kind


def blockwise(kernel: Kernel) -> None:
    *others, last = kernel.blocks
    kept = inline(kernel, [block for block in others if block.is_injective()])
    for block in kernel.blocks:
        if not block.is_injective():
            _reduction(kernel, block)
        elif block in kept or block is last:
            spread(kernel, block)


def _reduction(kernel: Kernel, block: SBlockInfo) -> None:
    """Outputs over threads; and over lanes too, if neighbours read neighbours."""
    sch, loops = kernel.sch, loops_by_kind(kernel.sch, block.block_rv)
    spatial = [loop for loop, reduces in loops if not reduces]
    depth = [loop for loop, reduces in loops if reduces]
    if not spatial or not depth:
        return
    if not contiguous(kernel.stmt(block), len(spatial) - 1):
        sch.parallel(fuse(sch, spatial))
        sch.decompose_reduction(block.block_rv, depth[0])  # what is reduced may be nothing
        return
    *outer, lane = spatial
    sch.reorder(*outer, *depth, lane)
    chunk = vectorize_tail(sch, lane, kernel.lanes(block))
    if chunk is not None:
        sch.reorder(*outer, chunk, *depth)
        outer = outer if outer and has_tail(sch, chunk) else [*outer, chunk]
    if outer:
        sch.parallel(fuse(sch, outer))
    sch.decompose_reduction(block.block_rv, depth[0])
