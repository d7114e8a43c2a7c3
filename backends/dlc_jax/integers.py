"""Where integers of 64 bits matter. Without x64 those of JAX have 32, whatever the spec says, and overflow without a word: programs that
may leave them, and calls with values that do, run with x64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlc.ir.nodes import Attr, Function, Op, Program, Value, walk
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

# Few additions of numbers below this one stay within 32 bits.
SMALL = 2**28
# What grows beyond its operands by more than an addition does.
GROWING = frozenset(
    {"mul", "pow", "sum", "prod", "cumsum", "cumprod", "einsum", "matmul", "scatter_add", "segment_sum"}
)
# What has numbers of its own, whatever it is made of: places, counts, truths.
BOUNDED = frozenset({"arange", "argmax", "argmin", "argsort", "const", "full", "randint", "size", "top_k"})
# What has the numbers of its first operand, whatever the places are that it reads them at.
READING = frozenset({"take", "take_along"})
# What has a bound at one end as soon as one of its operands has it.
CLOSING = {"minimum": "above", "maximum": "below"}
# What open sizes are taken for: positions times positions fit into 32 bits. Where an input has more elements, a call is looked at again.
LONG = 2**15
# As long as an axis may be, and more elements than any tensor has.
LONGEST, MOST = 2**29, 2**31


def needs_x64(program: Program, size: int = LONG) -> bool:
    """Whether a program computes in f64, or integers that may be beyond 32 bits, whatever its inputs are, with open sizes up to `size`."""
    return any(_is_wide(each) or _leaving(each, size) is not None for each in _computed(program))


def is_long(values: Iterable[Any]) -> bool:
    """Whether an input has more elements than sizes were taken for, or is such a size."""
    arrays = map(np.asarray, values)
    return any(
        each.size > LONG or (each.dtype.kind == "i" and not each.ndim and each > LONG) for each in arrays
    )


def why_x64(program: Program) -> str:
    """What of a program takes numbers of 64 bits, and where the spec says it."""
    for function in _computed(program):
        op = next(
            (op for op in walk(function.body) if any(out.type.dtype == "f64" for out in op.outputs)), None
        )
        what = "f64" if op is not None else "integers that nothing bounds, as `cast(x, i32)` would"
        op = op or _leaving(function, LONG)
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


def _leaving(function: Function, size: int) -> Op | None:
    """The first operation whose integers may be beyond 32 bits."""
    types = function.types()
    open_ends = {value.name: _ends(value, BOTH) for value in function.inputs}
    magnitudes: dict[str, int] = {}
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
        # The library's own places and counts are of what there is.
        if not free and not function.library and any(out.type.dtype == "i64" for out in op.outputs):
            most = magnitude(op, types, magnitudes, size)
            if most >= 2**31:
                return op
            magnitudes.update((out.name, most) for out in op.outputs)
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


# --- how large what is bounded can be -----------------------------------------------------------------------


def magnitude(op: Op, types: Mapping[str, TensorType], known: Mapping[str, int], size: int) -> int:
    """The greatest absolute value of an operation's integers, of those of its operands (0 of what is bounded by another one)."""
    operands = [name for name in op.inputs if name]
    of = [known.get(name, 1 if types[name].dtype == "bool" else 0) for name in operands]
    rule = _MAGNITUDES.get(op.op)
    if rule is not None:
        return rule(op, of, lambda dim: _at(dim, size), [types[name] for name in operands])
    return max([*of, *(abs(each) for each in _numbers(op.attr("value")))], default=0)


def _at(value: Any, size: int) -> int:
    """What a size may be, where no input has more than `size` elements: of several axes, that is of their product."""
    terms = Dim.of(value).terms.items()
    powers = ((abs(by), max((power for _, power in monomial), default=0)) for monomial, by in terms)
    return min(sum(by * int(size**power) for by, power in powers), MOST - 1)


Rule = Callable[[Op, list[int], Callable[[Any], int], list[TensorType]], int]


def _made(*names: str) -> Rule:
    return lambda op, of, at, types: max(at(op.attr(name)) for name in names)


def _along(op: Op, at: Callable[[Any], int], type: TensorType) -> int:
    """How many elements an operation joins into one."""
    axes = op.attr("axis")
    found = [axes] if isinstance(axes, int) else list(axes) if isinstance(axes, tuple) else range(type.rank)
    return min(math.prod(at(type.axes[int(str(axis))]) for axis in found), MOST)


def _elements(at: Callable[[Any], int], type: TensorType) -> int:
    return min(math.prod(map(at, type.axes)), MOST)


def _power(base: int, count: int) -> int:
    return base**count if base < 2 or count < 64 else MOST


_MAGNITUDES: Mapping[str, Rule] = {
    "arange": _made("start", "stop"),
    "randint": _made("low", "high"),
    "size": _made("dim"),
    "full": _made("value"),
    **dict.fromkeys(
        ("argmax", "argmin", "argsort", "top_k"),
        lambda op, of, at, types: at(types[0].axes[int(str(op.attr("axis")))]),
    ),
    **dict.fromkeys(("add", "sub"), lambda op, of, at, types: sum(of)),
    "mul": lambda op, of, at, types: math.prod(of),
    "pow": lambda op, of, at, types: _power(*of),
    **dict.fromkeys(("sum", "cumsum"), lambda op, of, at, types: of[0] * _along(op, at, types[0])),
    **dict.fromkeys(("prod", "cumprod"), lambda op, of, at, types: _power(of[0], _along(op, at, types[0]))),
    **dict.fromkeys(
        ("einsum", "matmul"),
        lambda op, of, at, types: math.prod(of) * max(_elements(at, each) for each in types),
    ),
    "scatter_add": lambda op, of, at, types: of[0] + of[2] * _elements(at, types[2]),
}


def _numbers(value: Attr) -> Iterator[int]:
    if isinstance(value, tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int):
        yield int(value)
