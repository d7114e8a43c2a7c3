"""Where integers of 64 bits matter. Without x64 those of JAX have 32, whatever the spec says, and overflow without a word: programs that
may leave them, and calls with values that do, run with x64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlc.ir.nodes import Attr, Function, Op, Program, Value, walk

# Few additions of numbers below this one stay within 32 bits.
SMALL = 2**28
# What grows beyond its operands by more than an addition does.
GROWING = frozenset({"mul", "pow", "sum", "prod", "cumsum", "cumprod", "einsum", "matmul"})
# What has numbers of its own, whatever it is made of: places, counts, truths.
BOUNDED = frozenset({"arange", "argmax", "argmin", "argsort", "const", "full", "randint", "size", "top_k"})
# What has the numbers of its first operand, whatever the places are that it reads them at.
READING = frozenset({"take", "take_along"})
# What has a bound at one end as soon as one of its operands has it.
CLOSING = {"minimum": "above", "maximum": "below"}


def needs_x64(program: Program) -> bool:
    """Whether a program computes in f64, or integers that may be beyond 32 bits, whatever its inputs are."""
    return any(_is_wide(each) or _leaving(each) is not None for each in _computed(program))


def why_x64(program: Program) -> str:
    """What of a program takes numbers of 64 bits, and where the spec says it."""
    for function in _computed(program):
        op = next(
            (op for op in walk(function.body) if any(out.type.dtype == "f64" for out in op.outputs)), None
        )
        what = "f64" if op is not None else "integers that nothing bounds, as `cast(x, i32)` would"
        op = op or _leaving(function)
        if op is not None and op.span.line:
            place = f"line {op.span.line} of {Path(op.span.file).name}"
            return f"numbers of 64 bits (`{op.op}` in {place} gives {what})"
    return "numbers of 64 bits"


def _computed(program: Program) -> Iterator[Function]:
    return (each for each in program.functions.values() if each.kind != "init")


def _is_wide(function: Function) -> bool:
    return any(type.dtype == "f64" for type in function.types().values())


def is_large(values: Iterable[Any]) -> bool:
    """Whether one of the values holds integers that are no small ones."""
    return any(_large(value) for value in values if getattr(value, "dtype", None) == np.int64)


def _large(value: Any) -> bool:
    array = np.asarray(value)
    return bool(array.size) and max(abs(int(array.min())), abs(int(array.max()))) >= SMALL


def _leaving(function: Function) -> Op | None:
    """The first operation whose integers may be beyond 32 bits."""
    types = function.types()
    open_ends = {value.name: _ends(value, BOTH) for value in function.inputs}
    for op in walk(function.body):
        if any(_constants(op.attr(name)) for name in ("value", "low", "high", "start", "stop")):
            return op
        broken = op.op == "cast" and types[op.inputs[0]].dtype != "bool"
        free = BOTH if broken else _free(op, open_ends)
        if free and op.op in GROWING and op.out.type.dtype == "i64":
            return op
        open_ends.update((out.name, _ends(out, free)) for out in op.outputs)
        if op.region:
            open_ends.update((arg.name, _ends(arg, free)) for arg in op.region.args)
    return None


# The ends at which a number has no bound.
Ends = frozenset[str]
NONE, BOTH = Ends(), Ends(("below", "above"))


def _ends(value: Value, free: Ends) -> Ends:
    return free if value.type.dtype == "i64" else NONE


def _free(op: Op, open_ends: Mapping[str, Ends]) -> Ends:
    """At which ends an operation's integers may be any number: those of data, and of floats that become integers. The lesser of two
    has the bound above that one of them has, the greater the bound below."""
    if op.op in BOUNDED:
        return NONE
    if op.op in ("param", "call", "loop") or op.callee:
        return BOTH
    read = op.inputs[:1] if op.op in READING else op.inputs
    ends = [open_ends.get(name, BOTH) for name in read if name]
    found = NONE.union(*ends)
    if op.op in CLOSING:
        return found - {CLOSING[op.op]} | (BOTH.intersection(*ends) & {CLOSING[op.op]})
    return BOTH if found else NONE


def _constants(value: Attr) -> bool:
    """Whether there is an integer that 32 bits don't hold."""
    if isinstance(value, tuple):
        return any(map(_constants, value))
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**31
