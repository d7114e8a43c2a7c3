"""Loops of the spec that were taken apart, as loops again.

    loop 48 times by 2 { Block(window=None) @ h.{i}; Block(window=window) @ h.{i+1} }
    ->  loop 96 times { Block(window=None if i % 2 == 0 else window) @ h.{i} }

The elaborator unrolls a loop whose turns differ. Where they only differ in static arguments that are an expression over the
loop's variable, and the instances are of one function, the turns are alike when that expression is written out. So they are where
they read other values of those around the loop: a `choice` in it takes the turn's own."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

from dlc.emit.alike import as_term, as_written, origin_key
from dlc.emit.apart import is_mixed, taken_apart
from dlc.emit.arguments import Functions, sayable
from dlc.emit.by_turn import ByTurn
from dlc.emit.draft import plain_name
from dlc.emit.exact import exact
from dlc.emit.merge import Whole, as_it_is, merge
from dlc.emit.origins import owned
from dlc.emit.turning import (
    Carried,
    Segment,
    answer,
    around,
    as_each,
    carried,
    path_in,
    read_behind,
    segments,
    terms_of,
)
from dlc.emit.uneven import LISTED, PUSH, SKIPS, Kept, Uneven, Unsaid, kept_by, read_elsewhere
from dlc.emit.widths import Last, behind, left_behind, widened
from dlc.ir.index import has_index, offset_of
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Child, Function, Fused, Op, Parameter, Program, Region, Turn, Value, walk
from dlc.ir.splice import Names, path_of, reached, stems
from dlc.once import once
from dlc.records import dataclass, field, replace
from dlc.types.dims import Atom, Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import as_dim, changed, evaluate, length_of, resolved, said, settled, term
from dlc.types.terms import names as names_in
from dlc.types.traced import Term, TracedInt

NOTHING: Mapping[str, int] = MappingProxyType({})


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
        turn = _turn(original[0])
        # A list that the loop itself goes over is told by its turns.
        own = names_in(turn.over) if turn is not None else set()
        left = {name: size for name, size in last.items() if not _is_of(name, own)}
        run = _completed(list(behind(original, function, left)))
        whole = None
        if turn is not None:
            about = _About(turn, function, names, functions, last, _is_tried(turn.over, function, tried))
            single = None if lists.concern(original) else _by_single_turns(original, about, left)
            if single is not None:
                function, whole = single
                children = _replaced(children, function)
            whole = whole or (None if lists.concern(original) else _whole(run, original, about))
            whole = whole or _uneven(run, original, about, runs, kept)
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


def _replaced(children: Sequence[Child], function: Function) -> list[Child]:
    """Instances, those of a loop that was taken apart one by one."""
    own = {child.path for child in function.children}
    return [each for child in children for each in ((child,) if child.path in own else child.each())]


Made = tuple[Op, set[str], list[Child], Last, list[Term]]
"""A loop, the instances that it stands for, these as its own, what it leaves of sizes, and what is asked for it."""


def _uneven(
    run: Sequence[Op], original: Sequence[Op], about: _About, runs: Sequence[list[Op]], kept: Kept | None
) -> Made | None:
    found = segments(run)
    is_plain = (
        found is not None and len(found) > 1 and all(each.count == 1 and not each.step for each in found)
    )
    if found is None or not is_plain or not about.is_tried:
        return None
    static = dict(about.function.static)
    span = _span(about.turn.over, len(found), found[0].index, static)
    if span is None or any(op.region is not None for op in run):
        return None
    by_turn = _by_turn(found, about.turn, span, static)
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
        _indexed,
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
    return (
        loop,
        uneven.gone,
        uneven.children,
        left,
        list(_long_enough((loop,), about.turn.variable, term(Dim.of(span[0])))),
    )


def _is_of(name: object, lists: set[str]) -> bool:
    return type(name) is str and name.partition("[")[0] in lists


def _is_tried(over: Term, function: Function, tried: Tried | None) -> bool:
    """Whether what a loop goes over is changed where the source is tried: of lists, those that are not have to have their length."""
    if tried is None or goes_over_a_list(over):
        return True
    return bool(names_in(over)) and names_in(over) <= tried.get(function.source, frozenset())


def _tried(programs: Sequence[Program]) -> Tried:
    """What the static parameters of programs' entries decide in their modules, by some call at least."""
    found: dict[str, set[str]] = {}
    for program in programs:
        main = program.main
        found.setdefault(main.source, set()).update(each.name for each in main.settings)
        for function in reversed(list(program.functions.values())):  # callers stand behind callees
            own = found.get(function.source, set())
            for op in walk(function.body):
                callee = program.functions.get(op.callee)
                if callee is None:
                    continue
                given: dict[str, Any] = dict((*op.attrs, *op.known, *op.given))
                decided = {name for name, told in given.items() if names_in(told) and names_in(told) <= own}
                found.setdefault(callee.source, set()).update(decided)
    return {source: frozenset(names) for source, names in found.items()}


