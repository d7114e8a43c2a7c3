"""Which numbers of a class are arguments of its constructor, and what they are called.

The members of a class are its instantiations: those of the program, and those of the program's variants, which are
the same model with one static parameter changed. Each number is a column with one value per member. A number
that is the same in all of them is written as it is. One that differs becomes an argument: a static parameter of
the spec's module that has its values in every member, a simple term of them (`4 * d`, `d // heads`), or else an
argument named after what it is (`in_features`). So no number is taken for a parameter that it only happens to equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from dlc.emit.names import identifier, unique
from dlc.emit.tree import Arg, Binary, Call, Expr, Num, Word, walk
from dlc.ir.nodes import Attr

Value = int | float
Values = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Column:
    role: str
    values: Values

    @property
    def varies(self) -> bool:
        return len(set(self.values)) > 1


@dataclass
class Solution:
    """Expressions for the columns, and the arguments with their values by member; the first `program` members are
    the program's own. `own` are the arguments that are no static parameter of the spec."""

    found: list[Expr]
    arguments: dict[str, Values]
    own: frozenset[str] = frozenset()
    program: int = 1

    def default(self, name: str) -> Value | None:
        """The value that an argument may be left out for: what PyTorch takes where nothing is said."""
        natural = NATURAL.get(name)
        return natural if natural in self.arguments.get(name, ())[: self.program] else None


# What arguments of these names are where nothing is said.
NATURAL: Mapping[str, Value] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
# The further a term is from what a person would write, the less of it there may be.
OFFSETS = (1, -1, 2, -2)
FACTORS_IN_ROOTS = (1, 2, 3, 4)


def solve(columns: Sequence[Column], statics: Sequence[Mapping[str, Attr]], program: int = 0) -> Solution:
    """`statics` are the members' static arguments; the first `program` members are the program's own (0 for all)."""
    return Solver.of(statics, program).run(columns)


RESERVED = frozenset({"self", "torch", "nn", "math", "F", "Tensor"})


def argument(name: str) -> str:
    """A name for an argument that hides nothing the constructor reads."""
    name = identifier(name)
    return f"{name}_" if name in RESERVED else name


