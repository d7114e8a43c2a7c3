"""A run of turns of one loop of the spec: what each turn does, and what goes on from one to the next.

x, y = loop(x_0, y_0) 3 times {            turns 0, 1, 2: read x, y; make x_2, y_2
    x_2, y_2 = Block(x, y) @ h.{i}         turn 3:        reads x, y; makes x_3, y_3
}                                          what is read first goes on as what is made first, and so on
x_3, y_3 = Block(x, y) @ h.3

What comes from outside and is not the same in all turns, as a mask for every second layer, is chosen by each turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from dlc.ir.index import INDEX, has_index, mark
from dlc.ir.loops import LOOP, Loop
from dlc.ir.needed import reads
from dlc.ir.nodes import Function, Op, Value, walk
from dlc.records import dataclass
from dlc.types.dims import Dim
from dlc.types.terms import changed, evaluate, term
from dlc.types.traced import Term, TracedFloat, TracedInt

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Segment:
    """One turn, or one of the turns that a loop does by the round. `index` is that of its (first) turn, `step` by how much it goes
    on, `count` how often."""

    index: int
    ops: tuple[Op, ...]
    step: int = 0
    count: int = 1
    is_suffix: bool = False
    """Whether labels end with the turn's number, and are not just that."""
    factor: int = 1
    """How many numbers of a list a turn takes."""
    labels: Mapping[str, str] = NOTHING
    """Its labels as those of all turns, where the spec computes them: `b{4 * 2**i}` for `b32`."""

    @property
    def indices(self) -> Sequence[int]:
        return [self.index + self.step * turn for turn in range(self.count)]

    @property
    def reads(self) -> list[str]:
        """The values from outside that it reads, each once."""
        own = set(self.makes)
        names = (name for op in self.ops for name in op.inputs)
        return list(dict.fromkeys(name for name in names if name and name not in own))

    @property
    def makes(self) -> list[str]:
        return [value.name for value in self.values]

    @property
    def values(self) -> list[Value]:
        return [value for op in self.ops for value in op.outputs]


@dataclass(frozen=True)
class Carried:
    """What goes on from turn to turn: places among what a turn reads, and for each the place of the next value among what it makes.
    What is `chosen` comes from outside, and is another value in some turns."""

    read: tuple[int, ...]
    made: tuple[int, ...]
    chosen: tuple[int, ...] = ()

    def takes(self, segment: Segment) -> tuple[str, ...]:
        reads = segment.reads
        return tuple(reads[at] for at in self.read)

    def chooses(self, segment: Segment) -> tuple[str, ...]:
        reads = segment.reads
        return tuple(reads[at] for at in self.chosen)

    def gives(self, segment: Segment) -> tuple[str, ...]:
        makes = segment.makes
        return tuple(makes[at] for at in self.made)


def path_in(path: str, segment: Segment) -> str:
    """`h.{i}` for `h.3` in turn 3, and for `h.{i+1}` in the second turn of a round; `conv{i}` for `conv3` where labels end with the
    number."""
    if not path:
        return path
    if segment.step:
        return INDEX.sub(mark(), path) if has_index(path) else path
    if segment.labels:
        return ".".join(segment.labels.get(label, label) for label in path.split("."))
    if segment.factor != 1:
        return ".".join(_ahead_by(label, segment) for label in path.split("."))
    before = r"(?<!\d)" if segment.is_suffix else r"(?<![^.])"
    return re.sub(rf"{before}{segment.index}(?![^.])", mark(), path)


def _ahead_by(label: str, segment: Segment) -> str:
    """`{3*i+1}` for `7` in turn 2 of turns that take three numbers."""
    offset = int(label) - segment.factor * segment.index if label.isdigit() else -1
    return mark(offset, segment.factor) if 0 <= offset < segment.factor else label


def segments(run: Sequence[Op]) -> list[Segment] | None:
    """The turns in order; None where a loop among them does not only turn."""
    found: list[Segment] = []
    plain: dict[int, list[Op]] = {}
    for op in run:
        if op.op != LOOP or op.loops:
            plain.setdefault(op.loops[0].index, []).append(op)
            continue
        found += _plain(plain)
        plain = {}
        inner = _round(op)
        if inner is None:
            return None
        found += inner
    return [*found, *_plain(plain)]


def _plain(turns: Mapping[int, Sequence[Op]]) -> Iterator[Segment]:
    for index, ops in turns.items():
        yield Segment(index, tuple(ops))


def _round(op: Op) -> list[Segment] | None:
    """The turns that one round of a loop does."""
    loop = Loop.of(op)
    if not loop.is_plain or not isinstance(loop.count, int):
        return None
    turns: dict[int, list[Op]] = {}
    for each in loop.body:
        if not each.loops:
            return None
        turns.setdefault(each.loops[0].index, []).append(each)
    start = int(Dim.of(loop.start).constant or 0)
    return [
        Segment(start + k, tuple(ops), loop.step, int(loop.count)) for k, ops in enumerate(turns.values())
    ]