@once
def _rolling(tried: frozenset[tuple[str, frozenset[str]]]) -> Whole:
    return partial(_rolled, dict(tried))


def _rolled(tried: Tried, function: Function, functions: Mapping[str, Function]) -> Function:
    return function if function.library else rolled(function, functions, tried)


def _turn(op: Op) -> Turn | None:
    """The loop of the spec that an operation is a turn of, or that a loop holds turns of."""
    if op.loops:
        return op.loops[0]
    first = op.region.body[0] if op.op == LOOP and op.region is not None and op.region.body else None
    return first.loops[0] if first is not None and first.loops else None


def _runs(body: Sequence[Op]) -> Iterator[list[Op]]:
    """Operations of one loop of the spec together, others alone."""
    run: list[Op] = []
    for op in body:
        here, last = _turn(op), _turn(run[-1]) if run else None
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
    span = _span(turn.over, total, found[0].index, dict(function.static))
    if span is None:
        return None
    by_turn = _by_turn(found, turn, span, dict(function.static))
    turns = _numbered(found, by_turn)
    going = carried(run, turns)
    if going is None:
        return None
    count, start, step = span
    told = _told(turns, going, turn.variable, dict(function.static))
    left: Last = {}
    taken: Sequence[TensorType] = ()
    asked: list[Term] = []
    if told is None or not _goes_on(turns[0], going, function):
        if not about.is_tried:
            return None
        wide = widened(turns, going, by_turn, said(Dim.of(count)), functions, function, last)
        told = _told(wide.turns, going, turn.variable, dict(function.static)) if wide is not None else None
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
    choices, chosen = _choices(told.chosen, hints, dict(function.types()), names)
    if chosen is None:
        return None
    own = dict(zip(going.chooses(first), chosen, strict=True))
    ops = (*choices, *(_indexed(op, first).renamed(own) for op in told.ops))
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
    asked += _long_enough(ops, turn.variable, term(Dim.of(count)))
    return made.op(), gone, kept, left, asked


def _long_enough(ops: Sequence[Op], variable: str, count: Term) -> Iterator[Term]:
    """That lists which turns read an element of, and the loop does not go over, have as many as there are turns."""
    wanted: dict[str, int] = {}
    for told in (each for op in walk(ops) for each in terms_of(op)):
        for part in told.parts():
            found = _read_by_turn(part, variable) if isinstance(part, Term) and part.op == "index" else None
            if found is not None:
                wanted[found[0]] = max(found[1], wanted.get(found[0], found[1]))
    for name, more in wanted.items():
        length = length_of(Term("param", (name,)))
        if name not in names_in(count):  # (what the loop goes over, or a part of it)
            yield Term(">=", (length, settled(Term("+", (count, Term("const", (more,)))) if more else count)))


def _read_by_turn(element: Term, variable: str) -> tuple[str, int] | None:
    """The list of which a turn reads an element, and by how much that is ahead of the turn's number."""
    base, place = element.args
    ahead = 0
    match place:
        case Term("+" | "-" as op, (Term("each", (name,)), Term("const", (int(offset),)))) if (
            name == variable
        ):
            ahead = offset if op == "+" else -offset
        case Term("each", (name,)) if name == variable:
            pass
        case _:
            return None
    match base:
        case Term("tuple", (_, Term("star", (Term("param", (name,)),)))):
            return str(name), ahead - 1
        case Term("param", (name,)) | Term("cut", (Term("param", (name,)), *_)):
            return str(name), ahead
    return None


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


