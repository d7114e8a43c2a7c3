"""Sizes that go on from turn to turn of a loop over a list: what a layer takes is what the one before it gives.

hidden = [512, 256, 128]
turn 0: linear(784 -> 512)  inputs, hidden[0]
turn 1: linear(512 -> 256)  hidden[0], hidden[1]     ->     linear((inputs, *hidden)[i] -> hidden[i])
turn 2: linear(256 -> 128)  hidden[1], hidden[2]            behind the loop: (inputs, *hidden)[-1]

A size is told by the number of the turn from the elements that it speaks of: that this holds at other lengths of the list too is
for whoever emits to try (`settled.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlc.emit.alike import origin_key
from dlc.emit.by_turn import ByTurn
from dlc.emit.origins import OPEN, renumbered
from dlc.emit.turning import Carried, Segment, answer, as_each
from dlc.ir.nodes import Function, Op, walk
from dlc.records import dataclass, field, replace
from dlc.types.dims import Atom, Dim, sole_atom
from dlc.types.tensor import TensorType
from dlc.types.terms import backwards as from_end
from dlc.types.terms import changed, evaluate, length_of, moved, said, term
from dlc.types.traced import Term, TracedInt

ROW = "row"
"""What stands for an element in a list that is made of another."""


MOST_AHEAD = 4
"""How many elements a list is looked at ahead of a turn's own."""
Last = Mapping["str | Atom | Dim", Dim]
"""What sizes that the last turn makes are behind a loop: elements of lists by their names, what no polynomial says, whole sizes."""


@dataclass(frozen=True, slots=True)
class Widened:
    """The turns with sizes that are told by the number of the turn, and what those of the last turn are behind the loop."""

    turns: tuple[Segment, ...]
    last: Last
    taken: tuple[TensorType, ...]
    """What a turn takes of the one before it."""
    needs_turn: bool = False
    """Whether the sizes behind the loop are others where it has no turns."""


def widened(
    turns: Sequence[Segment],
    going: Carried,
    by_turn: ByTurn,
    count: Dim,
    functions: Mapping[str, Function],
    function: Function,
    last: Last,
) -> Widened | None:
    """The turns of a loop of `function` as one does them all; None where they differ in more than such sizes, or one turn tells
    nothing. `last` is what loops before it have left."""
    plain = all(each.count == 1 and not each.step for each in turns)
    if len(turns) < 2 or not plain or len({len(each.ops) for each in turns}) != 1:
        return None
    sizes = Sizes(
        by_turn,
        count,
        {**dict(function.sizes), **dict(function.static)},
        last,
        conditions=tuple(
            dict.fromkeys(
                each.condition for turn in turns for op in turn.ops for each in op.loops[0].decisions
            )
        ),
    )
    types = function.types()
    sizes = sizes.going(turns, going, types)
    rows: list[list[Op]] = []
    for ops in zip(*(each.ops for each in turns), strict=True):
        told = alike(ops, sizes, functions)
        if told is None:
            return None
        rows.append(told)
    columns = zip(*rows, strict=True)
    found = [replace(each, ops=tuple(ops)) for each, ops in zip(turns, columns, strict=True)]
    made = {value.name: value.type for value in found[-1].values}
    taken = [sizes.type([types[name] for name in row]) for row in zip(*map(going.takes, turns), strict=True)]
    known = [each for each in taken if each is not None]
    if len(known) < len(taken):
        return None
    ends = zip(going.takes(turns[0]), going.gives(turns[-1]), known, strict=True)
    left = left_by([(types[first], types[last], made[last], each) for first, last, each in ends], sizes)
    if left is None:
        return None
    return Widened(tuple(found), left, tuple(known), not _begins(found, turns, going, types, sizes, left))


