"""Turns of which some do more than others, or something else, and which keep values for the turns of a later loop: the way down and up of
a U-Net, blocks that alternate.

turn 0: a, x = Down(x); x = Halve(x)          skips = []
turn 1: a, x = Down(x); x = Halve(x)          for i in range(3):
turn 2: a, x = Down(x)                 ->         a, x = Down(x)
                                                  skips.append(a)
turn 0: x = Up(x, a of turn 2)                    if i < 2: x = Halve(x)
turn 1: x = Up(x, a of turn 1)                for i in range(3):
turn 2: x = Up(x, a of turn 0)                    x = Up(x, skips.pop())

What some turns do only stands behind a condition that was decided on the number of the turn; what others do instead, on its other side.
What is kept is a list that is taken from its end: the later loop reads each value once, the last ones first. The operations for it are
there in emission only: `listed` makes the list, `push` adds to it, `pop` takes its last."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dlc.emit.by_turn import ByTurn, whole_number
from dlc.emit.statements import HELD
from dlc.emit.turning import Segment, as_each, computed_by, path_in, segments
from dlc.emit.widths import Last, Sizes, alike, left_behind, left_by
from dlc.ir.index import has_index
from dlc.ir.loops import LOOP, Loop
from dlc.ir.needed import reads
from dlc.ir.nodes import Child, Function, Op, Region, Turn, Value, walk
from dlc.ir.splice import Names
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.relations import OPPOSITE
from dlc.types.tensor import TensorType
from dlc.types.terms import evaluate, negated, said, term, turned
from dlc.types.traced import Term, TracedInt

LISTED, PUSH, POP = "listed", "push", "pop"
SKIPS = Value("skips", TensorType(HELD, ()))
Runs = Sequence[Sequence[Op]]


class Unsaid(Exception):
    """A list that one loop fills and another can't be said to take from."""


# --- what is kept ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """What a function keeps in a list: the values in the order in which they are made, and for each turn of the loop that takes them
    (by the loop's first operation) which it takes, the last first."""

    pushed: tuple[str, ...]
    takes: Mapping[str, Sequence[Sequence[str]]]
    begins: Mapping[str, str]
    """By the loop's first operation, the value that its first turn begins with."""

    def popped_by(self, run: Sequence[Op]) -> Sequence[Sequence[str]]:
        return self.takes.get(_key(run), ())


def kept_by(runs: Runs, inputs: Sequence[str]) -> Kept | None:
    """What loops over the turns of a function may keep for each other; None if there is nothing, or it is not taken from the end."""
    made = [*inputs, *(value.name for run in runs for op in walk(run) for value in op.outputs)]
    order = {name: k for k, name in enumerate(made)}
    takes: dict[str, Sequence[Sequence[str]]] = {}
    begins: dict[str, str] = {}
    for run in runs:
        turns = _turns(run)
        if turns is None:
            continue
        goes = _goes_on(turns)
        if goes is None:
            continue
        own = [_own(turn, turns, taken) for turn, taken in zip(turns, goes, strict=True)]
        if not any(own):
            continue
        takes[_key(run)] = [sorted(each, key=lambda name: -order[name]) for each in own]
        begins[_key(run)] = goes[0]
    popped = [name for turns in takes.values() for turn in turns for name in turn]
    pushed = tuple(sorted(popped, key=lambda name: order[name]))
    if (
        not popped
        or len(takes) != 1
        or list(reversed(popped)) != list(pushed)
        or len(set(popped)) < len(popped)
    ):
        return None
    return Kept(pushed, takes, begins)


def _key(run: Sequence[Op]) -> str:
    return next((value.name for op in run for value in op.outputs), "")


def _turns(run: Sequence[Op]) -> list[Segment] | None:
    """The turns of a loop that was taken apart whole."""
    if not run[0].loops or any(op.region is not None or not op.loops for op in run):
        return None
    found = segments(run)
    is_plain = found is not None and len(found) > 1 and all(each.ops[0].outputs for each in found)
    return found if is_plain else None


def _goes_on(turns: Sequence[Segment]) -> list[str] | None:
    """What each turn takes of the one before: one value; the first turn takes what stands in its place, or the only value that it does
    not share with the others."""
    found: list[str] = []
    places = set[Any]()
    for before, turn in pairwise(turns):
        made = set(before.makes)
        taken = {name for op in turn.ops for name in op.inputs if name in made}
        if len(taken) != 1:
            return None
        found += taken
        keyed = _by_place(turn).items()
        places.add(next((key, j) for key, op in keyed for j, name in enumerate(op.inputs) if name in made))
    first = _by_place(turns[0])
    key, j = next(iter(places))
    if len(places) == 1 and key in first and len(first[key].inputs) > j:
        return [first[key].inputs[j], *found]
    own = _own(turns[0], turns, "")
    return [own[0], *found] if len(own) == 1 else None


def _own(turn: Segment, turns: Sequence[Segment], taken: str) -> list[str]:
    """The values from outside that a turn reads and others do not."""
    shared = set.intersection(*(set(each.reads) for each in turns))
    return [name for name in turn.reads if name not in shared and name != taken]


# --- one loop -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """An operation of a turn, in the turns that do it (by their places)."""

    turns: tuple[int, ...]
    ops: tuple[Op, ...]


Slot = tuple[Any, ...]
"""What a value is in a turn: made by an operation of it (its row, which result), taken from the turn before or the list, from outside."""
CARRIED: Slot = ("carried",)


@dataclass(frozen=True)
class Part:
    """An operation of a row, and the condition under which it is done."""

    row: int
    condition: Term | None
    op: Op


@dataclass(frozen=True)
class Placed:
    """An instance in the turns of a row."""

    row: Row
    condition: Term | None
    callee: str


@dataclass
class Group:
    """What is done on one condition, or otherwise; without a condition, one operation."""

    condition: Term | None
    then: list[Op] = field(default_factory=list)
    otherwise: list[Op] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)


