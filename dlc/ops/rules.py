"""What type rules share: axes that exist, lists with one entry per axis, sizes that are provably equal or in
range.

Every helper raises OpError with the op's name, what it needs, and, where a stated fact would help, that fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlc.ops.definition import OpError
from dlc.types.dims import Dim, parse_dim
from dlc.types.facts import Facts
from dlc.types.tensor import DTYPES, TensorType

Axes = tuple[Dim, ...]


def present(inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
    """The operands' types; only for ops whose operands are all required (checked before any `infer`)."""
    return tuple(each for each in inputs if each is not None)


def count(number: int, noun: str = "axis", plural: str = "axes") -> str:
    return f"{number} {noun if number == 1 else plural}"


def check_axis(name: str, axis: int, type: TensorType, operand: str = "x") -> int:
    """The axis itself, if `type` has it."""
    if not 0 <= axis < type.rank:
        raise OpError(
            f"`{name}` has no axis {axis} to work on: `{operand}` has {count(type.rank)}", kind="value"
        )
    return axis


def check_axes(name: str, axes: Iterable[int], type: TensorType) -> tuple[int, ...]:
    """The axes, if `type` has them and none occurs twice."""
    seen: list[int] = []
    for axis in axes:
        check_axis(name, axis, type)
        if axis in seen:
            raise OpError(f"`{name}` is given axis {axis} twice", kind="value")
        seen.append(axis)
    return tuple(seen)


def check_length(name: str, what: str, values: Sequence[Any], expected: int, per: str = "axis") -> None:
    if len(values) != expected:
        raise OpError(f"`{name}` needs one `{what}` per {per}: {expected}, not {len(values)}", kind="value")


def check_dtype(name: str, dtype: str, allowed: Sequence[str] = DTYPES) -> str:
    if dtype not in allowed:
        raise OpError(f"`{name}` can't make `{dtype}`: it makes {', '.join(allowed)}", kind="dtype")
    return dtype


def check_equal(facts: Facts, a: Dim, b: Dim, told: str, *, notes: Sequence[str] = ()) -> None:
    """Raise unless `a == b` is provable. `told` begins the message: "`matmul` needs k to agree"."""
    equal = facts.prove_eq(a, b)
    if equal is True:
        return
    if equal is False:
        raise OpError(f"{told}: {a} is not {b}", notes=notes)
    raise OpError(
        f"{told}: {a} and {b} are not known to be equal",
        notes=notes,
        help=missing_equality(facts, a, b),
        kind="fact",
    )


def check_at_least(facts: Facts, a: Dim, b: Dim, told: str) -> None:
    """Raise unless `a >= b` is provable."""
    holds = facts.prove_ge(a, b)
    if holds is True:
        return
    if holds is False:
        raise OpError(f"{told}: {a} is less than {b}")
    raise OpError(
        f"{told}: nothing says that {a} is at least {b}",
        help=f"if it always is, state it: `where {b} <= {a}`",
        kind="fact",
    )


def simplified(facts: Facts, dtype: str, axes: Iterable[Dim]) -> TensorType:
    return TensorType(dtype, tuple(facts.simplify(axis) for axis in axes))


def product(sizes: Iterable[Dim]) -> Dim:
    total = Dim.of(1)
    for size in sizes:
        total = total * size
    return total


# A quotient in a dim's text: `T // 2`, `(H + 1) // 2`. Nested parentheses are left alone: help is only help.
_QUOTIENT = re.compile(r"(\w+|\([^()]*\)) // (\w+)")


def missing_equality(facts: Facts, a: Dim, b: Dim) -> str:
    """Help for an equality that can't be proved: the divisibility that would prove it, else the equality
    itself."""
    for value, divisor in dict.fromkeys(_QUOTIENT.findall(f"{a} {b}")):
        top, bottom = parse_dim(value), parse_dim(divisor)
        if bottom.constant == 0:
            continue
        exact = {f"{value} // {divisor}": top}
        if _equal_if_exact(facts, a, b, exact, bottom):
            return f"state what is missing: `where {value} % {divisor} == 0`"
    return f"if they always are, state it: `where {a} == {b}`"


def _equal_if_exact(facts: Facts, a: Dim, b: Dim, exact: Mapping[str, Dim], divisor: Dim) -> bool:
    """Whether `a == b` would follow if the quotients in `exact` left no rest: each is replaced by a fresh
    symbol q and its numerator by q * divisor, where that numerator is a single symbol."""
    (_, top), *_ = exact.items()
    if len(top.symbols) != 1:
        return False
    (symbol,) = top.symbols
    linear = top.linear_in(symbol)
    if linear is None or linear[0].constant != 1:
        return False
    value = Dim.symbol("?q") * divisor - linear[1]
    return facts.prove_eq(a.substitute({symbol: value}), b.substitute({symbol: value})) is True