def _begins(
    told: Sequence[Segment],
    turns: Sequence[Segment],
    going: Carried,
    types: Mapping[str, TensorType],
    sizes: Sizes,
    left: Last,
) -> bool:
    """Whether what the last turn leaves is what goes into the loop, where that has no turns: as one before the first would leave it."""
    made = {value.name: value.type for value in told[-1].values}
    told_by_turn = {each for each in left if type(each) is not str}

    def as_before(first: Dim, size: Dim, common: Dim) -> bool:
        raw = said(size)
        if not told_by_turn.isdisjoint((raw, sole_atom(raw))):
            return sizes.by_turn.begins(said(first), said(common))
        # (What elements of lists say begins with the list; and of what static parameters do not say, nothing is made.)
        is_fixed = size.is_constant and first.is_constant and raw.constant is None and common != OPEN
        return not is_fixed or raw == said(first) or _behind(raw, left) != raw

    pairs = zip(going.takes(turns[0]), going.gives(turns[-1]), strict=True)
    return all(
        as_before(*each)
        for a, b in pairs
        for each in zip(types[a].axes, types[b].axes, made[b].axes, strict=True)
    )


def behind(ops: Sequence[Op], function: Function, last: Last) -> tuple[Op, ...]:
    """The operations behind a loop, with the sizes that it leaves."""
    if not last:
        return tuple(ops)

    def number(value: Any) -> Any:
        if isinstance(value, Dim):
            return _left(value, last)
        if isinstance(value, TracedInt):
            origin = _behind(value.origin, last)
            return TracedInt(int(value), origin) if origin.constant is None else int(value)
        return moved(value, _named(last))

    alone = replace(function, inputs=(), params=(), body=tuple(ops))
    return renumbered(alone, number, lambda term: term).body


def left_behind(type: TensorType, last: Last) -> TensorType:
    """A type behind a loop, with the sizes that it leaves."""
    return type.with_axes(tuple(_left(axis, last) for axis in type.axes))


def _left(size: Dim, last: Last) -> Dim:
    return size if size.origin is None else size.said(_behind(size.origin, last))


def _named(last: Last) -> dict[str, Dim]:
    return {name: size for name, size in last.items() if type(name) is str}


def _behind(told: Dim, last: Last) -> Dim:
    if told in last:
        return last[told]

    def change(atom: str | Atom) -> Dim | None:
        if type(atom) is not str and atom in last:
            return last[atom]
        return None if isinstance(atom, str) else atom.rebuilt(lambda arg: arg.replace(change))

    return told.substitute(_named(last)).replace(change)


Ends = tuple[TensorType, TensorType, TensorType, TensorType]


def left_by(ends: Sequence[Ends], sizes: Sizes) -> Last | None:
    """What the sizes of the last turn, and the elements of lists that they speak of, are behind the loop; None where that can't be
    said. Of each value that goes on, what it is before the first turn, behind the last, and as all turns leave and take it."""
    found: dict[str | Atom | Dim, Dim] = {}
    for before, after, made, took in ends:
        if (before.dtype, before.rank) != (after.dtype, after.rank):
            return None
        for first, size, common, taken in zip(before.axes, after.axes, made.axes, took.axes, strict=True):
            raw = said(size)
            if raw == said(first) or common == OPEN or raw.constant is not None:
                continue
            if not any(map(_numbers, raw.symbols)):
                # (The last turn may leave what it takes: all others halve the picture, and double the channels.)
                by_turn = [each for each in (common, taken) if each != OPEN and _turns(common, sizes)]
                told = map(sizes.by_turn.behind, map(said, by_turn))
                right = (each for each in told if each != raw and sizes.at(each, None) == size.constant)
                last = next(right, raw)
                if last != raw:
                    found[sole_atom(raw) or raw] = last
                continue
            base, name = _series(said(common), sizes.turn), next(iter(raw.symbols))
            key: str | Dim = name
            if base is not None and raw == Dim.symbol(name):
                last = sizes.last_of(said(first), base)
            elif (
                base is not None
                and base.op == "for"
                and raw.symbols == {name}
                and sizes.is_whole(base.args[2])
            ):
                last = Dim.opaque(
                    Term("index", (base.args[2], Term("const", (-1,))))
                )  # (no turn, no network)
            elif base is not None and base.op == "for" and raw.symbols == {name}:
                key, last = raw, sizes.by_turn.behind(said(common))
            elif (
                raw == Dim.symbol(name) and (element := sizes.next_of(said(taken), said(common))) is not None
            ):
                last = element
            else:
                return None
            now = sizes.at(raw.substitute({name: last}) if key == name else last, None)
            if found.setdefault(key, last) != last or now not in (size.constant, None):
                return None
    return found


