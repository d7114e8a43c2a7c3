"""Timing side by side: the candidates take turns in one process, so that what else the machine does hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one candidate: median and quartiles over the rounds; and how many cores it kept busy."""

    median: float
    low: float
    high: float
    cores: float


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 15, warmup: int = 3, pause: float = 0.0
) -> dict[str, Timing]:
    """Time every candidate once a round, in turn, after `warmup` untimed rounds.

    Where candidates have threads of their own, a `pause` before each (and an untimed call, to wake its threads) lets
    those of the others, which spin for a while after their last task, go to sleep.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    busy = dict.fromkeys(candidates, 0.0)
    for i in range(warmup + rounds):
        for name, run in candidates.items():
            if pause:
                time.sleep(pause)
                run()
            start, used = time.perf_counter(), time.process_time()
            run()
            if i >= warmup:
                seconds[name].append(time.perf_counter() - start)
                busy[name] += time.process_time() - used
    return {name: _summary(values, busy[name]) for name, values in seconds.items()}


def _summary(values: list[float], busy: float) -> Timing:
    low, median, high = statistics.quantiles(values, n=4)
    return Timing(median, low, high, busy / sum(values))


def table(timings: Mapping[str, Timing], base: str) -> str:
    """A Markdown table with each candidate's ratio to `base`."""
    rows = ["| what | median ms | quartiles ms | cores | ratio |", "| --- | --- | --- | --- | --- |"]
    for name, each in timings.items():
        ratio = each.median / timings[base].median
        spread = f"{each.low * 1e3:.1f} to {each.high * 1e3:.1f}"
        rows.append(f"| {name} | {each.median * 1e3:.1f} | {spread} | {each.cores:.1f} | {ratio:.3f} |")
    return "\n".join(rows)
