"""Kernels without reductions: everything inlined into one loop nest, spread over threads and vector lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.s_tir.dlight.analysis import SBlockInfo
from tvm.s_tir.schedule import ScheduleError

from dlc_tvm.schedule.nest import (
    Kernel,
    NotApplicable,
    constant,
    contiguous,
    extent,
    fuse,
    in_step,
    loads,
    nodes,
    parts_safely,
    quotients,
    same,
    variables,
)

SPLIT_OFF_TAIL = "pragma_loop_partition_hint"
INLINE_LIMIT = 400  # nodes in an expression; beyond it, inlining what is used twice can grow without bound


def elementwise(kernel: Kernel) -> None:
    if any(not block.is_injective() for block in kernel.blocks):
        raise NotApplicable("has reductions")
    *inner, last = kernel.blocks
    for block in [*inline(kernel, inner), last]:
        spread(kernel, block)


def inline(kernel: Kernel, blocks: Sequence[SBlockInfo], *, limit: int = INLINE_LIMIT) -> list[SBlockInfo]:
    """Inline what can be, as long as what is used several times stays small; returns the rest."""
    return [block for block in blocks if not _inlined(kernel, block, limit)]


def _inlined(kernel: Kernel, block: SBlockInfo, limit: int) -> bool:
    uses = _uses(kernel, block)
    # Copies of copies: along a chain of blocks that each use the one before twice, code doubles with every link.
    if uses > 1 and nodes(kernel.stmt(block).body) * uses > limit:
        return False
    try:
        kernel.sch.compute_inline(block.block_rv)
    except ScheduleError:  # it is an output, or its consumers read it in a way that can't be turned round
        return False
    return True


def _uses(kernel: Kernel, block: SBlockInfo) -> int:
    """How often the consumers of `block` read it: that many copies of it, inlining makes."""
    buffer = kernel.stmt(block).writes[0].source
    consumers = kernel.sch.get_consumers(block.block_rv)
    reads = (load for consumer in consumers for load in loads(kernel.sch.get(consumer).body))
    return sum(load.source.same_as(buffer) for load in reads)


def spread(kernel: Kernel, block: SBlockInfo) -> None:
    """Give `block`, in loops of its own, to all threads and to vector lanes."""
    sch, loops = kernel.sch, kernel.sch.get_loops(block.block_rv)
    if not loops:
        return
    across = _transposed_axis(kernel, block)
    if across is not None:
        _spread_tiles(kernel, block, across)
        return
    # One flat loop has one tail at most, and shares itself among threads evenly; rows of 10 would each have a tail of their own.
    if _is_flat(kernel, block):
        loops = [fuse(sch, loops)]
    *outer, row = loops
    chunk = None if _divides(kernel, block) else vectorize_tail(sch, row, kernel.lanes(block))
    if outer:
        sch.parallel(fuse(sch, outer))
    elif chunk is not None:
        sch.parallel(chunk)


def _divides(kernel: Kernel, block: SBlockInfo) -> bool:
    """Whether a place along the last axis is divided by an open size to find what is read, as where axes are joined and parted anew. No
    processor divides whole numbers in vector lanes, and LLVM takes many seconds to write such a division out for each."""
    stmt = kernel.stmt(block)
    place = stmt.iter_vars[-1].var
    parts = [part for load in loads(stmt.body) for index in load.indices for part in quotients(index)]
    return any(constant(part.b) is None and place in variables([part.a]) for part in parts)


def _transposed_axis(kernel: Kernel, block: SBlockInfo) -> int | None:
    """The axis along which an input is contiguous that isn't along the last axis; None where all inputs are."""
    stmt = kernel.stmt(block)
    last = len(stmt.iter_vars) - 1
    for load in loads(stmt.body):
        if stmt.iter_vars[last].var in variables(load.indices) and not contiguous(stmt, last, [load]):
            axes = [axis for axis in range(last) if contiguous(stmt, axis, [load])]
            return axes[-1] if axes else None
    return None


def _spread_tiles(kernel: Kernel, block: SBlockInfo, across: int) -> None:
    """Square tiles, so that each cache line of the input is used whole while it is at hand."""
    sch, lanes = kernel.sch, kernel.lanes(block)
    *outer, row = sch.get_loops(block.block_rv)
    column, inner = sch.split(outer.pop(across), [None, lanes])
    sch.reorder(*outer, column, row, inner)
    chunk = vectorize_tail(sch, row, lanes)
    if chunk is not None:
        sch.reorder(chunk, inner)
    sch.parallel(fuse(sch, [*outer, column]))


def vectorize_tail(sch: Any, loop: Any, lanes: int) -> Any | None:
    """Cut `loop` into vectors; a last part that fills no vector runs as plain code. Returns the outer loop, if any.

    The hint makes TVM split the outer loop where the last full vector ends; without it, the guard of the last
    vector would turn all of them into scalar code.
    """
    size = extent(sch, loop)
    if size is not None and size < lanes:
        if (
            size > 1 and size & (size - 1) == 0
        ):  # a shorter register has room for it; for 3 lanes there is none
            sch.vectorize(loop)
        return None
    partition = parts_safely(sch.get(loop))
    outer, inner = sch.split(loop, [None, lanes])
    sch.vectorize(inner)
    if partition and (size is None or size % lanes):
        sch.annotate(outer, SPLIT_OFF_TAIL, 1)
    return outer


def has_tail(sch: Any, loop: Any) -> bool:
    return SPLIT_OFF_TAIL in sch.get(loop).annotations


def _is_flat(kernel: Kernel, block: SBlockInfo) -> bool:
    """Whether every access is in step with the output (or constant), so that all axes may become one."""
    stmt = kernel.stmt(block)
    axes = [axis.var for axis in stmt.iter_vars]
    shape = [axis.dom.extent for axis in stmt.iter_vars]
    accesses = [(region.source, [r.min for r in region.region]) for region in (*stmt.reads, *stmt.writes)]
    return all(_covers(buffer, index, axes, shape) or _fixed(index) for buffer, index in accesses)


def _covers(buffer: Any, index: Sequence[Any], axes: Sequence[Any], shape: Sequence[Any]) -> bool:
    sizes = [size for size in buffer.shape if constant(size) != 1]
    return same(sizes, shape) and in_step(buffer.shape, index, axes)


def _fixed(index: Sequence[Any]) -> bool:
    return all(constant(i) is not None for i in index)
