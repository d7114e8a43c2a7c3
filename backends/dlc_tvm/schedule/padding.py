"""Reductions lengthened to whole vectors, before they are scheduled.

    for k in range(33): y += x[k]     =>     for k in range(48): y += x[k] if k < 33 else 0

Cutting the loop into vectors would do the same by a guard around the block, but `rfactor`, `compute_at` and
`decompose_reduction` refuse guarded blocks, or forget the guard. What is added is the reduction's initial value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm_ffi
from tvm import s_tir, sym, tirx
from tvm.ir import Range, TensorLoad

from dlc_tvm.schedule.nest import Kernel, constant, same

WITHOUT_EFFECT: dict[type, Callable[[str], Any]] = {
    tirx.Add: lambda dtype: tirx.const(0, dtype),
    tirx.Mul: lambda dtype: tirx.const(1, dtype),
    tirx.Max: tirx.min_value,
    tirx.Min: tirx.max_value,
}


def pad_reductions(kernel: Kernel) -> Kernel:
    """The kernel with every long enough simple reduction over one axis padded to a multiple of its vector's lanes."""

    def padded(loop: Any) -> Any:
        block = loop.body.block if isinstance(loop.body, s_tir.SBlockRealize) else None
        if block is None or not _pads(kernel, loop, block):
            return loop
        lanes = kernel.machine.lanes(block.writes[0].source.dtype)
        size = sym.Analyzer().simplify(tirx.floordiv(loop.extent + (lanes - 1), lanes) * lanes)
        realize = s_tir.SBlockRealize(loop.body.iter_values, loop.body.predicate, _guarded(block, size))
        return tirx.For(loop.loop_var, loop.min, size, loop.kind, realize, annotations=loop.annotations)

    func = kernel.sch.mod["main"]
    return Kernel.of(func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, padded))), kernel.machine)


def _pads(kernel: Kernel, loop: Any, block: Any) -> bool:
    lanes = kernel.machine.lanes(block.writes[0].source.dtype)
    size = constant(loop.extent)
    # `rows` leaves what is shorter than two vectors in one piece, so padding it would be work for nothing.
    if size is not None and (size < 2 * lanes or size % lanes == 0):
        return False
    *others, axis = block.iter_vars
    if axis.iter_type != tirx.IterVar.CommReduce or any(
        o.iter_type == tirx.IterVar.CommReduce for o in others
    ):
        return False
    return _is_simple(block)


def _is_simple(block: Any) -> bool:
    """`y = y op term`, starting from the value that `op` leaves everything unchanged with."""
    store, init = block.body, block.init
    if not isinstance(store, tirx.BufferStore) or not isinstance(init, tirx.BufferStore):
        return False
    # Only such a sum may be lengthened: from another initial value, each added term would change the result.
    neutral = WITHOUT_EFFECT.get(type(store.value))
    if neutral is None or not isinstance(store.value.a, TensorLoad):
        return False
    old = store.value.a
    is_old = old.source.same_as(store.buffer) and same(old.indices, store.indices)
    return is_old and tvm_ffi.structural_equal(init.value, neutral(str(store.buffer.dtype)))


def _guarded(block: Any, size: Any) -> Any:
    *others, axis = block.iter_vars
    store = block.body
    term = tirx.if_then_else(axis.var < axis.dom.extent, store.value.b, block.init.value)
    body = tirx.BufferStore(store.buffer, type(store.value)(store.value.a, term), store.indices)
    longer = tirx.IterVar(Range(0, size), axis.var, axis.iter_type)
    return s_tir.SBlock(
        [*others, longer],
        block.reads,
        block.writes,
        block.name_hint,
        body,
        block.init,
        annotations=block.annotations,
    )
