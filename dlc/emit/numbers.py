"""Which operations Python may compute itself, on numbers that it knows: sizes, constants, places in loops.

Where a tensor gives inf or nan (`1 / n` of a size that may be 0, the logarithm of 0, `exp` of what is large), Python raises. Such an operation
is one on tensors of a single element, unless its operand is surely in the range that Python computes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cached_property

from dlc.ir.nodes import Function, Op
from dlc.types.dims import Dim
from dlc.types.facts import Facts

LARGEST_POWER = 16
"""Of sizes, Python has it as a float."""
LARGEST_EXPONENT = 700
"""`math.exp` of more overflows."""


class Sign(IntEnum):
    """What is surely known of a number."""

    ANY = 0
    NOT_NEGATIVE = 1
    POSITIVE = 2


class Numbers:
    """The numbers of one function, by what makes them. What nothing makes is a place in a loop."""

    def __init__(self, function: Function, producers: Mapping[str, Op]) -> None:
        self.function = function
        self.producers = producers
        self.signs: dict[str, Sign] = {}

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.function.facts)

    def computes(self, op: Op) -> bool:
        """Whether Python gives a number, whatever the sizes are, for an operation on numbers."""
        match op.op:
            case "div" | "floordiv" | "mod":
                return bool(self._constant(op.inputs[1])) or self.sign(op.inputs[1]) == Sign.POSITIVE
            case "log" | "rsqrt":
                return self.sign(op.inputs[0]) == Sign.POSITIVE
            case "sqrt" | "log1p":
                return self.sign(op.inputs[0]) >= Sign.NOT_NEGATIVE
            case "exp" | "expm1":
                exponent = self._constant(op.inputs[0])
                return exponent is not None and exponent <= LARGEST_EXPONENT
            case "pow":
                return self._is_power(*op.inputs)
        return True

    def _is_power(self, base: str, exponent: str) -> bool:
        n = self._constant(exponent)
        if n is None or abs(n) > LARGEST_POWER:
            return False
        return self.sign(base) == Sign.POSITIVE or (n >= 0 and n == int(n))

    def _constant(self, name: str) -> float | None:
        op = self.producers.get(name)
        while op is not None and op.op == "cast":
            op = self.producers.get(op.inputs[0])
        value = op.attr("value") if op is not None and op.op == "const" else None
        return value if isinstance(value, int | float) else None

    def sign(self, name: str) -> Sign:
        found = self.signs.get(name)
        if found is None:
            op = self.producers.get(name)
            found = self.signs[name] = Sign.NOT_NEGATIVE if op is None else self._made(op)
        return found

    def _made(self, op: Op) -> Sign:
        if op.op == "const":
            value = self._constant(op.out.name)
            return Sign.ANY if value is None else _sign(value > 0, value >= 0)
        if op.op == "size":
            size = op.attr("dim")
            assert isinstance(size, Dim | int)
            proved = (self.facts.prove_ge(Dim.of(size), least) is True for least in (1, 0))
            return _sign(*proved)
        signs = [self.sign(name) for name in op.inputs]
        match op.op:
            case "cast" | "sqrt" | "abs":
                known = Sign.NOT_NEGATIVE if op.op == "abs" else Sign.ANY
                whole = op.op == "cast" and not op.out.type.is_float  # 0.5 becomes 0
                return max(known, min(signs[0], Sign.NOT_NEGATIVE) if whole else signs[0])
            case "exp":
                return Sign.POSITIVE
            case "add":
                return max(signs) if min(signs) >= Sign.NOT_NEGATIVE else Sign.ANY
            case "mul" | "div" | "minimum":
                return min(signs)
            case "floordiv" | "mod":
                return min(*signs, Sign.NOT_NEGATIVE)
            case "maximum":
                return max(signs)
            case "rsqrt":
                return signs[0] if signs[0] == Sign.POSITIVE else Sign.ANY
        return Sign.ANY


def _sign(positive: bool, not_negative: bool) -> Sign:
    return Sign.POSITIVE if positive else Sign.NOT_NEGATIVE if not_negative else Sign.ANY
