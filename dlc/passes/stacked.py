"""Parameters of layers as one tensor for all turns: what each turn has at `h.{i}.weight` is its slice of what stands at `h.0-2.weight`. Layers are
then a loop like any other, in which no path has an index.

Before:

    model Net(%x: [B, 8]) -> (y: %y)
        param h.0.weight: [8, 8]
        param h.1.weight: [8, 8]
        param h.2.weight: [8, 8]
    {
        %y: [B, 8] = loop(%x) {count=3, start=0, step=1} do (%each: [B, 8]) {
            %weight: [8, 8] = param() {path="h.{i}.weight"}
            %next: [B, 8] = matmul(%each, %weight)
            yield %next
        }
    }

After:

    model Net(%x: [B, 8]) -> (y: %y)
        param "h.0-2.weight": [3, 8, 8] = zeros
    {
        %weight_2: [3, 8, 8] = param() {path="h.0-2.weight"}
        %y: [B, 8] = loop(%x, %weight_2) {count=3, start=0, step=1, sequences=[0], shared=true} do (%each: [B, 8], %weight_3: [8, 8]) {
            %next: [B, 8] = matmul(%each, %weight_3)
            yield %next
        }
    }

What turns update is stacked likewise, and updated behind the loop. At position p of a stack stands what the turn at position p has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from dlc.ir.builder import Builder
from dlc.ir.index import INDEX, at_turn, has_index
from dlc.ir.loops import LOOP, Loop, Sliced, Stacked, with_axis
from dlc.ir.nodes import Function, Op, Param, Parameter, Program, Value, walk
from dlc.ir.splice import PATH_OPS, Names
from dlc.passes.vectorized import vectorized
from dlc.passes.zeros import zeros
from dlc.records import dataclass, replace
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType


@dataclass(frozen=True, slots=True)
class Stack:
    """A tensor for those of all turns: the paths of these by position, and the type of one of them."""

    path: str
    members: tuple[str, ...]
    type: TensorType

    @property
    def whole(self) -> TensorType:
        return with_axis(self.type, 0, len(self.members))


P = TypeVar("P", Param, Parameter)
Group = tuple[str, ...]
"""The paths that a path in a turn stands for, by position."""


def of_layers(programs: Iterable[Program], apart: Sequence[frozenset[str]], least: int) -> tuple[Stack, ...]:
    """The stacks that programs, which have no calls, can have of the same parameters and buffers: those of loops of `least` turns or more. All
    members of a stack are in one of the sets that are `apart`, such as those that one optimizer trains, or none is in any.

    A loop keeps its paths where one of these stands elsewhere, too: outside of it, or in a loop over others."""
    programs = tuple(programs)
    types = {each.name: each.type for program in programs for each in program.main.params}
    accesses = [each for program in programs for each in _accesses(program.main.body, None)]
    loops = {id(loop): loop for _, loop in accesses if loop is not None}
    wanted = {
        key
        for key, loop in loops.items()
        if loop.is_known and len(loop.positions) >= least and _is_plain(loop)
    }
    while True:
        places: dict[str, set[Group | None]] = {}
        for op, loop in accesses:
            group = _group(op, loop)
            for path in group:
                places.setdefault(path, set()).add(group if id(loop) in wanted else None)
        kept = {
            key
            for key in wanted
            if all(_stands_alone(group, places, types, apart) for group in groups_of(loops[key]).values())
        }
        if kept == wanted:
            break
        wanted = kept
    found: dict[Group, Stack] = {}
    for key in wanted:
        for path, group in groups_of(loops[key]).items():
            found.setdefault(group, Stack(_name(path, loops[key]), group, types[group[0]]))
    return tuple(found.values())


def groups_of(loop: Loop) -> dict[str, Group]:
    """What the paths with an index in a loop's turns stand for."""
    ops = (op for op in walk(loop.body) if op.op in PATH_OPS and has_index(op.text("path")))
    return {op.text("path"): _group(op, loop) for op in ops}


def _group(op: Op, loop: Loop | None) -> Group:
    path = op.text("path")
    return (path,) if loop is None or not has_index(path) else _at_positions(path, loop)


def _name(path: str, loop: Loop) -> str:
    """`h.0-11.weight` for `h.{i}.weight`: from the first position to the last."""
    mark = INDEX.search(path)
    assert mark is not None
    turns = _at_positions(mark[0], loop)
    return f"{path[: mark.start()]}{turns[0]}-{turns[-1]}{path[mark.end() :]}"


