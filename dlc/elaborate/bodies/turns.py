"""One turn of a `for`: what it does, free of names and of its number, and what it takes and gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dlc.elaborate.base.budget import TURN_STEPS
from dlc.elaborate.base.handles import flat, holds
from dlc.elaborate.base.trees import assigned, below, contains, labels, loop_names, readings
from dlc.elaborate.base.values import GroupValue, Poison, Tensor, frozen, is_plain
from dlc.elaborate.bodies.expressions import bind_static, inside_turn
from dlc.elaborate.bodies.gathering import added_by
from dlc.elaborate.bodies.stages import run_stages
from dlc.elaborate.names.origins import Walk, noted, origin, walked
from dlc.elaborate.names.parts import said_by_turns
from dlc.elaborate.state.body import Body, Context
from dlc.elaborate.state.scope import LoopContext
from dlc.ir.needed import reads
from dlc.ir.nodes import Child, Decision, Op
from dlc.ir.nodes import Turn as Place
from dlc.ir.splice import within
from dlc.records import dataclass, field, replace
from dlc.syntax import ast
from dlc.types.terms import given_in_turn, in_turn, origin_of, said
from dlc.types.traced import Term

NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class Turn:
    """One elaborated turn: the names before and after it, its operations, and the parts it made."""

    index: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    ops: list[Op]
    children: dict[str, Child]
    params: bool
    read_later: frozenset[str]
    """Names that something outside of the loop reads after it."""
    decisions: Sequence[Decision] = ()
    """What was decided on the loop's variable."""
    unnamed: Mapping[str, int] = field(default_factory=dict)
    """How many parts without a name there are of a kind behind it."""
    added: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    """What it has added to the lists that the loop gathers."""
    key: Any = None
    live: frozenset[str] | None = None
    """The names in `before` that matter, once that was asked."""

    @staticmethod
    def joined(turns: Sequence[Turn]) -> Turn:
        """Several turns as one."""
        if len(turns) == 1:
            return turns[0]
        first, last = turns[0], turns[-1]
        ops = [op for turn in turns for op in turn.ops]
        return Turn(0, first.before, last.after, ops, {}, False, first.read_later)


@dataclass(eq=False, repr=False)
class Loop:
    """A `for`, what held before it, and what of it is read behind it."""

    node: ast.For
    items: Sequence[Any]
    before: Mapping[str, Any]
    read_later: frozenset[str]
    walk: Walk | None = None
    gathers: frozenset[str] = frozenset()
    """Lists that turns add to and that only `stack` reads."""

    @property
    def names(self) -> frozenset[str]:
        return loop_names(self.node.target)

    @property
    def is_needed(self) -> bool:
        """Whether a name that only the loop's body binds is read behind the loop: then the last turn's value is needed, and a
        `loop` gives only what it carries."""
        return any(not handle(self.before.get(name)) for name in self.read_later - self.gathers)


