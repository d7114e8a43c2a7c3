"""How long properties are tried, and from which seed: everyday runs try the same examples each time, so that none fails by luck.

`pytest --properties 20` tries twenty times as many, from a random seed that the last line of the output names;
`--hypothesis-seed` repeats one. Both hold for hypothesis and for the tests that draw by themselves, by `seeds`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import settings

# What hypothesis tries where a test does not say.
USUAL = 100


@dataclass
class Run:
    """How many times the usual number of examples, and the seed that they come from."""

    times: int = 1
    seed: int = 0


RUN = Run()


def configure(times: int, seed: int) -> None:
    """Before tests are read: `settings` of a decorator are fixed then."""
    RUN.times, RUN.seed = times, seed
    settings.register_profile(
        "dlc",
        max_examples=USUAL * times,
        deadline=None,
        derandomize=times == 1,
        database=None,
        print_blob=True,
    )
    settings.load_profile("dlc")


def examples(count: int, **options: Any) -> settings:
    """Hypothesis's settings for a test that tries `count` examples in an everyday run."""
    return settings(max_examples=count * RUN.times, **options)


def seeds(count: int, start: int = 0) -> range:
    """Seeds for a test that draws by itself: 0 to `count` in an everyday run."""
    first = RUN.seed + start
    return range(first, first + count * RUN.times)