@dataclass
class Solver:
    """`known` are the static parameters that differ between members."""

    program: int
    known: dict[str, Values]
    own: dict[str, Values] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    @staticmethod
    def of(statics: Sequence[Mapping[str, Attr]], program: int = 0) -> Solver:
        known: dict[str, Values] = {}
        for name in statics[0] if statics else ():
            values = tuple(member.get(name) for member in statics)
            if all(_is_number(value) for value in values) and len(set(values)) > 1:
                known[argument(name)] = values  # type: ignore[assignment]
        return Solver(program or len(statics), known)

    def run(self, columns: Sequence[Column]) -> Solution:
        found: dict[int, Expr] = {}
        for i, column in enumerate(columns):
            expr = self.term(column) if column.varies else Num(column.values[0], column.role)
            if expr is not None:
                found[i] = expr
        # What is most likely a term of other numbers comes last.
        for i, column in sorted(enumerate(columns), key=lambda each: each[1].role in ("padding", "dim")):
            if i not in found:
                found[i] = self._half(column) or self._own(column)
        names = [name for name in self.known if name in self.used]
        first = [name for name in self.own if name.startswith(("in_", "num_"))]
        order = [*first, *names, *(name for name in self.own if name not in first)]
        values = {**self.known, **self.own}
        order.sort(key=lambda name: name in NATURAL and NATURAL[name] in values[name][: self.program])
        arguments = {name: values[name] for name in order}
        return Solution([found[i] for i in range(len(columns))], arguments, frozenset(self.own), self.program)

    def term(self, column: Column) -> Expr | None:
        """What the column is in terms of the static parameters; None if nothing simple has its values."""
        same = self.known.get(column.role) == column.values
        expr = Arg(column.role) if same else term(column.values, self.known, self.program)
        if expr is not None:
            self._use(expr)
        return expr

    def _use(self, expr: Expr) -> None:
        self.used |= {node.name for node in walk(expr) if isinstance(node, Arg)}

    def _half(self, column: Column) -> Expr | None:
        """`kernel // 2`: padding that keeps the size of an image."""
        if column.role != "padding":
            return None
        for name, known in {**self.known, **self.own}.items():
            if name.startswith("kernel") and tuple(int(each) // 2 for each in known) == column.values:
                self.used.add(name)
                return Binary("//", Arg(name), Num(2))
        return None

    def _own(self, column: Column) -> Expr:
        """An argument of its own, shared with other columns of the same values or a multiple of them."""
        found = term(column.values, {**self.own, **self.known}, self.program)
        if found is not None:
            self._use(found)
            return found
        name = unique(argument(column.role), {*self.known, *self.own})
        self.own[name] = column.values
        return Arg(name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- terms --------------------------------------------------------------------------------------------------


def term(values: Values, among: Mapping[str, Values], program: int) -> Expr | None:
    """The simplest term of the arguments `among` that has these values in every member."""
    for name, known in among.items():
        if known == values:
            return Arg(name)
    if all(isinstance(value, int) for value in values):
        whole = {name: known for name, known in among.items() if all(isinstance(each, int) for each in known)}
        return _whole_term(values, whole, program)
    return next(_real_terms(values, among), None)


Term = tuple[Expr, Values]


def _whole_term(values: Values, among: Mapping[str, Values], program: int) -> Expr | None:
    """`4 * d`, `d // 2`, `d // heads`, `heads * e`, `d // heads * kv_heads`, `context - 1`."""
    positive = {name: known for name, known in among.items() if min(known) > 0}
    single: list[Term] = [(Arg(name), known) for name, known in positive.items()]
    if min(values) > 0:
        found = _multiple(values, single)
        if found is None and _told_by_variants(values, program):
            found = _part(values, single)
        if found is not None:
            return found
        pairs = [*_quotients(positive), *_products(positive)]
        found = next((expr for expr, known in pairs if known == values), None)
        found = found or _multiple(values, pairs) or _triple(values, pairs, positive)
        if found is None and _told_by_variants(values, program):
            found = _part(values, pairs)
        if found is not None:
            return found
    return next(_offsets(values, single, positive), None) if _told_by_variants(values, program) else None


def _told_by_variants(values: Values, program: int) -> bool:
    """Whether the number changes with a static parameter, not only from one instance to the next."""
    return any(value not in values[:program] for value in values[program:])


def _multiple(values: Values, terms: Sequence[Term]) -> Expr | None:
    for expr, known in terms:
        if factor := _ratio(values, known):
            return Binary("*", Num(factor), expr)
    return None


def _part(values: Values, terms: Sequence[Term]) -> Expr | None:
    for expr, known in terms:
        if factor := _ratio(known, values):
            return Binary("//", expr, Num(factor))
    return None


def _triple(values: Values, pairs: Sequence[Term], among: Mapping[str, Values]) -> Expr | None:
    """`d // heads * kv_heads`."""
    for expr, known in pairs:
        for name, other in among.items():
            if all(a * b == value for value, a, b in zip(values, known, other, strict=True)):
                return Binary("*", expr, Arg(name))
    return None


def _offsets(values: Values, single: Sequence[Term], among: Mapping[str, Values]) -> Iterator[Expr]:
    """`d + n`, `window - 1`, `1 - window`, `(size // patch) ** 2 + 1`."""
    yield from (expr for expr, known in _sums(among) if known == values)
    for expr, known in single:
        over = {value - each for value, each in zip(values, known, strict=True)}
        under = {value + each for value, each in zip(values, known, strict=True)}
        for offset in OFFSETS:
            if over == {offset}:
                yield Binary("+" if offset > 0 else "-", expr, Num(abs(offset)))
            if under == {offset} and offset > 0:
                yield Binary("-", Num(offset), expr)
    for expr, known in _quotients(among):
        square = Binary("**", expr, Num(2))
        over = {value - each**2 for value, each in zip(values, known, strict=True)}
        if over == {0}:
            yield square
        elif over == {1}:
            yield Binary("+", square, Num(1))


def _quotients(among: Mapping[str, Values]) -> Iterator[Term]:
    for a, first in among.items():
        for b, second in among.items():
            rows = list(zip(first, second, strict=True))
            if a != b and all(isinstance(y, int) and y > 0 and x % y == 0 for x, y in rows):
                yield Binary("//", Arg(a), Arg(b)), tuple(x // y for x, y in rows)


def _sums(among: Mapping[str, Values]) -> Iterator[Term]:
    for (a, first), (b, second) in combinations(among.items(), 2):
        yield Binary("+", Arg(a), Arg(b)), tuple(x + y for x, y in zip(first, second, strict=True))


def _products(among: Mapping[str, Values]) -> Iterator[Term]:
    for (a, first), (b, second) in combinations(among.items(), 2):
        yield Binary("*", Arg(a), Arg(b)), tuple(x * y for x, y in zip(first, second, strict=True))


def _real_terms(values: Values, among: Mapping[str, Values]) -> Iterator[Expr]:
    """`math.sqrt(d)`, `2 / e`, `0.02 / math.sqrt(2 * layers)`, `1 / math.sqrt(d * head)`, `1 - p`."""
    positive = {name: known for name, known in among.items() if min(known) > 0}
    single: list[Term] = [(Arg(name), known) for name, known in positive.items()]
    pairs = [*_products(positive), *_quotients(positive), *_sums(positive)]
    for expr, known in [*single, *pairs]:
        if factor := _constant(value / each for value, each in zip(values, known, strict=True)):
            yield expr if factor == 1 else Binary("*", Num(factor), expr)
        if factor := _constant(value * each for value, each in zip(values, known, strict=True)):
            yield Binary("/", _whole(factor), expr)
        for k in FACTORS_IN_ROOTS:
            roots = [math.sqrt(k * each) for each in known]
            root = Call(Word("math.sqrt"), (expr if k == 1 else Binary("*", Num(k), expr),))
            if factor := _constant(value / each for value, each in zip(values, roots, strict=True)):
                yield root if factor == 1 else Binary("*", Num(factor), root)
            if factor := _constant(value * each for value, each in zip(values, roots, strict=True)):
                yield Binary("/", _whole(factor), root)
    for expr, known in single:
        if all(math.isclose(value, 1 - each) for value, each in zip(values, known, strict=True)):
            yield Binary("-", Num(1), expr)


def _constant(values: Iterator[float]) -> float:
    """The one short number that all of them are, up to rounding; 0 if they differ."""
    found = list(values)
    first = float(f"{found[0]:.6g}")
    same = all(math.isclose(each, first, rel_tol=1e-12) for each in found)
    return first if same else 0.0


def _whole(value: float) -> Num:
    return Num(int(value) if value == int(value) else value)


def _ratio(a: Values, b: Values) -> int:
    """The whole number above 1 that every a is of its b; 0 if there is none."""
    factors = {int(x) // int(y) if int(x) % int(y) == 0 else 0 for x, y in zip(a, b, strict=True)}
    only = factors.pop() if len(factors) == 1 else 0
    return only if only > 1 else 0
