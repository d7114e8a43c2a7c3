"""Learning rates as pure functions of the step.

`step` counts updates from 0, `total` is how many there will be. `warmup` is a number of steps in which the
rate grows linearly from lr/warmup to lr; the rest of the schedule begins after it. The functions themselves are those that
scripts of a training copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.checks.plan import Named
from dlc.emit import script_library as library

_SCHEDULES: Mapping[str, Callable[..., float]] = {
    "constant": library.constant_rate,
    "cosine": library.cosine_rate,
    "linear": library.linear_rate,
    "step_decay": library.step_decay_rate,
    "one_cycle": library.one_cycle_rate,
}


def rate(lr: float | Named, step: int, total: int) -> float:
    """The learning rate of an update: a number stays what it is."""
    if not isinstance(lr, Named):
        return float(lr)
    if lr.function is not None:
        found = lr.function(step, total)
        if not (math.isfinite(found) and found >= 0):
            message = f"the schedule `{lr.name}` gives {found:g} for step {step:,} of {total:,}, which is no learning rate"
            raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])
        return found
    return float(_SCHEDULES[lr.name](step, total, **lr.args))
