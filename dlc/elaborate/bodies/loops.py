"""`for`: turns that do the same become one `loop`.

A turn is elaborated into operations of its own. Two turns are the same if their operations are, up to the names of
values, the values carried from turn to turn, and the index in the paths. A loop whose body does not read its variable
needs two turns (and the last, to see that the paths go on as they began); then cost does not grow with the count. Other loops
are elaborated turn by turn, and runs of equal turns are rolled up afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.handles import flat, holds, renamed
from dlc.elaborate.base.trees import assigned, below, contains, labels, loop_names, mentioned, without_labels
from dlc.elaborate.base.values import GroupValue, Poison, Tensor, frozen
from dlc.elaborate.bodies.expressions import bind_static, iterate
from dlc.elaborate.calls import lent
from dlc.elaborate.names.origins import origin
from dlc.elaborate.state.body import Body, Context
from dlc.elaborate.state.emission import Emission
from dlc.elaborate.state.scope import LoopContext
from dlc.ir.index import at_turn, has_index, mark
from dlc.ir.nodes import Child, Op, Region, Value, walk
from dlc.ir.nodes import Turn as Place
from dlc.ir.splice import with_values
from dlc.records import dataclass, replace
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.terms import origin_of, said

TURN_LIMIT = 100_000
UNROLL_LIMIT = 10_000  # turns that are elaborated, because each may differ
PATIENCE = 8  # runs of equal turns that can't be rolled up, until a whole one is taken as it is
_NUMBER = re.compile(r"\d+")


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
    key: Any = None

    @staticmethod
    def joined(turns: Sequence[Turn]) -> Turn:
        """Several turns as one."""
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

    @property
    def names(self) -> frozenset[str]:
        return loop_names(self.node.target)

    @property
    def is_needed(self) -> bool:
        """Whether a name that only the loop's body binds is read behind the loop: then the last turn's value is needed, and a
        `loop` gives only what it carries."""
        return any(not _handle(self.before.get(name)) for name in self.read_later)


def run_for(body: Body, node: ast.For) -> None:
    items = body.evaluate(node.iterable)
    before = body.scope.names
    if isinstance(items, range | list | tuple) and len(items) > TURN_LIMIT:
        body.report.fail(
            problems.BUDGET,
            node.iterable.span,
            what="this loop",
            found=f"{len(items):,} turns",
            limit=f"{TURN_LIMIT:,}",
        )
    iterate(body.report, items, node.iterable)
    if not items:
        return
    loop = Loop(node, items, before, _read_later(body.context, node))
    turns, remaining = _unroll(body, loop)
    if len(items) == 1 or body.emission.has_returned:
        for turn in turns:
            _append(body.emission, turn)
        return
    _emit(body, loop, turns, remaining)


def _index(items: Sequence[Any], k: int) -> int:
    """The index in paths: the value for a range, the position otherwise."""
    return items[k] if isinstance(items, range) else k


def _unroll(body: Body, loop: Loop) -> tuple[list[Turn], int]:
    """The turns, and how many more like the last one follow: the one place where loops are unrolled.

    A turn can differ from the one before only by its variable, by what it finds, and by the index in its paths. So where nothing
    that a turn computes reads the variable (labels aside), and two turns that follow each other did the same to a state that
    both left as it was, all later ones will, and need not be elaborated."""
    names, items = loop.names, loop.items
    used = any(mentioned(without_labels(statement), names) for statement in loop.node.body)
    used = used or loop.is_needed
    turns: list[Turn] = []
    for k, item in enumerate(items):
        turns.append(_turn(body, loop, item, _index(items, k)))
        if body.emission.has_returned:
            return turns, 0
        if k >= UNROLL_LIMIT and len(items) > 1:
            what, found = "what this loop unrolls to", f"{len(items):,} turns"
            limit = f"{UNROLL_LIMIT:,} that differ"
            body.report.fail(problems.BUDGET, loop.node.iterable.span, what=what, found=found, limit=limit)
        rest = len(items) - k - 1
        if not used and rest > 0 and len(turns) > 1 and isinstance(items, range):
            a, b = turns[-2:]
            run = Run(len(turns) - 2, 1, 2)
            alike = _same(a, b) and _fixpoint(a) and _fixpoint(b) and _affine(loop)
            if alike and _plan(turns, run) is not None:
                return turns, rest
    return turns, 0


def _affine(loop: Loop) -> bool:
    """Whether labels go on as the first turns begin: true unless one computes with the variable (`as block_{i // 2}`), where two
    turns say nothing of the third."""
    written = [each for each in (loop.node.label, *labels(loop.node.body)) if each is not None]
    parts = [part for label in written for part in label.parts if not isinstance(part, str)]
    return not any(mentioned(part, loop.names) and not isinstance(part, ast.Name) for part in parts)


# --- one turn --------------------------------------------------------------------------------------------------


def _turn(body: Body, loop: Loop, item: Any, index: int) -> Turn:
    """Elaborate one turn into operations of its own. Parts without a name are counted anew in every turn, so that their paths
    differ by the turn's index only."""
    emission, node = body.emission, loop.node
    saved_ops, saved_children = emission.builder.body, dict(emission.children)
    unnamed, params = dict(emission.unnamed), len(emission.params)
    emission.builder.body = []
    bind_static(body, node.target, item)
    before = {name: value for name, value in body.scope.names.items() if name not in loop.names}
    place = _place(body, node, index)
    body.scope = body.scope.inside(LoopContext(loop.names, index, node.label, place=place))
    try:
        body.run(node.body)
    finally:
        body.scope = body.scope.outside()
        ops, emission.builder.body = emission.builder.body, saved_ops
        emission.unnamed = unnamed
    if place is not None:
        ops = [replace(op, loops=(place, *op.loops)) for op in ops]
    made = {key: child for key, child in emission.children.items() if key not in saved_children}
    turn = Turn(index, before, body.scope.names, ops, made, len(emission.params) > params, loop.read_later)
    turn.key = _key(turn)
    return turn