def carried(run: Sequence[Op], turns: Sequence[Segment]) -> Carried | None:
    """What goes on; None where turns do not all take it from the one before, at the same places."""
    reads = [turn.reads for turn in turns]
    if len({(len(turn.reads), len(turn.makes)) for turn in turns}) != 1:
        return None
    loops = [Loop.of(op) for op in run if op.op == LOOP and not op.loops]
    args = {each.arg.name for loop in loops for each in loop.carried}
    changing = [
        at for at in range(len(reads[0])) if len({each[at] for each in reads}) > 1 or reads[0][at] in args
    ]
    inside = args.union(*(turn.makes for turn in turns))
    chosen = [at for at in changing if inside.isdisjoint(each[at] for each in reads)]
    going = [at for at in changing if at not in chosen]
    links = list(_links(turns, loops))
    made = [_made(at, links) for at in going]
    if not made or None in made:
        return None
    return Carried(tuple(going), tuple(each for each in made if each is not None), tuple(chosen))


def _links(
    turns: Sequence[Segment], loops: Sequence[Loop]
) -> Iterator[tuple[Segment, Segment, Mapping[str, str]]]:
    """Turns that follow each other, and what the second one calls what the first one makes."""
    inside = {each.arg.name: each.first for loop in loops for each in loop.carried}
    outside = {each.out.name: each.next for loop in loops for each in loop.carried}
    for first, second in pairwise(turns):
        names = {name: inside.get(name, name) for name in second.reads}
        yield first, second, {name: outside.get(now, now) for name, now in names.items()}
    for loop in loops:  # from the end of a round to the beginning of the next
        own = {value.name for op in loop.body for value in op.outputs}
        within = [turn for turn in turns if own.intersection(turn.makes)]
        again = {each.arg.name: each.next for each in loop.carried}
        yield within[-1], within[0], {name: again.get(name, name) for name in within[0].reads}


def _made(at: int, links: Sequence[tuple[Segment, Segment, Mapping[str, str]]]) -> int | None:
    """The place among what every turn makes of what the next reads at a place; None if there is none."""
    places: set[int | None] = set()
    for first, second, names in links:
        name = names[second.reads[at]]
        places.add(first.makes.index(name) if name in first.makes else None)
    return places.pop() if len(places) == 1 else None


def around(
    run: Sequence[Op], turns: Sequence[Segment], carried: Carried
) -> tuple[tuple[str, ...], tuple[Value, ...]]:
    """The first values of what goes on, and what the last ones are behind the run."""
    first, last = (Loop.of(op).carried if op.op == LOOP and not op.loops else () for op in (run[0], run[-1]))
    before = {each.arg.name: each.first for each in first}
    behind = {each.next: each.out for each in last}
    made = {value.name: value for value in turns[-1].values}
    taken = tuple(before.get(name, name) for name in carried.takes(turns[0]))
    return taken, tuple(behind.get(name, made[name]) for name in carried.gives(turns[-1]))


def read_behind(run: Sequence[Op], function: Function) -> set[str]:
    """What is read of what a run makes, outside of it."""
    own = {value.name for op in walk(run) for value in op.outputs}
    inside = set(map(id, run))
    others = [op for op in function.body if id(op) not in inside]
    read = {name for op in others for name in reads(op)}
    return own & (read | {name for _, name in function.outputs})


def terms_of(op: Op) -> Iterator[Term]:
    """What an operation gives, computes with and makes, in terms of static parameters and the numbers of turns."""
    yield from (told for _, told in op.given)
    if op.condition is not None:
        yield op.condition
    yield from (term(size) for _, size in op.known)
    yield from (term(size) for value in op.outputs for size in value.type.axes)
    yield from computed_by(op)


def computed_by(op: Op) -> Iterator[Term]:
    """What an operation computes with."""
    yield from (term(each) for _, value in op.attrs for each in _leaves(value))


def answer(condition: Term, variable: str, turn: int, static: Mapping[str, Any]) -> bool | None:
    """Whether a condition on a loop's variable holds in a turn; None where static parameters do not tell. Variables of other loops are
    none of them, whatever these are called."""
    parts = (each for each in condition.parts() if isinstance(each, Term))
    if any(each.op == "turn" and each.args[0] != variable for each in parts):
        return None
    try:
        return bool(evaluate(condition, {**static, variable: turn}))
    except (ArithmeticError, KeyError, LookupError, TypeError, ValueError):
        return None


def as_each(condition: Term) -> Term:
    """A condition on a loop's variable as the loop says it, which goes over that as the spec's does."""
    found: Term = changed(condition, lambda part: Term("each", part.args) if part.op == "turn" else part)
    return found


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        yield from (leaf for each in value for leaf in _leaves(each))
    elif isinstance(value, Dim | TracedInt | TracedFloat):
        yield value
