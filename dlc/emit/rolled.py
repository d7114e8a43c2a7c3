"""Loops of the spec that were taken apart, as loops again.

    loop 48 times by 2 { Block(window=None) @ h.{i}; Block(window=window) @ h.{i+1} }
    ->  loop 96 times { Block(window=None if i % 2 == 0 else window) @ h.{i} }

The elaborator unrolls a loop whose turns differ. Where they only differ in static arguments that are an expression over the
loop's variable, and the instances are of one function, the turns are alike when that expression is written out. So they are where
they read other values of those around the loop: a `choice` in it takes the turn's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from dlc.emit.apart import has_rounds, is_mixed, taken_apart
from dlc.emit.draft import plain_name
from dlc.emit.outline import is_outlined
from dlc.emit.spans import goes_over_a_list, long_enough, span_of, telling, turn_of
from dlc.emit.told import chosen_by, done, goes_on, indexed, numbered
from dlc.emit.turning import (
    Segment,
    around,
    carried,
    path_in,
    read_behind,
    segments,
)
from dlc.emit.uneven import LISTED, PUSH, SKIPS, Kept, Uneven, Unsaid, kept_by, read_elsewhere
from dlc.emit.widths import Last, behind, left_behind, widened
from dlc.ir.index import has_index
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Child, Function, Fused, Op, Region, Turn, Value, walk
from dlc.ir.splice import Names, stems
from dlc.records import dataclass, field, replace
from dlc.types.dims import Atom, Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import names as names_in
from dlc.types.terms import said, term
from dlc.types.traced import Term

Tried = Mapping[str, frozenset[str]]
"""The static parameters of modules that a model's own decide, by module: at others the source is tried (`settled.py`)."""


def rolled(function: Function, functions: Mapping[str, Function], tried: Tried | None = None) -> Function:
    """The function with the loops of the spec whole where all their turns do the same to what goes on from one to the next, or more than
    others by a condition; with what turns keep for those of a later loop in a list, where that can be said of both."""
    runs = list(_runs(function.body))
    kept = kept_by(runs, [each.name for each in function.inputs])
    if kept is not None:
        with suppress(Unsaid):
            return _rolled_by(function, functions, runs, kept, tried)
    return _rolled_by(function, functions, runs, None, tried)


def _rolled_by(
    function: Function,
    functions: Mapping[str, Function],
    runs: Sequence[list[Op]],
    kept: Kept | None,
    tried: Tried | None,
) -> Function:
    body: list[Op] = []
    children, names = list(function.children), Names.of(function)
    last: dict[str | Atom | Dim, Dim] = {}
    asked: list[Term] = []
    lists = _Lists(kept)
    for original in runs:
        turn = turn_of(original[0])
        # A list that the loop itself goes over is told by its turns.
        own = names_in(turn.over) if turn is not None else set()
        left = {name: size for name, size in last.items() if not _is_of(name, own)}
        run = _completed(list(behind(original, function, left)))
        whole = None
        if turn is not None:
            about = _About(turn, function, names, functions, last, _is_tried(turn.over, function, tried))
            single = None if lists.concern(original) else _by_single_turns(original, about, left)
            whole = single and single[1]
            whole = whole or (None if lists.concern(original) else _whole(run, original, about))
            whole = whole or _uneven(run, original, about, runs, kept)
            single = single or (None if whole else _uneven_rounds(original, about, left, runs))
            if single is not None:
                function, whole = single
                children = _replaced(children, function)
        if whole is None:
            if turn is not None and lists.concern(original):
                raise Unsaid
            body += lists.around(run)
            continue
        loop, gone, kept_children, more, needed = whole
        last.update(more)
        asked += needed
        at = next((k for k, child in enumerate(children) if child.path in gone), len(children))
        before = [child for child in children[:at] if child.path not in gone]
        after = [child for child in children[at:] if child.path not in gone]
        children = [*before, *kept_children, *after]
        body += lists.begun(original)
        body.append(loop)
    requires = (*function.requires, *asked)
    return replace(function, body=tuple(body), children=tuple(children), requires=requires)


@dataclass
class _Lists:
    """The list of what turns keep: made before the first loop that adds to it, of what there is to be kept by then."""

    kept: Kept | None
    waiting: list[str] = field(default_factory=list)
    is_there: bool = False

    def concern(self, run: Sequence[Op]) -> bool:
        """Whether a loop adds to the list, or takes from it."""
        return self.kept is not None and bool(self.kept.popped_by(run) or self._made(run))

    def _made(self, run: Sequence[Op]) -> list[str]:
        pushed = self.kept.pushed if self.kept is not None else ()
        return [value.name for op in run for value in op.outputs if value.name in pushed]

    def around(self, run: Sequence[Op]) -> Iterator[Op]:
        """Operations outside of loops, and what is kept of them."""
        yield from run
        kept = self._made(run)
        if kept and self.is_there:
            yield Op(PUSH, (SKIPS.name, *kept), ())
        elif kept:
            self.waiting += kept

    def begun(self, run: Sequence[Op]) -> Iterator[Op]:
        if self.concern(run) and not self.is_there:
            self.is_there = True
            yield Op(LISTED, tuple(self.waiting), (SKIPS,))


