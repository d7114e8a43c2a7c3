"""Proofs by cases, and what else is done case by case: simplification, bounds; sample values.

A goal is `dim op 0` with op one of `==`, `!=`, `>=`, its dim normal in the system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from math import gcd, lcm

from dlc.types.dim_linear import Bounds
from dlc.types.dim_system import System
from dlc.types.dims import ONE, Atom, Dim, common_monomial, divide_monomials
from dlc.types.relations import COMPARISONS

CASE_LIMIT = 48  # per proof: arguments of min and max, times remainders
BOUND_LIMIT = 8  # cases that bounds are looked for in


def holds_for(op: str, value: int) -> bool:
    return COMPARISONS[op](value, 0)


def negation(op: str, dim: Dim) -> tuple[str, Dim]:
    if op == ">=":
        return ">=", -dim - 1
    return ("!=" if op == "==" else "=="), dim


def proved(system: System, op: str, dim: Dim, budget: int = CASE_LIMIT) -> bool:
    """Whether `dim op 0` holds, for a dim that is normal in the system."""
    # Facts that contradict each other imply everything: a case that can't occur is no obstacle.
    if system.contradictory or _directly(system, op, dim):
        return True
    choice = _extreme_in(dim)
    if choice is None:
        return _by_remainders(system, op, dim, budget)
    # Cases multiply. Each gets its share of the budget, so that all proofs together, nested ones too, are at most so many.
    left = budget // len(choice.args)
    cases = _extreme_cases(system, dim, choice)
    return left > 0 and all(proved(case, op, case.normal(goal), left) for case, goal in cases)


def _directly(system: System, op: str, dim: Dim) -> bool:
    constant = dim.constant
    if constant is not None:
        return holds_for(op, constant)
    if op == ">=":
        found = system.entails(dim)
    elif op == "==":
        found = system.entails(dim) and system.entails(-dim)
    else:  # an inequation has no sign: `a - b != 0` may have been stated as `b - a != 0`
        found = dim in system.inequations or -dim in system.inequations or _unequal(system, dim)
    return found or _by_factors(system, op, dim)


def _by_factors(system: System, op: str, dim: Dim) -> bool:
    """A product is 0 if one factor is, and something else if none is; factors >= 0 do not change its sign."""
    shared = common_monomial(list(dim.terms))
    rest = Dim({divide_monomials(m, shared) or ONE: c for m, c in dim.terms.items()})
    if not shared or (len(shared) == 1 and rest == 1):
        return False
    factors = [Dim({((atom, 1),): 1}) for atom, _ in shared]
    if op == "!=":
        return all(_directly(system, op, factor) for factor in [*factors, rest])
    if any(_directly(system, "==", factor) for factor in factors):
        return True
    # For `>=` the factors must be >= 0 themselves: atoms such as `(H - 5)//2` may be negative, and would turn the sign.
    return _directly(system, op, rest) and (op == "==" or all(system.entails(factor) for factor in factors))


def _unequal(system: System, dim: Dim) -> bool:
    # `2*x - 4*y + 1` is odd, whatever x and y are.
    content = reduce(gcd, (c for m, c in dim.terms.items() if m), 0)
    if dim.terms.get(ONE, 0) % content:
        return True
    return system.entails(dim - 1) or system.entails(-dim - 1)


def _extreme_in(dim: Dim) -> Atom | None:
    """An innermost `min` or `max`."""
    # Innermost first, so that what is compared in a case has none in it; by key, so that a proof does not depend on the order in
    # which terms were put together.
    for atom in sorted((a for a in dim.atoms() if isinstance(a, Atom)), key=lambda a: a.key):
        inner = next(filter(None, map(_extreme_in, atom.args)), None)
        if inner is not None or atom.op in ("min", "max"):
            return inner or atom
    return None


def _extreme_cases(system: System, dim: Dim, atom: Atom) -> Iterator[tuple[System, Dim]]:
    """For each argument: what holds where it is the extreme one, and the size with it in place."""
    # The cases overlap where two arguments are equal. All that matters is that they leave nothing out.
    for chosen in atom.args:
        case = system.copy()
        for other in atom.args:
            if other is not chosen:
                case.add(">=", other - chosen if atom.op == "min" else chosen - other)
        yield case, _with_atom(dim, atom, chosen)


def _with_atom(dim: Dim, old: Atom, new: Dim) -> Dim:
    def change(atom: str | Atom) -> Dim | None:
        if atom == old:
            return new
        return None if isinstance(atom, str) else atom.rebuilt(lambda arg: _with_atom(arg, old, new))

    return dim.replace(change)


def _by_remainders(system: System, op: str, dim: Dim, budget: int) -> bool:
    """Tries every remainder of the symbols that are divided by constants."""
    # `(H + 2)//4` is linear in `H'` once H is written as `4*H' + r`, for each r of its own. No periods means no cases, and `all` of
    # none would be a proof of anything: hence `bool`.
    periods = _limited(_periods(dim, {}), budget)
    return bool(periods) and all(_directly(case, op, case.normal(dim)) for case in _splits(system, periods))


def _periods(dim: Dim, found: dict[str, int]) -> dict[str, int]:
    for atom in dim.atoms():
        if not isinstance(atom, Atom):
            continue
        divisor = atom.args[-1].constant if atom.op == "//" else None
        if divisor:
            for name in (a for a in atom.args[0].atoms() if isinstance(a, str)):
                found[name] = lcm(found.get(name, 1), divisor)  # one split serves all divisions of the symbol
        for arg in atom.args:
            _periods(arg, found)
    return found


def _limited(periods: dict[str, int], budget: int) -> list[tuple[str, int]]:
    kept: list[tuple[str, int]] = []
    # Short periods first: more symbols can be split for the same number of cases.
    for name, period in sorted(periods.items(), key=lambda item: (item[1], item[0])):
        budget //= period
        if budget:
            kept.append((name, period))
    return kept


def _splits(system: System, periods: list[tuple[str, int]]) -> Iterator[System]:
    if not periods:
        yield system
        return
    (name, period), *others = periods
    for rest in range(period):
        case = system.copy()
        case.split(name, period, rest)
        if not case.contradictory:
            yield from _splits(case, others)


# Simplification and bounds


def simplified(system: System, dim: Dim) -> Dim:
    """The shortest of its forms in stated symbols: plain, rewritten by equations, and without `%`."""
    plain = dim.substitute(system.forward)
    forms = dict.fromkeys((plain, system.rewritten(plain), system.normal(plain)))
    return min((system.stated(resolved(system, form)) for form in forms), key=Dim.size)


def resolved(system: System, dim: Dim) -> Dim:
    """Without the `min`, `max`, `//` and `%` terms that the facts decide."""

    def change(atom: str | Atom) -> Dim | None:
        if isinstance(atom, str):
            return None
        inner = atom.rebuilt(lambda arg: resolved(system, arg))
        if inner is not None:
            return resolved(system, inner)
        return (
            _resolved_extreme(system, atom) if atom.op in ("min", "max") else _resolved_quotient(system, atom)
        )

    return dim.replace(change)


def _resolved_extreme(system: System, atom: Atom) -> Dim | None:
    for arg in atom.args:
        others = [other - arg if atom.op == "min" else arg - other for other in atom.args if other is not arg]
        if all(system.entails(system.normal(other)) for other in others):
            return arg
    return None


def _resolved_quotient(system: System, atom: Atom) -> Dim | None:
    number, divisor = atom.args
    quotient = system.normal(number // divisor)
    low, high = (quotient.constant,) * 2 if quotient.is_constant else system.bounds(quotient)
    if (
        low is None or low != high
    ):  # no constants enclose it, but `0 <= number < divisor` may hold for symbolic ones
        low = 0 if _fits_below(system, number, divisor) else None
    if low is None:
        return None
    return Dim.of(low) if atom.op == "//" else number - divisor * low


def _fits_below(system: System, number: Dim, divisor: Dim) -> bool:
    number, divisor = system.normal(number), system.normal(divisor)
    return system.entails(number) and system.entails(divisor - number - 1)


def bounds_by_cases(system: System, dim: Dim, budget: int = BOUND_LIMIT) -> Bounds:
    if dim.constant is not None:
        return dim.constant, dim.constant
    choice = _extreme_in(dim)
    left = budget // len(choice.args) if choice is not None else 0
    if choice is None or not left:
        return system.bounds(dim)
    cases = _extreme_cases(system, dim, choice)
    found = [bounds_by_cases(case, case.normal(goal), left) for case, goal in cases]
    # A bound of the whole holds in every case, so it is the weakest of theirs, and one case without any leaves none.
    lows, highs = [low for low, _ in found], [high for _, high in found]
    return _known(min, lows), _known(max, highs)


def _known(choose: Callable[[list[int]], int], values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return choose(known) if len(known) == len(values) else None


# Samples


class Sample(dict[str, int]):
    """A value for every symbol, made up when asked for: small, larger with each turn."""

    def __init__(self, lower: Mapping[str, int], turn: int) -> None:
        super().__init__()
        self.lower = lower
        self.turn = turn

    def __missing__(self, name: str) -> int:
        # From the name and the turn alone, not from `hash` or a generator: a spec must get the same answer in every process.
        # The first two turns take the least values and those above them, where most wrong claims fail already.
        mixed = self.turn * 40_503
        for letter in name:
            mixed = (mixed * 31 + ord(letter)) & 0xFFFF
        spread = mixed >> 5
        self[name] = self.lower.get(name, 1) + (self.turn if self.turn < 2 else spread % (2 + 3 * self.turn))
        return self[name]

    def value(self, dim: Dim) -> int | None:
        try:
            return dim.evaluate(self)
        except ZeroDivisionError:
            return None

    def fits(self, op: str, dim: Dim) -> bool:
        value = self.value(dim)
        return value is not None and holds_for(op, value)

    def satisfies(self, system: System) -> bool:
        if system.contradictory:
            return False
        facts = (("==", system.equations), (">=", system.inequalities), ("!=", system.inequations))
        return all(self.fits(op, dim) for op, dims in facts for dim in dims)
