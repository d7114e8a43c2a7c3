"""Timing side by side: the candidates take turns in one process, so that what else the machine does hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one candidate: median and quartiles over the rounds; how many cores it kept busy, and the median of processor seconds."""

    median: float
    low: float
    high: float
    cores: float
    used: float


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 15, warmup: int = 3, pause: float = 0.0
) -> dict[str, Timing]:
    """Time every candidate once a round, in turn, after `warmup` untimed rounds.

    Where candidates have threads of their own, a `pause` before each (and an untimed call, to wake its threads) lets
    those of the others, which spin for a while after their last task, go to sleep.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    busy: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(warmup + rounds):
        for name, run in candidates.items():
            if pause:
                time.sleep(pause)
                run()
            start, used = time.perf_counter(), time.process_time()
            run()
            if i >= warmup:
                seconds[name].append(time.perf_counter() - start)
                busy[name].append(time.process_time() - used)
    return {name: _summary(values, busy[name]) for name, values in seconds.items()}


def _summary(values: list[float], busy: list[float]) -> Timing:
    low, median, high = statistics.quantiles(values, n=4)
    return Timing(median, low, high, sum(busy) / sum(values), statistics.median(busy))


def table(timings: Mapping[str, Timing], base: str, *, processor: bool = False) -> str:
    """A Markdown table with each candidate's ratio to `base`; with that of `processor` time too, which others on the machine change less."""
    names = [
        "what",
        "median ms",
        "quartiles ms",
        "cores",
        "ratio",
        *(["processor ratio"] if processor else []),
    ]
    rows = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for name, each in timings.items():
        spread = f"{each.low * 1e3:.1f} to {each.high * 1e3:.1f}"
        cells = [name, f"{each.median * 1e3:.1f}", spread, f"{each.cores:.1f}"]
        cells.append(f"{each.median / timings[base].median:.3f}")
        cells += [f"{each.used / timings[base].used:.3f}"] if processor else []
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)
