"""Between which bounds the integers of a computation lie, as far as that follows from sizes and constants: `arange(T)` lies from 0 to T - 1.

A rule per op; what has none may be anything that its dtype holds. Of floats only a sign is known, since they round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlc.ops.rules import product
from dlc.records import dataclass
from dlc.types.dims import Dim, dim_max, dim_min
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

ZERO, ONE = Dim.of(0), Dim.of(1)


@dataclass(frozen=True, slots=True)
class Interval:
    """The least and the greatest that a tensor's elements can be; None where nothing is known.

    `exact`: sizes alone decide the elements, and one of them is the least, one the greatest. Else the bounds may be wider than the
    elements are."""

    low: Dim | None = None
    high: Dim | None = None
    exact: bool = False

    @property
    def point(self) -> Dim | None:
        """The one value that all elements have."""
        return self.low if self.low is not None and self.low == self.high else None

    @property
    def loose(self) -> Interval:
        return Interval(self.low, self.high)


ANY = Interval()
_BY_DTYPE = {"bool": Interval(ZERO, ONE), "u8": Interval(ZERO, Dim.of(255))}


def of_dtype(type: TensorType) -> Interval:
    """What is known of data."""
    return _BY_DTYPE.get(type.dtype, ANY)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: what is known of its operands, their types, its attributes."""

    facts: Facts
    inputs: Sequence[Interval]
    types: Sequence[TensorType]
    attrs: Mapping[str, Any]

    def at_least(self, a: Dim | None, b: Dim | int) -> bool:
        return a is not None and self.facts.prove_ge(a, b) is True


Rule = Callable[[Step], "tuple[Interval, ...]"]


def bounds(op: str, step: Step, outputs: Sequence[TensorType]) -> tuple[Interval, ...]:
    """What is known of the results of a primitive op, of these types."""
    rule = RULES.get(op)
    found = rule(step) if rule is not None else (ANY,) * len(outputs)
    return tuple(_settled(step, each, type) for each, type in zip(found, outputs, strict=True))


def _settled(step: Step, interval: Interval, type: TensorType) -> Interval:
    if type.dtype in ("i64", "i32"):
        return interval
    if type.is_float:
        return Interval(ZERO) if step.at_least(interval.low, 0) else ANY
    return of_dtype(type)