@dataclass
class Uneven:
    """Makes a loop of turns of which some do more. `conditions` were decided on the number of the turn."""

    turns: Sequence[Segment]
    turn: Turn
    by_turn: ByTurn
    span: tuple[int, int, int]
    function: Function
    functions: Mapping[str, Function]
    names: Names
    last: Last
    kept: Kept | None
    popped: Sequence[Sequence[str]]
    read: set[str]
    """What others read of what the turns make."""
    indexed: Callable[[Op, Segment], Op]
    placed: dict[str, list[Placed]] = field(default_factory=dict)
    """By its path, what the turns have there."""
    gone: set[str] = field(default_factory=set)
    phis: dict[tuple[Slot, Slot], tuple[Term, Value]] = field(default_factory=dict)
    is_scattered: bool = False
    """Whether some turns do something that are not those up to one or from one on: what a turn does has to be a function then."""

    def run(self) -> tuple[Op, Last] | None:
        """The loop, and what it leaves of sizes."""
        takes = _goes_on(self.turns)
        self.types = self.function.types()
        self.static = {**dict(self.function.sizes), **dict(self.function.static)}
        rows = _rows(self.turns)
        if takes is None or rows is None or len({len(each) for each in self.popped}) > 1:
            return None
        self.rows = rows
        self.takes = takes
        last = self._left()
        if last is None:
            return None
        gives = [*self.takes[1:], last]
        self.conditions = tuple(
            dict.fromkeys(each.condition for row in rows for op in row.ops for each in op.loops[0].decisions)
        )
        types = [[self.types[name] for name in column] for column in (self.takes, gives)]
        if any(len({(each.dtype, each.rank) for each in column}) != 1 for column in types):
            return None
        sizes = Sizes(
            self.by_turn, said(Dim.of(self.span[0])), self.static, self.last, conditions=self.conditions
        )
        self.sizes = sizes.with_carried([(types[0], types[1])])
        taken, given = map(self.sizes.type, types)
        if taken is None or given is None:
            return None
        self.slots = self._slots()
        arg = Value(self.names.fresh(_plain(gives[-1])), taken)
        pops = self._pops()
        body = self._body(arg, pops)
        if body is None:
            return None
        result = self._value(
            [slots[name] for slots, name in zip(self.slots, gives, strict=True)],
            range(len(self.turns)),
            arg,
            pops,
        )
        left = left_by([(types[0][0], types[1][-1], given, taken)], self.sizes)
        if result is None or left is None:
            return None
        self.children = list(self._children())
        ops = [*(Op(POP, (SKIPS.name,), (each,)) for each in pops), *self._with_phis(body)]
        out = Value(gives[-1], left_behind(types[1][-1], left))
        count, start, step = self.span
        attrs = (("count", count), ("start", start), ("step", step))
        region = Region((arg,), tuple(ops), (result,))
        loop = Op(LOOP, (self.takes[0],), (out,), attrs, span=self.turn.loop, region=region)
        return Loop.of(loop).op(), left

    def _left(self) -> str | None:
        """What the last turn leaves: what others read of it, or else what it makes last."""
        found = self.read.intersection(self.turns[-1].makes) or {self.turns[-1].makes[-1]}
        return found.pop() if len(found) == 1 and self.read <= found else None

    # --- values

    def _slots(self) -> list[dict[str, Slot]]:
        found: list[dict[str, Slot]] = []
        for k, taken in enumerate(self.takes):
            here: dict[str, Slot] = {taken: CARRIED}
            if self.popped:
                here |= {name: ("popped", m) for m, name in enumerate(self.popped[k])}
            found.append(here)
        for r, row in enumerate(self.rows):
            for k, op in zip(row.turns, row.ops, strict=True):
                found[k].update((value.name, ("made", r, i)) for i, value in enumerate(op.outputs))
        return found

    def _pops(self) -> list[Value]:
        """The values that a turn takes from the list."""
        found: list[Value] = []
        for names in zip(*self.popped, strict=True):
            called = (
                name
                for op in self.turns[0].ops
                for name, value in zip(op.names, op.inputs, strict=False)
                if value == names[0]
            )
            type = self.sizes.type([self.types[name] for name in names])
            if type is None:
                raise Unsaid
            found.append(Value(self.names.fresh(next(called, _plain(names[0]))), type))
        return found

    def _value(
        self, slots: Sequence[Slot], turns: Sequence[int], arg: Value, pops: Sequence[Value]
    ) -> str | None:
        """The name of what is `slots` in these turns; where some turns do more, by the choice among them."""
        if len(set(slots)) == 1:
            return self._name(slots[0], arg, pops)
        for condition in self._groups():
            answers = [self._answer(condition, k) for k in turns]
            sides = [
                {slot for slot, answer in zip(slots, answers, strict=True) if answer is side}
                for side in (True, False)
            ]
            if None in answers or any(len(each) != 1 for each in sides):
                continue
            yes, no = (next(iter(each)) for each in sides)
            if "outside" in (yes[0], no[0]):
                return None  # two values from elsewhere, which no number of the turn tells apart
            if (yes, no) not in self.phis:
                values = [self._types_of(slot) for slot in (yes, no)]
                type = self.sizes.type(
                    [values[not answer][k] for k, answer in zip(turns, answers, strict=True)]
                )
                if type is None or len(turns) < len(self.turns):
                    return None
                hint = _plain(self._name(yes, arg, pops))
                self.phis[yes, no] = condition, Value(self.names.fresh(hint), type)
                self.args = arg, pops
            return self.phis[yes, no][1].name
        return None

    def _types_of(self, slot: Slot) -> dict[int, TensorType]:
        """The types of a slot's values in the turns that have it."""
        return {
            k: self.types[name]
            for k, slots in enumerate(self.slots)
            for name, each in slots.items()
            if each == slot
        }

    def _name(self, slot: Slot, arg: Value, pops: Sequence[Value]) -> str:
        match slot:
            case ("carried",):
                return arg.name
            case ("popped", int(m)):
                return pops[m].name
            case ("made", int(r), int(i)):
                return self.rows[r].ops[0].outputs[i].name
        return str(slot[1])

    # --- operations

    def _body(self, arg: Value, pops: Sequence[Value]) -> list[Part] | None:
        """The operations of a turn."""
        found: list[Part] = []
        pushed = set(self.kept.pushed) if self.kept is not None else set()
        for r, row in enumerate(self.rows):
            condition = self._condition(row)
            path = self._path(row)
            told = alike(row.ops, self.sizes.restricted(row.turns), self.functions)
            if told is None or path is None or (condition is None and len(row.turns) < len(self.turns)):
                return None
            if len({(op.callee, len(op.inputs), op.names) for op in row.ops}) != 1:
                return None
            op = replace(self.indexed(replace(told[0], path=""), self.turns[row.turns[0]]), path=path)
            inputs: list[str] = []
            for column in zip(*(each.inputs for each in row.ops), strict=True):
                slots = [
                    self.slots[k].get(name, ("outside", name))
                    for k, name in zip(row.turns, column, strict=True)
                ]
                name = self._value(slots, row.turns, arg, pops)
                if name is None:
                    return None
                inputs.append(name)
            found.append(Part(r, condition, replace(op, inputs=tuple(inputs))))
            if path and not has_index(path) and any(map(turned, _making(op))):
                return None  # (it is made outside of the loop, where its number is not known)
            if path:
                self.gone |= {each.path for each in row.ops}
                self.placed.setdefault(path, []).append(Placed(row, condition, op.callee))
            kept = [value.name for k, value in enumerate(row.ops[0].outputs) if self._is_kept(row, k, pushed)]
            if kept:
                found.append(Part(r, condition, Op(PUSH, (SKIPS.name, *kept), (), span=op.span)))
        return found

    def _is_kept(self, row: Row, k: int, pushed: set[str]) -> bool:
        answers = {op.outputs[k].name in pushed for op in row.ops}
        if len(answers) != 1:
            raise Unsaid
        return answers.pop()

    def _path(self, row: Row) -> str | None:
        """The path of all turns. A label is that of the turn's number where it differs from turn to turn."""
        turns = [self.turns[k] for k in row.turns]
        paths = [op.path.split(".") for op in row.ops]
        if len(set(map(len, paths))) != 1:
            return None
        made: list[str] = []
        for labels in zip(*paths, strict=True):
            if len(set(labels)) == 1 and (len(turns) > 1 or not self._is_number(labels[0], made)):
                made.append(labels[0])
                continue
            pairs = list(zip(labels, turns, strict=True))
            ways = (
                {path_in(label, replace(turn, is_suffix=way)) for label, turn in pairs}
                for way in (False, True)
            )
            told = next((way.pop() for way in ways if len(way) == 1), None)
            told = told or self.sizes.restricted(row.turns).by_turn.label(
                [re.split(r"(\d+)", each) for each in labels]
            )
            if told is None:
                return None
            made.append(told)
        return ".".join(made)

    def _is_number(self, label: str, before: Sequence[str]) -> bool:
        """Whether a label behind others is the number of the turn, in the path of what one turn alone does: what several turns do tells
        it by its path, and only the first label may tell it where there is nothing such."""
        several = [row for row in self.rows if len(row.turns) > 1 and row.ops[0].path]
        if not several:
            return not any(map(has_index, before))
        for row in several:
            labels = [op.path.split(".")[: len(before) + 1] for op in row.ops]
            around = [
                path_in(".".join(each[:-1]), self.turns[k]) for each, k in zip(labels, row.turns, strict=True)
            ]
            if set(around) == {".".join(before)} and len({each[-1] for each in labels}) > 1:
                return True
        return False

    def _children(self) -> Iterator[Child]:
        """The instances of the turns among those of the function."""
        for path, placed in self.placed.items():
            if not has_index(path):
                if path in self.gone:  # of one turn alone, whose path does not tell it
                    yield Child(path, placed[0].callee)
                continue
            turns = [k for each in placed for k in each.row.turns]
            sources = {self.functions[each.callee].source for each in placed}
            # (Two of one source at one place would be two ways through one instance.)
            if len(placed) > 1 and (
                sorted(turns) != list(range(len(self.turns))) or len(sources) != len(placed)
            ):
                raise Unsaid
            for each in placed:
                if len(placed) > 1:  # one or the other, which all turns have
                    yield Child(
                        path, each.callee, *self.span, when=each.condition and as_each(each.condition)
                    )
                    continue
                count, start, step = self.span
                if each.condition is not None:
                    count, start = self._some(each.row, each.condition)
                yield Child(path, each.callee, count, start, step)

    def _some(self, row: Row, condition: Term) -> tuple[int, int]:
        """How many turns do something, and which is the first: as the condition has it, where that is a bound."""
        count, start, _ = self.span
        many, first = len(row.turns), self.by_turn.indices[row.turns[0]]
        if list(row.turns) != list(range(row.turns[0], row.turns[0] + many)) or self.span[2] != 1:
            self.is_scattered = True
            return many, start
        bounds = [whole_number(each) for each in condition.args if not each.holds("turn")]
        for bound in (told for each in bounds for told in (each, each + 1, each - 1)):
            value = self._known(bound)
            if not row.turns[0] and value == start + many:
                return _traced(many, bound - said(Dim.of(start))), start
            if row.turns[-1] == len(self.turns) - 1 and value == first:
                return _traced(many, said(Dim.of(count)) + said(Dim.of(start)) - bound), _traced(first, bound)
        return many, first

    def _known(self, size: Dim) -> int | None:
        try:
            return int(evaluate(size, self.static))
        except (ArithmeticError, KeyError, LookupError, TypeError, ValueError):
            return None

    def _condition(self, row: Row) -> Term | None:
        """The condition under which a row is done; None where all turns do it."""
        if len(row.turns) == len(self.turns):
            return None
        wanted = [k in row.turns for k in range(len(self.turns))]
        for condition in self.conditions:
            answers = [self._answer(condition, k) for k in range(len(self.turns))]
            if answers == wanted:
                return condition
            if None not in answers and [not each for each in answers] == wanted:
                return negated(condition)
        raise Unsaid

    def _groups(self) -> list[Term]:
        """The conditions on which rows are done, each with its opposite as one: the way that it was decided, where both have rows."""
        asked = dict.fromkeys(filter(None, map(self._condition, self.rows)))
        return [each for each in asked if negated(each) not in asked or each in self.conditions]

    def parts_once(self) -> bool:
        """Whether the turns only part where their number reaches a bound: there loops may stand behind one another."""
        return all(map(self._is_bound, self._groups()))

    def _is_bound(self, condition: Term) -> bool:
        sides = [each.op == "turn" for each in condition.args if isinstance(each, Term)]
        return (
            condition.op in OPPOSITE
            and any(sides)
            and sum(each.holds("turn") for each in condition.args) == 1
        )

    def _side(self, condition: Term | None) -> tuple[Term | None, bool]:
        """The condition of a choice, and on which side of it stands what is done on this one."""
        if condition is None or condition in self._groups():
            return condition, True
        return negated(condition), False

    def _answer(self, condition: Term, turn: int) -> bool | None:
        return self.sizes.holds(condition, self.by_turn.indices[turn])

    def _with_phis(self, body: Sequence[Part]) -> Iterator[Op]:
        """The operations in order, those of one condition and of its opposite together as a choice."""
        groups: list[Group] = []
        for each in body:
            condition, side = self._side(each.condition)
            if not groups or groups[-1].condition != condition or condition is None:
                groups.append(Group(condition))
            (groups[-1].then if side else groups[-1].otherwise).append(each.op)
            groups[-1].rows.add(each.row)
        self._look_outside(groups)
        chosen = {pair: self._group_of(pair, asked, groups) for pair, (asked, _) in self.phis.items()}
        for group in groups:
            if group.condition is None:
                yield from group.then
                continue
            mine = [(pair, value) for pair, (_, value) in self.phis.items() if chosen[pair] is group]
            yes, no = (tuple(self._name(pair[k], *self.args) for pair, _ in mine) for k in (0, 1))
            regions = Region((), tuple(group.then), yes), Region((), tuple(group.otherwise), no)
            asked = as_each(group.condition)
            outputs = tuple(value for _, value in mine)
            yield Op("choice", (), outputs, condition=asked, region=regions[0], otherwise=regions[1])

    def _group_of(self, pair: tuple[Slot, Slot], asked: Term, groups: Sequence[Group]) -> Group:
        """The choice that makes one of two values."""
        made = {int(slot[1]) for slot in pair if slot[0] == "made"}
        own = [each for each in groups if each.condition is not None and each.rows & made]
        own = own or [each for each in groups if each.condition == asked]
        if len(own) != 1 or own[0].condition != asked:
            raise Unsaid
        return own[0]

    def _look_outside(self, groups: Sequence[Group]) -> None:
        """Whether nothing reads what a choice makes for itself, but for what it gives."""
        for group in groups:
            own = {value.name for op in (*group.then, *group.otherwise) for value in op.outputs}
            others = (op for each in groups if each is not group for op in (*each.then, *each.otherwise))
            if group.condition is not None and any(not own.isdisjoint(op.inputs) for op in others):
                raise Unsaid


