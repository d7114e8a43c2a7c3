"""Reductions whose outputs lie next to each other in memory as their inputs do: pooling and depthwise convolution
with channels last, sums over leading axes. Neighbouring outputs share a vector; nothing is added across lanes."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call
from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.nest import Kernel, NotApplicable, constant, contiguous, variables
from dlc_tvm.schedule.tiles import Tiling, even, only_reduction, tile

MOST_VECTORS = 4
MOST_ROWS = 4


def columns(kernel: Kernel) -> None:
    main = only_reduction(kernel)
    if not contiguous(kernel.stmt(main), main.dom_kind().count("S") - 1):
        raise NotApplicable("the last axis isn't contiguous in the inputs")
    tile(kernel, main, _tiling(kernel, main), inlines=lambda block: _lanes_agree(kernel, block))


def _lanes_agree(kernel: Kernel, block: SBlockInfo) -> bool:
    """Whether a producer does the same in all lanes: no condition in it (the edge of an image) names its last axis."""
    stmt = kernel.stmt(block)
    conditions: list[Any] = []

    def collect(node: Any) -> None:
        if isinstance(node, tirx.Select):
            conditions.append(node.condition)
        elif getattr(node.op, "name", "") == "tirx.if_then_else":
            conditions.append(node.args[0])

    tvm_ffi.structural_walk(stmt.body, ((Call, tirx.Select), collect))
    return stmt.iter_vars[-1].var not in variables(conditions)


def _tiling(kernel: Kernel, main: SBlockInfo) -> Tiling:
    lanes, (*sizes, width) = kernel.lanes(main), main.dom()[: main.dom_kind().count("S")]
    known = constant(width)
    if known is None:
        raise NotApplicable("an unknown number of columns")
    # Fewer channels than lanes: the largest power of two among them, since a last tile overlaps and can't be wider than all.
    lanes = min(lanes, 1 << (known.bit_length() - 1))
    vectors = max((v for v in range(1, MOST_VECTORS + 1) if known % (v * lanes) == 0), default=1)
    last = len(sizes) - 1
    height = constant(sizes[last]) if sizes else None
    rows = 1 if height is None else even(height, max(1, MOST_ROWS // vectors))
    return Tiling([last] if rows > 1 else [], len(sizes), rows, vectors, lanes)