@dataclass(frozen=True)
class _About:
    """What stands around a loop; `last` is what loops before it have left."""

    turn: Turn
    function: Function
    names: Names
    functions: Mapping[str, Function]
    last: Last
    is_tried: bool
    """Whether the source is tried at other numbers of turns, so that what turns have in common may be a guess."""


def _by_single_turns(original: Sequence[Op], about: _About, left: Last) -> tuple[Function, Made] | None:
    """A loop of the spec of which the first turns are others, as one of all its turns; the function with these by themselves."""
    if not about.is_tried or not is_mixed(original):
        return None
    function, run = taken_apart(about.function, original, about.names)
    made = _whole(_completed(list(behind(run, function, left))), run, replace(about, function=function))
    return None if made is None else (function, made)


def _uneven_rounds(
    original: Sequence[Op], about: _About, left: Last, runs: Sequence[list[Op]]
) -> tuple[Function, Made] | None:
    """A loop of the spec whose turns do this or that, as the elaborator made rounds of them; the function with the turns by themselves."""
    if not about.is_tried or not has_rounds(original):
        return None
    function, run = taken_apart(about.function, original, about.names)
    others = [run if each is original else each for each in runs]
    about = replace(about, function=function)
    made = _uneven(_completed(list(behind(run, function, left))), run, about, others, None, again=True)
    return None if made is None else (function, made)


def _replaced(children: Sequence[Child], function: Function) -> list[Child]:
    """Instances, those of a loop that was taken apart one by one."""
    own = {child.path for child in function.children}
    return [each for child in children for each in ((child,) if child.path in own else child.each())]


Made = tuple[Op, set[str], list[Child], Last, list[Term]]
"""A loop, the instances that it stands for, these as its own, what it leaves of sizes, and what is asked for it."""


def _uneven(
    run: Sequence[Op],
    original: Sequence[Op],
    about: _About,
    runs: Sequence[list[Op]],
    kept: Kept | None,
    *,
    again: bool = False,
) -> Made | None:
    """A loop of turns of which some do more, or something else. Said `again` of turns that could stand in loops behind one another, it is
    one loop only where no bound parts them."""
    found = segments(run)
    is_plain = (
        found is not None and len(found) > 1 and all(each.count == 1 and not each.step for each in found)
    )
    if found is None or not is_plain or not about.is_tried:
        return None
    static = dict(about.function.static)
    span = span_of(about.turn.over, len(found), found[0].index, static)
    if span is None or any(op.region is not None for op in run):
        return None
    by_turn = telling(found, about.turn, span, static)
    popped = kept.popped_by(original) if kept is not None else ()
    read = read_elsewhere(original, runs, [value for _, value in about.function.outputs], kept)
    uneven = Uneven(
        found,
        about.turn,
        by_turn,
        span,
        about.function,
        about.functions,
        about.names,
        about.last,
        kept,
        popped,
        read,
        indexed,
    )
    try:
        made = uneven.run()
    except Unsaid:
        if kept is not None:
            raise
        return None
    if made is None or not _covers(about.function, uneven.gone):
        return None
    loop, left = made
    if uneven.is_scattered and not is_outlined(loop, about.function):
        return None
    if again and uneven.parts_once():
        return None
    return (
        loop,
        uneven.gone,
        uneven.children,
        left,
        list(long_enough((loop,), about.turn.variable, term(Dim.of(span[0])))),
    )


def _is_of(name: object, lists: set[str]) -> bool:
    return type(name) is str and name.partition("[")[0] in lists


def _is_tried(over: Term, function: Function, tried: Tried | None) -> bool:
    """Whether what a loop goes over is changed where the source is tried: of lists, those that are not have to have their length."""
    if tried is None or goes_over_a_list(over):
        return True
    return bool(names_in(over)) and names_in(over) <= tried.get(function.source, frozenset())


def _runs(body: Sequence[Op]) -> Iterator[list[Op]]:
    """Operations of one loop of the spec together, others alone."""
    run: list[Op] = []
    for op in body:
        here, last = turn_of(op), turn_of(run[-1]) if run else None
        if run and (here is None or last is None or here.loop != last.loop):
            yield run
            run = []
        run.append(op)
    if run:
        yield run