def _turns(size: Dim, sizes: Sizes) -> bool:
    """Whether a size is told by the number of the turn."""
    return any(sizes.turn in each.term.parts() for each in said(size).opaques())


# --- one operation of all turns -----------------------------------------------------------------------------------


def alike(ops: Sequence[Op], sizes: Sizes, functions: Mapping[str, Function]) -> list[Op] | None:
    """The same operation of all turns, with sizes that are the same expression in each."""
    first, callee = ops[0], functions.get(ops[0].callee)
    if any(each.region is not None or each.otherwise is not None or each.op == "param" for each in ops):
        return None
    if len({(each.op, len(each.outputs), len(each.known), len(each.dims)) for each in ops}) != 1:
        return None
    attrs = [(key, _attribute(ops, key, sizes)) for key, _ in first.attrs]
    if any(value is None for (_, value), (_, own) in zip(attrs, first.attrs, strict=True) if own is not None):
        return None
    named: list[tuple[tuple[str, Dim], ...]] = []
    for row in ([each.known for each in ops], [each.dims for each in ops]):
        made = [(turn[0][0], sizes.common([size for _, size in turn])) for turn in zip(*row, strict=True)]
        if not all(size != OPEN or _is_free(name, callee, functions) for name, size in made):
            return None
        named.append(tuple(made))
    types = [sizes.type([op.outputs[k].type for op in ops]) for k in range(len(first.outputs))]
    told = [each for each in types if each is not None]
    if len(told) < len(types):
        return None
    known, dims = named

    def common(op: Op) -> Op:
        outputs = (replace(value, type=type) for value, type in zip(op.outputs, told, strict=True))
        own = tuple((key, op.attr(key) if value is SAME else value) for key, value in attrs)
        told_by = {key: term(value) for key, value in attrs if op.callee and value is not SAME}
        given = tuple((key, told_by.get(key, each)) for key, each in op.given)
        return replace(op, attrs=own, given=given, known=known, dims=dims, outputs=tuple(outputs))

    return list(map(common, ops))


SAME = "same"
"""What an attribute is for all turns where each has its own, and they mean the same."""


def _attribute(ops: Sequence[Op], key: str, sizes: Sizes) -> Any:
    """An attribute of all turns: `SAME`, or a number that is told by that of the turn; None where it can't be."""
    values = [each.attr(key) for each in ops]
    terms = {dict(each.given).get(key) for each in ops}
    if len(terms) == 1 and None not in terms:
        (term,) = terms
        if term is not None and (not term.holds("turn") or ops[0].path):
            return SAME
    if key == "draw" or len({origin_key(each) for each in values}) == 1:
        return SAME
    if ops[0].callee and not (ops[0].op == "call" and ops[0].path and all(map(_is_whole, values))):
        return None
    return _numbers_of(values, sizes)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _numbers_of(values: Sequence[Any], sizes: Sizes) -> Any:
    """Numbers of the turns, in lists too, as those of the first with their expressions; None where these are not the same."""
    if all(isinstance(each, tuple) for each in values):
        if len({len(each) for each in values}) != 1:
            return None
        parts = [_numbers_of(column, sizes) for column in zip(*values, strict=True)]
        return None if None in parts else tuple(parts)
    if any(isinstance(each, Dim | TracedInt) for each in values):
        whole = all(isinstance(each, int | Dim) and not isinstance(each, bool) for each in values)
        found = sizes.common([Dim.of(each) for each in values]) if whole else OPEN
        if found == OPEN:
            return None
        return found if isinstance(values[0], Dim) else found.constant
    return sizes.by_turn.number(values)


def _is_free(name: str, callee: Function | None, functions: Mapping[str, Function]) -> bool:
    """Whether nothing that a layer holds is as large as one of its inputs' dims: the height of a picture."""
    if callee is None or any(
        name in said(axis).symbols for param in callee.params for axis in param.type.axes
    ):
        return False
    if callee.library and not callee.children:
        return True
    calls = [op for op in walk(callee.body) if _holds(functions.get(op.callee))]
    return not any(_speak_of(name, op) for op in calls) and all(
        _is_free(own, functions.get(op.callee), functions)
        for op in calls
        for own, size in (*op.dims, *op.known)
        if name in said(size).symbols
    )


