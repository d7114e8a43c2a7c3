"""Numbers that remember where they came from.

A static parameter is a number while a spec is elaborated, and a name in the source that is emitted. A traced number is
both: an ordinary int or float, equal to and as good as any other, whose `origin` is its expression over the static
parameters of the function it stands in.

    d = 768 (d),  heads = 12 (heads)   ->   3 * d = 2304 (3*d),  d // heads = 64 (d//heads)

Sizes carry theirs as `Dim.origin`. What code computes from traced numbers is traced as long as it uses operators, or the
functions of static values by `terms.called`; what goes through Python's own `int()` or `float()` is a plain number again. So an
origin may be missing, and is never wrong.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from dlc.records import dataclass

Dim = Any  # of dims.py, which makes traced numbers


@dataclass(frozen=True, slots=True)
class Term:
    """An expression over static parameters: `op` with its `args`.

    const value | param name | input name (an optional input) | training | turn name (the variable of a loop) | name text | word text (as the source has it)
    | dim size | + - * / // % ** == != < <= > >= and or not neg in a b | if condition a b | list … | tuple … | star list (in them) | index x i
    | cut x start stop step | call function … (`sqrt`, `range`, `len`, …; or a Helper)
    | for element target iterable condition? (a comprehension, whose target's names are each in it) | each name
    | fan name (`fan_in` or `fan_out` of the parameter that an initial value is for)
    """

    op: str
    args: tuple[Any, ...] = ()

    def parts(self) -> list[Any]:
        """All terms and leaves in it, itself first; those that stand in sizes too."""
        found: list[Any] = []
        stack: list[Any] = [self]
        while stack:
            each = stack.pop()
            found.append(each)
            if isinstance(each, Term):
                stack += reversed(each.args)
                if each.op == "dim":
                    stack += [inner.term for inner in each.args[0].opaques()]
        return found

    def holds(self, op: str) -> bool:
        """Whether some part of it is such an expression."""
        return any(isinstance(each, Term) and each.op == op for each in self.parts())


@dataclass(frozen=True, slots=True)
class Helper:
    """An `fn` of the spec that computes static values: `steps` bind names, one after another, and `result` is what it gives.
    Its parameters and names are `each` in its terms."""

    name: str
    params: tuple[str, ...]
    types: tuple[str, ...]
    steps: tuple[tuple[str, Term], ...]
    result: Term
    kind: str = ""
    """The static type of the result; "" where the spec does not say it."""
    doc: str = ""


class _Arithmetic:
    """Operators that remember themselves."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return _computed(operator.add, "+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _computed(operator.add, "+", other, self)

    def __sub__(self, other: Any) -> Any:
        return _computed(operator.sub, "-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _computed(operator.sub, "-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _computed(operator.mul, "*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _computed(operator.mul, "*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _computed(operator.truediv, "/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _computed(operator.truediv, "/", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _computed(operator.floordiv, "//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _computed(operator.floordiv, "//", other, self)

    def __mod__(self, other: Any) -> Any:
        return _computed(operator.mod, "%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return _computed(operator.mod, "%", other, self)

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        return _computed(operator.pow, "**", self, other)

    def __rpow__(self, other: Any, modulo: Any = None) -> Any:
        return _computed(operator.pow, "**", other, self)


class TracedInt(_Arithmetic, int):
    """A whole number and its expression."""

    origin: Dim

    def __new__(cls, value: int, origin: Dim) -> TracedInt:
        made = super().__new__(cls, value)
        made.origin = origin
        return made

    def __neg__(self) -> int:
        return TracedInt(-int(self), -self.origin)

    def __abs__(self) -> int:
        return abs(int(self))

    def __reduce__(self) -> Any:
        return int, (int(self),)


class TracedFloat(_Arithmetic, float):
    """A float and its expression."""

    origin: Term

    def __new__(cls, value: float, origin: Term) -> TracedFloat:
        made = super().__new__(cls, value)
        made.origin = origin
        return made

    def __neg__(self) -> float:
        once = self.origin.op == "neg"
        return TracedFloat(-float(self), self.origin.args[0] if once else Term("neg", (self.origin,)))

    def __abs__(self) -> float:
        return abs(float(self))

    def __reduce__(self) -> Any:
        return float, (float(self),)


def _computed(operate: Callable[[Any, Any], Any], op: str, a: Any, b: Any) -> Any:
    """`a op b` of numbers, at least one of them traced."""
    if not all(isinstance(each, int | float) for each in (a, b)):
        return NotImplemented
    value = operate(_plain(a), _plain(b))
    if isinstance(value, int) and isinstance(a, int) and isinstance(b, int):
        return _whole(value, operate, op, a, b)
    return TracedFloat(value, Term(op, (leaf(a), leaf(b)))) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    """Without this the operator would come back to the method that asks for it."""
    if isinstance(value, TracedInt):
        return int(value)
    return float(value) if isinstance(value, TracedFloat) else value


def _whole(value: int, operate: Callable[[Any, Any], Any], op: str, a: int, b: int) -> int:
    """The same operation on sizes is the expression: they know the laws of whole numbers."""
    origins = [each.origin if isinstance(each, TracedInt) else int(each) for each in (a, b)]
    try:
        origin = operate(*origins)
    except (ArithmeticError, TypeError, ValueError):  # too large, or a power that no size has
        known = next(each for each in origins if not isinstance(each, int))
        origin = known.opaque(Term(op, (leaf(a), leaf(b))))
    return TracedInt(value, origin) if origin.constant is None else value


def leaf(value: Any) -> Term:
    """A number as a term."""
    if isinstance(value, TracedInt):
        return Term("dim", (value.origin,))
    return value.origin if isinstance(value, TracedFloat) else Term("const", (value,))


def as_float(value: float) -> float:
    """The number as a float, traced where it was."""
    if isinstance(value, TracedFloat):
        return value
    return TracedFloat(float(value), leaf(value)) if isinstance(value, TracedInt) else float(value)