def _completed(run: list[Op]) -> list[Op]:
    """The run with the same operands for all instances of a function: some have inputs that others have not, such as a mask
    that all layers share, and to those it is no harm to pass it."""
    own = {value.name for op in walk(run) for value in op.outputs}
    known: dict[str, dict[str, set[str]]] = {}
    for op in walk(run):
        for name, value in zip(op.names, op.inputs, strict=False):
            known.setdefault(op.callee, {}).setdefault(name, set()).add(value)
    shared = {
        callee: {name: min(values) for name, values in names.items() if len(values) == 1 and not values & own}
        for callee, names in known.items()
    }

    def complete(op: Op) -> Op:
        more = {name: value for name, value in shared.get(op.callee, {}).items() if name not in op.names}
        region = op.region and replace(op.region, body=tuple(map(complete, op.region.body)))
        return replace(op, inputs=(*op.inputs, *more.values()), names=(*op.names, *more), region=region)

    return list(map(complete, run))


def _whole(run: Sequence[Op], original: Sequence[Op], about: _About) -> Made | None:
    turn, function, names = about.turn, about.function, about.names
    functions, last = about.functions, about.last
    found = segments(run)
    if not found or (len(found) < 2 and not _told_by_turn(found[0])):
        return None
    total = sum(each.count for each in found)
    span = span_of(turn.over, total, found[0].index, dict(function.static))
    if span is None:
        return None
    by_turn = telling(found, turn, span, dict(function.static))
    turns = numbered(found, by_turn)
    going = carried(run, turns)
    if going is None:
        return None
    count, start, step = span
    told = done(turns, going, turn.variable, dict(function.static))
    left: Last = {}
    taken: Sequence[TensorType] = ()
    asked: list[Term] = []
    if told is None or not goes_on(turns[0], going, function):
        if not about.is_tried:
            return None
        wide = widened(turns, going, by_turn, said(Dim.of(count)), functions, function, last)
        told = done(wide.turns, going, turn.variable, dict(function.static)) if wide is not None else None
        if wide is None or told is None:
            return None
        turns, left, taken = list(wide.turns), wide.last, wide.taken
        if wide.needs_turn:
            asked = [Term(">=", (term(Dim.of(count)), Term("const", (1,))))]
    first = turns[0]
    outside, out = around(run, turns, going)
    raw = function.types()
    out = tuple(replace(each, type=left_behind(raw[each.name], left)) for each in out) if taken else out
    if read_behind(original, function) - {each.name for each in out}:
        return None
    called = {value: name for op in first.ops for name, value in zip(op.names, op.inputs, strict=False)}
    hints = [called.get(value, value) for value in going.chooses(first)]
    choices, chosen = chosen_by(told.chosen, hints, dict(function.types()), names)
    if chosen is None:
        return None
    own = dict(zip(going.chooses(first), chosen, strict=True))
    ops = (*choices, *(indexed(op, first).renamed(own) for op in told.ops))
    args = tuple(
        Value(names.fresh(plain_name(each.name) or each.name), type)
        for each, type in zip(out, taken or [each.type for each in out], strict=True)
    )
    inner = dict(zip(going.takes(first), (each.name for each in args), strict=True))
    made = Loop.of(
        Op(LOOP, outside, out, (("count", count), ("start", start), ("step", step)), span=turn.loop,
           region=Region(args, tuple(op.renamed(inner) for op in ops), going.gives(first)))
    )  # fmt: skip
    placed = {op.path: op.callee for op in ops if op.path}
    gone = {op.path for each in turns for op in each.ops if op.path}
    kept = [
        Child(path, callee, count, start, step, fused=_fused(path, first, function))
        for path, callee in placed.items()
        if has_index(path)
    ]
    if len(kept) != len(placed) or not _covers(function, gone):
        return None
    asked += long_enough(ops, turn.variable, term(Dim.of(count)))
    return made.op(), gone, kept, left, asked


def _fused(path: str, segment: Segment, function: Function) -> Fused | None:
    """What the layer at a turn's path stands for."""
    for child in function.children:
        if child.fused is not None and path_in(child.path, segment) == path:
            return child.fused.moved(lambda part: path_in(part, segment))
    return None


def _told_by_turn(segment: Segment) -> bool:
    """Whether turns that are all the same here are told by their number all the same: `wide or i % 2 == 0`."""
    return segment.count > 1 and any(term.holds("turn") for op in segment.ops for _, term in op.given)


def _covers(function: Function, gone: set[str]) -> bool:
    """Whether all instances that the turns apply are made for them alone, none inside of a part that is not the turns'."""
    parts = {child.path for child in function.children}
    return gone <= parts and not any(stem in parts - gone for path in gone for stem in stems(path))