def constant(value: Any) -> Interval:
    """Of a number, or nested tuples of numbers."""
    numbers = [value]
    while numbers and isinstance(numbers[0], tuple):
        numbers = [each for row in numbers for each in row]
    try:
        low, high = min(numbers), max(numbers)
        return Interval(Dim.of(int(low // 1)), Dim.of(int(-(-high // 1))), exact=True)
    except (TypeError, ValueError, OverflowError):  # sizes among them, nan, infinities, nothing at all
        return ANY


# --- arithmetic ---------------------------------------------------------------------------------------------


def _both(a: Dim | None, b: Dim | None, work: Callable[[Dim, Dim], Dim]) -> Dim | None:
    return None if a is None or b is None else work(a, b)


def _either(a: Dim | None, b: Dim | None, work: Callable[[Dim, Dim], Dim]) -> Dim | None:
    return a if b is None else b if a is None else work(a, b)


def joined(parts: Sequence[Interval], exact: bool = False) -> Interval:
    first, *others = parts
    for each in others:
        first = Interval(_both(first.low, each.low, dim_min), _both(first.high, each.high, dim_max))
    return Interval(first.low, first.high, exact)


def _add(step: Step) -> tuple[Interval, ...]:
    a, b = step.inputs
    return (Interval(_both(a.low, b.low, Dim.__add__), _both(a.high, b.high, Dim.__add__), _apart(a, b)),)


def _apart(a: Interval, b: Interval) -> bool:
    """Whether the extremes of two meet somewhere. Two that vary may vary together: `arange(T) - arange(T)` is 0 everywhere."""
    return a.exact and b.exact and (a.point is not None or b.point is not None)


def _negative(a: Interval) -> Interval:
    low, high = (None if each is None else -each for each in (a.high, a.low))
    return Interval(low, high, a.exact)


def _sub(step: Step) -> tuple[Interval, ...]:
    a, b = step.inputs
    return _add(Step(step.facts, (a, _negative(b)), step.types, step.attrs))


def _neg(step: Step) -> tuple[Interval, ...]:
    return (_negative(step.inputs[0]),)


def _mul(step: Step) -> tuple[Interval, ...]:
    a, b = step.inputs
    if b.point is None:
        a, b = b, a
    if b.point is not None:
        return (_scaled(step, a, b.point, a.exact and b.exact),)
    if step.at_least(a.low, 0) and step.at_least(b.low, 0):
        return (Interval(_both(a.low, b.low, Dim.__mul__), _both(a.high, b.high, Dim.__mul__)),)
    return (ANY,)


def _scaled(step: Step, a: Interval, factor: Dim, exact: bool) -> Interval:
    if step.at_least(-factor, 0):
        a, factor = _negative(a), -factor
    elif not step.at_least(factor, 0):
        return ANY
    low, high = (None if each is None else each * factor for each in (a.low, a.high))
    return Interval(low, high, exact)


def _floordiv(step: Step) -> tuple[Interval, ...]:
    a, b = step.inputs
    divisor = b.point
    if divisor is None or not step.at_least(divisor, 1):
        return (ANY,)
    low, high = (None if each is None else each // divisor for each in (a.low, a.high))
    return (Interval(low, high, a.exact and b.exact),)


def _div(step: Step) -> tuple[Interval, ...]:
    a, b = step.inputs
    return (Interval(ZERO if step.at_least(a.low, 0) and step.at_least(b.low, 0) else None),)


def _mod(step: Step) -> tuple[Interval, ...]:
    a, b = step.inputs
    divisor = b.point
    if divisor is None or not step.at_least(divisor, 1):
        return (ANY,)
    if step.at_least(a.low, 0) and a.high is not None and step.at_least(divisor - 1, a.high):
        return (a,)
    return (Interval(ZERO, divisor - 1),)


def _abs(step: Step) -> tuple[Interval, ...]:
    (a,) = step.inputs
    if step.at_least(a.low, 0):
        return (a,)
    return (Interval(ZERO, _both(a.high, _negative(a).high, dim_max)),)


def _minimum(step: Step) -> tuple[Interval, ...]:
    a, b = step.inputs
    return (Interval(_both(a.low, b.low, dim_min), _either(a.high, b.high, dim_min)),)


def _maximum(step: Step) -> tuple[Interval, ...]:
    a, b = step.inputs
    return (Interval(_either(a.low, b.low, dim_max), _both(a.high, b.high, dim_max)),)


# --- what is made, moved, joined ----------------------------------------------------------------------------


def _arange(step: Step) -> tuple[Interval, ...]:
    start, stop, by = Dim.of(step.attrs["start"]), Dim.of(step.attrs["stop"]), int(step.attrs["step"])
    count = (stop - start + (by - 1)) // by if by > 0 else (start - stop + (-by - 1)) // -by
    last = start + by * (count - 1)
    return (Interval(start, last, exact=True) if by > 0 else Interval(last, start, exact=True),)


def _full(step: Step) -> tuple[Interval, ...]:
    return (constant(step.attrs["value"]),)


def _size(step: Step) -> tuple[Interval, ...]:
    dim = Dim.of(step.attrs["dim"])
    return (Interval(dim, dim, exact=True),)


def _randint(step: Step) -> tuple[Interval, ...]:
    return (Interval(Dim.of(step.attrs["low"]), Dim.of(step.attrs["high"]) - 1),)


def _same(step: Step) -> tuple[Interval, ...]:
    return (step.inputs[0],)


def _some(step: Step) -> tuple[Interval, ...]:
    return (step.inputs[0].loose,)


def _concat(step: Step) -> tuple[Interval, ...]:
    return (joined(step.inputs, all(each.exact for each in step.inputs)),)


def _pad(step: Step) -> tuple[Interval, ...]:
    return (joined((step.inputs[0], constant(step.attrs["value"]))),)


def _where(step: Step) -> tuple[Interval, ...]:
    return (joined(step.inputs[1:]),)


def _written(at: int) -> Rule:
    """Of an op that writes its operand `at` into the first one."""
    return lambda step: (joined((step.inputs[0], step.inputs[at])),)


# --- over axes ----------------------------------------------------------------------------------------------


def _over(step: Step) -> Dim:
    """How many elements of the operand one element of the result is made of."""
    axes, axis = step.types[0].axes, step.attrs.get("axis")
    if isinstance(axis, int):
        return axes[axis]
    return product(axes if axis is None else (axes[each] for each in axis))


def _sum(step: Step) -> tuple[Interval, ...]:
    (a,) = step.inputs
    if not step.at_least(a.low, 0):
        return (ANY,)
    return (Interval(ZERO, None if a.high is None else a.high * _over(step)),)


def _place(step: Step) -> tuple[Interval, ...]:
    return (Interval(ZERO, _over(step) - 1),)


def _top_k(step: Step) -> tuple[Interval, ...]:
    return (step.inputs[0].loose, Interval(ZERO, _over(step) - 1))


RULES: Mapping[str, Rule] = {
    "add": _add, "sub": _sub, "neg": _neg, "mul": _mul, "div": _div, "floordiv": _floordiv, "mod": _mod, "abs": _abs,
    "minimum": _minimum, "maximum": _maximum, "floor": _same, "ceil": _same, "round": _same,
    "arange": _arange, "full": _full, "size": _size, "randint": _randint,
    "cast": _same, "stop_gradient": _same, "reshape": _same, "permute": _same, "broadcast": _same, "flip": _same,
    "slice": _some, "take": _some, "take_along": _some, "max": _some, "min": _some,
    "concat": _concat, "pad": _pad, "where": _where,
    "scatter": _written(2), "scatter_max": _written(2), "update_slice": _written(1),
    "sum": _sum, "cumsum": _sum, "argmax": _place, "argmin": _place, "argsort": _place, "top_k": _top_k,
}  # fmt: skip
