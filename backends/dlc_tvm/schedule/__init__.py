"""CPU schedules: one rule per family of kernels, tried in order until one fits."""

from __future__ import annotations

from typing import Any

from tvm import IRModule, tirx

from dlc_tvm.schedule.columns import columns
from dlc_tvm.schedule.contraction import contraction
from dlc_tvm.schedule.elementwise import elementwise
from dlc_tvm.schedule.machine import Machine
from dlc_tvm.schedule.nest import REFUSALS, Kernel, Rule, log
from dlc_tvm.schedule.rows import rows

RULES: tuple[Rule, ...] = (elementwise, contraction, rows, columns)


def schedule(mod: IRModule, machine: Machine, rules: tuple[Rule, ...] = RULES) -> IRModule:
    """Schedule every kernel of `mod` with the first rule that takes it; the rest stay as they are."""
    scheduled = {}
    for var, func in mod.functions_items():
        if isinstance(func, tirx.PrimFunc):
            result = schedule_kernel(func, machine, rules)
            if result is not None:
                scheduled[var] = result
    for var, func in scheduled.items():
        mod[var] = func
    return mod


def schedule_kernel(func: Any, machine: Machine, rules: tuple[Rule, ...] = RULES) -> Any | None:
    for rule in rules:
        try:
            kernel = Kernel.of(func, machine)
            rule(kernel)
            return kernel.sch.mod["main"].with_attr("tirx.is_scheduled", True)
        except REFUSALS as refusal:
            log.debug("%s refuses: %s", rule.__name__, refusal)
    return None
