"""Learning rates as pure functions of the step.

`step` counts updates from 0, `total` is how many there will be. `warmup` is a number of steps in which the
rate grows linearly from lr/warmup to lr; the rest of the schedule begins after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dlc.elaborate.checks.plan import Named

Args = Mapping[str, Any]


def rate(lr: float | Named, step: int, total: int) -> float:
    """The learning rate of an update: a number stays what it is."""
    if not isinstance(lr, Named):
        return float(lr)
    return float(_SCHEDULES[lr.name](lr.args, step, total))


def _warmup(args: Args, step: int) -> float:
    """The share of the rate that the warm-up allows."""
    return float(min(1.0, (step + 1) / args["warmup"])) if args["warmup"] else 1.0


def _progress(args: Args, step: int, total: int) -> float:
    """How much of the way after the warm-up is done, from 0 to 1."""
    length = max(1, total - args["warmup"])
    return float(min(1.0, max(0, step - args["warmup"]) / length))


def _constant(args: Args, step: int, total: int) -> float:
    return float(args["lr"]) * _warmup(args, step)


def _cosine(args: Args, step: int, total: int) -> float:
    """Half a cosine from lr to `end` (Loshchilov and Hutter, "SGDR", 2017)."""
    share = 0.5 * (1 + math.cos(math.pi * _progress(args, step, total)))
    return float(args["end"] + (args["lr"] - args["end"]) * share) * _warmup(args, step)


def _linear(args: Args, step: int, total: int) -> float:
    """A straight line from lr to `end`."""
    share = 1 - _progress(args, step, total)
    return float(args["end"] + (args["lr"] - args["end"]) * share) * _warmup(args, step)


def _step_decay(args: Args, step: int, total: int) -> float:
    """Times `factor` every so many steps, the warm-up's among them, as PyTorch's StepLR."""
    return float(args["lr"] * args["factor"] ** (step // args["every"])) * _warmup(args, step)


def _one_cycle(args: Args, step: int, total: int) -> float:
    """Up to lr and down again along cosines (Smith and Topin, "Super-convergence", 2018), as PyTorch's
    OneCycleLR: `warmup` is the share of steps that go up, `start` the first rate as a share of lr, `end`
    the last as a share of the first."""
    first = args["lr"] * args["start"]
    last = first * args["end"]
    peak = args["warmup"] * total - 1
    if step <= peak:
        return _between(first, args["lr"], step / peak if peak > 0 else 1.0)
    length = total - 1 - peak
    return _between(args["lr"], last, min(1.0, (step - peak) / length) if length > 0 else 1.0)


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


_SCHEDULES: Mapping[str, Callable[[Args, int, int], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "step_decay": _step_decay,
    "one_cycle": _one_cycle,
}
