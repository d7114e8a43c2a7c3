"""Sizes: integer polynomials over symbols, in normal form.

A `Dim` is a sum of monomials over atoms. An atom is a symbol (a `str`) or a `//`, `%`, `min` or `max` term
(an `Atom`) whose arguments are Dims again. Every operator returns the normal form, so `==` compares normal
forms: `(heads*e)//heads == e` and `(H//2)//2 == H//4` hold at once. What needs facts is in `facts.py`.

Symbols stand for integers >= 0. A divisor that is a sum of nonnegative parts therefore counts as positive:
where it is 0 the term has no value, and Python raises as well.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from math import gcd
from typing import Any

from dlc.types import effort
from dlc.types.opaque import Opaque
from dlc.types.traced import Term, TracedInt

Monomial = tuple[tuple["str | Atom", int], ...]
Terms = dict[Monomial, int]

TERM_LIMIT = 2_000  # terms of one Dim, also nested ones
PRODUCTS_A_ROW = 32  # of terms, that take as long as a row of inequalities
DEPTH_LIMIT = 60  # nesting of // % min max
BIT_LIMIT = 13_000  # of a coefficient; Python prints no integer of more than about 14,000
ONE: Monomial = ()


class DimTooLarge(ValueError):
    """A size has too many terms, too deep a nesting, or too large a number in it."""


class Atom:
    """A term that no law takes apart: `op` is `//`, `%`, `min` or `max`, `args` are Dims in normal form."""

    __slots__ = ("_hash", "_key", "args", "depth", "nonnegative", "op", "size")

    def __init__(self, op: str, args: tuple[Dim, ...]) -> None:
        self.op = op
        self.args = args
        self.depth = 1 + max(arg.depth() for arg in args)
        self.size = 1 + sum(arg.size() for arg in args)
        self.nonnegative = _atom_nonnegative(op, args)
        self._hash = hash((op, args))
        self._key: str | None = None
        if self.depth > DEPTH_LIMIT or self.size > TERM_LIMIT:
            raise DimTooLarge(f"a size has more than {TERM_LIMIT} terms or {DEPTH_LIMIT} nested divisions")

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Atom) or self._hash != other._hash:
            return False
        return self.op == other.op and self.args == other.args

    @property
    def key(self) -> str:
        """A text that orders atoms; `~` puts them behind every symbol."""
        if self._key is None:
            self._key = f"~{self.op}({','.join(arg._order_key() for arg in self.args)})"
        return self._key

    def rebuilt(self, function: Callable[[Dim], Dim]) -> Dim | None:
        """The term with its arguments changed, or None if none of them is."""
        args = [function(arg) for arg in self.args]
        return None if args == list(self.args) else apply_op(self.op, args)

    def __repr__(self) -> str:
        return str(Dim({((self, 1),): 1}))


class Dim:
    """An immutable size. Make one with `Dim.of`, `Dim.symbol` and operators; `terms` is read-only."""

    __slots__ = ("_hash", "_symbols", "origin", "terms")

    def __init__(self, terms: Terms, origin: Dim | None = None) -> None:
        self.terms = terms  # no zero coefficients, monomials sorted
        self.origin = origin
        """What it is in terms of the static parameters whose values it was made from; None where that says no more."""
        self._hash: int | None = None
        self._symbols: frozenset[str] | None = None

    @staticmethod
    def of(value: int | Dim) -> Dim:
        if isinstance(value, Dim):
            return value
        origin = value.origin if isinstance(value, TracedInt) else None
        return Dim({ONE: int(value)} if value else {}, origin)

    def said(self, origin: Dim) -> Dim:
        """The same size with another origin."""
        return Dim(self.terms, origin if origin.terms != self.terms else None)

    @staticmethod
    def symbol(name: str) -> Dim:
        return Dim({((name, 1),): 1})

    @staticmethod
    def opaque(term: Term) -> Dim:
        """A whole number that only a term can say."""
        return Dim.symbol(Opaque(term))

    # What it is

    @property
    def constant(self) -> int | None:
        value = self.terms.get(ONE) if len(self.terms) == 1 else None if self.terms else 0
        return value if value is None or self.origin is None else TracedInt(value, self.origin)

    @property
    def is_constant(self) -> bool:
        return self.constant is not None

    @property
    def symbols(self) -> frozenset[str]:
        """Every symbol, also those inside `//`, `%`, `min` and `max`, and for opaque ones what they speak of."""
        if self._symbols is None:
            found: set[str] = set()
            for atom in self.atoms():
                if type(atom) is str:  # the common case, of which there are many
                    found.add(atom)
                else:
                    found.update(_atom_symbols(atom))
            self._symbols = frozenset(found)
        return self._symbols

    def atoms(self) -> list[str | Atom]:
        """The atoms of the monomials, not those nested in them."""
        return list({atom: None for monomial in self.terms for atom, _ in monomial})

    def opaques(self) -> Iterator[Opaque]:
        """The opaque symbols in it, nested ones too."""
        for atom in self.atoms():
            if isinstance(atom, Opaque):
                yield atom
            elif isinstance(atom, Atom):
                for arg in atom.args:
                    yield from arg.opaques()

    @property
    def nonnegative(self) -> bool:
        """Whether it is visibly >= 0: only sums and products of parts that are."""
        return all(c > 0 for c in self.terms.values()) and all(
            isinstance(a, str) or a.nonnegative for m in self.terms for a, _ in m
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim):
            return self.terms == other.terms
        return self.constant == other if isinstance(other, int) else NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            constant = self.constant
            self._hash = hash(frozenset(self.terms.items()) if constant is None else constant)
        return self._hash

    # Arithmetic

    def __add__(self, other: int | Dim) -> Dim:
        if not isinstance(other, int | Dim):
            return NotImplemented
        other = Dim.of(other)
        return _traced(_sum(self.terms, other.terms, 1), operator.add, self, other)

    def __sub__(self, other: int | Dim) -> Dim:
        if not isinstance(other, int | Dim):
            return NotImplemented
        other = Dim.of(other)
        return _traced(_sum(self.terms, other.terms, -1), operator.sub, self, other)

    def __rsub__(self, other: int) -> Dim:
        return Dim.of(other) - self

    def __neg__(self) -> Dim:
        return Dim({m: -c for m, c in self.terms.items()}, None if self.origin is None else -self.origin)

    def __mul__(self, other: int | Dim) -> Dim:
        if not isinstance(other, int | Dim):
            return NotImplemented
        other = Dim.of(other)
        return _traced(_product(self.terms, other.terms), operator.mul, self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: int | Dim) -> Dim:
        if not isinstance(other, int | Dim):
            return NotImplemented
        other = Dim.of(other)
        return _traced(_floor_divide(_bare(self), _bare(other)), operator.floordiv, self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return Dim.of(other) // self

    def __mod__(self, other: int | Dim) -> Dim:
        if not isinstance(other, int | Dim):
            return NotImplemented
        other = Dim.of(other)
        return _traced(_modulo(_bare(self), _bare(other)), operator.mod, self, other)

    def __rmod__(self, other: int) -> Dim:
        return Dim.of(other) % self

    def __pow__(self, exponent: int | Dim) -> Dim:
        power = exponent.constant if isinstance(exponent, Dim) else exponent
        if not isinstance(power, int):
            return NotImplemented
        if power < 0:
            raise ValueError("a size has no negative powers")
        result = _power(_bare(self), int(power))
        base = self.constant
        return _traced(result, operator.pow, self, Dim.of(power)) if base is None else Dim.of(base**power)

    # With values

    def substitute(self, values: Mapping[str, Any]) -> Dim:
        """Every named symbol replaced at once, in the origin as well; the values' own symbols stay. What stands for a symbol is an
        int or a Dim; opaque symbols may speak of other static values too, of whatever kind."""
        if self.origin is not None:
            bare = _bare(self).substitute(values)
            origins = {name: _told(value) for name, value in values.items()}
            return _bare(bare).said(self.origin.substitute(origins))
        if self.symbols.isdisjoint(values):
            return self

        def change(atom: str | Atom) -> Dim | None:
            if isinstance(atom, Opaque):
                found = atom.substituted(values)
                return Dim.symbol(found) if isinstance(found, str) else Dim.of(found)
            if isinstance(atom, str):
                return Dim.of(values[atom]) if atom in values else None
            return atom.rebuilt(lambda arg: arg.substitute(values))

        return self.replace(change)

    def lettered(self, words: dict[str, Opaque]) -> Dim:
        """The size with a word in the place of each opaque symbol, to be printed; `words` says which."""

        def change(atom: str | Atom) -> Dim | None:
            if isinstance(atom, Opaque):
                word = next((key for key, each in words.items() if each == atom), f"opaque__{len(words)}")
                words[word] = atom
                return Dim.symbol(word)
            return None if isinstance(atom, str) else atom.rebuilt(lambda arg: arg.lettered(words))

        return self.replace(change)

    def replace(self, change: Callable[[str | Atom], Dim | None]) -> Dim:
        """Each of its own atoms, not those nested in them, as `change` has it; None leaves one alone."""
        return self.with_atoms({atom: change(atom) for atom in self.atoms()})

    def with_atoms(self, found: Mapping[str | Atom, Dim | None]) -> Dim:
        """Outer atoms replaced by what `found` has for them; None or nothing leaves one alone."""
        kept: Terms = {}
        for monomial, coefficient in self.terms.items():
            if all(found.get(atom) is None for atom, _ in monomial):
                kept[monomial] = coefficient
        if len(kept) == len(self.terms):
            return _bare(self)
        changed = Dim(kept)
        for monomial, coefficient in self.terms.items():
            if monomial not in kept:
                changed = changed + _product_of(monomial, coefficient, found)
        return changed

    def evaluate(self, values: Mapping[str, int]) -> int:
        """Its value in exact integers; KeyError for a missing symbol, ZeroDivisionError as Python."""
        total = 0
        for monomial, coefficient in self.terms.items():
            for atom, power in monomial:
                value = values[atom] if isinstance(atom, str) else _atom_value(atom, values)
                coefficient *= value**power
            total += coefficient
        return total

    def linear_in(self, name: str) -> tuple[Dim, Dim] | None:
        """`(a, b)` with `self == a*name + b`, neither containing `name`; else None."""
        slope: Terms = {}
        rest: Terms = {}
        for monomial, coefficient in self.terms.items():
            if (name, 1) in monomial:
                slope[tuple(factor for factor in monomial if factor[0] != name)] = coefficient
            else:
                rest[monomial] = coefficient
        parts = Dim(slope), Dim(rest)
        return None if any(name in part.symbols for part in parts) else parts

    # As text and data

    def __str__(self) -> str:
        from dlc.types.dim_text import to_text

        return to_text(self)

    def __repr__(self) -> str:
        return f"Dim({self})"

    def to_json(self) -> object:
        """An int, a name, or `["+", [coefficient, [atom, power], …], …]`; an atom is a name or `[op, …]`."""
        if self.constant is not None:
            return self.constant
        atom = sole_atom(self)
        if isinstance(atom, str):
            return atom
        return ["+", *([c, *([_atom_json(a), e] for a, e in m)] for m, c in self.ordered())]

    @staticmethod
    def from_json(data: object) -> Dim:
        """Reads what `to_json` writes; ValueError for anything else."""
        if isinstance(data, int) and not isinstance(data, bool):
            return Dim.of(data)
        if isinstance(data, str):
            return Dim.symbol(data)
        if isinstance(data, list) and len(data) > 1:
            return _sum_from_json(data[1:]) if data[0] == "+" else _atom_from_json(data)
        raise ValueError(f"not a size: {data!r}")

    def ordered(self) -> list[tuple[Monomial, int]]:
        """The terms, highest first: by degree, then by name; the constant is last."""
        if len(self.terms) < 2:
            return list(self.terms.items())
        return sorted(self.terms.items(), key=lambda term: monomial_order(term[0]))

    def _order_key(self) -> str:
        return "+".join(f"{c}" + "".join(f"*{_factor_key(f)}^{f[1]}" for f in m) for m, c in self.ordered())

    def size(self) -> int:
        """The number of terms, counting those nested in atoms."""
        return sum(1 + sum(a.size for a, _ in m if isinstance(a, Atom)) for m in self.terms)

    def depth(self) -> int:
        """How deep atoms are nested in it."""
        return max((a.depth for m in self.terms for a, _ in m if isinstance(a, Atom)), default=0)


def dim_min(a: int | Dim, b: int | Dim) -> Dim:
    a, b = Dim.of(a), Dim.of(b)
    return _traced(_extreme("min", [_bare(a), _bare(b)]), dim_min, a, b)


def dim_max(a: int | Dim, b: int | Dim) -> Dim:
    a, b = Dim.of(a), Dim.of(b)
    return _traced(_extreme("max", [_bare(a), _bare(b)]), dim_max, a, b)


def _bare(dim: Dim) -> Dim:
    """The size without its origin, for computing that does not ask for it."""
    return dim if dim.origin is None else Dim(dim.terms)


def _origin(dim: Dim) -> Dim:
    return dim if dim.origin is None else dim.origin


def _told(value: Any) -> Any:
    """A value in terms of static parameters, where it is a size."""
    whole = isinstance(value, int | Dim) and not isinstance(value, bool)
    return _origin(Dim.of(value)) if whole else value


def _traced(result: Dim, operate: Callable[[Any, Any], Any], a: Dim, b: Dim) -> Dim:
    """The result with an origin, where an operand has one: the same operation on the origins."""
    if a.origin is None and b.origin is None:
        return result
    try:
        return Dim(result.terms).said(operate(_origin(a), _origin(b)))
    except (DimTooLarge, ValueError, ZeroDivisionError):
        return Dim(result.terms)


def sole_atom(dim: Dim) -> str | Atom | None:
    """The atom that the size is, if it is one with nothing added or multiplied."""
    if len(dim.terms) != 1:
        return None
    ((monomial, coefficient),) = dim.terms.items()
    return lone_atom(monomial) if coefficient == 1 else None


def lone_atom(monomial: Monomial) -> str | Atom | None:
    return monomial[0][0] if len(monomial) == 1 and monomial[0][1] == 1 else None


def apply_op(op: str, args: list[Dim]) -> Dim:
    """The normal form of an atom's operation on new arguments."""
    if op == "//":
        return _floor_divide(args[0], args[1])
    if op == "%":
        return _modulo(args[0], args[1])
    return _extreme(op, args)