def _place(body: Body, node: ast.For, index: int) -> Place | None:
    """Where an operation of this turn stands, for emission that says the loop as the spec does."""
    if not body.context.session.traced or not isinstance(node.target, ast.NameTarget):
        return None
    over = origin(body.context, body.scope, node.iterable)
    return None if over is None else Place(node.span, node.target.id, over, index)


def _carried(turn: Turn) -> list[str]:
    """The names of tensors (or groups) that the turn changes, and takes from the turn before or gives to what comes behind
    the loop."""
    live = _live(turn)
    return [name for name, value in turn.before.items() if name in live and value is not turn.after.get(name)]


def _live(turn: Turn) -> set[str]:
    """The tensors and groups that the turn finds and that matter: the body's own variables, which every turn sets anew, do not.

    A value matters if an operation of the turn reads it or something behind the loop may. What such a value is at the end of the
    turn may be one that the turn found under another name (`a, b = b, a`), and that one then matters to the turn after: hence
    the closure. Without leaving out the others, a first turn would never be like the second, because names that the body binds
    hold nothing before it."""
    used = {name for op in walk(turn.ops) for name in (*op.inputs, *(op.region.results if op.region else ()))}
    handles = {name: value for name, value in turn.before.items() if _handle(value)}
    live = {name for name, value in handles.items() if name in turn.read_later or holds(value, used)}
    pending = list(live)
    while pending:
        given = {each.name for each in flat(turn.after.get(pending.pop()))}
        more = [name for name, value in handles.items() if name not in live and holds(value, given)]
        live.update(more)
        pending += more
    return live


def _handle(value: Any) -> bool:
    return isinstance(value, Tensor | GroupValue)


def _key(turn: Turn) -> Any:
    """What a turn does, free of the names of its values and of numbers in its paths.

    Values are named by their part in the turn: carried in under these variables, made by this operation, or from outside of the
    loop, where the name itself counts since it means the same value in every turn. Two turns with the same key are the same
    program up to renaming. That the numbers in paths go on regularly is not seen here; `_PathTemplate` looks at it."""
    changed, carried = _carried(turn), dict[str, list[str]]()
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
            (name, _NUMBER.sub("#", value) if name == "path" and isinstance(value, str) else value)
            for name, value in op.attrs
            if name != "draw"
        ),
        tuple(origin_of(value) for _, value in op.attrs),
        tuple(said(size) for _, size in op.known),
        op.callee,
        _NUMBER.sub("#", op.path),
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
    """What each carried name holds at the end of the turn, and which static values it changed."""
    exits: list[Any] = []
    for name in changed:
        value = turn.after.get(name)
        exits.append((name, names.get(value.name, value.name) if isinstance(value, Tensor) else "?"))
    return exits


