"""Numbers of the text that f16 has not are what a cast makes of them: the largest one, or infinity.

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

from dlc.ir.nodes import Attr, Function, Op, Program, walk
from dlc.ir.splice import within
from dlc.passes.base import each_function
from dlc.records import replace

LARGEST = 65_504.0
ROUNDED_UP = 65_520.0
"""From here on the nearest number of f16 is infinity."""
_NUMBERS = {"const": ("value",), "full": ("value",), "pad": ("value",), "clamp": ("min", "max")}


def within_f16(program: Program, precision: str = "f16") -> Program:
    """The program with no number that is beyond f16 in a value of it; `float` is f16 where the `precision` is."""
    dtypes = frozenset({"f16", "float"} if precision == "f16" else {"f16"})

    def change(op: Op) -> Op:
        return _within(op) if _is_beyond(op, dtypes) else within(op, change)

    def changed(function: Function) -> Function:
        if not any(_is_beyond(op, dtypes) for op in walk(function.body)):
            return function
        return replace(function, body=tuple(map(change, function.body)))

    return each_function(program, changed)


def _is_beyond(op: Op, dtypes: frozenset[str]) -> bool:
    held = [op.attr(key) for key in _NUMBERS.get(op.op, ())]
    return bool(held) and op.out.type.dtype in dtypes and any(_rounded(each) != each for each in held)


def _within(op: Op) -> Op:
    own = _NUMBERS[op.op]
    return replace(
        op, attrs=tuple((key, _rounded(value) if key in own else value) for key, value in op.attrs)
    )


def _rounded(value: Attr) -> Attr:
    if isinstance(value, tuple):
        return tuple(map(_rounded, value))
    if not isinstance(value, int | float) or not LARGEST < abs(value) < math.inf:
        return value
    return math.copysign(LARGEST if abs(value) < ROUNDED_UP else math.inf, value)
