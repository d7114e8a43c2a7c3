"""What facts say about sizes, in solved form: a substitution, lower bounds, and what is left of them.

`System.add` takes a fact apart as far as it can. An equation with a lone symbol replaces that symbol
(`d == heads*e`), a congruence replaces it by a multiple of a fresh one (`H % 32 == 0`: `H = 32*H'`), a bound
on one symbol is kept as that. What resists stays as an equation (also used as a rewriting rule from its
leading term), an inequality or an inequation. Internally `x % k` is `x - k*(x//k)`.
"""

from __future__ import annotations

from functools import reduce
from math import gcd

from dlc.types.dim_prover import Prover
from dlc.types.dims import ONE, Atom, Dim, Monomial, common_monomial, divide_monomials, reduce_by, sole_atom
from dlc.types.opaque import Opaque

STEP_LIMIT = 200  # facts taken up again after a substitution, per added fact

Fact = tuple[str, Dim]  # "==", ">=" or "!=", and what is compared with 0
Binding = tuple[str, Dim]


def without_remainders(dim: Dim) -> Dim:
    """`x % k` as `x - k*(x//k)` everywhere."""

    def change(atom: str | Atom) -> Dim | None:
        if isinstance(atom, str):
            return None
        if atom.op != "%":
            return atom.rebuilt(without_remainders)
        number, divisor = (without_remainders(arg) for arg in atom.args)
        return number - divisor * (number // divisor)

    return dim.replace(change)


class System(Prover):
    """Facts in solved form. `add` changes it; whoever shares one works on a `copy`."""

    def __init__(self, nonnegative: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.lower = dict.fromkeys(nonnegative, 0)
        self.forward: dict[str, Dim] = {}  # a symbol that facts determine, in terms of the others
        self.origin: dict[str, tuple[Dim, Dim]] = {}  # a fresh symbol as an exact quotient of stated sizes
        self.contradictory = False

    def copy(self) -> System:
        other = System()
        other.forward, other.lower, other.origin = dict(self.forward), dict(self.lower), dict(self.origin)
        other.inequalities, other.equations = list(self.inequalities), list(self.equations)
        other.inequations, other.contradictory = list(self.inequations), self.contradictory
        return other

    # Adding facts

    def add(self, op: str, dim: Dim) -> None:
        # A fact may solve for a symbol, and then all facts that mention the symbol are taken up again in the new form: they may
        # have become simpler, solvable, or contradictory. Each substitution removes a symbol, but a congruence brings in a fresh
        # one, so termination rests on the limit, not on a measure.
        pending: list[Fact] = [(op, dim)]
        self.forget()
        for _ in range(STEP_LIMIT):
            if not pending or self.contradictory:
                return
            op, dim = pending.pop()
            binding, more = self._take_apart(op, self.normal(dim))
            pending += more
            if binding is not None:
                pending += self._bind(*binding)
        self._keep(pending)  # out of steps: nothing is lost, what is left is only not taken apart further

    def _keep(self, pending: list[Fact]) -> None:
        kept = {"==": self.equations, ">=": self.inequalities, "!=": self.inequations}
        for op, dim in pending:
            normal = self.normal(dim)
            if not normal.is_constant:
                kept[op].append(normal)

    def split(self, name: str, period: int, rest: int) -> None:
        """Assumes that `name % period == rest`; the caller knows that `name` is free here."""
        pending = self._bind(name, self._multiple(name, Dim.of(period), Dim.of(rest), period))
        for fact in pending:
            self.add(*fact)

    def _take_apart(self, op: str, dim: Dim) -> tuple[Binding | None, list[Fact]]:
        if op == "==":
            return self._equation(dim)
        return None, self._inequality(dim) if op == ">=" else self._inequation(dim)

    def _bind(self, name: str, value: Dim) -> list[Fact]:
        """Replaces a symbol for good; facts that mention it are returned, to be taken up again."""
        # `forward` stays in triangular form: no value in it mentions a symbol that is bound. So one substitution is enough in
        # `normal`, and the order in which symbols were bound does not matter.
        replaced = {name: value}
        self.forward = {n: old.substitute(replaced) for n, old in self.forward.items()}
        self.forward[name] = value
        self.forget()
        # The bound of the symbol goes with it, and has to be said of its value instead.
        pending: list[Fact] = [(">=", value - self.lower.get(name, 1))]
        for op, kept in (("!=", self.inequations), (">=", self.inequalities), ("==", self.equations)):
            pending += [(op, fact) for fact in kept if name in fact.symbols]
            kept[:] = [fact for fact in kept if name not in fact.symbols]
        return pending

    def normal(self, dim: Dim) -> Dim:
        """With what facts determine replaced, and free of `%`."""
        return self.rewritten(without_remainders(dim.substitute(self.forward)))

    def rewritten(self, dim: Dim) -> Dim:
        if not self.equations or dim.is_constant:
            return dim
        dim = dim.replace(lambda atom: None if isinstance(atom, str) else atom.rebuilt(self.rewritten))
        for equation in self.equations:
            # Only where the leading term has the coefficient 1 or -1: from `2*x*y == z` nothing follows for `x*y` that is a polynomial.
            # One pass in the order of the equations, which is no Gröbner basis: what it misses stays unproved.
            if abs(equation.ordered()[0][1]) == 1:
                dim = reduce_by(dim, equation)[1]
        return dim

    # Inequalities and inequations

    def _inequality(self, dim: Dim) -> list[Fact]:
        dim = _tightened(dim)
        constant = dim.terms.get(ONE, 0)
        if dim.is_constant:
            self.contradictory |= constant < 0
            return []
        name = sole_atom(dim - constant)
        if isinstance(name, str):
            return self._raise_lower(name, -constant)
        # `T <= c` where c is T's least value (or less, which can't be): then T is c, and an equation says far more than two
        # bounds. The same for `a >= b` after `b >= a`.
        below = sole_atom(constant - dim)
        if isinstance(below, str) and constant <= self.lower.get(below, 1):
            self.contradictory |= constant < self.lower.get(below, 1)
            return [("==", dim)]
        if -dim in self.inequalities:
            return [("==", dim)]
        if dim not in self.inequalities and not self.at_least_zero(dim):
            self.inequalities.append(dim)
        return []

    def _raise_lower(self, name: str, least: int) -> list[Fact]:
        if least <= self.lower.get(name, 1):
            return []
        self.lower[name] = least
        self.forget()
        # With the higher bound some of them are visible, and go; others now meet it, and become equations.
        again = [fact for fact in self.inequalities if name in fact.symbols]
        self.inequalities = [fact for fact in self.inequalities if name not in fact.symbols]
        return [(">=", fact) for fact in again]

    def _inequation(self, dim: Dim) -> list[Fact]:
        if dim.is_constant:
            self.contradictory |= not dim.terms
            return []
        # `T != 1` for T >= 1 is `T >= 2`: a bound takes part in every later proof, an inequation in few.
        for signed in (dim, -dim):
            excluded = -signed.terms.get(ONE, 0)
            name = sole_atom(signed + excluded)
            if isinstance(name, str) and excluded == self.lower.get(name, 1):
                return self._raise_lower(name, excluded + 1)
        self.inequations.append(dim)
        return []

    # Equations

    def _equation(self, dim: Dim) -> tuple[Binding | None, list[Fact]]:
        if not dim.terms:
            return None, []
        # `2*x + 4*y == 3` has no integer solution, nor has `3 == 0`, where there is nothing but a constant.
        content = _content(dim)
        if dim.terms.get(ONE, 0) % content if content else True:
            self.contradictory = True
            return None, []
        dim = self._without_factor(Dim({m: c // content for m, c in dim.terms.items()}))
        found = self._as_remainder(dim)
        if found is not None:
            return found
        binding = self._solved(dim)
        if binding is not None:
            return binding, []
        binding = self._parity(dim)
        if binding is not None:
            return binding, [("==", dim)]
        self.equations.append(dim)
        return None, []

    def _without_factor(self, dim: Dim) -> Dim:
        # `d*h == d*e` is `h == e` only where d can't be 0. A symbol that may be 0 stays, and so does every atom.
        shared = common_monomial(list(dim.terms))
        positive = tuple((a, e) for a, e in shared if isinstance(a, str) and self.lower.get(a, 1) > 0)
        return (
            Dim({divide_monomials(m, positive) or ONE: c for m, c in dim.terms.items()}) if positive else dim
        )

    def _as_remainder(self, dim: Dim) -> tuple[Binding | None, list[Fact]] | None:
        """`n - k*(n//k) == r` says that k divides n - r, and 0 <= r < k."""
        for atom in sorted(
            (a for a in dim.atoms() if isinstance(a, Atom) and a.op == "//"), key=lambda a: a.key
        ):
            number, divisor = atom.args
            exact = Dim({((atom, 1),): 1}) * divisor
            for sign in (1, -1):
                rest = number - exact - sign * dim
                if atom in rest.atoms() or not self.is_divisor(divisor):
                    continue
                limits: list[Fact] = [(">=", rest), (">=", divisor - 1 - rest)]
                binding = self._congruence(number - rest, divisor)
                if binding is None:
                    self.equations.append(dim)
                return binding, [*limits, *([("==", dim)] if binding else [])]
        return None

    def _solved(self, dim: Dim) -> Binding | None:
        """A symbol that the equation determines; rather one whose value is visibly in its range."""
        found: list[tuple[bool, int, str, Dim]] = []
        for name in (atom for atom in dim.atoms() if isinstance(atom, str)):
            slope = dim.terms.get(((name, 1),), 0)
            parts = dim.linear_in(name) if abs(slope) == 1 else None
            if parts is not None and parts[0].is_constant:
                value = parts[1] * -slope
                # Only a slope of 1 or -1 gives a value without division. `fits` first: else the bound of the symbol remains as
                # an inequality about others, which is harder to use. Then a value without atoms, which rewrites best.
                fits = self.at_least_zero(value - self.lower.get(name, 1))
                compound = sum(isinstance(a, Atom) for a in value.atoms())
                found.append((fits, -compound, name, value))
        return max(found, key=lambda c: c[:3])[2:] if found else None

    def _parity(self, dim: Dim) -> Binding | None:
        """From `2*x == 3*y`: y is even. After that x has no factor, and is solved for."""
        for name in sorted(atom for atom in dim.atoms() if isinstance(atom, str)):
            parts = dim.linear_in(name)
            slope = parts[0].constant if parts is not None else None
            binding = self._congruence(dim, Dim.of(abs(slope))) if slope else None
            if binding is not None:
                return binding
        return None

    # Congruences

    def _congruence(self, number: Dim, divisor: Dim) -> Binding | None:
        """A binding that makes the divisor divide the number, or None; contradictions are noted."""
        rest = number % divisor
        if rest.is_constant:
            self.contradictory |= bool(rest.terms)
            return None
        # `%` in normal form has taken out every term that the divisor divides, and has cancelled what both share: what is left
        # says by itself whether an offset stays, and then no value of the symbols makes the remainder 0.
        offset = rest.terms.get(ONE, 0)
        remainders = [a for a in rest.atoms() if isinstance(a, Atom) and a.op == "%"]
        if len(remainders) != 1 or len(rest.terms) != 1 + bool(offset):
            return None
        if offset:
            self.contradictory = True
            return None
        number, divisor = remainders[0].args
        if divisor.constant is None:
            return self._symbolic_congruence(number, divisor)
        return self._constant_congruence(number, divisor.constant)

    def _constant_congruence(self, number: Dim, period: int) -> Binding | None:
        candidates = [a for a in number.atoms() if isinstance(a, str) and number.linear_in(a) is not None]
        for name in sorted(candidates):
            slope = number.terms.get(((name, 1),), 0)
            parts = number.linear_in(name)
            if parts is None or not parts[0].is_constant or gcd(slope, period) != 1:
                continue
            # `slope*name + others` is 0 modulo the period: with an inverse of the slope, name is `-others/slope` there, plus a
            # multiple of the period. There is an inverse just where slope and period have no divisor in common.
            inverse = pow(slope, -1, period)
            others = Dim({m: c * inverse % period for m, c in parts[1].terms.items() if c * inverse % period})
            if others.constant is not None:
                rest = Dim.of(-others.constant % period)
            elif self.at_least_zero(
                others
            ):  # else `name - rest` could be negative, and the fresh symbol with it
                rest = -others
            else:
                continue
            return name, self._multiple(name, Dim.of(period), rest, period)
        # No symbol can be solved for modulo the period, but one may modulo a divisor of it. That is a part of the congruence; the
        # rest comes up again, since the equation is taken up once more after a binding.
        prime = next((p for p in range(2, min(period, 1000)) if period % p == 0), None)
        if prime is None:
            return None
        return self._congruence(number, Dim.of(prime)) or self._congruence(number, Dim.of(period // prime))

    def _symbolic_congruence(self, number: Dim, divisor: Dim) -> Binding | None:
        if not self.is_divisor(divisor) or not self.at_least_zero(number):
            return None
        for name in sorted(a for a in number.atoms() if isinstance(a, str) and a not in divisor.symbols):
            parts = number.linear_in(name)
            if parts is not None and parts[0] == 1:
                return name, self._multiple(name, divisor, -parts[1], None)
        return None

    def _multiple(self, name: str, divisor: Dim, rest: Dim, period: int | None) -> Dim:
        """`divisor*fresh + rest` for a fresh symbol >= 0; the caller knows that `name - rest` is >= 0."""
        # An apostrophe can't be written in a spec, so no stated symbol is ever met.
        fresh = name + "'"
        while fresh in self.lower or fresh in self.origin or fresh in self.forward:
            fresh += "'"
        # A fresh symbol of a fresh one is told in terms of what the spec says: `H == 2*H'`, `H' == 3*H''` make `H'' == H//6`.
        number, scale = self.origin.get(name, (Dim.symbol(name), Dim.of(1)))
        self.origin[fresh] = (number - self.stated(rest) * scale, self.stated(divisor) * scale)
        least = self.least(Dim.symbol(name) - rest)
        if period is None:
            self.lower[fresh] = 1 if least is not None and least > 0 else 0
        else:
            self.lower[fresh] = max(0, -(-(least or 0) // period))
        return divisor * Dim.symbol(fresh) + rest

    # Back to the symbols that were stated

    def stated(self, dim: Dim) -> Dim:
        """Without fresh symbols: `16*H'` for `H == 32*H'` is `H//2`."""
        if dim.symbols.isdisjoint(self.origin):
            return dim
        dim = dim.replace(self._stated_atom)
        total = Dim({})
        for monomial, coefficient in dim.terms.items():
            total = total + self._stated_term(monomial, coefficient)
        return total

    def _stated_atom(self, atom: str | Atom) -> Dim | None:
        if isinstance(atom, Opaque):  # what it computes with was rewritten as well: `int(H'*ratio)`
            fresh = {name: self.stated(Dim.symbol(name)) for name in atom.names & self.origin.keys()}
            return Dim.symbol(atom).substitute(fresh) if fresh else None
        return None if isinstance(atom, str) else atom.rebuilt(self.stated)

    def _stated_term(self, monomial: Monomial, coefficient: int) -> Dim:
        # The newest first: an older fresh symbol beside it may be a factor of its divisor, and cancels there.
        shares: list[_Share] = []
        for name in [name for name in reversed(self.origin) if any(a == name for a, _ in monomial)]:
            factor: Monomial = ((name, 1),)
            while (rest := divide_monomials(monomial, factor)) is not None:
                share = self._share(name, rest)
                shares.append(share)
                monomial = divide_monomials(rest, share.taken) or ONE
        coefficient = _distribute(coefficient, shares)
        result = Dim({monomial: coefficient})
        for share in shares:
            result = result * share.value()
        return result

    def _share(self, name: str, rest: Monomial) -> _Share:
        number, scale = self.origin[name]
        inner = self.normal(scale)
        if len(inner.terms) == 1:
            ((monomial, content),) = inner.terms.items()
            taken = common_monomial([monomial, rest])
            left = Dim({divide_monomials(monomial, taken) or ONE: 1})
            if left.symbols.isdisjoint(self.origin):
                return _Share(number, left, content, taken)
        return _Share(number, scale, 1, ONE)


class _Share:
    """A factor of a term that was a fresh symbol: `number // (scale*content)`, exact."""

    def __init__(self, number: Dim, scale: Dim, content: int, taken: Monomial) -> None:
        self.number, self.scale, self.content, self.taken = number, scale, content, taken
        self.cancelled = 1

    def value(self) -> Dim:
        return self.number // (self.scale * self.content)


def _distribute(coefficient: int, shares: list[_Share]) -> int:
    """Cancels the coefficient against the divisors, evenly: `16*H'*W'` is `(H//8)*(W//8)`."""
    while True:
        open_shares = [share for share in shares if gcd(coefficient, share.content) > 1]
        if not open_shares:
            return coefficient
        share = min(open_shares, key=lambda s: s.cancelled)
        common = gcd(coefficient, share.content)
        prime = next((p for p in range(2, min(common, 100)) if common % p == 0), common)
        share.content //= prime
        share.cancelled *= prime
        coefficient //= prime


def _tightened(dim: Dim) -> Dim:
    content = _content(dim)
    return Dim({m: q for m, c in dim.terms.items() if (q := c // content)}) if content > 1 else dim


def _content(dim: Dim) -> int:
    return reduce(gcd, (c for m, c in dim.terms.items() if m), 0)
