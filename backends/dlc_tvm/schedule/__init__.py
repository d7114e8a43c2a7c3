"""CPU schedules: one rule per family of kernels, tried in order until one fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import IRModule, s_tir, tirx
from tvm.s_tir.dlight.analysis import normalize_prim_func

from dlc_tvm.schedule.blockwise import blockwise
from dlc_tvm.schedule.columns import columns
from dlc_tvm.schedule.contraction import contraction
from dlc_tvm.schedule.elementwise import elementwise
from dlc_tvm.schedule.machine import Machine
from dlc_tvm.schedule.nest import TVM_ERRORS, Kernel, NotApplicable, Rule, extent, log, loops_by_kind
from dlc_tvm.schedule.rows import rows

RULE = "dlc.rule"  # the attribute of a scheduled kernel that names its rule
RULES: tuple[Rule, ...] = (elementwise, contraction, rows, columns, blockwise)


def schedule(
    mod: IRModule,
    machine: Machine,
    *,
    accepts: Callable[[Any], bool] = lambda _: True,
) -> IRModule:
    """A module with every kernel scheduled by the first of `RULES` that fits it and whose result is accepted."""
    functions = dict(mod.functions_items())
    for var, func in functions.items():
        if isinstance(func, tirx.PrimFunc):
            functions[var] = schedule_kernel(func, machine, accepts=accepts)
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def unscheduled(mod: IRModule) -> IRModule:
    """The module with its kernels as they are, but right where there is nothing to reduce."""
    functions = {
        var: begun(func) if isinstance(func, tirx.PrimFunc) else func for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def schedule_kernel(func: Any, machine: Machine, *, accepts: Callable[[Any], bool] = lambda _: True) -> Any:
    """The scheduled kernel, or the kernel itself where no rule fits."""
    for rule in RULES:
        try:
            kernel = Kernel.of(func, machine)
            rule(kernel)
        except NotApplicable as reason:
            log.debug("%s doesn't fit: %s", rule.__name__, reason)
            continue
        except TVM_ERRORS as error:
            log.info("%s failed: %s", rule.__name__, error)
            continue
        result = kernel.sch.mod["main"] if kernel.result is None else kernel.result
        if accepts(result):
            return result.with_attrs({"tirx.is_scheduled": True, RULE: rule.__name__})
    return begun(func)


def begun(func: Any) -> Any:
    """The kernel with each sum of an unknown length begun before its loop: TVM begins it in the first turn, which there may not be."""
    try:
        sch = s_tir.Schedule(func)
        for block in normalize_prim_func(sch) or ():
            depth = [loop for loop, reduces in loops_by_kind(sch, block.block_rv) if reduces]
            if depth and not all(extent(sch, loop) for loop in depth):
                sch.decompose_reduction(block.block_rv, depth[0])
    except TVM_ERRORS as error:
        log.info("a kernel's sums stay as they are: %s", error)
        return func
    return sch.mod["main"].with_attrs(func.attrs) if func.attrs else sch.mod["main"]
