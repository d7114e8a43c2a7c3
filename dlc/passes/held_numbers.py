"""Numbers of the text that f16, bf16 or f32 has not are what a cast makes of them: the largest one, or infinity.

Before, where `float` is f16:

    model Net(%x: [2]) -> (y: %y) {
        %far: [] = const() {value=-1000000000.0}
        %y: [2] = maximum(%x, %far)
    }

After:

    model Net(%x: [2]) -> (y: %y) {
        %far: [] = const() {value=-inf}
        %y: [2] = maximum(%x, %far)
    }

The reference computes so. Frameworks refuse such a number in some places and cast it in others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from dlc.ir.nodes import Attr, Function, Op, Program, walk
from dlc.ir.splice import within
from dlc.passes.base import each_function
from dlc.records import replace

_LIMITS: Mapping[str, tuple[float, float]] = {
    "f16": (65_504.0, 65_520.0),
    "bf16": ((2 - 2**-7) * 2.0**127, (2 - 2**-8) * 2.0**127),
    "f32": ((2 - 2**-23) * 2.0**127, (2 - 2**-24) * 2.0**127),
}
"""The largest number of a dtype, and where the nearest one is infinity from."""
LARGEST = _LIMITS["f16"][0]
_NUMBERS = {"const": ("value",), "full": ("value",), "pad": ("value",), "clamp": ("min", "max")}


def within_floats(program: Program, precision: str = "f16") -> Program:
    """The program with no number that is beyond its float dtype in a value of it; `float` is the `precision`."""
    limits = {**_LIMITS, **({"float": _LIMITS[precision]} if precision in _LIMITS else {})}

    def is_beyond(op: Op) -> bool:
        held = [op.attr(key) for key in _NUMBERS.get(op.op, ())]
        if not held or op.out.type.dtype not in limits:
            return False
        return any(_rounded(each, limits[op.out.type.dtype]) != each for each in held)

    def change(op: Op) -> Op:
        return _within(op, limits[op.out.type.dtype]) if is_beyond(op) else within(op, change)

    def changed(function: Function) -> Function:
        if not any(map(is_beyond, walk(function.body))):
            return function
        return replace(function, body=tuple(map(change, function.body)))

    return each_function(program, changed)


def _within(op: Op, limits: tuple[float, float]) -> Op:
    own = _NUMBERS[op.op]
    attrs = ((key, _rounded(value, limits) if key in own else value) for key, value in op.attrs)
    return replace(op, attrs=tuple(attrs))


def _rounded(value: Attr, limits: tuple[float, float]) -> Attr:
    if isinstance(value, tuple):
        return tuple(_rounded(each, limits) for each in value)
    largest, infinite = limits
    if not isinstance(value, int | float) or not largest < abs(value) < math.inf:
        return value
    return math.copysign(largest if abs(value) < infinite else math.inf, value)