def goes_over_a_list(over: Term) -> bool:
    """Whether a loop goes over the numbers of the elements of a list, or of several."""
    match over:
        case Term("call", ("range", Term("call", ("len" | "min", *_)))):
            return True
    return False


Span = tuple[int, int, int]
"""How many turns a loop has, the number of the first, and by how much it goes on."""


def _span(over: Term, total: int, first: int, static: Mapping[str, Any]) -> Span | None:
    """The numbers of the whole loop's turns; None if the run is not all of it: what a turn does that nothing reads is gone."""
    start, step = Dim.of(0), 1
    stop: Dim | None
    match over:
        case Term("call", ("range", end)) if goes_over_a_list(over):
            stop = Dim.opaque(end)
        case Term("call", ("range", end)):
            stop = _whole_number(end)
        case Term("call", ("range", begin, end, *by)):
            known = _whole_number(begin), _whole_number(by[0]) if by else Dim.of(1)
            stop = _whole_number(end)
            if known[0] is None or known[1] is None or known[1].constant is None:
                return None
            start, step = known[0], int(known[1].constant)
        case _:
            return None
    if stop is None or not step:
        return None
    length = (stop - start + step - 1) // step if step > 0 else (start - stop - step - 1) // -step
    if _known(length, static) not in (total, None) or _known(start, static) not in (first, None):
        return None
    return _traced(total, length), _traced(first, start), step


def _whole_number(told: Term) -> Dim | None:
    inner = as_dim(told.args[0]) if told.op == "neg" else None
    return as_dim(told) if inner is None else -inner


def _traced(value: int, size: Dim) -> int:
    return TracedInt(value, size) if size.constant is None else value


def _by_turn(turns: Sequence[Segment], turn: Turn, span: Span, static: Mapping[str, Any]) -> ByTurn:
    """What tells the numbers of the turns; the static parameters that say how many there are have their values in it."""
    computed = dict.fromkeys(each for segment in turns for op in segment.ops for each in _computed(op))
    counts = {name: static[name] for name in names_in(turn.over) if isinstance(static.get(name), int)}
    count, start, step = span
    first = said(Dim.of(start))
    last = first + (said(Dim.of(count)) - 1) * step
    return ByTurn([each.index for each in turns], step, first, last, turn.variable, tuple(computed), counts)


def _computed(op: Op) -> Iterator[Term]:
    """What a turn computes of its number, and what it gives to modules by that."""
    yield from op.loops[0].numbers if op.loops else ()
    yield from (told for _, told in op.given if told.holds("turn"))


def _known(length: Dim, static: Mapping[str, Any]) -> int | None:
    """A length at a function's static parameters; None where it speaks of others."""
    try:
        return int(evaluate(length, static))
    except (KeyError, TypeError, ValueError):
        return None


def _form(segment: Segment, going: Carried, *, given: bool = True) -> object:
    """What a turn does, free of names and of its number; without what it has `given` to modules, so far as that is plain."""
    names = {name: f"taken {i}" for i, name in enumerate(going.takes(segment))}
    names |= {} if given else {name: f"chosen {i}" for i, name in enumerate(going.chooses(segment))}
    found = []
    for op in segment.ops:
        if op.region is not None or op.otherwise is not None:
            return None
        path = path_in(op.path, segment)
        attrs = tuple(
            (key, as_written(op, key, value) if op.path else origin_key(value))
            if given or op.op != "call" or not isinstance(value, int | float | str | None)
            else key
            for key, value in op.attrs
            if key != "draw"
        )
        inputs = tuple(names.get(name, name) for name in op.inputs)
        sizes = tuple((name, _size(size)) for name, size in (*op.dims, *op.known))
        made = tuple(_type(value.type) for value in op.outputs)
        found.append((op.op, op.callee, path, attrs, inputs, sizes, made))
        names.update((value.name, f"{len(found)}.{i}") for i, value in enumerate(op.outputs))
    return tuple(found), tuple(names[name] for name in going.gives(segment))


@dataclass(frozen=True, slots=True)
class Sided:
    """Values of those around a loop that a turn takes: one or the other, by a condition."""

    condition: Term
    yes: Chosen
    no: Chosen