def _at_positions(path: str, loop: Loop) -> Group:
    numbers = (loop.index_at(position) for position in sorted(loop.positions))
    return tuple(at_turn(path, number) for number in numbers if isinstance(number, int))


def _accesses(body: Iterable[Op], loop: Loop | None) -> Iterator[tuple[Op, Loop | None]]:
    """What reads and updates parameters, with the loop whose index is in the path."""
    for op in body:
        if op.op in PATH_OPS:
            yield op, loop if has_index(op.text("path")) else None
        elif op.region is not None:
            own = op.op == LOOP and not op.attr("shared")
            yield from _accesses(op.region.body, Loop.of(op) if own else loop)


def _is_plain(loop: Loop) -> bool:
    """Whether updates of what differs from turn to turn stand in the turn itself, and not in loops inside."""
    inside = (each for op in loop.body if op.region for each in walk(op.region.body))
    return not any(op.op == "update" and has_index(op.text("path")) for op in inside)


def _stands_alone(
    group: Group,
    places: Mapping[str, set[Group | None]],
    types: Mapping[str, TensorType],
    apart: Sequence[frozenset[str]],
) -> bool:
    """Whether what stands at these paths has one type, stands nowhere else, and is treated alike."""
    alike = len({types[path] for path in group}) == 1 and len(set(group)) == len(group)
    return (
        alike
        and all(places[path] == {group} for path in group)
        and all(each.issuperset(group) or each.isdisjoint(group) for each in apart)
    )


# --- a program with them


def stacked(program: Program, stacks: Sequence[Stack]) -> Program:
    """A program without calls, with stacks in place of their members. What stacks begin with is not said: they are zeros."""
    known = {each.members: each for each in stacks}
    main = program.main
    inits, named = zeros(program.functions, (each.whole for each in stacks))
    body = tuple(_Stacking(known, Names.of(main), Facts(main.facts)).body(main.body))
    places = {member: each for each in stacks for member in each.members}
    params: dict[str, Param] = {}
    for param in main.params:
        stack = places.get(param.name)
        if stack is not None:
            param = replace(param, name=stack.path, type=stack.whole, init=named[stack.whole], sources=())
        params.setdefault(param.name, param)
    parameters: dict[str, Parameter] = {}
    for each in program.parameters:
        stack = places.get(each.path)
        if stack is not None:
            each = replace(each, path=stack.path, type=stack.whole, init=named[stack.whole], sources=())
        parameters.setdefault(each.path, each)
    functions = {name: each for name, each in program.functions.items() if name != main.name}
    functions |= {**inits, main.name: replace(main, body=body, params=tuple(params.values()))}
    return replace(program, functions=functions, parameters=tuple(parameters.values()))


@dataclass(frozen=True, slots=True)
class _Stacking:
    known: Mapping[Group, Stack]
    names: Names
    facts: Facts

    def body(self, body: Iterable[Op]) -> Iterator[Op]:
        for op in body:
            if op.region is None:
                yield op
            elif op.op == LOOP and not op.attr("shared") and (found := self._of(loop := Loop.of(op))):
                yield from sliced(loop, found, self._builder(loop))
            else:
                yield replace(op, region=replace(op.region, body=tuple(self.body(op.region.body))))

    def _of(self, loop: Loop) -> dict[str, Stack]:
        """The stacks of a loop, by the paths in its turns; a loop has all that it needs, or none."""
        groups = groups_of(loop)
        return {path: self.known[group] for path, group in groups.items() if group in self.known}

    def _builder(self, loop: Loop) -> Builder:
        builder = Builder(self.facts, names=self.names.fresh)
        builder.span = loop.span
        return builder


def sliced(loop: Loop, stacks: Mapping[str, Stack], b: Builder) -> list[Op]:
    """A loop that reads slices of stacks for what stands at paths in its turns, and updates these behind it."""
    turn = _Sliced(stacks, b)
    body = tuple(turn.body(loop.body))
    items = {
        path: Stacked(name, 0, Value(b.fresh("new"), stacks[path].whole))
        for path, name in turn.updated.items()
    }
    reads = tuple(_acting("param", stacks[path], out=value) for path, value in turn.wholes.items())
    now = turn.now
    made = replace(
        loop,
        body=body,
        carried=tuple(replace(each, next=now.get(each.next, each.next)) for each in loop.carried),
        sequences=(
            *loop.sequences,
            *(Sliced(value.name, 0, turn.slices[path]) for path, value in turn.wholes.items()),
        ),
        stacked=(
            *(replace(each, item=now.get(each.item, each.item)) for each in loop.stacked),
            *items.values(),
        ),
        shared=True,
    )
    updates = (_acting("update", stacks[path], of=each.out.name) for path, each in items.items())
    return [*reads, made.op(), *updates]


