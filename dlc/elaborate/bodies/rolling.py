"""Turns that do the same, one after another, as a `loop`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlc.elaborate.base.handles import holds, renamed
from dlc.elaborate.base.values import Tensor, Turns
from dlc.elaborate.bodies.parting import count_of
from dlc.elaborate.bodies.turn_paths import PathTemplate, own_paths
from dlc.elaborate.bodies.turns import Loop, Run, Turn, carried_names, fixpoint, same
from dlc.elaborate.names.origins import noted
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.emission import Emission
from dlc.ir.index import at_turn
from dlc.ir.loops import with_axis
from dlc.ir.nodes import Attr, Child, Op, Region, Value, walk
from dlc.ir.splice import with_values
from dlc.records import dataclass, field, replace
from dlc.types.terms import term
from dlc.types.traced import Term

LONGEST_ROUND = 8  # turns that repeat together: more than any network has been seen to need
PATIENCE = 8  # runs of equal turns that can't be rolled up, until a whole one is taken as it is


@dataclass(frozen=True, slots=True)
class Rest:
    """Turns that are not elaborated: `count` rounds more of the `period` turns that the last two elaborated rounds consist of."""

    period: int = 1
    count: int = 0


@dataclass(slots=True)
class Taken:
    """What stands for the values of turns that were dropped, by their names; and for those that they have added to a list, by the
    list's name and their place in it."""

    names: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[tuple[slice, Turns]]] = field(default_factory=dict)


def roll_up(body: Body, loop: Loop, turns: list[Turn], rest: Rest) -> None:
    """Append the turns, runs of equal ones as a `loop`."""
    taken = Taken()
    last = _last(turns, rest) if rest.count else None
    _append_turns(body, loop, turns, len(turns) if last is None else last.first, taken)
    if last is not None:
        rolled = _roll(body, loop, turns, last, taken)
        assert rolled, "a plan was made"
    _rename_env(body, taken)


def _last(turns: list[Turn], rest: Rest) -> Run:
    """The run that goes on in turns that were not elaborated: it may have begun before it could be told."""
    period = rest.period
    known = first = len(turns) - 2 * period
    while first >= period and _repetitions(turns[: first + period], first - period, period) == 2:
        first -= period
    for place in range(first, known, period):
        count = (len(turns) - place) // period + rest.count
        run = Run(place, period, count)
        if plan_of(turns, run) is not None and run.count == count:
            return run
    return Run(known, period, 2 + rest.count)


def _append_turns(body: Body, loop: Loop, turns: list[Turn], end: int, taken: Taken) -> None:
    """Append the turns up to one, runs of equal ones as a `loop`."""
    k, failures = 0, 0
    while k < end:
        # A run that can't be rolled up may hold a shorter one that can, further on: so go on by one turn. Where that fails again and
        # again, every step would search the same turns anew (quadratic in their number): then the whole run is let go at once.
        run = _longest(turns[:end], k)
        if run is not None and _roll(body, loop, turns, run, taken):
            k, failures = k + run.elaborated(turns), 0
            continue
        failures += run is not None
        step = run.elaborated(turns) if run is not None and failures > PATIENCE else 1
        for turn in turns[k : k + step]:
            append(body.emission, turn, taken.names)
        k += step


def _longest(turns: list[Turn], k: int) -> Run | None:
    """The run from turn `k` on that covers most turns. Blocks that alternate repeat with a period above one."""
    best: Run | None = None
    for period in range(1, min(LONGEST_ROUND, len(turns) - k) + 1):
        count = _repetitions(turns, k, period)
        if count >= 2 and (best is None or count * period > best.count * best.period):
            best = Run(k, period, count)
    return best


def _repetitions(turns: list[Turn], k: int, period: int) -> int:
    """How often the `period` turns from `k` on occur one after another, each time in the same state."""
    count = 1
    while k + (count + 1) * period <= len(turns):
        start = k + count * period
        if not all(same(turns[k + j], turns[start + j]) for j in range(period)):
            break
        rounds = (k, start) if count == 1 else (start,)
        if not all(_steady(turns[at : at + period]) for at in rounds):
            break
        count += 1
    return count


def _steady(turns: list[Turn]) -> bool:
    return fixpoint(Turn.joined(turns), static=False)