@dataclass(slots=True)
class Run:
    """`count` repetitions of `period` turns, the first of which is number `first` of the elaborated ones."""

    first: int
    period: int
    count: int

    def elaborated(self, turns: list[Turn]) -> int:
        """How many of the turns are its own."""
        return self.period * min(self.count, (len(turns) - self.first) // self.period)


def one_turn(body: Body, loop: Loop, item: Any, index: int) -> Turn:
    """Elaborate one turn into operations of its own."""
    emission, node = body.emission, loop.node
    body.context.session.spend(TURN_STEPS, node.span, body.report)
    saved_ops, saved_children = emission.builder.body, dict(emission.children)
    saved_decisions, emission.turn_decisions = emission.turn_decisions, []
    params = len(emission.params)
    emission.builder.body = []
    walk = loop.walk
    if walk is not None:
        walked(body, walk, index)
    bind_static(body, node.target, item)
    if walk is not None:
        body.scope = body.scope.with_origins(walk.elements)
    before = {name: value for name, value in body.scope.names.items() if name not in loop.names}
    place = _place(body, node, walk, index)
    here = {name: value for name in loop.names if is_plain(value := body.scope.names.get(name))}
    computed: tuple[Term, ...] = ()
    try:
        context = LoopContext(loop.names, index, node.label, place=place)
        with said_by_turns(body, walk), inside_turn(body, context) as unnamed:
            if place is not None and body.context.session.staged:
                run_stages(body, node, loop.before, partial(read_later_of, body.context))
            else:
                body.run(node.body)
            computed = _computed(body, loop) if place is not None else ()
    finally:
        ops, emission.builder.body = emission.builder.body, saved_ops
        decisions, emission.turn_decisions = emission.turn_decisions, saved_decisions
    if place is not None:
        place = replace(place, decisions=tuple(decisions), numbers=computed)
        ops = [replace(op, loops=(place, *op.loops)) for op in ops]
    elif (
        body.context.session.traced
    ):  # nobody will say the loop: what is told by its variable is told by what that is here
        ops = [_told_in_turn(op, here) for op in ops]
        for each in decisions:
            noted(body, in_turn(each.condition, here), each.answer, each.span)
    made = {key: child for key, child in emission.children.items() if key not in saved_children}
    turn = Turn(
        index,
        before,
        body.scope.names,
        ops,
        made,
        len(emission.params) > params,
        loop.read_later,
        decisions,
        unnamed,
        added_by(loop.gathers, before, body.scope.names),
    )
    turn.key = _key(turn)
    return turn


def _place(body: Body, node: ast.For, walk: Walk | None, index: int) -> Place | None:
    """Where an operation of this turn stands, for emission that says the loop as the spec does."""
    if walk is not None:
        return Place(node.span, walk.index, walk.over, index)
    if not body.context.session.traced or not isinstance(node.target, ast.NameTarget):
        return None
    over = origin(body.context, body.scope, node.iterable)
    return None if over is None else Place(node.span, node.target.id, over, index)


def _told_in_turn(op: Op, turns: Mapping[str, Any]) -> Op:
    attrs = dict(op.attrs)
    given = tuple((name, given_in_turn(told, attrs.get(name), turns)) for name, told in op.given)
    places = tuple(_placed_in_turn(each, turns) for each in op.loops)
    return within(replace(op, given=given, loops=places), lambda each: _told_in_turn(each, turns))


def _placed_in_turn(place: Place, turns: Mapping[str, Any]) -> Place:
    """A loop inside, which may go over what the turn around it has: `for j in range(n)`."""
    decisions = (replace(each, condition=in_turn(each.condition, turns)) for each in place.decisions)
    return replace(
        place,
        over=in_turn(place.over, turns),
        decisions=tuple(decisions),
        numbers=tuple(in_turn(each, turns) for each in place.numbers),
    )


def _computed(body: Body, loop: Loop) -> tuple[Term, ...]:
    """What the text of a turn computes of its variable, labels included."""
    names = loop.names | ({loop.walk.index} if loop.walk is not None else frozenset[str]())
    known = {name for name, value in body.scope.names.items() if is_plain(value)}
    written = readings(loop.node.body, names, known)
    for label in filter(None, (loop.node.label, *labels(loop.node.body))):
        written += (part for part in label.parts if not isinstance(part, str))
    told = (origin(body.context, body.scope, each) for each in written)
    return tuple(dict.fromkeys(each for each in told if each is not None and each.holds("turn")))


def carried_names(turn: Turn) -> list[str]:
    """The names of tensors (or groups) that the turn changes, and takes from the turn before or gives to what comes behind
    the loop."""
    live = _live(turn)
    return [name for name, value in turn.before.items() if name in live and value is not turn.after.get(name)]


def _live(turn: Turn) -> frozenset[str]:
    if turn.live is None:
        turn.live = frozenset(_found_live(turn))
    return turn.live


def _found_live(turn: Turn) -> set[str]:
    """The tensors and groups that the turn finds and that matter: the body's own variables, which every turn sets anew, do not.

    A value matters if an operation of the turn reads it or something behind the loop may. What such a value is at the end of the
    turn may be one that the turn found under another name (`a, b = b, a`), and that one then matters to the turn after: hence
    the closure. Without leaving out the others, a first turn would never be like the second, because names that the body binds
    hold nothing before it."""
    used = {name for op in turn.ops for name in reads(op)}
    handles = {name: value for name, value in turn.before.items() if handle(value)}
    live = {name for name, value in handles.items() if name in turn.read_later or holds(value, used)}
    pending = list(live)
    while pending:
        given = {each.name for each in flat(turn.after.get(pending.pop()))}
        more = [name for name, value in handles.items() if name not in live and holds(value, given)]
        live.update(more)
        pending += more
    return live


_HANDLES = Tensor, GroupValue  # (as a tuple: asked of every name at every turn)


def handle(value: Any) -> bool:
    return isinstance(value, _HANDLES)


def _key(turn: Turn) -> Any:
    """What a turn does, free of the names of its values and of numbers in its paths.

    Values are named by their part in the turn: carried in under these variables, made by this operation, or from outside of the
    loop, where the name itself counts since it means the same value in every turn. Two turns with the same key are the same
    program up to renaming. That the numbers in paths go on regularly is not seen here; `PathTemplate` looks at it."""
    changed, carried = carried_names(turn), dict[str, list[str]]()
    for name in changed:
        value = turn.before[name]
        if isinstance(value, Tensor):
            carried.setdefault(value.name, []).append(name)
    names: dict[str, Any] = {value: ("carry", tuple(which)) for value, which in carried.items()}
    return tuple(_op_key(op, names) for op in turn.ops), tuple(_exits(turn, names, changed))


def _op_key(op: Op, names: dict[str, Any]) -> Any:
    key = (
        op.op,
        tuple(names.get(name, ("outer", name)) for name in op.inputs),
        tuple(
            (name, NUMBER.sub("#", value) if name == "path" and isinstance(value, str) else value)
            for name, value in op.attrs
            if name != "draw"
        ),
        tuple(origin_of(value) for _, value in op.attrs),
        tuple(said(size) for _, size in op.known),
        op.callee,
        NUMBER.sub("#", op.path),
        op.dims,
        tuple(value.type for value in op.outputs),
        tuple(said(axis) for value in op.outputs for axis in value.type.axes),
    )
    for i, value in enumerate(op.outputs):
        names[value.name] = ("local", len(names), i)
    if op.region is not None:
        for i, value in enumerate(op.region.args):
            names[value.name] = ("argument", len(names), i)
        inner = tuple(_op_key(each, names) for each in op.region.body)
        return (key, inner, tuple(names.get(name, name) for name in op.region.results))
    return key


def _exits(turn: Turn, names: dict[str, Any], changed: Sequence[str]) -> list[Any]:
    """What each name that is carried, or read behind the loop, holds at the end of the turn, and what was added to lists."""
    exits: list[Any] = []
    for name in changed:
        value = turn.after.get(name)
        exits.append((name, names.get(value.name, value.name) if isinstance(value, Tensor) else "?"))
    for name in sorted(turn.read_later.difference(changed, turn.added)):
        if (value := turn.after.get(name)) is not turn.before.get(name):
            exits.append((name, tuple(names.get(each.name, each.name) for each in flat(value))))
    for name, added in turn.added.items():
        exits.append((name, tuple(names.get(each.name, each.name) for each in added)))
    return exits


def same(a: Turn, b: Turn) -> bool:
    return bool(a.key == b.key) and not a.params and not b.params


def fixpoint(turn: Turn, *, static: bool = True) -> bool:
    """Whether the next turn starts in the same state: carried tensors of the same types, and (for turns that are not
    elaborated one by one) static values unchanged.

    Static values need not be unchanged where all turns were elaborated: what they led to stands in the operations, which are
    compared. For a turn that is only foretold they are all there is to go by."""
    live = _live(turn)
    for name, before in turn.before.items():
        after = turn.after.get(name)
        if handle(before) and name not in live:
            continue
        if isinstance(before, Tensor):
            if not isinstance(after, Tensor) or after.type != before.type:
                return False
        elif isinstance(before, GroupValue):
            if after is not before:
                return False
        elif static and name not in turn.added and not _unchanged(before, after):
            return False
    return True


def _unchanged(before: Any, after: Any) -> bool:
    if before is after:
        return True
    if isinstance(before, Poison) or isinstance(after, Poison):
        return False
    try:
        return bool(frozen(before) == frozen(after))
    except TypeError:
        return False


def read_later_of(context: Context, node: ast.For) -> frozenset[str]:
    """The names that the body binds and something outside of the loop may read after it: a statement behind it or, where
    the loop stands in another one, any statement of that."""
    found = context.read_later.get(id(node))
    if found is not None:
        return found
    found = frozenset[str]().union(*map(assigned, node.body))
    outer = next((each for each in context.statements if contains(each, node)), None)
    if outer is not None:  # else an entry's: which statements stand behind it is not known here
        places = (outer, *(each for each in context.statements if each.span.line >= outer.span.end_line))
        found &= {each.id for each in below(places, ast.Name, node)}
    context.read_later[id(node)] = found
    return found
