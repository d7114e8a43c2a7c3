"""Proofs by linear inequalities: lower bounds, facts as rows, products of rows.

Before a comparison every symbol, and every atom that has a least value, is written as that value and a rest
that is >= 0. So `T*d - d` is `t + t*e` for `T = 1 + t, d = 1 + e`, visibly >= 0. What is not visible is left
to `dim_linear.py`, over the facts that mention its symbols and the inequalities that define its atoms.
"""

from __future__ import annotations

from dlc.types.dim_linear import Bounds, bounds_of, infeasible
from dlc.types.dims import ONE, Atom, Dim, DimTooLarge, Monomial, Terms, divide_monomials, multiply_monomials

ROW_LIMIT = 40  # facts taken into a proof
PRODUCT_LIMIT = 40  # rows multiplied by a monomial, per proof
WANTED_LIMIT = 40  # products of symbols looked for, per proof
LIFTED_LIMIT = 400  # terms of a size written as bounds and rests


class Prover:
    """Facts as lower bounds of symbols and as sizes that are `>= 0`, `== 0` or `!= 0`, all free of `%`."""

    def __init__(self) -> None:
        self.lower: dict[str, int] = {}  # 1 for those not in it
        self.inequalities: list[Dim] = []
        self.equations: list[Dim] = []
        self.inequations: list[Dim] = []
        self.forget()

    def forget(self) -> None:
        """To be called when lower bounds or facts have changed."""
        self._lifted: dict[Monomial, Terms] = {}
        self._atom_lower: dict[Atom, int | None] = {}

    # Lower bounds

    def least(self, dim: Dim) -> int | None:
        """A lower bound that is visible once every symbol is written as its bound and the rest."""
        # After lifting, every symbol in a term is a rest >= 0. So if no term but the constant can be negative, the size is at
        # its least where all rests are 0, and that least value is the constant.
        terms = self.lifted(dim)
        if all(c > 0 and self._signed(m) for m, c in terms.items() if m):
            return terms.get(ONE, 0)
        return None

    def at_least_zero(self, dim: Dim) -> bool:
        least = self.least(dim)
        return least is not None and least >= 0

    def is_divisor(self, dim: Dim) -> bool:
        """Whether it is positive wherever a division by it has a value."""
        return dim.nonnegative or self.at_least_zero(dim)

    def lifted(self, dim: Dim) -> Terms:
        terms: Terms = {}
        for monomial, coefficient in dim.terms.items():
            for lifted, c in self._lift(monomial).items():
                terms[lifted] = terms.get(lifted, 0) + c * coefficient
        return {m: c for m, c in terms.items() if c}

    def _lift(self, monomial: Monomial) -> Terms:
        found = self._lifted.get(monomial)
        if found is not None:
            return found
        product = Dim.of(1)
        for atom, power in monomial:
            least = self._least_of(atom)
            product = product * (Dim({((atom, 1),): 1}) + (least or 0)) ** power
            if len(product.terms) > LIFTED_LIMIT:
                raise DimTooLarge("too many terms to compare")
        self._lifted[monomial] = product.terms
        return product.terms

    def _signed(self, monomial: Monomial) -> bool:
        """Whether a monomial of a lifted size is >= 0."""
        return all(e % 2 == 0 or self._least_of(a) is not None for a, e in monomial)

    def _least_of(self, atom: str | Atom) -> int | None:
        if isinstance(atom, str):
            return self.lower.get(atom, 1)
        if atom not in self._atom_lower:
            # Finding the bound of an atom may ask for it again, through facts that mention it (`entails`). None in the meantime
            # ends that circle, and claims nothing.
            self._atom_lower[atom] = None
            least = self._atom_least(atom)
            if least is not None:
                self._atom_lower[atom] = least
                # What was lifted meanwhile took the atom as unbounded. Kept, it would mix two meanings of one monomial: the atom
                # itself, and its rest above the bound.
                self._lifted = {m: t for m, t in self._lifted.items() if all(a != atom for a, _ in m)}
        return self._atom_lower[atom]

    def _atom_least(self, atom: Atom) -> int | None:
        found = [self.least(arg) for arg in atom.args]
        known = [least for least in found if least is not None]
        if atom.op == "max":
            return max(known, default=None)
        if atom.op == "min":
            return min(known) if len(known) == len(found) else None
        number, divisor = atom.args
        if not self.is_divisor(
            divisor
        ):  # by a negative divisor a remainder is <= 0, and a quotient turns round
            return None
        if atom.op == "%":
            return 0
        if found[0] is None:
            return 0 if self.entails(number) else None
        # By an unknown divisor: what is >= 0 may come down to 0, and what is negative is at its lowest where the divisor is 1.
        return found[0] // divisor.constant if divisor.constant else min(found[0], 0)

    # Proofs

    def entails(self, dim: Dim) -> bool:
        """Whether it is proved to be >= 0."""
        if self.at_least_zero(dim):
            return True
        # With `dim != -1` known, `dim >= -1` is enough to be proved. Linear rows can't say `!=`, so it is used here.
        if dim + 1 in self.inequations or -dim - 1 in self.inequations:
            dim = dim + 1
        rows = self._rows(dim)
        if not rows:
            return self.at_least_zero(dim)
        # By refutation: with `dim <= -1`, which for integers is the contrary of `dim >= 0`, the facts must have no solution.
        rows.insert(0, self.lifted(-dim - 1))
        return infeasible([*rows, *self._products(rows)], self._signed)

    def bounds(self, dim: Dim) -> Bounds:
        """Constants between which it is proved to lie."""
        # `=` is no name of the language, so this variable can't meet another. Two rows make it equal to the size.
        value: Monomial = (("=", 1),)
        terms, least = self.lifted(dim), self.least(dim)
        rows = [{**terms, value: -1}, {**{m: -c for m, c in terms.items()}, value: 1}, *self._rows(dim)]
        rows += self._products(rows)
        low, high = bounds_of(value, rows, lambda m: value[0] not in m and self._signed(m))
        return (low if least is None or (low is not None and low > least) else least), high

    def _rows(self, dim: Dim) -> list[Terms]:
        """The facts that have to do with it, and what defines the atoms in it and in them."""
        facts = self._related(dim)
        atoms: dict[Atom, None] = {}
        for fact in (dim, *facts):
            _collect_atoms(fact, atoms)
        facts += [row for atom in atoms for row in self._definition(atom)]
        return [self.lifted(fact) for fact in facts]

    def _related(self, dim: Dim) -> list[Dim]:
        left = self.inequalities + self.equations + [-e for e in self.equations]
        names, found = set(dim.symbols), list[Dim]()
        # Facts are taken in rings around the question: those that share a symbol with it, then those that share one with these.
        # A ring goes in as a whole or not at all, so that what is proved does not hang on the order in which facts are stated.
        while True:
            near = [fact for fact in left if not names.isdisjoint(fact.symbols)]
            if not near or len(found) + len(near) > ROW_LIMIT:
                return found
            found += near
            left = [fact for fact in left if names.isdisjoint(fact.symbols)]
            names.update(*(fact.symbols for fact in near))

    def _definition(self, atom: Atom) -> list[Dim]:
        value = Dim({((atom, 1),): 1})
        if atom.op == "min":
            return [arg - value for arg in atom.args]
        if atom.op == "max":
            return [value - arg for arg in atom.args]
        number, divisor = atom.args
        if not self.is_divisor(divisor):
            return []
        # All that division means: `0 <= number - divisor*quotient < divisor`. The divisor is not 0 wherever the atom has a value.
        rest = value if atom.op == "%" else number - divisor * value
        return [rest, divisor - 1 - rest, *([] if divisor.is_constant else [divisor - 1])]

    def _products(self, rows: list[Terms]) -> list[Terms]:
        """Rows times a monomial >= 0, where that gives a product that occurs."""
        # Elimination takes `T*d` for a variable that has nothing to do with T and d. A row times d ties them together again:
        # `T - 4 >= 0` becomes `T*d - 4*d >= 0`. That is sound for d >= 0 only, hence `_signed`; and of endlessly many products
        # only those can help that meet a monomial which is there already.
        wanted = list({m: None for row in rows for m in row if sum(e for _, e in m) > 1})[:WANTED_LIMIT]
        found: list[Terms] = []
        for row in rows:
            factors = {divide_monomials(w, m): None for w in wanted for m in row if m and m != w}
            for factor in factors:
                if len(found) == PRODUCT_LIMIT:
                    return found
                if factor and self._signed(factor):
                    found.append({multiply_monomials(m, factor): c for m, c in row.items()})
        return found


def _collect_atoms(dim: Dim, found: dict[Atom, None]) -> None:
    for atom in dim.atoms():
        if isinstance(atom, Atom) and atom not in found:
            found[atom] = None
            for arg in atom.args:
                _collect_atoms(arg, found)
