"""Turns that do the same, one after another, as a `loop`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlc.elaborate.base.handles import renamed
from dlc.elaborate.base.values import Tensor
from dlc.elaborate.bodies.parting import count_of
from dlc.elaborate.bodies.turn_paths import PathTemplate, own_paths
from dlc.elaborate.bodies.turns import Loop, Run, Turn, carried_names, fixpoint, same
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.emission import Emission
from dlc.ir.index import at_turn
from dlc.ir.nodes import Child, Op, Region, Value, walk
from dlc.ir.splice import with_values
from dlc.records import dataclass, replace

LONGEST_ROUND = 8  # turns that repeat together: more than any network has been seen to need
PATIENCE = 8  # runs of equal turns that can't be rolled up, until a whole one is taken as it is


@dataclass(frozen=True, slots=True)
class Rest:
    """Turns that are not elaborated: `count` rounds more of the `period` turns that the last two elaborated rounds consist of."""

    period: int = 1
    count: int = 0


def roll_up(body: Body, loop: Loop, turns: list[Turn], rest: Rest) -> None:
    """Append the turns, runs of equal ones as a `loop`."""
    names: dict[str, str] = {}  # a value of a turn that was dropped -> what stands for it now
    last = _last(turns, rest) if rest.count else None
    _append_turns(body, loop, turns, len(turns) if last is None else last.first, names)
    if last is not None:
        rolled = _roll(body, loop, turns, last, names)
        assert rolled, "a plan was made"
    _rename_env(body, names)


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


def _append_turns(body: Body, loop: Loop, turns: list[Turn], end: int, names: dict[str, str]) -> None:
    """Append the turns up to one, runs of equal ones as a `loop`."""
    k, failures = 0, 0
    while k < end:
        # A run that can't be rolled up may hold a shorter one that can, further on: so go on by one turn. Where that fails again and
        # again, every step would search the same turns anew (quadratic in their number): then the whole run is let go at once.
        run = _longest(turns[:end], k)
        if run is not None and _roll(body, loop, turns, run, names):
            k, failures = k + run.elaborated(turns), 0
            continue
        failures += run is not None
        step = run.elaborated(turns) if run is not None and failures > PATIENCE else 1
        for turn in turns[k : k + step]:
            append(body.emission, turn, names)
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
    if not _steady(turns[k : k + period]):
        return 1
    count = 1
    while k + (count + 1) * period <= len(turns):
        start = k + count * period
        if not all(same(turns[k + j], turns[start + j]) for j in range(period)):
            break
        if not _steady(turns[start : start + period]):
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


def plan_of(turns: list[Turn], run: Run) -> Plan | None:
    """How a run is rolled up; None if its paths have no common form or it carries nothing.

    The first two rounds give the form of every path (`PathTemplate`), the second what is carried: in the first, a value from
    before the loop may enter under a name that later rounds set themselves."""
    first, second = (turns[run.first + i * run.period : run.first + (i + 1) * run.period] for i in range(2))
    template = PathTemplate(first[0].index, second[0].index - first[0].index)
    made = [[child for turn in body for child in turn.children.values()] for body in (first, second)]
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
    if not carried or None in children:
        return None
    return Plan(first, second, template, [child for child in children if child is not None], carried)


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


def _reaches_in(turns: list[Turn], run: Run, plan: Plan) -> bool:
    """Whether a later turn reads a value from inside the run that the run does not carry: of a `loop` only what it carries comes
    out, so such a run has to stay unrolled."""
    end = run.first + run.elaborated(turns)
    made = {value.name for turn in turns[run.first : end] for op in turn.ops for value in op.outputs}
    made -= {turns[end - 1].after[name].name for name in plan.carried}
    return any(name in made for turn in turns[end:] for op in walk(turn.ops) for name in op.inputs)


def _roll(body: Body, loop: Loop, turns: list[Turn], run: Run, names: dict[str, str]) -> bool:
    """Append a `loop` for a run. False if it can't be one, or a value inside is needed outside."""
    plan = plan_of(turns, run)
    if (
        plan is None
        or run.count < 2
        or (run.first + run.period * run.count >= len(turns) and loop.is_needed)
        or _reaches_in(turns, run, plan)
    ):
        return False
    emission = body.emission
    count = count_of(body, loop, turns, run)
    plan.children = [replace(child, count=count) if child.count else child for child in plan.children]
    _append_repeat(emission, plan, run, names, turns, count)
    gone = {key for turn in turns[run.first : run.first + run.period * run.count] for key in turn.children}
    rolled = {f"{child.path}:{child.function}:{plan.template.start}": child for child in plan.children}
    kept = list(emission.children.items())
    at = next((k for k, (key, _) in enumerate(kept) if key in gone), len(kept))
    before, behind = kept[:at], [item for item in kept[at:] if item[0] not in gone]
    emission.children = dict(before) | rolled | dict(behind)
    return True


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


def append(emission: Emission, turn: Turn, names: dict[str, str] | None = None) -> None:
    for op in turn.ops:
        emission.builder.append(op.renamed(names) if names else op)


def _rename_env(body: Body, names: dict[str, str]) -> None:
    """Let names bound in the body mean the values that stand for them now."""
    if names:
        body.scope = body.scope.renamed(lambda value: renamed(value, names))
        body.emission.returned = renamed(body.emission.returned, names)