@dataclass(slots=True)
class Plan:
    """A run as a loop: two of its rounds, the form of its paths, its parts, and what it carries."""

    first: list[Turn]
    second: list[Turn]
    template: PathTemplate
    children: list[Child]
    carried: list[str]
    added: dict[str, list[Tensor]]
    """What the second adds to each list."""
    outer: frozenset[str]
    """The keys of parts that were made before the loop and first called in it: they are the same in every turn."""


def plan_of(turns: list[Turn], run: Run) -> Plan | None:
    """How a run is rolled up; None if its paths have no common form or it carries nothing.

    The first two rounds give the form of every path (`PathTemplate`), the second what is carried: in the first, a value from
    before the loop may enter under a name that later rounds set themselves."""
    first, second = (turns[run.first + i * run.period : run.first + (i + 1) * run.period] for i in range(2))
    template = PathTemplate(first[0].index, second[0].index - first[0].index)
    outer = _outer(first, second)
    made = [
        [child for turn in body for key, child in turn.children.items() if key not in outer]
        for body in (first, second)
    ]
    ops = [[op for turn in body for op in turn.ops] for body in (first, second)]
    if len(made[0]) != len(made[1]):
        return None
    body = [template.op(a, b) for a, b in zip(*ops, strict=True)]
    if None in body:
        return None
    run.count = _go_on(turns, run, body)
    children = [template.child(a, b, run.count) for a, b in zip(*made, strict=True)]
    carried = [
        name for name in carried_names(Turn.joined(second)) if isinstance(second[0].before[name], Tensor)
    ]
    added = _added(second)
    if not carried or None in children or added is None:
        return None
    parts = [child for child in children if child is not None]
    return Plan(first, second, template, parts, carried, added, outer)


def _outer(first: list[Turn], second: list[Turn]) -> frozenset[str]:
    """The parts that the first round places and the second calls by the same path."""
    again = {op.path for turn in second for op in walk(turn.ops) if op.path}
    return frozenset(
        key
        for turn in first
        for key, child in turn.children.items()
        if not child.count and child.path in again
    )


def _added(round: list[Turn]) -> dict[str, list[Tensor]] | None:
    """The tensors that a round adds to each list that it adds to; None where one has another type or is neither made nor found by it."""
    found = {name: [each for turn in round for each in turn.added[name]] for name in round[0].added}
    made = {value.name for turn in round for op in turn.ops for value in op.outputs}
    made |= {
        each.name
        for each in map(round[0].before.get, carried_names(Turn.joined(round)))
        if isinstance(each, Tensor)
    }
    for items in found.values():
        if len({each.type for each in items}) > 1 or not made.issuperset(each.name for each in items):
            return None
    return {name: items for name, items in found.items() if items}


