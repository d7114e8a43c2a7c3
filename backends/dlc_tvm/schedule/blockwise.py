"""The last resort for reductions: each block on its own, in parallel and in vectors as far as it allows."""

from __future__ import annotations

from typing import Any

from tvm import sym
from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.elementwise import inline, spread, vectorize_tail
from dlc_tvm.schedule.nest import Kernel, NotApplicable, fuse, loads, loops_by_kind, variables


def blockwise(kernel: Kernel) -> None:
    kept = inline(kernel, [block for block in kernel.blocks[:-1] if block.is_injective()])
    for block in kernel.blocks:
        if not block.is_injective():
            _reduction(kernel, block)
        elif block in kept or block is kernel.blocks[-1]:
            spread(kernel, block)


def _reduction(kernel: Kernel, block: SBlockInfo) -> None:
    """Outputs over threads; the last of them over lanes too, if they are next to each other in the inputs."""
    sch, loops = kernel.sch, loops_by_kind(kernel.sch, block.block_rv)
    spatial = [loop for loop, reduces in loops if not reduces]
    depth = [loop for loop, reduces in loops if reduces]
    if not spatial or not depth:
        return
    *outer, lane = spatial
    if _contiguous(kernel, block):
        sch.reorder(*outer, *depth, lane)
        if not outer:
            ...
    sch.parallel(fuse(sch, outer or [lane]))
