"""What the turns of a loop do as what one of them does.

    Block(window=None) @ h.0; Block(window=window) @ h.1; …     ->     Block(window=None if i % 2 == 0 else window) @ h.{i}

They do the same but for static arguments, which were decided on the loop's variable, and but for which of the values around the
loop they take: a `choice` takes the turn's own."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dlc.emit.alike import as_term, as_written, origin_key
from dlc.emit.by_turn import ByTurn
from dlc.emit.turning import (
    Carried,
    Segment,
    answer,
    as_each,
    path_in,
)
from dlc.ir.index import has_index, offset_of
from dlc.ir.nodes import Function, Op, Region, Value
from dlc.ir.splice import Names, within
from dlc.once import once
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import changed, given_in_turn, resolved, said
from dlc.types.traced import Term

NOTHING: Mapping[str, int] = MappingProxyType({})


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


def done(turns: Sequence[Segment], going: Carried, variable: str, static: Mapping[str, Any]) -> Told | None:
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


def chosen_by(
    chosen: Chosen, hints: Sequence[str], types: dict[str, TensorType], names: Names
) -> tuple[tuple[Op, ...], tuple[str, ...] | None]:
    """The operations that choose, and the values that they give; None where one is of another type than the other."""
    if not isinstance(chosen, Sided):
        return (), chosen
    (yes, taken), (no, other) = (chosen_by(each, hints, types, names) for each in (chosen.yes, chosen.no))
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


def goes_on(segment: Segment, going: Carried, function: Function) -> bool:
    """Whether what a turn gives can be taken by the next: the first one may take another size than it gives."""
    types = function.types()
    pairs = zip(going.gives(segment), going.takes(segment), strict=True)
    return all(_type(types[given]) == _type(types[taken]) for given, taken in pairs)


def _type(type: TensorType) -> object:
    return type.dtype, tuple(map(_size, type.axes))


def _size(size: Dim) -> object:
    """A size as it is written, and what it is: `d * (i + 1)` of two turns is written the same."""
    return said(size), size


def numbered(turns: Sequence[Segment], by_turn: ByTurn) -> list[Segment]:
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


def indexed(op: Op, segment: Segment) -> Op:
    assert segment.factor != 1 or not has_index(op.path) or offset_of(op.path) == 0
    inner = {each.variable: each.index for each in op.loops[1:]}  # (loops inside are taken apart)
    own = {each.variable for each in op.loops[:1]}  # (loops around it are written out)
    given = tuple((name, _each(term, own, inner)) for name, term in op.given)
    return replace(op, path=path_in(op.path, segment), loops=(), given=given)


@once
def written_out(function: Function) -> Function:
    """A function in which calls in turns that are written out are given what the spec says in that turn: `wide and i > 0` is `wide` in
    the second one, and false in the first. (Numbers remember that by themselves.)"""

    def op(each: Op) -> Op:
        attrs = dict(each.attrs)
        turns = {turn.variable: turn.index for turn in each.loops}
        given = tuple((name, given_in_turn(told, attrs.get(name), turns)) for name, told in each.given)
        return within(each if given == each.given else replace(each, given=given), op)

    return replace(function, body=tuple(map(op, function.body)))


def _each(told: Term, own: Container[str], inner: Mapping[str, int] = NOTHING) -> Term:
    """A term in which the loop's `own` variable may be read: the loop goes over it as the spec's does. Variables of loops inside are
    what they are in their turns, and those of loops around it are not known here."""

    def change(each: Term) -> Term:
        if each.op != "turn" or not (each.args[0] in own or each.args[0] in inner):
            return resolved(each)
        return Term("const", (inner[each.args[0]],)) if each.args[0] in inner else Term("each", each.args)

    found: Term = changed(told, change)
    return found
