"""CPU schedules: one rule per family of kernels, tried in order until one fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import IRModule, tirx

from dlc_tvm.schedule.blockwise import blockwise
from dlc_tvm.schedule.columns import columns
from dlc_tvm.schedule.contraction import contraction
from dlc_tvm.schedule.elementwise import elementwise
from dlc_tvm.schedule.machine import Machine
from dlc_tvm.schedule.nest import TVM_ERRORS, Kernel, NotApplicable, Rule, log
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
    return func
