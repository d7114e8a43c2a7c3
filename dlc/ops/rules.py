"""What type rules share: axes that exist, lists with one entry per axis, sizes that are provably equal or in
range.

Every helper raises OpError with the op's name, what it needs, and, where a stated fact would help, that fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dlc.ops.definition import OpError
from dlc.types.axes import equation
from dlc.types.dims import Atom, Dim
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


def missing_equality(facts: Facts, a: Dim, b: Dim) -> str:
    """Help for an equality that can't be proved: the divisibility that would prove it, else the equality."""
    quotients = [atom for atom in (a - b).atoms() if isinstance(atom, Atom) and atom.op in ("//", "%")]
    for top, bottom in sorted((atom.args for atom in quotients), key=str):
        if bottom.constant != 0 and facts.assume_divisible(top, bottom).prove_eq(a, b):
            value = f"({top})" if " " in str(top) else str(top)
            return f"state what is missing: `where {value} % {bottom} == 0`"
    if 1 in (a.constant, b.constant):
        return "an axis of 1 is made as long as another by `broadcast(x, [sizes])`"
    return f"if they always are, state it: `where {equation(a, b)}`"