def parse_dim(text: str) -> Dim:
    """Reads a printed size back; ValueError with the place for anything else."""
    from dlc.types.dim_text import parse

    try:
        return parse(text)
    except ZeroDivisionError as error:
        raise ValueError(f"{text}: {error}") from None


# Monomials: tuples of (atom, power), sorted by `_factor_key`


def _factor_key(factor: tuple[str | Atom, int]) -> str:
    atom = factor[0]
    return atom if isinstance(atom, str) else atom.key


def monomial_order(monomial: Monomial) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Sorts the highest monomial first, in graded lexicographic order."""
    return -sum(e for _, e in monomial), tuple((_factor_key(f), -f[1]) for f in monomial)


def multiply_monomials(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=_factor_key)) if len(powers) > 1 else tuple(powers.items())


def divide_monomials(a: Monomial, b: Monomial) -> Monomial | None:
    """`a / b`, or None if a power of `b` is missing in `a`."""
    if not b:
        return a
    powers = dict(a)
    for atom, power in b:
        left = powers.get(atom, 0) - power
        if left < 0:
            return None
        powers[atom] = left
    return tuple((atom, power) for atom, power in powers.items() if power)


def common_monomial(monomials: list[Monomial]) -> Monomial:
    """The greatest monomial that divides all of them."""
    powers = dict(monomials[0])
    for monomial in monomials[1:]:
        if not powers:
            break
        other = dict(monomial)
        powers = {a: min(e, other[a]) for a, e in powers.items() if a in other}
    return tuple(powers.items())


# Sums and products


def _sum(a: Terms, b: Terms, sign: int) -> Dim:
    terms = dict(a)
    for monomial, coefficient in b.items():
        total = terms.get(monomial, 0) + sign * coefficient
        if total:
            terms[monomial] = total
        else:
            del terms[monomial]
    if len(terms) > TERM_LIMIT:
        raise DimTooLarge(f"a size has more than {TERM_LIMIT} terms")
    return Dim(terms)


def _product(a: Terms, b: Terms) -> Dim:
    terms: Terms = {}
    if len(a) * len(b) >= PRODUCTS_A_ROW:
        effort.count(len(a) * len(b) // PRODUCTS_A_ROW)
    for left, x in a.items():
        for right, y in b.items():
            monomial = multiply_monomials(left, right)
            terms[monomial] = terms.get(monomial, 0) + x * y
        if len(terms) > TERM_LIMIT:
            raise DimTooLarge(f"a size has more than {TERM_LIMIT} terms")
    if any(c.bit_length() > BIT_LIMIT for c in terms.values()):
        raise DimTooLarge("a size has a number of thousands of digits")
    return Dim({m: c for m, c in terms.items() if c})


def _power(base: Dim, exponent: int) -> Dim:
    if len(base.terms) == 1:
        ((monomial, coefficient),) = base.terms.items()
        if abs(coefficient) > 1 and exponent * coefficient.bit_length() > 2 * BIT_LIMIT:
            raise DimTooLarge("a size has a number of thousands of digits")
        powers = tuple((a, e * exponent) for a, e in monomial if exponent)
        return Dim({powers: coefficient**exponent})
    if base.terms and exponent > TERM_LIMIT:
        raise DimTooLarge(f"a size has more than {TERM_LIMIT} terms")
    result = Dim.of(1)
    for bit in bin(exponent)[2:]:
        result = result * result * base if bit == "1" else result * result
    return result


def _product_of(monomial: Monomial, coefficient: int, found: Mapping[str | Atom, Dim | None]) -> Dim:
    unchanged = tuple(f for f in monomial if found.get(f[0]) is None)
    result = Dim({unchanged: coefficient})
    for atom, power in monomial:
        value = found.get(atom)
        if value is not None:
            result = result * (value if power == 1 else _power(value, power))
    return result


# Floor division and remainder


def _floor_divide(number: Dim, divisor: Dim) -> Dim:
    number, divisor = _positive_divisor(number, divisor)
    quotient, rest = divide(number, divisor)
    scale, small, small_divisor, _ = _cancel(rest, divisor)
    if scale != 1:  # what is left can be divided again: B//(2*B*B) == 1//(2*B) == 0
        return quotient + _floor_divide(small, small_divisor)
    if not rest.terms or _below(rest, divisor):
        return quotient
    if divisor.constant is not None and rest.constant is not None:
        return quotient + rest.constant // divisor.constant
    if divisor.constant == 1:
        return quotient + rest
    nested = _nested_quotient(rest) if divisor.nonnegative else None
    if nested is not None:  # (x + n//a)//b == (a*x + n)//(a*b)
        inner, inner_divisor = nested.args
        others = rest - Dim({((nested, 1),): 1})
        return quotient + _floor_divide(inner_divisor * others + inner, inner_divisor * divisor)
    return quotient + Dim({((Atom("//", (rest, divisor)), 1),): 1})


def _modulo(number: Dim, divisor: Dim) -> Dim:
    flipped = number, divisor
    number, divisor = _positive_divisor(number, divisor)
    sign = 1 if divisor is flipped[1] else -1
    scale, rest, divisor, offset = _cancel(divide(number, divisor)[1], divisor)
    return sign * (scale * (_remainder if scale == 1 else _modulo)(rest, divisor) + offset)


def _remainder(rest: Dim, divisor: Dim) -> Dim:
    if not rest.terms or divisor.constant == 1:
        return Dim({})
    if divisor.constant is not None and rest.constant is not None:
        return Dim.of(rest.constant % divisor.constant)
    if _below(rest, divisor):
        return rest
    for monomial, coefficient in rest.terms.items():
        atom = lone_atom(monomial)
        if not isinstance(atom, Atom) or atom.op != "%":
            continue
        number, period = atom.args
        if not divide(coefficient * period, divisor)[1].terms:  # (n % 6 + x) % 3 == (n + x) % 3
            return _modulo(rest + coefficient * (number - Dim({monomial: 1})), divisor)
    return Dim({((Atom("%", (rest, divisor)), 1),): 1})


def _positive_divisor(number: Dim, divisor: Dim) -> tuple[Dim, Dim]:
    if not divisor.terms:
        raise ZeroDivisionError("a size is divided by zero")
    leading = max(divisor.terms.values()) if len(divisor.terms) == 1 else divisor.ordered()[0][1]
    return (number, divisor) if leading > 0 else (-number, -divisor)


def divide(number: Dim, divisor: Dim) -> tuple[Dim, Dim]:
    """`(q, r)` with `number == q*divisor + r`, as polynomials; r has no multiple of the leading term left.

    Not taken where it would only spread a quotient out, as in `T**9 // (T + 1)`.
    """
    if len(divisor.terms) > 1:
        return _divide_by_sum(number, divisor)
    ((leading, coefficient),) = divisor.terms.items()
    quotient: Terms = {}
    rest: Terms = {}
    for monomial, c in number.terms.items():
        shared = divide_monomials(monomial, leading)
        times, left = (0, c) if shared is None else divmod(c, coefficient)
        if times and shared is not None:
            quotient[shared] = times
        if left:
            rest[monomial] = left
    return Dim(quotient), Dim(rest)


def _divide_by_sum(number: Dim, divisor: Dim) -> tuple[Dim, Dim]:
    quotient, rest = reduce_by(number, divisor)
    shorter = len(quotient.terms) + len(rest.terms) < len(number.terms)
    return (quotient, rest) if shorter or not rest.terms else (Dim({}), number)


def reduce_by(number: Dim, divisor: Dim, steps: int = 64) -> tuple[Dim, Dim]:
    """Polynomial division by a sum, from the leading terms down, as far as that many steps go."""
    leading, coefficient = divisor.ordered()[0]
    quotient, rest = Dim({}), number
    for _ in range(steps):
        step = _leading_quotient(rest, leading, coefficient)
        if step is None:
            break
        quotient, rest = quotient + step, rest - step * divisor
    return quotient, rest


def _leading_quotient(number: Dim, leading: Monomial, coefficient: int) -> Dim | None:
    for monomial, c in number.ordered():
        shared = divide_monomials(monomial, leading)
        if shared is not None and c // coefficient:
            return Dim({shared: c // coefficient})
    return None


def _cancel(rest: Dim, divisor: Dim) -> tuple[int | Dim, Dim, Dim, int]:
    """`(g, r, d, o)` with `rest//divisor == r//d` and `rest % divisor == g*(r % d) + o`.

    g is 1 where nothing cancels."""
    if not rest.terms:
        return 1, rest, divisor, 0
    shared = common_monomial([*rest.terms, *divisor.terms])
    content = reduce(gcd, (c for m, c in rest.terms.items() if m), 0)
    content = reduce(gcd, divisor.terms.values(), content)
    offset = rest.terms.get(ONE, 0) % content
    if offset and not divisor.nonnegative:
        content = gcd(content, offset)
        offset = 0
    if content == 1 and not shared:
        return 1, rest, divisor, 0
    small = [_exact(d.terms, shared, content) for d in (rest - offset, divisor)]
    return Dim({shared: content}), small[0], small[1], offset


def _exact(terms: Terms, shared: Monomial, content: int) -> Dim:
    return Dim({divide_monomials(m, shared) or ONE: c // content for m, c in terms.items()})


def _below(rest: Dim, divisor: Dim) -> bool:
    """Whether `0 <= rest < divisor` is visible: rest is a remainder by something no larger."""
    atom = sole_atom(rest)
    if not isinstance(atom, Atom) or atom.op != "%":
        return False
    return atom.args[1] == divisor or (atom.args[1].nonnegative and (divisor - atom.args[1]).nonnegative)


def _nested_quotient(rest: Dim) -> Atom | None:
    """The only `//` among the terms, if there is one and it has no factor."""
    found = [lone_atom(m) for m, c in rest.terms.items() if c == 1]
    quotients = [a for a in found if isinstance(a, Atom) and a.op == "//"]
    return quotients[0] if len(quotients) == 1 else None


# min and max


def _extreme(op: str, args: list[Dim]) -> Dim:
    flat = [piece for arg in args for piece in _spread(op, arg)]
    kept: list[Dim] = []
    for arg in flat:
        if not any(_dominates(op, other, arg) for other in kept):
            kept = [other for other in kept if not _dominates(op, arg, other)] + [arg]
    if len(kept) == 1:
        return kept[0]
    first, *others = kept
    outside = Dim({m: c for m, c in first.terms.items() if all(arg.terms.get(m) == c for arg in others)})
    inside = sorted((arg - outside for arg in kept), key=lambda arg: (arg.is_constant, arg._order_key()))
    return outside + Dim({((Atom(op, tuple(inside)), 1),): 1})


def _spread(op: str, arg: Dim) -> list[Dim]:
    """`min(a, b) + c` inside a min is `a + c` and `b + c`."""
    for monomial, coefficient in arg.terms.items():
        atom = lone_atom(monomial)
        if isinstance(atom, Atom) and atom.op == op and coefficient == 1:
            others = arg - Dim({monomial: 1})
            return [piece for inner in atom.args for piece in _spread(op, inner + others)]
    return [arg]


def _dominates(op: str, winner: Dim, loser: Dim) -> bool:
    return (loser - winner if op == "min" else winner - loser).nonnegative


# Atoms


def _atom_nonnegative(op: str, args: tuple[Dim, ...]) -> bool:
    if op == "%":
        return args[1].nonnegative
    return any(a.nonnegative for a in args) if op == "max" else all(a.nonnegative for a in args)


def _atom_symbols(atom: str | Atom) -> Iterable[str]:
    if isinstance(atom, str):
        return atom.names if isinstance(atom, Opaque) else (atom,)
    return frozenset().union(*(arg.symbols for arg in atom.args))


def _atom_value(atom: Atom, values: Mapping[str, int]) -> int:
    args = [arg.evaluate(values) for arg in atom.args]
    if atom.op == "//":
        return args[0] // args[1]
    if atom.op == "%":
        return args[0] % args[1]
    return min(args) if atom.op == "min" else max(args)


def _atom_json(atom: str | Atom) -> object:
    return atom if isinstance(atom, str) else [atom.op, *(arg.to_json() for arg in atom.args)]


def _sum_from_json(rows: list[object]) -> Dim:
    total = Dim({})
    for row in rows:
        if not isinstance(row, list) or not row or not isinstance(row[0], int):
            raise ValueError(f"not a term of a size: {row!r}")
        product = Dim.of(row[0])
        for factor in row[1:]:
            if not isinstance(factor, list) or len(factor) != 2 or not isinstance(factor[1], int):
                raise ValueError(f"not a factor of a size: {factor!r}")
            product = product * Dim.from_json(factor[0]) ** factor[1]
        total = total + product
    return total


def _atom_from_json(data: list[object]) -> Dim:
    op, args = data[0], [Dim.from_json(arg) for arg in data[1:]]
    if op not in ("//", "%", "min", "max") or (op in ("//", "%") and len(args) != 2):
        raise ValueError(f"not a size: {data!r}")
    return apply_op(str(op), args)
