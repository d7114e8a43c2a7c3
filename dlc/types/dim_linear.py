"""Linear integer inequalities: is a system without solution, what range does one variable have.

A row is a sum of variables and a constant that is >= 0. Variables are monomials, taken as unrelated to
each other. Fourier-Motzkin elimination, where each row is divided by its content and its constant rounded
down, which is what makes `2*q <= T <= 2*q + 1` exact. Over the budget the answer is "don't know".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from math import gcd

from dlc.types.dims import ONE, Monomial, Terms

ROW_LIMIT = 160
PAIR_LIMIT = 1_500

Rows = dict[frozenset[tuple[Monomial, int]], int]  # the sum without its constant, and the constant


class Contradiction(Exception):
    """A row says that a negative number is >= 0."""


def infeasible(rows: Iterable[Terms], nonnegative: Callable[[Monomial], bool]) -> bool:
    """Whether no integers satisfy all rows, where some variables are >= 0 on their own."""
    try:
        _eliminate(_collect(rows), nonnegative, keep=None)
    except Contradiction:
        return True
    return False


def bounds_of(variable: Monomial, rows: Iterable[Terms], nonnegative: Callable[[Monomial], bool]) -> Bounds:
    """Lower and upper bound of one variable, None where none is found."""
    low: int | None = None
    high: int | None = None
    try:
        left = _eliminate(_collect(rows), nonnegative, keep=variable)
    except Contradiction:
        return None, None
    for coefficients, constant in left.items():
        ((_, slope),) = coefficients
        if slope > 0:
            low = -constant if low is None else max(low, -constant)
        else:
            high = constant if high is None else min(high, constant)
    return low, high


Bounds = tuple["int | None", "int | None"]


def _collect(rows: Iterable[Terms]) -> Rows:
    found: Rows = {}
    for row in rows:
        _add(found, row)
    return found


def _add(rows: Rows, row: Terms) -> None:
    constant = row.get(ONE, 0)
    content = reduce(gcd, (c for m, c in row.items() if m), 0)
    if not content:
        if constant < 0:
            raise Contradiction
        return
    constant //= content
    key = frozenset((m, c // content) for m, c in row.items() if m and c)
    rows[key] = min(constant, rows.get(key, constant))
    opposite = rows.get(frozenset((m, -c) for m, c in key)) if len(rows) > 1 else None
    if opposite is not None and opposite + rows[key] < 0:
        raise Contradiction


def _eliminate(rows: Rows, nonnegative: Callable[[Monomial], bool], keep: Monomial | None) -> Rows:
    """Rows without any variable but `keep`; {} where the budget runs out."""
    pairs = 0
    while True:
        choice = _cheapest(rows, nonnegative, keep)
        if choice is None:
            return rows
        cost, variable = choice
        pairs += cost
        if pairs > PAIR_LIMIT or len(rows) > ROW_LIMIT:
            return {}
        rows = _without(rows, variable, nonnegative(variable))


def _cheapest(
    rows: Rows, nonnegative: Callable[[Monomial], bool], keep: Monomial | None
) -> tuple[int, Monomial] | None:
    """The variable whose elimination makes the fewest rows, and how many."""
    below: dict[Monomial, int] = {}
    above: dict[Monomial, int] = {}
    for coefficients in rows:
        for monomial, c in coefficients:
            side = below if c > 0 else above
            side[monomial] = side.get(monomial, 0) + 1
    best: tuple[int, Monomial] | None = None
    for monomial in {**below, **above}:
        if monomial == keep:
            continue
        cost = (below.get(monomial, 0) + nonnegative(monomial)) * above.get(monomial, 0)
        if best is None or cost < best[0]:
            best = cost, monomial
    return best


def _without(rows: Rows, variable: Monomial, nonnegative: bool) -> Rows:
    kept: Rows = {}
    lower: list[tuple[int, Terms]] = [(1, {variable: 1})] if nonnegative else []
    upper: list[tuple[int, Terms]] = []
    for key, constant in rows.items():
        row = dict(key)
        slope = row.get(variable, 0)
        if not slope:
            kept[key] = constant
            continue
        row[ONE] = constant
        if slope > 0:
            lower.append((slope, row))
        else:
            upper.append((-slope, row))
    for a, low in lower:
        for b, high in upper:
            _add(kept, _combined(low, b, high, a))
    return kept


def _combined(x: Terms, a: int, y: Terms, b: int) -> Terms:
    row = {m: c * a for m, c in x.items()}
    for m, c in y.items():
        total = row.get(m, 0) + c * b
        if total or not m:
            row[m] = total
        else:
            row.pop(m, None)
    return row
