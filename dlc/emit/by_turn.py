"""Numbers and sizes of the turns of a loop as one expression over the number of the turn.

turn 1: channels(4 * 2**1, width)
turn 2: channels(4 * 2**2, width)     ->     channels(4 * 2**i, width)
turn 3: channels(4 * 2**3, width)

What differs from turn to turn has to be what the spec computes of the loop's variable, in this turn or in the one before it, or
how far the variable is from a number. An expression counts as right where it is the very expression that is there in each turn, with
the turn's number in it; at other counts whoever emits tries it (`settled.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlc.emit.origins import expression
from dlc.emit.tree import text
from dlc.ir.index import mark
from dlc.records import dataclass, field, replace
from dlc.types.dims import Atom, Dim, Monomial, apply_op
from dlc.types.opaque import Opaque, is_closed
from dlc.types.relations import OPPOSITE
from dlc.types.terms import as_size, changed, evaluate, names, remembered, said, targets
from dlc.types.traced import Term

ENOUGH = 3
"""Turns that tell a straight line by themselves, where the spec has no expression."""


@dataclass(frozen=True, slots=True)
class ByTurn:
    """Tells what differs between turns with these numbers, which `variable` is and which go on by `step` from the `first` to the
    `last`. `computed` is what the spec makes of it; `known` are static parameters whose values say how often the loop turns."""

    indices: Sequence[int]
    step: int
    first: Dim
    last: Dim
    variable: str
    computed: Sequence[Term]
    known: Mapping[str, Any]
    seen: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What expressions are in turns, and the expressions themselves: they are asked for with every size of every operation."""

    @property
    def turn(self) -> Term:
        return Term("each", (self.variable,))

    def size(self, sizes: Sequence[Dim]) -> Dim | None:
        """A size of every turn as one expression; None where there is none."""
        return next((told for told in self._sizes(sizes) if self._is_there(told, sizes)), None)

    def but_first(self, sizes: Sequence[Dim]) -> Dim | None:
        """A size that is another one in the first turn: `inputs if i == 0 else d`. The second turn of two tells it, if that has no number."""
        later = self._second(sizes) if len(sizes) == 2 else self._later(sizes)
        if later is None:
            return None
        first = Term("==", (self.turn, Term("dim", (self.first,))))
        return Dim.opaque(Term("if", (first, Term("dim", (sizes[0],)), Term("dim", (later,)))))

    def _second(self, sizes: Sequence[Dim]) -> Dim | None:
        is_plain = all(type(each) is str and "[" not in each for each in sizes[1].symbols)
        return sizes[1] if is_plain and sizes[1].symbols else None

    def number(self, values: Sequence[Any]) -> Any:
        """A plain number of every turn, as that of the first with its expression; None where there is none."""
        if len(set(values)) == 1:
            return values[0]
        if all(type(each) is int for each in values):
            told = self._line(values)
            return None if told is None else remembered(values[0], told)
        for each in self._expressions() if all(type(each) is float for each in values) else ():
            if list(map(float, self._values(each) or ())) == list(values):
                return remembered(values[0], each)
        return None

    def label(self, parts: Sequence[Sequence[str]]) -> str | None:
        """Labels of the turns as one, with what the spec computes of the variable in it; `parts` are their texts and numbers by turns."""
        made = ""
        for column in zip(*parts, strict=True):
            if len(set(column)) == 1:
                made += column[0]
                continue
            wanted = [int(each) for each in column if each.isdigit() and str(int(each)) == each]
            told = next((each for each in self._expressions() if self._values(each) == wanted), None)
            if told is None or names(told):  # (a path is to be known by the number of the turn alone)
                return None
            made += mark() if told == self.turn else f"{{{_as_text(told, self.variable)}}}"
        return made

    def behind(self, told: Dim) -> Dim:
        """What a size that is told by the turn is behind the loop."""
        end = Term("dim", (self.last,))
        found: Dim = changed(told, lambda part: _folded(end if part == self.turn else part))
        return found

    def begins(self, first: Dim, told: Dim) -> bool:
        """Whether a size that is told by the turn was `first` in one before the first turn."""
        return self._at(told, self.indices[0] - self.step) == self._settled(first)

    # --- candidates

    def _sizes(self, sizes: Sequence[Dim]) -> Iterator[Dim]:
        yield from self._computed()
        yield from filter(None, (self._common(sizes), self._later(sizes)))

    def _expressions(self, ahead: int = 0) -> Sequence[Term]:
        """What the spec computes of the variable, in this turn or in one so far `ahead`."""
        if ("ahead", ahead) not in self.seen:
            here: Term = self.turn if not ahead else _sum(self.turn, ahead)
            own = Term("turn", (self.variable,))
            made = [changed(each, lambda part: here if part == own else part) for each in self.computed]
            plain = (told for told in made if not told.holds("turn") and not _binds(told, self.variable))
            self.seen["ahead", ahead] = dict.fromkeys((here, *plain))
        return tuple(self.seen["ahead", ahead])

    def _later(self, sizes: Sequence[Dim]) -> Dim | None:
        """What the sizes are from the second turn on: that this says the first one too, is looked at."""
        if len(sizes) < ENOUGH:
            return None
        later = replace(self, indices=self.indices[1:])
        told = (each for each in later._computed() if later._is_there(each, sizes[1:]))
        return next(told, None) or later._common(sizes[1:])

    def _computed(self) -> Iterator[Dim]:
        """What the spec computes, in this turn, the one before or the one after."""
        for ahead in (0, -self.step, self.step):
            key = "sizes", ahead
            if key not in self.seen:
                self.seen[key] = tuple(map(whole_number, self._expressions(ahead)))
            yield from self.seen[key]

    def _is_there(self, told: Dim, sizes: Sequence[Dim]) -> bool:
        pairs = zip(sizes, self.indices, strict=True)
        return all(self._at(told, turn) == self._settled(size) for size, turn in pairs)

    # --- what is the same in all turns but for some numbers

    def _common(self, sizes: Sequence[Dim]) -> Dim | None:
        rows = [each.ordered() for each in sizes]
        if len({frozenset(each.terms.keys() - {()}) for each in sizes}) == 1:  # they differ in factors only
            monomials = dict.fromkeys((*sizes[0].terms, ()))
            rows = [[(monomial, each.terms.get(monomial, 0)) for monomial in monomials] for each in sizes]
        if len({len(row) for row in rows}) != 1:
            return None
        found = Dim({})
        for column in zip(*rows, strict=True):
            factor = self._line([number for _, number in column])
            product = self._product([monomial for monomial, _ in column])
            if factor is None or product is None:
                return None
            found = found + product * whole_number(factor)
        return found

    def _product(self, monomials: Sequence[Monomial]) -> Dim | None:
        if len({tuple(power for _, power in each) for each in monomials}) != 1:
            return None
        found = Dim.of(1)
        for column in zip(*monomials, strict=True):
            atom = self._atom([atom for atom, _ in column])
            if atom is None:
                return None
            found = found * atom ** column[0][1]
        return found

    def _atom(self, atoms: Sequence[str | Atom]) -> Dim | None:
        first = atoms[0]
        if all(each == first for each in atoms):
            return Dim({((first, 1),): 1})
        if all(isinstance(each, Opaque) for each in atoms):
            told = self._term([each.term for each in atoms if isinstance(each, Opaque)])
            return None if told is None else as_size(told)
        inner = [each for each in atoms if isinstance(each, Atom)]
        if len(inner) < len(atoms) or len({(each.op, len(each.args)) for each in inner}) != 1:
            return None
        args = [self._common(column) for column in zip(*(each.args for each in inner), strict=True)]
        return None if None in args else apply_op(inner[0].op, [each for each in args if each is not None])

    def _term(self, terms: Sequence[Term]) -> Term | None:
        first = terms[0]
        if all(each == first for each in terms):
            return first
        if len({(each.op, len(each.args)) for each in terms}) != 1:
            return None
        if first.op == "const":
            numbers = [each.args[0] for each in terms]
            return self._line(numbers) if all(type(each) is int for each in numbers) else None
        if first.op == "dim":
            size = self._common([each.args[0] for each in terms])
            return None if size is None else Term("dim", (size,))
        args: list[Any] = []
        for column in zip(*(each.args for each in terms), strict=True):
            same = all(each == column[0] for each in column)
            if not same and not all(isinstance(each, Term) for each in column):
                return None
            args.append(column[0] if same else self._term(column))
        return None if None in args else Term(first.op, tuple(args))

    def _line(self, numbers: Sequence[int]) -> Term | None:
        """Whole numbers of the turns: what the spec computes, or a line."""
        wanted = list(map(int, numbers))
        if len(set(wanted)) == 1:
            return Term("const", (wanted[0],))
        for ahead in (0, -self.step, self.step):
            for each in self._expressions(ahead):
                if self._values(each) == wanted:
                    return each
        first, slope = self.indices[0], (wanted[1] - wanted[0]) / (self.indices[1] - self.indices[0])
        factor = int(slope)
        if factor != slope or (factor != 1 and len(wanted) < ENOUGH):
            return self._power(wanted)
        offset = wanted[0] - factor * first
        if any(factor * turn + offset != number for turn, number in zip(self.indices, wanted, strict=True)):
            return self._power(wanted)
        return _sum(self.turn if factor == 1 else Term("*", (Term("const", (factor,)), self.turn)), offset)

    def _power(self, wanted: Sequence[int]) -> Term | None:
        """Numbers of which each is so many times the one before: `width = 2 * width` in every turn."""
        if len(wanted) < ENOUGH or self.indices[0] or self.step != 1 or 0 in wanted or wanted[1] % wanted[0]:
            return None
        first, by = wanted[0], wanted[1] // wanted[0]
        if by < 2 or any(
            first * by**turn != number for turn, number in zip(self.indices, wanted, strict=True)
        ):
            return None
        power = Term("**", (Term("const", (by,)), self.turn))
        return power if first == 1 else Term("*", (Term("const", (first,)), power))

    # --- what an expression is in a turn

    def _values(self, told: Term) -> list[Any] | None:
        """The numbers that an expression gives by itself in the turns."""
        found: list[Any] = []
        for turn in self.indices:
            key = "value", id(told), turn
            if key not in self.seen:
                self.seen[key] = told, self._fixed(told, turn)  # (held, so that no other takes its place)
            here = self.seen[key][1]
            if here.op != "const":
                return None
            found.append(here.args[0])
        return found

    def _at(self, told: Dim, turn: int) -> Dim:
        key = "size", told, turn
        if key not in self.seen:
            self.seen[key] = self._settled(changed(told, lambda part: self._here(part, turn)))
        found: Dim = self.seen[key]
        return found

    def _here(self, part: Term, turn: int) -> Term:
        return Term("const", (turn,)) if part == self.turn else part

    def _fixed(self, told: Term, turn: int) -> Term:
        found: Term = changed(told, lambda part: _folded(self._here(self._value(part), turn)))
        return found

    def _settled(self, size: Dim) -> Dim:
        """A size in which what is known by itself is a number."""
        size = said(size)
        key = "settled", size
        if key not in self.seen:
            plain = size if self.known.keys().isdisjoint(size.symbols) else size.substitute(self.known)
            self.seen[key] = changed(plain, lambda part: _folded(self._value(part)))
        found: Dim = self.seen[key]
        return found

    def _value(self, part: Term) -> Term:
        """A part with the values that are known."""
        if part.op == "param" and part.args[0] in self.known:
            return Term("const", (self.known[part.args[0]],))
        return Term("dim", (part.args[0].substitute(self.known),)) if part.op == "dim" else part