Chosen = tuple[str, ...] | Sided


@dataclass(frozen=True, slots=True)
class Told:
    """What a turn does, and which values around the loop it chooses."""

    ops: tuple[Op, ...]
    chosen: Chosen


Kind = tuple[list[Segment], Told]
"""Turns that do the same, and what they do."""


def _told(turns: Sequence[Segment], going: Carried, variable: str, static: Mapping[str, Any]) -> Told | None:
    """What all turns do. Where they give a module other arguments, these depend on what was decided on the loop's variable."""
    kinds: dict[object, Kind] = {}
    for each in turns:
        kinds.setdefault(_form(each, going), ([], Told(each.ops, going.chooses(each))))[0].append(each)
    if None in kinds or len({_form(each, going, given=False) for each in turns}) != 1:
        return None
    decided = dict.fromkeys(each for turn in turns for op in turn.ops for each in _decided(op))
    found = _parted(list(kinds.values()), list(decided), variable, static)
    if found is None:
        return None
    ops = (replace(op, given=each.given) for op, each in zip(turns[0].ops, found.ops, strict=True))
    return replace(found, ops=tuple(ops))


def _decided(op: Op) -> Iterator[Term]:
    """What was decided in a turn on its number, and what it gives by that."""
    yield from (each.condition for each in op.loops[0].decisions)
    for _, given in op.given:
        parts = (each for each in given.parts() if isinstance(each, Term) and each.op == "if")
        yield from (each.args[0] for each in parts if each.args[0].holds("turn"))


def _parted(
    kinds: Sequence[Kind], conditions: Sequence[Term], variable: str, static: Mapping[str, Any]
) -> Told | None:
    """What turns of several kinds do, told apart by conditions; None where these do not."""
    if len(kinds) == 1:
        return kinds[0][1]
    for condition in conditions:
        answers = [_answer(condition, kind, variable, static) for kind in kinds]
        if None in answers or len(set(answers)) == 1:
            continue
        sides = (
            [kind for kind, answer in zip(kinds, answers, strict=True) if answer is side]
            for side in (True, False)
        )
        yes, no = (_parted(side, conditions, variable, static) for side in sides)
        if yes is not None and no is not None:
            ops = tuple(_either(condition, a, b) for a, b in zip(yes.ops, no.ops, strict=True))
            same = yes.chosen == no.chosen
            return Told(ops, yes.chosen if same else Sided(condition, yes.chosen, no.chosen))
    return None


def _choices(
    chosen: Chosen, hints: Sequence[str], types: dict[str, TensorType], names: Names
) -> tuple[tuple[Op, ...], tuple[str, ...] | None]:
    """The operations that choose, and the values that they give; None where one is of another type than the other."""
    if not isinstance(chosen, Sided):
        return (), chosen
    (yes, taken), (no, other) = (_choices(each, hints, types, names) for each in (chosen.yes, chosen.no))
    if taken is None or other is None:
        return (), None
    made: dict[tuple[str, str], Value] = {}
    for one, two, hint in zip(taken, other, hints, strict=True):
        if _type(types[one]) != _type(types[two]):
            return (), None
        if one != two and (one, two) not in made:
            made[one, two] = Value(names.fresh(hint), types[one])
    types.update((each.name, each.type) for each in made.values())
    then, otherwise = (Region((), ops, tuple(pair[k] for pair in made)) for k, ops in enumerate((yes, no)))
    condition = as_each(chosen.condition)
    op = Op("choice", (), tuple(made.values()), condition=condition, region=then, otherwise=otherwise)
    both = (made[one, two].name if one != two else one for one, two in zip(taken, other, strict=True))
    return (op,), tuple(both)


def _answer(condition: Term, kind: Kind, variable: str, static: Mapping[str, Any]) -> bool | None:
    """Whether a condition holds in all turns of a kind, or in none; else None."""
    indices = [index for segment in kind[0] for index in segment.indices]
    answers = {answer(condition, variable, index, static) for index in indices}
    return answers.pop() if len(answers) == 1 else None


