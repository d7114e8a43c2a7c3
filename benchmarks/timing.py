"""Timing side by side: the candidates take turns in one process, so that what else the machine does hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one candidate: median and quartiles over the rounds."""

    median: float
    low: float
    high: float


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 15, warmup: int = 3
) -> dict[str, Timing]:
    """Time every candidate once a round, in turn, after `warmup` untimed rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(warmup + rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if i >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: _summary(values) for name, values in seconds.items()}


def _summary(values: list[float]) -> Timing:
    low, median, high = statistics.quantiles(values, n=4)
    return Timing(median, low, high)


def table(timings: Mapping[str, Timing], base: str) -> str:
    """A Markdown table with each candidate's ratio to `base`."""
    rows = ["| what | median ms | quartiles ms | ratio |", "| --- | --- | --- | --- |"]
    for name, each in timings.items():
        ratio = each.median / timings[base].median
        spread = f"{each.low * 1e3:.1f} to {each.high * 1e3:.1f}"
        rows.append(f"| {name} | {each.median * 1e3:.1f} | {spread} | {ratio:.3f} |")
    return "\n".join(rows)