def _go_on(turns: list[Turn], run: Run, body: Sequence[Op | None]) -> int:
    """How many rounds have the paths that the form of the first two says; those that were not elaborated do. Two rounds fit many a
    form (`block_{i // 2}` looks like a number that rises by one, or not at all), so each later one is held against it."""
    forms = [path for op in walk(op for op in body if op is not None) for path in own_paths(op)]
    for k in range(2, run.elaborated(turns) // run.period):
        round = turns[run.first + k * run.period : run.first + (k + 1) * run.period]
        found = [path for turn in round for op in walk(turn.ops) for path in own_paths(op)]
        index = round[0].index
        if any(path != at_turn(form, index) for path, form in zip(found, forms, strict=True)):
            return k
    return run.count


def _reaches_in(loop: Loop, turns: list[Turn], run: Run, plan: Plan) -> bool:
    """Whether a later turn reads a value from inside the run that the run does not carry, or what is read behind the loop holds
    one: of a `loop` only what it carries comes out, so such a run has to stay unrolled."""
    end = run.first + run.elaborated(turns)
    made = {value.name for turn in turns[run.first : end] for op in turn.ops for value in op.outputs}
    made -= {turns[end - 1].after[name].name for name in plan.carried}
    if any(name in made for turn in turns[end:] for op in walk(turn.ops) for name in op.inputs):
        return True
    return any(holds(turns[-1].after.get(name), made) for name in loop.read_later - loop.gathers)


def _roll(body: Body, loop: Loop, turns: list[Turn], run: Run, taken: Taken) -> bool:
    """Append a `loop` for a run. False if it can't be one, or a value inside is needed outside."""
    plan = plan_of(turns, run)
    if plan is None or run.count < 2 or _reaches_in(loop, turns, run, plan):
        return False
    emission = body.emission
    count = count_of(body, loop, turns, run)
    plan.children = [replace(child, count=count) if child.count else child for child in plan.children]
    _append_repeat(emission, plan, run, taken, turns, count)
    gone = {key for turn in turns[run.first : run.first + run.period * run.count] for key in turn.children}
    gone -= plan.outer
    if plan.outer:  # of no turns these would not be there
        noted(body, Term(">=", (term(count), Term("const", (1,)))), True, loop.node.span)
    rolled = {f"{child.path}:{child.function}:{plan.template.start}": child for child in plan.children}
    kept = list(emission.children.items())
    at = next((k for k, (key, _) in enumerate(kept) if key in gone), len(kept))
    before, behind = kept[:at], [item for item in kept[at:] if item[0] not in gone]
    emission.children = dict(before) | rolled | dict(behind)
    return True


def _append_repeat(
    emission: Emission, plan: Plan, run: Run, taken: Taken, turns: list[Turn], count: int
) -> None:
    second, template, names = plan.second, plan.template, taken.names
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
    kept, stacking = _kept(emission, plan, inner)
    stacks = {
        name: Value(emission.builder.fresh(name), with_axis(each.type, 0, count))
        for name, each in kept.items()
    }
    attrs: tuple[tuple[str, Attr], ...] = (
        ("count", count),
        ("start", template.start),
        ("step", template.step),
    )
    attrs += (("stacked", (0,) * len(stacks)),) if stacks else ()
    results = (*(inner.get(name, name) for name in exits), *(each.name for each in kept.values()))
    region = Region(tuple(args), (*inner_ops, *stacking), results)
    outputs = (*outputs, *stacks.values())
    emission.builder.append(Op("loop", entering_names, outputs, attrs, region=region, span=ops[0].span))
    last = turns[min(run.first + run.period * run.count, len(turns)) - 1]
    for name, stack in stacks.items():
        place = slice(len(plan.first[0].before[name]), len(last.after[name]))
        whole = _one_by_one(emission, stack) if len(plan.added[name]) > 1 else stack
        taken.lists.setdefault(name, []).append((place, Turns(Tensor(whole, made_by="loop"))))
    for name, out in zip(unique, outputs, strict=False):
        names[last.after[name].name] = out.name


def _kept(emission: Emission, plan: Plan, inner: Mapping[str, str]) -> tuple[dict[str, Value], list[Op]]:
    """What a round hands out for each list, and the operations by which several tensors become one."""
    builder, found = emission.builder, dict[str, Value]()
    before, builder.body = builder.body, []
    for name, items in plan.added.items():
        values = [Value(inner.get(each.name, each.name), each.type) for each in items]
        if len(values) > 1:
            rows = [builder.reshape(each, (1, *each.type.axes)) for each in values]
            values = [builder.op("concat", *rows, axis=0, hint=name)]
        found[name] = values[0]
    made, builder.body = builder.body, before
    return found, made


def _one_by_one(emission: Emission, stack: Value) -> Value:
    """What rounds have handed out together, several tensors each."""
    rounds, each, *axes = stack.type.axes
    return emission.builder.reshape(stack, (rounds * each, *axes))


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


def append(emission: Emission, turn: Turn, names: dict[str, str] | None = None) -> None:
    for op in turn.ops:
        emission.builder.append(op.renamed(names) if names else op)


def _rename_env(body: Body, taken: Taken) -> None:
    """Let names bound in the body mean the values that stand for them now."""
    for name, places in taken.lists.items():
        items = body.scope.names[name]
        if not isinstance(items, list):  # an error
            continue
        items = list(items)
        for place, turned in reversed(places):
            items[place] = [turned]
        body.scope = body.scope.bind(name, items)
    if names := taken.names:
        body.scope = body.scope.renamed(lambda value: renamed(value, names))
        body.emission.returned = renamed(body.emission.returned, names)