def _holds(function: Function | None) -> bool:
    return function is not None and bool(function.params or function.children)


def _speak_of(name: str, op: Op) -> bool:
    """Whether a call gives a size as a static argument."""
    return any(name in symbols_of(value) for _, value in op.attrs)


def symbols_of(value: Any) -> frozenset[str]:
    if isinstance(value, tuple):
        return frozenset[str]().union(*map(symbols_of, value))
    return said(value).symbols if isinstance(value, Dim) else frozenset()


# --- sizes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tells sizes by the numbers of the turns, of which there are `count`. `static` are the static parameters, `last` is what loops
    before have left."""

    by_turn: ByTurn
    count: Dim
    static: Mapping[str, Any]
    last: Last
    carried: Mapping[tuple[Dim, ...], Dim] = field(default_factory=dict)
    """What goes on from turn to turn: the sizes in all turns, and how they are told."""
    conditions: tuple[Term, ...] = ()
    """What was decided on the number of the turn."""

    def restricted(self, turns: Sequence[int]) -> Sizes:
        """Of some of the turns, by their places."""
        carried = {tuple(row[k] for k in turns): told for row, told in self.carried.items()}
        indices = [self.indices[k] for k in turns]
        return replace(self, by_turn=replace(self.by_turn, indices=indices), carried=carried)

    def going(self, turns: Sequence[Segment], going: Carried, types: Mapping[str, TensorType]) -> Sizes:
        """With what a turn takes of the one before it."""
        takes, gives = [going.takes(each) for each in turns], [going.gives(each) for each in turns]
        columns = (
            ([types[each[k]] for each in takes], [types[each[k]] for each in gives])
            for k in range(len(takes[0]))
        )
        return self.with_carried(columns)

    def with_carried(self, values: Iterable[tuple[Sequence[TensorType], Sequence[TensorType]]]) -> Sizes:
        """With what turns take of the ones before them, and leave to the next."""
        found: dict[tuple[Dim, ...], Dim] = {}
        for takes, gives in values:
            for a in range(takes[0].rank):
                taken = tuple(said(each.axes[a]) for each in takes if each.rank > a)
                given = [said(each.axes[a]) for each in gives if each.rank > a]
                told = self._told(given) if len(taken) == len(given) == len(self.indices) else None
                base = None if told is None else _series(told, self.turn)
                if told is not None and base is not None and not self.indices[0]:
                    before: Dim = changed(told, lambda part: self._ahead(-1) if part == self.turn else part)
                    found.setdefault(taken, self._with_first(taken[0], base, before))
        return replace(self, carried=found)

    @property
    def indices(self) -> Sequence[int]:
        return self.by_turn.indices

    @property
    def variable(self) -> str:
        return self.by_turn.variable

    @property
    def turn(self) -> Term:
        return self.by_turn.turn

    def common(self, sizes: Sequence[Dim]) -> Dim:
        """A size of every turn as that of the first, with an expression that holds in all; `OPEN` where there is none."""
        told = self._told([said(Dim.of(each)) for each in sizes])
        if told is None or not sizes[0].is_constant:
            return OPEN if told is None else told
        found = [self.at(told, turn) for turn in self.indices]
        return sizes[0].said(told) if found == [each.constant for each in sizes] else OPEN

    def type(self, types: Sequence[TensorType]) -> TensorType | None:
        """What a value of every turn is; None for tensors of several dtypes or ranks."""
        if len({(each.dtype, each.rank) for each in types}) != 1:
            return None
        axes = zip(*(each.axes for each in types), strict=True)
        return types[0].with_axes(tuple(map(self.common, axes)))

    def with_first(self, first: Dim, base: Term) -> Term:
        """A list with a size in front."""
        return Term("tuple", (Term("dim", (_behind(first, self.last),)), Term("star", (base,))))

    def last_of(self, first: Dim, base: Term) -> Dim:
        """What goes on behind the loop: its first value where that has no turns."""
        if self.is_whole(base) and _reads_element(_behind(first, self.last), base):  # there is one then
            return Dim.opaque(_end_of(base))
        left = (self.count - Dim.opaque(length_of(base))).constant
        end = _alone(self.count) if left is None else Term("const", (int(left) - 1,))
        return Dim.opaque(Term("index", (self.with_first(first, base), end)))

    def next_of(self, taken: Dim, made: Dim) -> Dim | None:
        """What is behind a loop in whose turns each takes an element of a list and leaves the next one: without turns, what it begins
        with. None for all else."""
        one, two = _element(taken), _element(made)
        if one is None or two is None or one[0] != two[0] or self.by_turn.step != 1 or self.indices[0]:
            return None
        places = self._place(one[1]), self._place(two[1])
        if places[0] is None or places[1] != places[0] + 1:
            return None
        from_end = (self.count + places[0] - Dim.opaque(length_of(two[0]))).constant
        if from_end is None or from_end >= 0:
            return None
        element = (
            _end_of(two[0]) if from_end == -1 else Term("index", (two[0], Term("const", (int(from_end),))))
        )
        return Dim.opaque(element)

    def _place(self, told: Term) -> int | None:
        """How far a place in a list is ahead of the turn's."""
        return next((by for by in range(MOST_AHEAD) if told == self._ahead(by)), None)

    def is_whole(self, base: Term) -> bool:
        """Whether the loop goes over all elements of a list."""
        return self.count == Dim.opaque(length_of(base))

    def at(self, told: Dim, turn: int | None) -> int | None:
        """What a size is in a turn, or behind the loop; None where static parameters do not tell."""
        try:
            return int(evaluate(told, self.static if turn is None else {**self.static, self.variable: turn}))
        except (ArithmeticError, KeyError, LookupError, TypeError, ValueError):
            return None

    def _told(self, here: Sequence[Dim]) -> Dim | None:
        """A size of every turn as one expression over the number of the turn; None where there is none. One that holds in all turns
        is better than one that begins in the second."""
        if tuple(here) in self.carried:
            return self.carried[tuple(here)]
        if len(set(here)) == 1:
            return here[0]
        rows = [
            [self._moved(size, k, *way) for size, k in zip(here, self.indices, strict=True)]
            for way in self._ways(here)
        ]
        whole = (row[0] for row in rows if len(set(row)) == 1)
        late = (self._led(here[0], row[1]) for row in rows if len(set(row[1:])) == 1)
        found = next(whole, None) or next(filter(None, late), None) or self.by_turn.size(here)
        found = found or next(filter(None, (self._parted(here, each) for each in self.conditions)), None)
        is_told = len(here) > 2 or all(
            symbol.partition("[")[0] in self.static for size in here for symbol in size.symbols
        )
        return found or (self.by_turn.but_first(here) if is_told else None)

    def _parted(self, here: Sequence[Dim], condition: Term) -> Dim | None:
        """A size that is one thing where a condition holds, and another where it does not."""
        answers = [self.holds(condition, turn) for turn in self.indices]
        if None in answers or len(set(answers)) == 1:
            return None
        sides: list[Dim] = []
        for side in (True, False):
            own = [k for k, answer in enumerate(answers) if answer is side]
            told = replace(self.restricted(own), conditions=())._told([here[k] for k in own])
            if told is None:
                return None
            sides.append(told)
        return Dim.opaque(Term("if", (as_each(condition), *map(_alone, sides))))

    def holds(self, condition: Term, turn: int) -> bool | None:
        """Whether a condition holds in a turn; None where static parameters do not tell."""
        return answer(condition, self.variable, turn, self.static)

    def _ways(self, sizes: Sequence[Dim]) -> Iterator[tuple[int, bool]]:
        """How turns may go through lists: at which level of nested ones, and whether from the end."""
        depth = max((len(_numbers(name)) for size in sizes for name in size.symbols), default=0)
        yield from ((level, backwards) for backwards in (False, True) for level in range(depth))

    def _moved(self, size: Dim, turn: int, level: int, backwards: bool) -> Dim:
        """A size in which elements of lists are told by how far they are from the turn's own: `hidden[i - 1]`."""
        found: dict[str, Dim] = {}
        for name in size.symbols:
            head, numbers = name.partition("[")[0], _numbers(name)
            told = Term("param", (head,))
            for k, number in enumerate(numbers):
                place = Term("const", (number,))
                if k == min(level, len(numbers) - 1):
                    number = len(self.static.get(head, ())) - 1 - number if backwards else number
                    told, place = from_end(told) if backwards else told, self._ahead(number - turn)
                told = Term("index", (told, place))
            if numbers:
                found[name] = Dim.opaque(told)
        size = size.substitute(found)
        return size.replace(lambda atom: self._from_end(atom, turn)) if backwards and not level else size

    def _from_end(self, atom: str | Atom, turn: int) -> Dim | None:
        """What is so far from the end of a list, by how far it is from the turn's own there: `widths[-1]` is `widths[::-1][0]`."""
        match getattr(atom, "term", None):
            case Term("index", (Term("param") as base, Term("neg", (Term("const", (int(k),)),)))) if k > 0:
                return Dim.opaque(Term("index", (from_end(base), self._ahead(k - 1 - turn))))
        return None

    def _ahead(self, offset: int) -> Term:
        if not offset:
            return self.turn
        return Term("+" if offset > 0 else "-", (self.turn, Term("const", (abs(offset),))))

    def _led(self, first: Dim, rest: Dim) -> Dim | None:
        """A size that is `first` in the first turn, and in the others what an element of a list says for the turn before."""
        base = _series(rest, self._ahead(-1)) if not self.indices[0] else None
        return None if base is None else self._with_first(first, base, rest)

    def _with_first(self, first: Dim, base: Term, before: Dim) -> Dim:
        """What a turn takes that has `first` in front of what the elements of a list say: `(inputs, *hidden)[i]`; where these are more
        than a list, `inputs if i == 0 else 4 * hidden[i - 1]`."""
        if base.op != "for":
            return Dim.opaque(Term("index", (self.with_first(first, base), self.turn)))
        is_first = Term("==", (self.turn, Term("const", (0,))))
        return Dim.opaque(Term("if", (is_first, _alone(_behind(first, self.last)), _alone(before))))