def _acting(op: str, stack: Stack, *, out: Value | None = None, of: str = "") -> Op:
    return Op(op, (of,) if of else (), (out,) if out else (), (("path", stack.path),))


class _Sliced:
    """A turn that has slices of stacks: what each of its paths is by then, from what was read at first to the last update."""

    def __init__(self, stacks: Mapping[str, Stack], b: Builder) -> None:
        self.stacks = stacks
        self.b = b
        self.wholes: dict[str, Value] = {}
        self.slices: dict[str, Value] = {}
        self.updated: dict[str, str] = {}
        self.now: dict[str, str] = {}
        """What stands for the results of reads."""

    def body(self, body: Iterable[Op]) -> Iterator[Op]:
        for op in body:
            path = op.text("path") if op.op in PATH_OPS else ""
            if path not in self.stacks:
                if op.region is not None:
                    op = replace(op, region=replace(op.region, body=tuple(self.body(op.region.body))))
                yield op.renamed(self.now)
            elif op.op == "update":
                self.updated[path] = self.now.get(op.inputs[0], op.inputs[0])
            else:
                self.now[op.out.name] = self.updated.get(path) or self._slice(path, op.out.name)

    def _slice(self, path: str, hint: str) -> str:
        if path not in self.slices:
            self.wholes[path] = Value(self.b.fresh(hint), self.stacks[path].whole)
            self.slices[path] = Value(self.b.fresh(hint), self.stacks[path].type)
        return self.slices[path].name


# --- what is remembered for them


def stacked_states(program: Program, stacks: Sequence[Stack]) -> Program:
    """The update of a step, which has no calls, with loops over the members of stacks that read and update slices of them, and of all that is kept below
    their paths. Up to here these loops' turns read and update what the paths say as if it were one member's. What begins as one value begins so for
    each member. Loops that need not turn are none."""
    main, names = program.main, Names.of(program.main)
    places = {each.path for each in stacks}
    counts: dict[str, int] = {}
    types = {each.path: each.type for each in program.parameters}
    body: list[Op] = []
    for op in main.body:
        inside = op.region.body if op.region is not None else ()
        if not any(each.op == "update" and each.text("path") in places for each in inside):
            body.append(op)
            continue
        loop = Loop.of(op)
        assert loop.turns is not None
        paths = dict.fromkeys(each.text("path") for each in walk(loop.body) if each.op in PATH_OPS)
        counts |= dict.fromkeys(paths, loop.turns)
        own = {path: Stack(path, (path,) * loop.turns, types[path]) for path in paths}
        b = Builder(Facts(main.facts), names=names.fresh)
        body += sliced(loop, own, b)
    functions = {name: each for name, each in program.functions.items() if name != main.name}
    taken, made = Names(program.functions), dict[tuple[str, int], str]()

    def many(each: P) -> P:
        path = each.path if isinstance(each, Parameter) else each.name
        if path not in counts:
            return each
        count = counts[path]
        if (each.init, count) not in made:
            init = _for_each(functions[each.init], count, taken.fresh(f"{each.init}_stacked"))
            functions[init.name] = init
            made[each.init, count] = init.name
        return replace(each, type=with_axis(each.type, 0, count), init=made[each.init, count])

    parameters = tuple(map(many, program.parameters))
    params = tuple(map(many, main.params))
    functions[main.name] = vectorized(replace(main, body=tuple(body), params=params))
    return replace(program, functions=functions, parameters=parameters)


def _for_each(init: Function, count: int, name: str) -> Function:
    """An initial value as often as there are members."""
    (_, value), *_ = init.outputs
    b = Builder(names=Names.of(init).fresh)
    one = Value(value, init.types()[value])
    single = b.reshape(one, (1, *one.type.axes))
    whole = b.op("broadcast", single, shape=(count, *one.type.axes))
    return replace(init, name=name, body=(*init.body, *b.body), outputs=(("output", whole.name),))
