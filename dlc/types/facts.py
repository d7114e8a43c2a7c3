"""What is assumed about sizes, and what follows from it.

`Facts` answers True (holds for all sizes that satisfy the facts), False (holds for none) or None (not known).
A proof tries, in this order: normal forms under the facts, linear inequalities (`dim_system.py`), each case
of a `min` or `max`, and each remainder of a symbol that is divided by constants. Sample values that satisfy
the facts spare the search for what does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd, lcm

from dlc.types.dim_linear import Bounds
from dlc.types.dim_system import System
from dlc.types.dims import Atom, Dim, DimTooLarge, common_monomial, divide_monomials, sole_atom

CASE_LIMIT = 48  # remainders tried per proof
DEPTH_LIMIT = 3  # nested cases of min and max
SAMPLES = 6
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", "<=": ">", ">": "<="}


@dataclass(frozen=True, slots=True)
class Relation:
    """A comparison of two sizes; `op` is one of `== != < <= > >=`."""

    left: Dim
    op: str
    right: Dim

    def substitute(self, values: Mapping[str, int | Dim]) -> Relation:
        return Relation(self.left.substitute(values), self.op, self.right.substitute(values))

    def negated(self) -> Relation:
        return Relation(self.left, _OPPOSITE[self.op], self.right)

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"


class Facts:
    """An immutable set of assumptions. Symbols are >= 1, those in `nonnegative` or stated to be >= 0 are >= 0."""

    __slots__ = ("_answers", "_samples", "_system", "nonnegative", "relations")

    def __init__(self, relations: tuple[Relation, ...] = (), nonnegative: frozenset[str] = frozenset()) -> None:
        weakened = {name for relation in relations if (name := _stated_nonnegative(relation))}
        self.relations = relations
        self.nonnegative = nonnegative | weakened
        self._system = System(self.nonnegative)
        self._answers: dict[tuple[str, Dim], bool | None] = {}
        self._samples: list[_Sample] | None = None
        for relation in relations:
            self._system = _with_relation(self._system, relation)

    # Assuming

    def assume_eq(self, a: int | Dim, b: int | Dim) -> Facts:
        return self.assume(Relation(Dim.of(a), "==", Dim.of(b)))

    def assume_ge(self, a: int | Dim, b: int | Dim) -> Facts:
        return self.assume(Relation(Dim.of(a), ">=", Dim.of(b)))

    def assume_divisible(self, a: int | Dim, k: int | Dim) -> Facts:
        return self.assume_eq(Dim.of(a) % k, 0)

    def assume(self, relation: Relation) -> Facts:
        """With one more fact. `T >= 0` takes the default `T >= 1` back."""
        name = _stated_nonnegative(relation)
        if name is not None and name not in self.nonnegative:
            return Facts((*self.relations, relation), self.nonnegative)
        new = Facts((), self.nonnegative)
        new.relations = (*self.relations, relation)
        new._system = _with_relation(self._system, relation)
        return new

    def __str__(self) -> str:
        return ", ".join(map(str, self.relations))

    # Deciding

    def decide(self, relation: Relation) -> bool | None:
        op, dim = _compared(relation)
        return self._decide(op, dim)

    def prove_eq(self, a: int | Dim, b: int | Dim) -> bool | None:
        return self._decide("==", Dim.of(a) - b)

    def prove_ne(self, a: int | Dim, b: int | Dim) -> bool | None:
        return self._decide("!=", Dim.of(a) - b)

    def prove_ge(self, a: int | Dim, b: int | Dim) -> bool | None:
        return self._decide(">=", Dim.of(a) - b)

    def prove_gt(self, a: int | Dim, b: int | Dim) -> bool | None:
        return self._decide(">=", Dim.of(a) - b - 1)

    def prove_divisible(self, a: int | Dim, k: int | Dim) -> bool | None:
        return self._decide("==", Dim.of(a) % k)

    def _decide(self, op: str, dim: Dim) -> bool | None:
        constant = dim.constant
        if constant is not None:
            return _holds_for(op, constant)
        if (op, dim) not in self._answers:
            try:
                self._answers[op, dim] = self._search(op, dim)
            except (DimTooLarge, ZeroDivisionError):
                self._answers[op, dim] = None
        return self._answers[op, dim]

    def _search(self, op: str, dim: Dim) -> bool | None:
        normal = self._system.normal(dim)
        if normal.constant is not None:
            return _holds_for(op, normal.constant)
        seen = {_holds_for(op, value) for sample in self.samples() if (value := sample.value(normal)) is not None}
        if False not in seen and _proved(self._system, op, normal, DEPTH_LIMIT):
            return True
        if True not in seen and _proved(self._system, *_negation(op, normal), DEPTH_LIMIT):
            return False
        return None

    def samples(self) -> list[_Sample]:
        """Values that satisfy the facts, so that what fails for one of them is not worth a proof."""
        if self._samples is None:
            tried = (_Sample(self._system.lower, turn) for turn in range(4 * SAMPLES))
            self._samples = [s for s in tried if s.satisfies(self._system)][:SAMPLES]
        return self._samples

    # Rewriting

    def simplify(self, d: Dim) -> Dim:
        """One form for sizes that the facts make equal, in the stated symbols: `2*(H//2)` is `H` for even H."""
        system = self._system
        try:
            inner = system._rewritten(d.substitute(system.forward))
            return system.stated(_resolved(system, inner))
        except (DimTooLarge, ZeroDivisionError):
            return d

    def bounds(self, d: Dim) -> Bounds:
        """Constant lower and upper bound, None where none is proved."""
        try:
            return _bounds(self._system, self._system.normal(Dim.of(d)), DEPTH_LIMIT)
        except (DimTooLarge, ZeroDivisionError):
            return None, None


# Facts and goals are `dim op 0` with op one of `==`, `!=`, `>=`


def _compared(relation: Relation) -> tuple[str, Dim]:
    difference = relation.left - relation.right
    if relation.op in ("==", "!="):
        return relation.op, difference
    signed = difference if relation.op in (">", ">=") else -difference
    return ">=", signed - 1 if relation.op in ("<", ">") else signed


def _negation(op: str, dim: Dim) -> tuple[str, Dim]:
    if op == ">=":
        return ">=", -dim - 1
    return ("!=" if op == "==" else "=="), dim


def _holds_for(op: str, value: int) -> bool:
    if op == ">=":
        return value >= 0
    return (value == 0) == (op == "==")


def _stated_nonnegative(relation: Relation) -> str | None:
    """The symbol that a relation like `T >= 0` or `0 <= T` lets be 0."""
    left, op, right = relation.left, relation.op, relation.right
    if op in ("<", "<="):
        left, op, right = right, {"<": ">", "<=": ">="}[op], left
    name, least = sole_atom(left), right.constant
    if not isinstance(name, str) or least is None or op not in (">", ">="):
        return None
    return name if least + (op == ">") <= 0 else None


def _with_relation(system: System, relation: Relation) -> System:
    """A copy that knows one relation more, or the old one if that would get too large."""
    new = system.copy()
    try:
        new.add(*_compared(relation))
    except (DimTooLarge, ZeroDivisionError):
        return system
    return new


# Proofs


def _proved(system: System, op: str, dim: Dim, depth: int) -> bool:
    """Whether `dim op 0` holds, for a dim that is normal in the system."""
    if system.contradictory or _directly(system, op, dim):
        return True
    if depth and (choice := _extreme_in(dim)) is not None:
        cases = _extreme_cases(system, dim, choice)
        return all(_proved(case, op, case.normal(goal), depth - 1) for case, goal in cases)
    return _by_remainders(system, op, dim)


def _directly(system: System, op: str, dim: Dim) -> bool:
    constant = dim.constant
    if constant is not None:
        return _holds_for(op, constant)
    if op == ">=":
        proved = system.entails(dim)
    elif op == "==":
        proved = system.entails(dim) and system.entails(-dim)
    else:
        proved = dim in system.inequations or -dim in system.inequations or _unequal(system, dim)
    return proved or _by_factors(system, op, dim)


def _by_factors(system: System, op: str, dim: Dim) -> bool:
    """A product is 0 if one factor is, and something else if none is; factors >= 0 do not change its sign."""
    shared = common_monomial(list(dim.terms))
    rest = Dim({divide_monomials(m, shared) or (): c for m, c in dim.terms.items()})
    if not shared or (len(shared) == 1 and rest == 1):
        return False
    factors = [Dim({((atom, 1),): 1}) for atom, _ in shared]
    if op == "!=":
        return all(_directly(system, op, factor) for factor in [*factors, rest])
    if any(_directly(system, "==", factor) for factor in factors):
        return True
    return _directly(system, op, rest) and (op == "==" or all(system.entails(factor) for factor in factors))


def _unequal(system: System, dim: Dim) -> bool:
    content = 0
    for monomial, coefficient in dim.terms.items():
        content = gcd(content, coefficient) if monomial else content
    if dim.terms.get((), 0) % content:
        return True
    return system.entails(dim - 1) or system.entails(-dim - 1)


def _extreme_in(dim: Dim) -> Atom | None:
    """An innermost `min` or `max`."""
    for atom in sorted((a for a in dim.atoms() if isinstance(a, Atom)), key=lambda a: a.key):
        inner = next(filter(None, map(_extreme_in, atom.args)), None)
        if inner is not None or atom.op in ("min", "max"):
            return inner or atom
    return None


def _extreme_cases(system: System, dim: Dim, atom: Atom) -> Iterator[tuple[System, Dim]]:
    """For each argument: what holds where it is the extreme one, and the size with it in place."""
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


def _by_remainders(system: System, op: str, dim: Dim) -> bool:
    """Tries every remainder of the symbols that are divided by constants."""
    periods = _limited(_periods(dim, {}))
    return bool(periods) and all(_directly(case, op, case.normal(dim)) for case in _splits(system, periods))


def _periods(dim: Dim, found: dict[str, int]) -> dict[str, int]:
    for atom in dim.atoms():
        if not isinstance(atom, Atom):
            continue
        divisor = atom.args[-1].constant if atom.op == "//" else None
        if divisor:
            for name in (a for a in atom.args[0].atoms() if isinstance(a, str)):
                found[name] = lcm(found.get(name, 1), divisor)
        for arg in atom.args:
            _periods(arg, found)
    return found


def _limited(periods: dict[str, int]) -> list[tuple[str, int]]:
    cases, kept = 1, []
    for name, period in sorted(periods.items(), key=lambda item: (item[1], item[0])):
        cases *= period
        if cases <= CASE_LIMIT:
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


def _resolved(system: System, dim: Dim) -> Dim:
    """Without the `min`, `max`, `//` and `%` terms that the facts decide."""

    def change(atom: str | Atom) -> Dim | None:
        if isinstance(atom, str):
            return None
        inner = atom.rebuilt(lambda arg: _resolved(system, arg))
        if inner is not None:
            return _resolved(system, inner)
        return _resolved_extreme(system, atom) if atom.op in ("min", "max") else _resolved_quotient(system, atom)

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
    if low is None or low != high:
        low = 0 if _fits_below(system, number, divisor) else None
    if low is None:
        return None
    return Dim.of(low) if atom.op == "//" else number - divisor * low


def _fits_below(system: System, number: Dim, divisor: Dim) -> bool:
    number, divisor = system.normal(number), system.normal(divisor)
    return system.entails(number) and system.entails(divisor - number - 1)


def _bounds(system: System, dim: Dim, depth: int) -> Bounds:
    if dim.constant is not None:
        return dim.constant, dim.constant
    choice = _extreme_in(dim)
    if choice is None or not depth:
        return system.bounds(dim)
    found = [_bounds(case, case.normal(goal), depth - 1) for case, goal in _extreme_cases(system, dim, choice)]
    lows, highs = [low for low, _ in found], [high for _, high in found]
    return _known(min, lows), _known(max, highs)


def _known(choose: Callable[[list[int]], int], values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return choose(known) if len(known) == len(values) else None


# Samples


class _Sample(dict[str, int]):
    """A value for every symbol, made up when asked for: small, larger with each turn."""

    def __init__(self, lower: Mapping[str, int], turn: int) -> None:
        super().__init__()
        self.lower = lower
        self.turn = turn

    def __missing__(self, name: str) -> int:
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

    def satisfies(self, system: System) -> bool:
        if system.contradictory:
            return False
        facts = (("==", system.equations), (">=", system.inequalities), ("!=", system.inequations))
        return all(
            (value := self.value(dim)) is not None and _holds_for(op, value) for op, dims in facts for dim in dims
        )