def _making(op: Op) -> Iterator[Term]:
    """What a part is made with."""
    yield from (told for _, told in op.given)
    yield from (term(size) for _, size in op.known)
    yield from computed_by(op)


def _traced(value: int, size: Dim) -> int:
    return TracedInt(value, size) if size.constant is None else value


def _plain(name: str) -> str:
    base, _, number = name.rpartition("_")
    return base if base and number.isdigit() else name


def _rows(turns: Sequence[Segment]) -> list[Row] | None:
    """The operations of the turns side by side, by their places in the spec; None where turns have them in several orders."""
    keyed = [_by_place(turn) for turn in turns]
    _, longest = max((len(each), -k) for k, each in enumerate(keyed))
    order = list(keyed[-longest])
    for each in keyed:
        _insert(list(each), order)
        places = [order.index(key) for key in each]
        if places != sorted(places):
            return None
    found: list[Row] = []
    for key in order:
        mine = [(k, each[key]) for k, each in enumerate(keyed) if key in each]
        found.append(Row(tuple(k for k, _ in mine), tuple(op for _, op in mine)))
    return found


def _insert(keys: Sequence[Any], order: list[Any]) -> None:
    """Put what a turn does and none before it did in front of what both do next."""
    at = len(order)
    for key in reversed(keys):
        if key in order:
            at = order.index(key)
        else:
            order.insert(at, key)


def _by_place(turn: Segment) -> dict[Any, Op]:
    found: dict[Any, Op] = {}
    for op in turn.ops:
        key: Any = op.span, op.op, op.callee, 0
        while key in found:
            key = (*key[:3], key[3] + 1)
        found[key] = op
    return found


def read_elsewhere(run: Sequence[Op], runs: Runs, outputs: Sequence[str], kept: Kept | None) -> set[str]:
    """What is read of what a run makes, outside of it, but for what is taken from the list."""
    own = {value.name for op in run for value in op.outputs}
    taken = set(kept.pushed) if kept is not None else set[str]()
    found = set(outputs)
    for other in runs:
        if other[0] is run[0]:
            continue
        popping = bool(kept is not None and kept.popped_by(other))
        for op in walk(other):
            here = set(reads(op))
            if popping:
                here -= taken - ({kept.begins[_key(other)]} if kept is not None else set())
            found |= here
    return own & found
