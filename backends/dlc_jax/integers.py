"""Where integers of 64 bits matter. Without x64 those of JAX have 32, whatever the spec says, and overflow without a word: programs that
may leave them, and calls with values that do, run with x64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dlc.ir.nodes import Attr, Function, Op, Program, walk

# Few additions of numbers below this one stay within 32 bits.
SMALL = 2**28
# What grows beyond its operands by more than an addition does.
GROWING = frozenset({"mul", "pow", "sum", "prod", "cumsum", "cumprod", "einsum", "matmul"})
# What has numbers of its own, whatever it is made of: places, counts, truths.
BOUNDED = frozenset({"arange", "argmax", "argmin", "argsort", "const", "full", "randint", "size", "top_k"})


def needs_x64(program: Program) -> bool:
    """Whether a program computes in f64, or integers that may be beyond 32 bits, whatever its inputs are."""
    computed = [each for each in program.functions.values() if each.kind != "init"]
    return any(_is_wide(each) or _leaves(each) for each in computed)


def _is_wide(function: Function) -> bool:
    return any(type.dtype == "f64" for type in function.types().values())


def is_large(values: Iterable[Any]) -> bool:
    """Whether one of the values holds integers that are no small ones."""
    return any(_large(value) for value in values if getattr(value, "dtype", None) == np.int64)


def _large(value: Any) -> bool:
    array = np.asarray(value)
    return bool(array.size) and max(abs(int(array.min())), abs(int(array.max()))) >= SMALL


def _leaves(function: Function) -> bool:
    types = function.types()
    open_ended = {value.name: value.type.dtype == "i64" for value in function.inputs}
    for op in walk(function.body):
        if any(_constants(op.attr(name)) for name in ("value", "low", "high", "start", "stop")):
            return True
        free = _is_free(op, open_ended) or (op.op == "cast" and types[op.inputs[0]].dtype != "bool")
        if free and op.op in GROWING and op.out.type.dtype == "i64":
            return True
        open_ended.update((out.name, free and out.type.dtype == "i64") for out in op.outputs)
        if op.region:
            open_ended.update((arg.name, free and arg.type.dtype == "i64") for arg in op.region.args)
    return False


def _is_free(op: Op, open_ended: Mapping[str, bool]) -> bool:
    """Whether an operation's integers may be any number: those of data, and of floats that become integers."""
    if op.op in BOUNDED:
        return False
    if op.op in ("param", "call") or op.callee:
        return True
    return any(open_ended.get(name, True) for name in op.inputs if name) or op.op == "loop"


def _constants(value: Attr) -> bool:
    """Whether there is an integer that 32 bits don't hold."""
    if isinstance(value, tuple):
        return any(map(_constants, value))
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**31