def _either(condition: Term, yes: Op, no: Op) -> Op:
    """A call with the arguments of one side or of the other."""
    given, other = dict(yes.given), dict(no.attrs)
    for key, value in yes.attrs if yes.op == "call" else ():
        one, two = (as_term(op, key, each) for op, each in ((yes, value), (no, other[key])))
        if one != two:
            given[key] = Term("if", (condition, one, two))
    return replace(yes, given=tuple(given.items()))


def _goes_on(segment: Segment, going: Carried, function: Function) -> bool:
    """Whether what a turn gives can be taken by the next: the first one may take another size than it gives."""
    types = function.types()
    pairs = zip(going.gives(segment), going.takes(segment), strict=True)
    return all(_type(types[given]) == _type(types[taken]) for given, taken in pairs)


def _type(type: TensorType) -> object:
    return type.dtype, tuple(map(_size, type.axes))


def _size(size: Dim) -> object:
    """A size as it is written, and what it is: `d * (i + 1)` of two turns is written the same."""
    return said(size), size


def _numbered(turns: Sequence[Segment], by_turn: ByTurn) -> list[Segment]:
    """The turns, with what is known of their paths: whether those that differ do so in the end of a label, how many numbers a turn
    takes, or what the spec computes."""
    first, second = turns[0], turns[1] if len(turns) > 1 else turns[0]
    pairs = [(a.path, b.path) for a, b in zip(first.ops, second.ops, strict=False) if a.path != b.path]
    labels = [each for a, b in pairs for each in zip(a.split("."), b.split("."), strict=False)]
    numbers = {int(b) - int(a) for a, b in labels if a != b and a.isdigit() and b.isdigit()}
    ways = [list(turns)]
    if len(numbers) == 1 and (factor := numbers.pop()) > 1 and not first.index:
        ways.insert(0, [replace(each, factor=factor) for each in turns])
    ways.append([replace(each, is_suffix=True) for each in turns])
    ways += filter(None, (_labelled(turns, by_turn),))
    return next((way for way in ways if _agree(way)), ways[0])


def _agree(turns: Sequence[Segment]) -> bool:
    """Whether the paths of all turns are the same but for the number of the turn."""
    return len({tuple(path_in(op.path, each) for op in each.ops) for each in turns}) == 1


def _labelled(turns: Sequence[Segment], by_turn: ByTurn) -> list[Segment] | None:
    """The turns with labels that the spec computes; None where it computes none."""
    found: list[dict[str, str]] = [{} for _ in turns]
    if len({len(each.ops) for each in turns}) != 1 or any(each.step for each in turns):
        return None
    for ops in zip(*(each.ops for each in turns), strict=True):
        paths = [op.path.split(".") for op in ops]
        if len(set(map(len, paths))) != 1:
            return None
        for labels in zip(*paths, strict=True):
            parts = [re.split(r"(\d+)", each) for each in labels]
            alike = len(set(map(len, parts))) == 1
            told = by_turn.label(parts) if alike else None
            for names, label in zip(found, labels, strict=True):
                if told is None or names.setdefault(label, told) != told:
                    return None
    return [replace(each, labels=names) for each, names in zip(turns, found, strict=True)]


def _indexed(op: Op, segment: Segment) -> Op:
    assert segment.factor != 1 or not has_index(op.path) or offset_of(op.path) == 0
    inner = {each.variable: each.index for each in op.loops[1:]}  # (loops inside are taken apart)
    own = {each.variable for each in op.loops[:1]}  # (loops around it are written out)
    given = tuple((name, _each(term, own, inner)) for name, term in op.given)
    return replace(op, path=path_in(op.path, segment), loops=(), given=given)


def _each(told: Term, own: Container[str], inner: Mapping[str, int] = NOTHING) -> Term:
    """A term in which the loop's `own` variable may be read: the loop goes over it as the spec's does. Variables of loops inside are
    what they are in their turns, and those of loops around it are not known here."""

    def change(each: Term) -> Term:
        if each.op != "turn" or not (each.args[0] in own or each.args[0] in inner):
            return resolved(each)
        return Term("const", (inner[each.args[0]],)) if each.args[0] in inner else Term("each", each.args)

    found: Term = changed(told, change)
    return found