def _same(a: Turn, b: Turn) -> bool:
    return bool(a.key == b.key) and not a.params and not b.params


def _fixpoint(turn: Turn, *, static: bool = True) -> bool:
    """Whether the next turn starts in the same state: carried tensors of the same types, and (for turns that are not
    elaborated one by one) static values unchanged.

    Static values need not be unchanged where all turns were elaborated: what they led to stands in the operations, which are
    compared. For a turn that is only foretold they are all there is to go by."""
    live = _live(turn)
    for name, before in turn.before.items():
        after = turn.after.get(name)
        if _handle(before) and name not in live:
            continue
        if isinstance(before, Tensor):
            if not isinstance(after, Tensor) or after.type != before.type:
                return False
        elif isinstance(before, GroupValue):
            if after is not before:
                return False
        elif static and not _unchanged(before, after):
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


# --- rolling up ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """`count` repetitions of `period` turns, the first of which is number `first` of the elaborated ones."""

    first: int
    period: int
    count: int

    def elaborated(self, turns: list[Turn]) -> int:
        """How many of the turns are its own."""
        return self.period * min(self.count, (len(turns) - self.first) // self.period)


def _emit(body: Body, loop: Loop, turns: list[Turn], remaining: int) -> None:
    """Append the turns, runs of equal ones as a `loop`."""
    names: dict[str, str] = {}  # a value of a turn that was dropped -> what stands for it now
    k, failures = 0, 0
    while k < len(turns):
        # A run that can't be rolled up may hold a shorter one that can, further on: so go on by one turn. Where that fails again and
        # again, every step would search the same turns anew (quadratic in their number): then the whole run is let go at once.
        run = _longest(turns, k, remaining)
        if run is not None and _roll(body, loop, turns, run, names):
            k, failures = k + run.elaborated(turns), 0
            continue
        failures += run is not None
        step = run.elaborated(turns) if run is not None and failures > PATIENCE else 1
        for turn in turns[k : k + step]:
            _append(body.emission, turn, names)
        k += step
    _rename_env(body, names)


def _longest(turns: list[Turn], k: int, remaining: int) -> Run | None:
    """The run from turn `k` on that covers most turns. Blocks that alternate repeat with a period above one; eight is more than any
    network has been seen to need, and bounds the search. Turns that were not elaborated follow a run of period one only."""
    best: Run | None = None
    for period in range(1, min(8, len(turns) - k) + 1):
        count = _repetitions(turns, k, period)
        if period == 1 and k + count == len(turns):
            count += remaining
        if count >= 2 and (best is None or count * period > best.count * best.period):
            best = Run(k, period, count)
    return best


def _repetitions(turns: list[Turn], k: int, period: int) -> int:
    """How often the `period` turns from `k` on occur one after another, each time in the same state."""
    if not _steady(turns[k : k + period]):
        return 1
    count = 1
    while k + (count + 1) * period <= len(turns):
        start = k + count * period
        if not all(_same(turns[k + j], turns[start + j]) for j in range(period)):
            break
        if not _steady(turns[start : start + period]):
            break
        count += 1
    return count


def _steady(turns: list[Turn]) -> bool:
    return _fixpoint(Turn.joined(turns), static=False)


@dataclass(slots=True)
class Plan:
    """A run as a loop: two of its rounds, the form of its paths, its parts, and what it carries."""

    first: list[Turn]
    second: list[Turn]
    template: _PathTemplate
    children: list[Child]
    carried: list[str]


def _plan(turns: list[Turn], run: Run) -> Plan | None:
    """How a run is rolled up; None if its paths have no common form or it carries nothing.

    The first two rounds give the form of every path (`_PathTemplate`), the second what is carried: in the first, a value from
    before the loop may enter under a name that later rounds set themselves."""
    first, second = (turns[run.first + i * run.period : run.first + (i + 1) * run.period] for i in range(2))
    template = _PathTemplate(first[0].index, second[0].index - first[0].index)
    made = [[child for turn in body for child in turn.children.values()] for body in (first, second)]
    ops = [[op for turn in body for op in turn.ops] for body in (first, second)]
    if len(made[0]) != len(made[1]):
        return None
    body = [template.op(a, b) for a, b in zip(*ops, strict=True)]
    if None in body:
        return None
    run.count = _go_on(turns, run, body)
    children = [template.child(a, b, run.count) for a, b in zip(*made, strict=True)]
    carried = [name for name in _carried(Turn.joined(second)) if isinstance(second[0].before[name], Tensor)]
    if not carried or None in children:
        return None
    return Plan(first, second, template, [child for child in children if child is not None], carried)


def _go_on(turns: list[Turn], run: Run, body: Sequence[Op | None]) -> int:
    """How many rounds have the paths that the form of the first two says; those that were not elaborated do. Two rounds fit many a
    form (`block_{i // 2}` looks like a number that rises by one, or not at all), so each later one is held against it."""
    forms = [path for op in walk(op for op in body if op is not None) for path in _own_paths(op)]
    for k in range(2, run.elaborated(turns) // run.period):
        round = turns[run.first + k * run.period : run.first + (k + 1) * run.period]
        found = [path for turn in round for op in walk(turn.ops) for path in _own_paths(op)]
        index = round[0].index
        if any(path != at_turn(form, index) for path, form in zip(found, forms, strict=True)):
            return k
    return run.count


def _reaches_in(turns: list[Turn], run: Run, plan: Plan) -> bool:
    """Whether a later turn reads a value from inside the run that the run does not carry: of a `loop` only what it carries comes
    out, so such a run has to stay unrolled."""
    end = run.first + run.elaborated(turns)
    made = {value.name for turn in turns[run.first : end] for op in turn.ops for value in op.outputs}
    made -= {turns[end - 1].after[name].name for name in plan.carried}
    return any(name in made for turn in turns[end:] for op in walk(turn.ops) for name in op.inputs)


def _own_paths(op: Op) -> tuple[str, ...]:
    return op.path, str(op.attr("path") or "")


def _roll(body: Body, loop: Loop, turns: list[Turn], run: Run, names: dict[str, str]) -> bool:
    """Append a `loop` for a run. False if it can't be one, or a value inside is needed outside."""
    plan = _plan(turns, run)
    if (
        plan is None
        or run.count < 2
        or (run.first + run.period * run.count >= len(turns) and loop.is_needed)
        or _reaches_in(turns, run, plan)
    ):
        return False
    emission = body.emission
    count = _count(body, loop, run) if run.first + run.period * run.count >= len(turns) else run.count
    plan.children = [replace(child, count=count) if child.count else child for child in plan.children]
    _append_repeat(emission, plan, run, names, turns, count)
    gone = {key for turn in turns[run.first : run.first + run.period * run.count] for key in turn.children}
    rolled = {f"{child.path}:{child.function}:{plan.template.start}": child for child in plan.children}
    kept = list(emission.children.items())
    at = next((k for k, (key, _) in enumerate(kept) if key in gone), len(kept))
    before, behind = kept[:at], [item for item in kept[at:] if item[0] not in gone]
    emission.children = dict(before) | rolled | dict(behind)
    return True


def _count(body: Body, loop: Loop, run: Run) -> int:
    """How often a run that goes on to the end of its loop is repeated, in terms of what the loop goes over."""
    match loop.node.iterable:
        case ast.Call(ast.Name("range"), args) if body.context.session.traced and 1 <= len(args) <= 2:
            bounds = [Dim.of(body.evaluate(each.value)) for each in args]
            length = bounds[0] if len(bounds) == 1 else bounds[1] - bounds[0]
            count: int | None = ((length - run.first) // run.period).constant
            return run.count if count != run.count or count is None else count
    return run.count


def _read_later(context: Context, node: ast.For) -> frozenset[str]:
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


def _append_repeat(
    emission: Emission, plan: Plan, run: Run, names: dict[str, str], turns: list[Turn], count: int
) -> None:
    second, template = plan.second, plan.template
    unique = _first_by_value(plan.carried, second[0].before)
    inner: dict[str, str] = {}
    args: list[Value] = []
    for name in unique:
        entering: Tensor = second[0].before[name]
        inner[entering.name] = emission.builder.fresh(name)
        args.append(Value(inner[entering.name], entering.type))
    ops = [op for turn in second for op in turn.ops]
    others = [op for turn in plan.first for op in turn.ops]
    # The second round shows what is carried; its values get the first one's names, which nothing else has any more.
    for value, first in zip(_values(ops), _values(others), strict=True):
        inner[value.name] = first.name
    inner_ops = tuple(
        template.applied(with_values(op, {**names, **inner}), other)
        for op, other in zip(ops, others, strict=True)
    )
    exits = [second[-1].after[name].name for name in unique]
    entering_names = tuple(_resolved(plan.first[0].before[name].name, names) for name in unique)
    outputs = tuple(Value(emission.builder.fresh(name), second[0].before[name].type) for name in unique)
    attrs = (("count", count), ("start", template.start), ("step", template.step))
    region = Region(tuple(args), inner_ops, tuple(inner.get(name, name) for name in exits))
    emission.builder.append(Op("loop", entering_names, outputs, attrs, region=region, span=ops[0].span))
    last = turns[min(run.first + run.period * run.count, len(turns)) - 1]
    for name, out in zip(unique, outputs, strict=True):
        names[last.after[name].name] = out.name


def _values(ops: Sequence[Op]) -> Iterator[Value]:
    """The values that operations make, those inside of bodies included."""
    for op in walk(ops):
        yield from op.outputs
        yield from op.region.args if op.region else ()


def _resolved(name: str, names: dict[str, str]) -> str:
    return names.get(name, name)


def _first_by_value(names: list[str], before: Mapping[str, Any]) -> list[str]:
    seen: dict[str, str] = {}
    for name in names:
        seen.setdefault(before[name].name, name)
    return list(seen.values())


def _append(emission: Emission, turn: Turn, names: dict[str, str] | None = None) -> None:
    for op in turn.ops:
        emission.builder.append(op.renamed(names) if names else op)


def _rename_env(body: Body, names: dict[str, str]) -> None:
    """Let names bound in the body mean the values that stand for them now."""
    if names:
        body.scope = body.scope.renamed(lambda value: renamed(value, names))
        body.emission.returned = renamed(body.emission.returned, names)


@dataclass(slots=True)
class _PathTemplate:
    """Finds the form that a path has in every turn: "{i}" where two turns differ by the step of the index, "{i+1}" where it is
    one ahead."""

    start: int
    step: int

    def path(self, a: str, b: str) -> str | None:
        """The common form of the paths of one operation in two turns that follow each other."""
        if a == b:
            return a
        if lent.is_lent(a):
            return None  # each is another instance of the caller's
        first, second = _NUMBER.findall(a), _NUMBER.findall(b)
        texts = _NUMBER.split(a)
        if texts != _NUMBER.split(b):
            return None
        out, found = texts[0], 0
        for number, other, text in zip(first, second, texts[1:], strict=True):
            if number == other:
                out += number + text
                continue
            offset = int(number) - self.start
            if offset < 0 or int(other) - int(number) != self.step or number != str(int(number)):
                return None
            found += 1
            out += mark(offset) + text
        return out if found == 1 else None

    def op(self, a: Op, b: Op) -> Op | None:
        """The operation with its paths in their common form, or None if there is none."""
        path = self.path(a.path, b.path)
        own = self.path(str(a.attr("path") or ""), str(b.attr("path") or ""))
        if path is None or own is None:
            return None
        if a.region is not None and b.region is not None:
            inner = [self.op(x, y) for x, y in zip(a.region.body, b.region.body, strict=True)]
            first, second = _paths(a), _paths(b)
            if None in inner or (first != second and not a.attr("shared")):
                return None  # the index would be taken for that of the loop inside
            if any(map(has_index, first + second)):
                return None  # a loop in a loop, both with an index in one path: the outer one stays unrolled
        return self.applied(b, a)

    def applied(self, op: Op, other: Op) -> Op:
        path = self.path(other.path, op.path)
        attrs = tuple(
            (key, self.path(str(other.attr("path")), str(value)) if key == "path" else value)
            for key, value in op.attrs
        )
        return replace(op, path=path or "", attrs=attrs, region=self._region(op.region, other.region))

    def _region(self, region: Region | None, other: Region | None) -> Region | None:
        """The body of steps along an axis, with the paths of this loop in it."""
        if region is None or other is None:
            return region
        body = (self.applied(x, y) for x, y in zip(region.body, other.body, strict=True))
        return Region(region.args, tuple(body), region.results)

    def child(self, a: Child, b: Child, count: int) -> Child | None:
        path = self.path(a.path, b.path)
        if path is None or a.function != b.function or a.count or b.count:
            return None
        if not has_index(path):
            return Child(path, a.function)
        return Child(path, a.function, count, self.start, self.step)


def _paths(op: Op) -> list[str]:
    assert op.region is not None
    return [path for each in walk(op.region.body) for path in _own_paths(each)]
