"""What is assumed about sizes, and what follows from it.

`Facts` answers True (holds for all sizes that satisfy the facts), False (holds for none) or None (not known).
A proof tries, in this order: normal forms under the facts (`dim_system.py`), linear inequalities
(`dim_prover.py`), each case of a `min` or `max`, each remainder of a symbol that is divided by a constant
(`dim_cases.py`). Sample values that satisfy the facts spare the search for what does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dlc.records import dataclass
from dlc.types.dim_cases import Sample, bounds_by_cases, holds_for, negation, proved, simplified
from dlc.types.dim_linear import Bounds
from dlc.types.dim_system import System
from dlc.types.dims import Dim, DimTooLarge, sole_atom
from dlc.types.relations import COMPARISONS, MIRRORED, OPPOSITE

SAMPLES = 6


@dataclass(frozen=True, slots=True)
class Relation:
    """A comparison of two sizes; `op` is one of `== != < <= > >=`."""

    left: Dim
    op: str
    right: Dim

    def substitute(self, values: Mapping[str, Any]) -> Relation:
        return Relation(self.left.substitute(values), self.op, self.right.substitute(values))

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(self.left.symbols) | frozenset(self.right.symbols)

    def holds(self, sizes: Mapping[str, int]) -> bool | None:
        """Whether it does at these sizes; None where it divides by 0."""
        try:
            return COMPARISONS[self.op](self.left.evaluate(sizes), self.right.evaluate(sizes))
        except ZeroDivisionError:
            return None

    def negated(self) -> Relation:
        return Relation(self.left, OPPOSITE[self.op], self.right)

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"


class Facts:
    """An immutable set of assumptions. Symbols are >= 1; those in `nonnegative` or stated to be are >= 0.

    `beyond` is asked for what the assumptions leave open: what holds where these sizes come from."""

    __slots__ = (
        "_answers",
        "_samples",
        "_simple",
        "_system",
        "_turns",
        "beyond",
        "nonnegative",
        "relations",
        "statics",
    )

    def __init__(
        self,
        relations: tuple[Relation, ...] = (),
        nonnegative: frozenset[str] = frozenset(),
        beyond: Callable[[Relation], bool | None] | None = None,
        statics: Facts | None = None,
    ) -> None:
        weakened = {name for relation in relations if (name := _stated_nonnegative(relation))}
        self.relations = relations
        self.beyond = beyond
        self.statics = statics
        """What is assumed about static parameters, for the origins of sizes."""
        self.nonnegative = nonnegative | weakened
        self._system = System(self.nonnegative)
        self._answers: dict[Relation, bool | None] = {}
        self._simple: dict[Dim, Dim] = {}
        self._samples: list[Sample] | None = None
        self._turns = 0  # how many samples were tried
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
        # The default `T >= 1` has been used in every fact that was taken apart so far, and can't be taken out of them.
        name = _stated_nonnegative(relation)
        if name is not None and name not in self.nonnegative:
            return Facts((*self.relations, relation), self.nonnegative, self.beyond, self.statics)
        new = Facts((), self.nonnegative, self.beyond, self.statics)
        new.relations = (*self.relations, relation)
        new._system = _with_relation(self._system, relation)
        new._keep_samples_of(self, relation)
        return new

    def _keep_samples_of(self, fewer: Facts, relation: Relation) -> None:
        """What failed for fewer facts fails for these, which are one more, as long as they are said of the same symbols."""
        before, now = fewer._system, self._system
        if fewer._samples is None or before.lower != now.lower or before.forward != now.forward:
            return
        try:
            op, dim = _compared(relation)
            dim = now.normal(dim)
        except (DimTooLarge, ZeroDivisionError):
            return
        self._turns, self._samples = fewer._turns, [each for each in fewer._samples if each.fits(op, dim)]

    def __str__(self) -> str:
        return ", ".join(map(str, self.relations))

    # Deciding

    def decide(self, relation: Relation) -> bool | None:
        # A size that grows past the limits and a division by 0 mean that nothing is known, never that nothing holds: "not known" is
        # always a right answer, and a check that needs more tells the user which fact to state.
        if relation not in self._answers:
            try:
                answer = self._search(*_compared(relation))
            except (DimTooLarge, ZeroDivisionError):
                answer = None
            if answer is None and self.beyond is not None:
                answer = self.beyond(relation)
            self._answers[relation] = answer
        return self._answers[relation]

    def prove_eq(self, a: int | Dim, b: int | Dim) -> bool | None:
        left, right = Dim.of(a), Dim.of(b)
        return left.terms == right.terms or self.decide(Relation(left, "==", right))

    def prove_ge(self, a: int | Dim, b: int | Dim) -> bool | None:
        return self.decide(Relation(Dim.of(a), ">=", Dim.of(b)))

    def prove_divisible(self, a: int | Dim, k: int | Dim) -> bool | None:
        return self.prove_eq(Dim.of(a) % k, 0)

    def _search(self, op: str, dim: Dim) -> bool | None:
        normal = dim if dim.is_constant else self._system.normal(dim)
        if normal.constant is not None:
            return holds_for(op, normal.constant)
        if op == ">=" and self._system.at_least_zero(dim):
            return True
        # Samples never prove. They tell which of the two proofs is hopeless: a claim that fails for one sample can't be proved,
        # one that holds for one can't be refuted. Without them every "not known" would cost two full searches.
        values = [sample.value(normal) for sample in self.samples()]
        seen = {holds_for(op, value) for value in values if value is not None}
        if False not in seen and proved(self._system, op, normal):
            return True
        if True not in seen and proved(self._system, *negation(op, normal)):
            return False
        return None

    def samples(self) -> list[Sample]:
        """Values that satisfy the facts, so that what fails for one of them is not worth a proof."""
        found = self._samples = self._samples or []
        while len(found) < SAMPLES and self._turns < 4 * SAMPLES:
            sample = Sample(self._system.lower, self._turns)
            self._turns += 1
            if sample.satisfies(self._system):
                found.append(sample)
        return found

    # Rewriting

    def simplify(self, d: Dim) -> Dim:
        """A form that uses the facts, in the stated symbols: `2*(H//2)` is `H` for even H."""
        if d.origin is not None:
            origin = d.origin if self.statics is None else self.statics.simplify(d.origin)
            return Dim(self.simplify(Dim(d.terms)).terms).said(origin)
        if d.is_constant:
            return d
        if d not in self._simple:
            try:
                self._simple[d] = simplified(self._system, d)
            except (DimTooLarge, ZeroDivisionError):
                self._simple[d] = d
        return self._simple[d]

    def bounds(self, d: Dim) -> Bounds:
        """Constant lower and upper bound, None where none is proved."""
        try:
            return bounds_by_cases(self._system, self._system.normal(Dim.of(d)))
        except (DimTooLarge, ZeroDivisionError):
            return None, None


# At given sizes


def unmet(relations: Iterable[Relation], sizes: Mapping[str, int]) -> Relation | None:
    """What does not hold at these sizes: a fact that speaks of them alone, or that a size is 1 or more, where nothing states that it
    may be 0. None where all holds."""
    facts = all_facts(relations, sizes)
    held = {fact: fact.holds(sizes) for fact in facts if fact.symbols <= sizes.keys()}
    # What divides by 0 says less than the size that is 0.
    return next((fact for fact in held if held[fact] is False), None) or next(
        (fact for fact in held if held[fact] is None), None
    )


def all_facts(relations: Iterable[Relation], names: Iterable[str]) -> tuple[Relation, ...]:
    """The facts, and what is assumed of sizes without being stated: that each is 1 or more."""
    facts = tuple(relations)
    free = {_stated_nonnegative(each) for each in facts}
    unsaid = (Relation(Dim.symbol(name), ">=", Dim.of(1)) for name in names if name not in free)
    return (*facts, *unsaid)


# Facts and goals are `dim op 0` with op one of `==`, `!=`, `>=`


def _compared(relation: Relation) -> tuple[str, Dim]:
    difference = relation.left - relation.right
    if relation.op in ("==", "!="):
        return relation.op, difference
    # For integers `a > b` is `a - b - 1 >= 0`, so three kinds of facts are enough.
    signed = difference if relation.op in (">", ">=") else -difference
    return ">=", signed - 1 if relation.op in ("<", ">") else signed


def _stated_nonnegative(relation: Relation) -> str | None:
    """The symbol that a relation like `T >= 0` or `0 <= T` lets be 0."""
    left, op, right = relation.left, relation.op, relation.right
    if op in ("<", "<="):
        left, op, right = right, MIRRORED[op], left
    name, least = sole_atom(left), right.constant
    if not isinstance(name, str) or least is None or op not in (">", ">="):
        return None
    return name if least + (op == ">") <= 0 else None


def _with_relation(system: System, relation: Relation) -> System:
    """A copy that knows one relation more, or the old one if that would get too large."""
    # Leaving a fact out is sound: it can only make fewer things provable. A half-added one is not kept, since its
    # substitutions would be there without the bounds that go with them.
    new = system.copy()
    try:
        new.add(*_compared(relation))
    except (DimTooLarge, ZeroDivisionError):
        return system
    return new