def _numbers(name: str) -> list[int]:
    """The numbers in what a size calls an element of a list: `rows[2][0]`."""
    return [int(each) for each in re.findall(r"\[(\d+)\]", name)] if "[" in name else []


def _element(size: Dim) -> tuple[Term, Term] | None:
    """The list and the place of an element, if a size is one."""
    told = (each.term for each in size.opaques() if size == Dim.opaque(each.term))
    found = next((each.args for each in told if each.op == "index"), None)
    return None if found is None else (found[0], found[1])


def _reads_element(size: Dim, base: Term) -> bool:
    """Whether a size is an element of a list, which has one then."""
    held = base.args[0] if base == from_end(base.args[0]) else base
    if any(
        name.startswith(f"{held.args[0]}[") and _numbers(name) for name in size.symbols if held.op == "param"
    ):
        return True
    told = (each.term for each in size.opaques())
    return any(each.op == "index" and each.args[0] == held for each in told)


def _end_of(base: Term) -> Term:
    """The last element of a list: the first of one that is taken from its end."""
    if base == from_end(base.args[0]):
        return Term("index", (base.args[0], Term("const", (0,))))
    return Term("index", (base, Term("const", (-1,))))


def _series(size: Dim, number: Term) -> Term | None:
    """The list of which a size is the element of that number: a static parameter's, or one made of it. None for any other size."""
    parts = [each for opaque in size.opaques() for each in opaque.term.parts() if isinstance(each, Term)]
    found = {each for each in parts if each.op == "index" and each.args[1] == number}
    if len(found) != 1:
        return None
    (element,) = found
    base: Term = element.args[0]
    if size == Dim.opaque(element):
        return base
    row = changed(size, lambda told: Term("each", (ROW,)) if told == element else told)
    return Term("for", (_alone(row), ROW, base))


def _alone(size: Dim) -> Term:
    """A size as a term: what it consists of, if that is one."""
    return next((each.term for each in size.opaques() if size == Dim.opaque(each.term)), Term("dim", (size,)))
