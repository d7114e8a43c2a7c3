"""Linear integer inequalities: is a system without solution, what range does one variable have.

A row is a sum of variables and a constant that is >= 0. Variables are monomials, taken as unrelated to
each other. Fourier-Motzkin elimination, where each row is divided by its content and its constant rounded
down, which is what makes `2*q <= T <= 2*q + 1` exact. Over the budget the answer is "don't know".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd

from dlc.types import effort
from dlc.types.dims import ONE, Monomial, Terms

ROW_LIMIT = 160
WORK_LIMIT = 1_200  # new rows, per question

Bounds = tuple["int | None", "int | None"]
Sum = tuple[tuple[int, int], ...]  # numbered variables in order, each with its coefficient
Rows = dict[Sum, int]  # a sum without its constant, and the constant


class Contradiction(Exception):
    """A row says that a negative number is >= 0."""


def infeasible(rows: Sequence[Terms], nonnegative: Callable[[Monomial], bool]) -> bool:
    """Whether no integers satisfy all rows, where some variables are >= 0 on their own."""
    try:
        _Elimination(rows, nonnegative).run(keep=None)
    except Contradiction:
        return True
    return False


def bounds_of(variable: Monomial, rows: Sequence[Terms], nonnegative: Callable[[Monomial], bool]) -> Bounds:
    """Lower and upper bound of one variable, None where none is found."""
    low: int | None = None
    high: int | None = None
    try:
        elimination = _Elimination(rows, nonnegative)
        left = elimination.run(keep=elimination.number[variable])
    except Contradiction:  # nothing satisfies the rows, so any bound would hold: none is worth telling
        return None, None
    for ((_, slope),), constant in left.items():  # the slope is 1 or -1: `_add` has divided by the content
        if slope > 0:
            low = -constant if low is None else max(low, -constant)
        else:
            high = constant if high is None else min(high, constant)
    return low, high


class _Elimination:
    """Rows over numbered variables, which go one by one."""

    def __init__(self, rows: Sequence[Terms], nonnegative: Callable[[Monomial], bool]) -> None:
        self.number: dict[Monomial, int] = {}
        self.rows: Rows = {}
        for row in rows:
            for monomial in row:
                if monomial and monomial not in self.number:
                    self.number[monomial] = len(self.number)
        self.nonnegative = [nonnegative(monomial) for monomial in self.number]
        for row in rows:
            variables = {self.number[m]: c for m, c in row.items() if m}
            _add(self.rows, variables, row.get(ONE, 0))

    def run(self, keep: int | None) -> Rows:
        """Rows without any variable but `keep`; {} where the budget runs out."""
        work = 0
        while (choice := self._cheapest(keep)) is not None:
            cost, variable = choice
            work += cost
            effort.count(cost + len(self.rows))
            # Elimination may square the number of rows each time. No rows is the weakest answer, "nothing is known": giving
            # up can lose a proof, but never makes one.
            if work > WORK_LIMIT or len(self.rows) > ROW_LIMIT:
                return {}
            self._eliminate(variable)
        return self.rows

    def _cheapest(self, keep: int | None) -> tuple[int, int] | None:
        """The variable whose elimination makes the fewest rows, and how many."""
        # A variable that is >= 0 by itself has one lower bound more than the rows say.
        below, above = [int(n) for n in self.nonnegative], [0] * len(self.nonnegative)
        present: set[int] = set()
        for variables in self.rows:
            for variable, c in variables:
                (below if c > 0 else above)[variable] += 1
                present.add(variable)
        present.discard(-1 if keep is None else keep)
        return min(((below[v] * above[v], v) for v in present), default=None)

    def _eliminate(self, variable: int) -> None:
        lower: list[tuple[int, Sum, int]] = [(1, ((variable, 1),), 0)] if self.nonnegative[variable] else []
        upper: list[tuple[int, Sum, int]] = []
        kept: Rows = {}
        for variables, constant in self.rows.items():
            slope = next((c for v, c in variables if v == variable), 0)
            if slope > 0:
                lower.append((slope, variables, constant))
            elif slope < 0:
                upper.append((-slope, variables, constant))
            else:
                kept[variables] = constant
        # Each lower bound with each upper one: `a*v + low + x >= 0` times b plus `-b*v + high + y >= 0` times a is free of v.
        # A variable bounded on one side only disappears with its rows, since some value always satisfies them.
        for a, low, x in lower:
            for b, high, y in upper:
                _add(kept, _combined(low, b, high, a), x * b + y * a)
        self.rows = kept


def _add(rows: Rows, variables: dict[int, int], constant: int) -> None:
    # `2*x - 2*y + 3 >= 0` says `x - y >= -3/2`, which for integers is `x - y >= -1`: dividing by the content and rounding the
    # constant down (a Gomory cut) keeps every integer solution. Without it elimination would decide over the rationals, and
    # `2*q <= T <= 2*q + 1` would leave q a range of width 1/2.
    content = gcd(*variables.values())
    if not content:
        if constant < 0:
            raise Contradiction
        return
    constant //= content
    key = tuple(sorted((v, c // content) for v, c in variables.items() if c))
    rows[key] = min(
        constant, rows.get(key, constant)
    )  # the same sum twice: the tighter row implies the other
    # `s + a >= 0` and `-s + b >= 0` add up to `a + b >= 0`. Seen at once here, most contradictions need no elimination.
    opposite = rows.get(tuple((v, -c) for v, c in key))
    if opposite is not None and opposite + rows[key] < 0:
        raise Contradiction


def _combined(x: Sum, a: int, y: Sum, b: int) -> dict[int, int]:
    row = {v: c * a for v, c in x}
    for v, c in y:
        row[v] = row.get(v, 0) + c * b
    return row
