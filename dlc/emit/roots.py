"""Numbers of initial values that are products of roots, as a reader would write them.

    1.7320508075688772 * (0.5773502691896257 / sqrt(fan_in))   ->   1 / sqrt(fan_in)

Rules for kernels carry such constants along: a gain, a bound of a distribution in its standard deviations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

from dlc.types.dims import Dim
from dlc.types.terms import as_dim
from dlc.types.traced import Term, TracedFloat, as_float

Factors = tuple[float, list[Term], list[Term]]
"""A plain factor, what it is multiplied by, and what it is divided by."""


def simple(value: float) -> float:
    """The number with a simpler expression, where it has one."""
    value = as_float(value)
    root = _root(value.origin) if isinstance(value, TracedFloat) else None
    if root is None:
        return value
    return TracedFloat(float(value), root if value > 0 else Term("neg", (root,)))


def _root(term: Term) -> Term | None:
    """What a product of roots is without its sign."""
    found = _squared(term)
    if found is None or found[1] or not found[2]:
        return None
    factor, _, below = found
    under = _product(below)
    if math.isclose(factor, 1.0, rel_tol=1e-9):
        return Term("/", (Term("const", (1,)), Term("call", ("sqrt", under))))
    square = round(factor)
    if square in range(2, 25) and math.isclose(factor, square, rel_tol=1e-9):
        return Term("call", ("sqrt", Term("/", (Term("const", (square,)), under))))
    root = round(math.sqrt(factor), 4)
    if math.isclose(math.sqrt(factor), root, rel_tol=1e-9):
        return Term("/", (Term("const", (root,)), Term("call", ("sqrt", under))))
    return None


def _product(terms: Sequence[Term]) -> Term:
    whole = [as_dim(each) for each in terms]
    sizes = [each for each in whole if each is not None]
    if len(sizes) == len(terms):
        return Term("dim", (math.prod(sizes, start=Dim.of(1)),))
    return reduce(lambda a, b: Term("*", (a, b)), terms)


def _squared(term: Term) -> Factors | None:
    """The square of a product of numbers and roots."""
    match term:
        case Term("const", (value,)) if isinstance(value, int | float):
            return float(value) ** 2, [], []
        case Term("neg", (inner,)):
            return _squared(inner)
        case Term("call", ("sqrt", inner)):
            return _factors(inner)
        case Term("*" | "/", (a, b)):
            return _combined(term.op, _squared(a), _squared(b))
    return None


def _factors(term: Term) -> Factors:
    match term:
        case Term("const", (value,)) if isinstance(value, int | float):
            return float(value), [], []
        case Term("*" | "/", (a, b)):
            return _combined(term.op, _factors(a), _factors(b)) or (1.0, [term], [])
    return 1.0, [term], []


def _combined(op: str, a: Factors | None, b: Factors | None) -> Factors | None:
    if a is None or b is None or (op == "/" and b[0] == 0):
        return None
    by, above, below = b if op == "*" else (1 / b[0], b[2], b[1])
    return a[0] * by, [*a[1], *above], [*a[2], *below]
