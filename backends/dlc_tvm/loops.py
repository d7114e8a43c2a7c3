"""Of the marks of a loop (`dlc_tvm.marks`), and of the kernels between them, one kernel with the loop in it.

    begin(sizes, h0, x, w)                        loop(h0, x, w, h, hs):
    a = call_tir(product, (h, w))           =>        h = h0
    b = call_tir(step, (a, xt))                       for t < T:
    end(b, b)                                             a = product of h, w;  b = step of a, x[:, t];  hs[:, t] = b;  h = b

What a turn does not need the marks for comes before the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import IRModule, relax
from tvm.ir import GlobalVar

from dlc_tvm.layout import relax_functions
from dlc_tvm.marks import BEGIN, END, Mark
from dlc_tvm.turns import Turn

PARTED = 32
"""Of so many kernels in a turn each is a function, which the loop calls: TVM's passes and LLVM take time with the square of a function's
length, minutes for AlphaFold's cycle of 340."""


def with_loops(mod: IRModule, *, threads: int = 0, parted: bool = False) -> IRModule:
    """The module with every loop between marks as a kernel; on a GPU, what is copied in it is by blocks of so many threads.
    With `parted` kernels of long turns are functions, which the lowering of scheduled kernels knows (`schedule.vector_math`).
    Raises `turns.NotSaid` if there is something else than kernels in one."""
    builder = relax.BlockBuilder(mod)
    for var, function in relax_functions(mod):
        blocks = [_without_marks(builder, block, threads, parted) for block in function.body.blocks]
        if not all(new.same_as(old) for new, old in zip(blocks, function.body.blocks, strict=True)):
            body = builder.normalize(relax.SeqExpr(blocks, function.body.body))
            kept = function.params, body, function.ret_ty, function.is_pure, function.attrs
            builder.update_func(var, relax.Function(*kept))
    return _read(builder.get())


def _read(mod: IRModule) -> IRModule:
    """The module without kernels that loops have taken over, which would be compiled a second time."""
    functions = dict(mod.functions_items())
    stack = [var for var, function in functions.items() if isinstance(function, relax.Function)]
    found = dict.fromkeys(stack)
    while stack:
        called: list[Any] = []
        tvm_ffi.structural_walk(functions[stack.pop()], (GlobalVar, called.append))
        new = [var for var in dict.fromkeys(called) if var in functions and var not in found]
        found.update(dict.fromkeys(new))
        stack += new
    kept = {var: function for var, function in functions.items() if var in found}
    return IRModule(kept, attrs=mod.attrs, global_infos=mod.global_infos)


def _without_marks(builder: Any, block: Any, threads: int, parted: bool) -> Any:
    """The block with its loops as kernels: the innermost first, which begin last."""
    bindings = list(block.bindings)
    begins = [i for i, each in enumerate(bindings) if Mark.of(each.value, BEGIN)]
    if not begins:
        return block
    for at in reversed(begins):
        bindings = _one_less(builder, bindings, at, threads, parted)
    kind = relax.DataflowBlock if isinstance(block, relax.DataflowBlock) else relax.BindingBlock
    return kind(bindings)


def _one_less(builder: Any, bindings: Sequence[Any], at: int, threads: int, parted: bool) -> list[Any]:
    """The bindings with the loop that begins there as a call of a kernel, where it ended."""
    begin = bindings[at]
    turn: list[Any] = []
    turning, others = {begin.var}, list(bindings[:at])
    for i, binding in enumerate(bindings[at + 1 :], at + 1):
        if _ends(binding, begin):
            kernel = Turn(builder, begin, turn, binding, threads, parted and len(turn) >= PARTED)
            return [*others, *kernel.bindings(), *bindings[i + 1 :]]
        if turning.isdisjoint(relax.analysis.free_vars(binding.value)):
            others.append(binding)
        else:
            turning.add(binding.var)
            turn.append(binding)
    return others  # nothing reads it


def _ends(binding: Any, begin: Any) -> bool:
    begun, ended = Mark.of(begin.value, BEGIN), Mark.of(binding.value, END)
    return begun is not None and ended is not None and begun[0].key == ended[0].key