@dataclass(frozen=True)
class Common:
    """Programs of one model as one. `names` are those that the first one's functions have in it; `entries` are the functions by
    which the model is entered, the first one's first."""

    program: Program
    names: dict[str, str]
    entries: tuple[str, ...]

    @staticmethod
    def alone(program: Program) -> Common:
        """A program as it is."""
        return Common(program, {name: name for name in program.functions}, (program.entry,))


def merged(
    programs: Sequence[Program],
    native: Container[str] = (),
    written: Container[str] = (),
    *,
    loops: bool = True,
    begun: bool = False,
    callables: Functions | None = None,
) -> Common:
    """Programs of one model at some settings as one: its modules once each, and with `loops` the spec's loops whole. What of the
    library is `native`, `written` or `begun` is as in `merge`; `callables` are the functions that static parameters may be."""
    programs = tuple(_sayable(each, callables) for each in programs)
    first = programs[0]
    found = merge(
        programs,
        native,
        _rolling(frozenset(_tried(programs).items())) if loops else as_it_is,
        written,
        begun=begun,
    )
    names = {name: found.names[0, name] for name in first.functions}
    functions = {name: _finished(each) for name, each in found.functions.items()}
    main, *others = found.entries
    functions[main] = replace(functions[main], static=first.main.static)
    functions |= {name: _applying(functions[name], functions[main]) for name in others}
    # Initial values also of layers that a pass made, which no function refers to.
    begin = (name for name, each in functions.items() if each.kind == "init")
    used = reached(functions, (*found.entries, *begin))
    functions = {name: each for name, each in functions.items() if name in used}
    parameters = tuple(_parameters(programs, found.names))
    return Common(Program(functions, main, parameters), names, found.entries)


@once
def _finished(function: Function) -> Function:
    """A function of several settings, in terms that it knows itself, with all that it asks of them."""
    bounds = dict.fromkeys(_bounds(function))
    return owned(replace(exact(function), requires=(*function.requires, *bounds)))


def _parameters(programs: Sequence[Program], names: Mapping[tuple[int, str], str]) -> Iterator[Parameter]:
    """Those of the first program, and what others have besides, where a part is turned on: rules say how that begins, too."""
    kinds = {each.kind for each in programs[0].parameters}
    seen: set[str] = set()
    for k, program in enumerate(programs):
        for each in program.parameters:
            if each.path not in seen and each.kind in kinds:
                seen.add(each.path)
                yield replace(each, init=names.get((k, each.init), each.init))


def _sayable(program: Program, callables: Functions | None) -> Program:
    functions = {name: sayable(each, program, callables) for name, each in program.functions.items()}
    return program.with_functions(functions)


def _applying(entry: Function, main: Function) -> Function:
    """A further way into a model, with those of the parts that both have which it applies or reads. The others may be other functions
    in its program, where no mask is made for all of them."""
    said = {path_of(op).partition(".")[0] for op in walk(entry.body)}
    own = {child.path: child.function for child in main.children}
    kept = (
        each
        for each in entry.children
        if each.path.partition(".")[0] in said or own.get(each.path) == each.function
    )
    return replace(entry, children=tuple(kept))


def _bounds(function: Function) -> Iterator[Term]:
    """What must hold for a loop that was taken apart where its turns begin to differ: `dense <= layers` for one of `layers - dense`
    turns, which would be none less than none; `1 <= layers` where the first turn stands by itself."""
    for op in walk(function.body):
        count = op.attr("count") if op.op == LOOP else None
        size = said(Dim.of(count)) if isinstance(count, int | Dim) else Dim({})
        taken = Dim({power: -factor for power, factor in size.terms.items() if factor < 0})
        if taken.constant is None or (taken.constant and _is_apart(op, function)):
            yield (
                Term("<=", (term(taken), term(size + taken)))
                if taken.constant is None
                else Term(">=", (term(size + taken), term(taken)))
            )


def _is_apart(loop: Op, function: Function) -> bool:
    """Whether other turns of the spec's loop stand beside it, in this choice or in another."""
    turn, inside = _turn(loop), set(map(id, walk((loop,))))
    others = (_turn(op) for op in walk(function.body) if id(op) not in inside)
    return turn is not None and any(each is not None and each.loop == turn.loop for each in others)