def _binds(told: Term, variable: str) -> bool:
    """Whether a comprehension in a term has the variable for its own."""
    loops = (each for each in told.parts() if isinstance(each, Term) and each.op == "for")
    return any(variable in targets(each.args[1]) for each in loops)


def _folded(part: Term) -> Term:
    """A term that says a number by itself as that number."""
    if part.op == "dim" and part.args[0].constant is not None:
        return Term("const", (int(part.args[0].constant),))
    if part.op == "if" and part.args[0].op == "const":
        chosen: Term = part.args[1] if part.args[0].args[0] else part.args[2]
        return chosen
    if part.op in OPPOSITE and (answer := _compared(part)) is not None:
        return Term("const", (answer,))
    if part.op in ("const", "name", "word", "list", "tuple", "for", "star") or not is_closed(part):
        return part
    try:
        return Term("const", (evaluate(part, {}),))
    except (ArithmeticError, KeyError, LookupError, TypeError, ValueError):
        return part


def _compared(part: Term) -> bool | None:
    """Whether a comparison of numbers holds whatever static parameters are: `n - 1 < n - 1` does not."""
    left, right = map(whole_number, part.args)
    difference = (left - right).constant
    if difference is None:
        return None
    return {"==": difference == 0, "!=": difference != 0, "<": difference < 0, "<=": difference <= 0}.get(
        part.op, difference > 0 or (part.op == ">=" and difference == 0)
    )


def whole_number(told: Term) -> Dim:
    """A whole number as a size, which computes with sums and products."""
    match told:
        case Term("+", (a, b)):
            return whole_number(a) + whole_number(b)
        case Term("-", (a, b)):
            return whole_number(a) - whole_number(b)
        case Term("*", (a, b)):
            return whole_number(a) * whole_number(b)
        case Term("dim", (Dim() as size,)):
            return size
    return as_size(told)


def _sum(told: Term, offset: int) -> Term:
    """`i + 1`, `i - 1`, `i`."""
    if not offset:
        return told
    return Term("+" if offset > 0 else "-", (told, Term("const", (abs(offset),))))


def _as_text(told: Term, variable: str) -> str:
    """An expression over the variable as a path holds it, which calls that `i`."""
    return text(expression(changed(told, lambda part: Term("each", ("i",)) if part.op == "each" else part)))
