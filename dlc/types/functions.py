"""The functions of static values that expressions keep: what each computes, and how Python calls it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dlc.records import dataclass


@dataclass(frozen=True, slots=True)
class Function:
    """`python` is its name there, `listed` whether that gives an iterator where the language has a list."""

    compute: Callable[..., Any]
    python: str
    listed: bool = False


def _of_math(name: str) -> Function:
    return Function(getattr(math, name), f"math.{name}")


def _lists(make: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *lists: list(make(*lists))


FUNCTIONS: Mapping[str, Function] = {
    **{
        name: _of_math(name)
        for name in ("sqrt", "log", "exp", "floor", "ceil", "sin", "cos", "tan", "tanh", "atan", "prod")
    },
    **{
        each.__name__: Function(each, each.__name__)
        for each in (range, len, sum, min, max, abs, round, int, float, any, all)
    },
    **{
        each.__name__: Function(_lists(each), each.__name__, listed=True)
        for each in (enumerate, zip, reversed)
    },
}
