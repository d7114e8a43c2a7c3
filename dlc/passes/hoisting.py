"""What every layer would compute alike is computed once: masks, tables of positions, whatever follows from sizes and
constants alone. It moves out of loops, and out of functions that run several times into their callers, which pass it on.

Before:

    fn table(%x: i64[T]) -> (y: %y) {
        %wide: [T] = cast(%x) {dtype="float"}
        %y: [T] = cos(%wide)
    }
    module Block(%x: [B, T]) -> (y: %y) {
        %places: i64[T] = arange() {start=0, stop=T, step=1, dtype="i64"}
        %wave: [T] = call(%places) -> table [T=T]
        %y: [B, T] = mul(%x, %wave)
    }
    model Net(%x: [B, T]) -> (y: %y)
        child h.{i}: Block times 3 from 0 by 1
    {
        %y: [B, T] = loop(%x) {count=3, start=0, step=1} do (%each: [B, T]) {
            %next: [B, T] = call(%each) @ h.{i} -> Block [B=B, T=T]
            yield %next
        }
    }

After:

    fn table(%x: i64[T]) -> (y: %y) {
        %wide: [T] = cast(%x) {dtype="float"}
        %y: [T] = cos(%wide)
    }
    module Block(%x: [B, T], %wave: [T]) -> (y: %y) {
        %y: [B, T] = mul(%x, %wave)
    }
    model Net(%x: [B, T]) -> (y: %y)
        child h.{i}: Block times 3 from 0 by 1
    {
        %places: i64[T] = arange() {start=0, stop=T, step=1, dtype="i64"}
        %wave: [T] = call(%places) -> table [T=T]
        %y: [B, T] = loop(%x) {count=3, start=0, step=1} do (%each: [B, T]) {
            %next: [B, T] = call(%each, %wave) @ h.{i} -> Block [B=B, T=T]
            yield %next
        }
    }

Only what is worth a name moves: a count of positions, a constant or its reshaped form is made where it is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dlc.ir.loops import LOOP
from dlc.ir.nodes import Function, Op, Program, Region, Value, walk
from dlc.ir.splice import Draws, Names, Splice, callees, dims_of, path_of, statics_of
from dlc.once import once
from dlc.passes.base import functions_with, is_acting_or_random
from dlc.passes.subexpressions import exact
from dlc.records import dataclass, field, replace

# Ops that are no work: alone, or on top of each other, they are not worth an input of a function.
TRIVIAL = frozenset(("arange", "broadcast", "cast", "const", "full", "permute", "reshape", "size"))

_NUMBER = re.compile(r"_[0-9]+$")


@dataclass(frozen=True, slots=True)
class Hoisting:
    """Runs after `decompose`: what a backend says in one piece stays in one piece. Functions of the library and entries keep
    their inputs, as do those that the library calls (`copies(Block(d), n)`); other functions that run more than once get further ones."""

    name: str = "hoisting"

    def run(self, program: Program) -> Program:
        impure = functions_with(program, is_acting_or_random)
        runs, initial, inner = _runs(program), _initial(program), _called_by_library(program)
        done: dict[str, _Hoister] = {}
        functions: dict[str, Function] = {}
        for name, function in program.functions.items():
            if function.library or name in initial or name not in runs:
                functions[name] = function
                continue
            named, keeps = callees(function), name in inner or name == program.entry
            extended = (done[each] for each in named if each in done)
            hoister = _hoister(function, impure.intersection(named), runs[name] > 1, keeps, *extended)
            functions[name] = hoister.made
            if hoister.moved:
                done[name] = hoister
        return program.with_functions(functions) if functions != program.functions else program


def _initial(program: Program) -> frozenset[str]:
    """The functions of initial and prepared values, and those that they call: who calls these passes nothing more."""
    found = {name for name, function in program.functions.items() if function.kind in ("init", "prepare")}
    for name in reversed(list(program.functions)):  # callers first
        if name in found:
            found.update(callees(program.functions[name]))
    return frozenset(found)


def _called_by_library(program: Program) -> frozenset[str]:
    functions = (each for each in program.functions.values() if each.library)
    return frozenset(callee for each in functions for callee in callees(each))


def _runs(program: Program) -> Mapping[str, int]:
    """How often each function runs at most, seen from one way into the program; many times counts as 2. Functions that
    nothing calls are such ways: they run once. So is what an entry calls of the model itself, be it many times: it is the model that it is
    for others."""
    main = program.main
    model = {name for name, each in program.functions.items() if main.entry and each.source == main.source}
    calls = {
        name: [each for each in _calls(function) if each[0] not in model]
        for name, function in program.functions.items()
    }
    called = {callee for each in calls.values() for callee, _ in each}
    most: Counter[str] = Counter()
    callers = [name for name in reversed(list(program.functions)) if calls[name]]  # each before what it calls
    for root in (name for name in program.functions if name not in called):
        runs = Counter({root: 1})
        for name in callers if calls[root] else ():
            for callee, times in calls[name] if name in runs else ():
                runs[callee] = min(2, runs[callee] + runs[name] * times)
        for name, times in runs.items():
            most[name] = max(most[name], times)
    # Instances of one module at other settings stay alike, also if one of them runs once: every so manieth layer.
    together: Counter[str] = Counter()
    for name, times in most.items():
        source = program.functions[name].source
        together[source] = max(together[source], times)
    return {name: together[program.functions[name].source] for name in most}


@once
def _calls(function: Function) -> tuple[tuple[str, int], ...]:
    return tuple(_calls_in(function.body))


def _calls_in(body: Iterable[Op], times: int = 1) -> Iterator[tuple[str, int]]:
    """The functions that a body calls; in a loop many times."""
    for op in body:
        if op.callee:
            yield op.callee, times
        for region in op.regions:
            yield from _calls_in(region.body, 2 if op.op == LOOP else times)


@once
def _hoister(
    function: Function, impure: frozenset[str], again: bool, keeps: bool, *extended: _Hoister
) -> _Hoister:
    done = {each.function.name: each for each in extended}
    hoister = _Hoister(function, impure, done, again=again, keeps=keeps)
    hoister.made = hoister.run()
    return hoister


@dataclass
class _Hoister:
    """Takes what is worth it out of one function: into further inputs if it runs `again` and again, else only in front of
    loops. Tables of numbers leave a function without parameters in any case: modules can hold them. `done` are the functions
    before it that were extended."""

    function: Function
    impure: frozenset[str]
    done: Mapping[str, _Hoister]
    again: bool
    keeps: bool
    """Whether its inputs stay as they are: those of the model, and of what the library calls."""
    moved: dict[str, str] = field(default_factory=dict)
    """The values that became inputs, with the inputs' names."""
    makers: list[Op] = field(default_factory=list)
    """What computes them, in order."""
    fixed: dict[str, Op] = field(default_factory=dict)
    """The values that follow from sizes and constants, with their ops, in the order of the body."""
    worth: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    """What is computed here for extended functions."""
    made: Function = field(init=False)
    """The function that has come of it."""

    @property
    def extends(self) -> bool:
        return not (self.keeps or self.function.entry) and (self.again or self.function.kind == "fn")

    def run(self) -> Function:
        body = self._passing(self.function.body)
        self._find(body)
        wanted = self._wanted(body)
        if not wanted:
            return self.function if body is self.function.body else replace(self.function, body=body)
        self.makers = self._cone(wanted)
        again = self._again(body, {op.out.name for op in self.makers})
        alias = self._merged()
        if not self.extends:
            return self._in_front(body, alias, again)
        return self._extended(body, [name for name in wanted if name not in alias], alias, again)

    # --- calls of what was extended -------------------------------------------------------------------------

    def _passing(self, body: Iterable[Op]) -> tuple[Op, ...]:
        """The body with what extended functions want computed in front of their calls."""
        body = tuple(body)
        if not any(op.callee in self.done for op in walk(body)):
            return body
        names, draws = Names.of(self.function), Draws.of(self.function)
        return tuple(self._passed(body, names, draws))

    def _passed(self, body: Iterable[Op], names: Names, draws: Draws) -> Iterator[Op]:
        for op in body:
            if op.region is not None:
                inner = tuple(self._passed(op.region.body, names, draws))
                op = replace(op, region=Region(op.region.args, inner, op.region.results))
            callee = self.done.get(op.callee)
            if callee is None:
                yield op
                continue
            values: dict[str, str] = {}
            yield from Splice(names, draws, values, dims_of(op), str, (), statics_of(op)).body(callee.makers)
            self.passed.update(values.values())
            more = tuple(values[name] for name in callee.moved)
            at = _place(callee.function)
            told = (*op.names[:at], *callee.moved.values(), *op.names[at:]) if op.names else ()
            yield replace(op, inputs=(*op.inputs[:at], *more, *op.inputs[at:]), names=told)

    # --- what can be taken out ------------------------------------------------------------------------------

    def _find(self, body: Iterable[Op]) -> None:
        """Note the values that are the same in every run, and those among them that are worth it: some work on more than a
        single number went into them."""
        for op in walk(body):
            if not self._is_fixed(op):
                continue
            self.fixed.update((value.name, op) for value in op.outputs)
            works = (
                op.op not in TRIVIAL and any(value.type.rank for value in op.outputs) and not self._is_eye(op)
            )
            works = works or (self.function.kind == "fn" and _is_table(op))
            if works or any(name in self.worth for name in op.inputs):
                self.worth.update(value.name for value in op.outputs)

    def _is_eye(self, op: Op) -> bool:
        """Whether it is what `eye(n)` is made of, which is said where it is read."""
        made = [self.fixed[name] for name in op.inputs if name]
        of = [self.fixed[each.inputs[0]].op if each.op == "reshape" else each.op for each in made]
        return op.op == "eq" and of == ["arange", "arange"]

    def _is_fixed(self, op: Op) -> bool:
        return (
            bool(op.outputs)
            and op.region is None
            and not path_of(op)
            and not is_acting_or_random(op)
            and op.callee not in self.impure
            and all(not name or name in self.fixed for name in op.inputs)
        )

    def _wanted(self, body: Sequence[Op]) -> list[str]:
        """What moves, in order: values worth it that something reads which is not fixed itself."""
        if self.extends and not self.again:
            tables = [name for name, op in self.fixed.items() if _is_table(op)]
            self.worth = set(tables)
            return tables
        if self.extends and any(value in self.worth for _, value in self.function.outputs):
            return []  # a function that gives such a value is called for it: the call moves
        read = {value for _, value in self.function.outputs}
        for op in walk(body):
            read.update(() if self._held(op) else op.inputs)
            read.update(op.region.results if op.region is not None else ())
        movable = self.worth if self.extends else self.worth & (_within_loops(body) | self.passed)
        return [name for name in self.fixed if name in read & movable]

    def _held(self, op: Op) -> bool:
        return bool(op.outputs) and op.out.name in self.fixed

    def _cone(self, wanted: Sequence[str]) -> list[Op]:
        """The ops that compute the wanted values, in order."""
        needed: set[str] = set()
        stack = list(wanted)
        while stack:
            name = stack.pop()
            if name not in needed:
                needed.update(value.name for value in self.fixed[name].outputs)
                stack += (each for each in self.fixed[name].inputs if each)
        found = {id(self.fixed[name]): self.fixed[name] for name in self.fixed if name in needed}
        return list(found.values())

    def _again(self, body: Iterable[Op], made: set[str]) -> set[str]:
        """What goes and is still read by what stays: plain things that are made a second time."""
        stays = [op for op in walk(body) if not (op.outputs and op.out.name in made)]
        read = {name for op in stays for name in op.inputs}
        read |= {name for op in stays if op.region is not None for name in op.region.results}
        read |= {value for _, value in self.function.outputs}
        again: set[str] = set()
        for op in reversed(self.makers):
            if op.out.name not in self.worth and any(each.name in read for each in op.outputs):
                again.update(value.name for value in op.outputs)
                read.update(op.inputs)
        return again

    def _merged(self) -> dict[str, str]:
        """Equal computations among the makers become one; what each of the others' values is now."""
        alias: dict[str, str] = {}
        seen: dict[object, Op] = {}
        kept: list[Op] = []
        for op in self.makers:
            op = op.renamed(alias)
            types = tuple(value.type for value in op.outputs)
            first = seen.setdefault((op.op, op.inputs, types, exact(op.attrs), op.callee, op.dims), op)
            if first is op:
                kept.append(op)
            alias.update((a.name, b.name) for a, b in zip(op.outputs, first.outputs, strict=True) if a != b)
        self.makers = kept
        return alias

    # --- where it goes --------------------------------------------------------------------------------------

    def _extended(
        self, body: Iterable[Op], wanted: Sequence[str], alias: Mapping[str, str], again: set[str]
    ) -> Function:
        """The function with further inputs for what is wanted."""
        taken = Names(each for each in _names(self.function, body) if each not in self.fixed)
        for absent in self.function.optional:  # names of inputs that other instances have
            taken.fresh(absent)
        types = {value.name: value.type for op in self.makers for value in op.outputs}
        for name in wanted:
            self.moved[name] = taken.fresh(_NUMBER.sub("", self._telling(name)))
        now = ((name, self.moved.get(alias.get(name, name))) for name in (*alias, *self.moved))
        names = {name: new for name, new in now if new is not None}
        gone = {value.name for op in self.makers for value in op.outputs} | alias.keys() | self.worth
        inputs, at = self.function.inputs, _place(self.function)
        more = (Value(self.moved[name], types[name]) for name in wanted)
        return replace(
            self._renamed(_without(body, gone - again), names),
            inputs=(*inputs[:at], *more, *inputs[at:]),
            further=tuple(self.moved.values()),
        )

    def _in_front(self, body: Iterable[Op], alias: Mapping[str, str], again: set[str]) -> Function:
        """The function with what is wanted in front of the first loop or call that reads it."""
        gone = {value.name for op in self.makers for value in op.outputs} | alias.keys()
        rest = list(_without(body, gone))
        readers = (
            i
            for i, op in enumerate(rest)
            if not gone.isdisjoint(op.inputs) or (op.region and _reads(op, gone))
        )
        first = next(readers, len(rest))
        return self._renamed((*rest[:first], *self.makers, *rest[first:]), alias)

    def _telling(self, name: str) -> str:
        """The name of what a value is only another form of."""
        while (op := self.fixed[name]).op in TRIVIAL and op.op == _NUMBER.sub("", name) and op.inputs:
            name = op.inputs[0]
        return name

    def _renamed(self, body: Iterable[Op], names: Mapping[str, str]) -> Function:
        outputs = tuple((name, names.get(value, value)) for name, value in self.function.outputs)
        return replace(self.function, body=tuple(op.renamed(names) for op in body), outputs=outputs)


def _place(function: Function) -> int:
    """Where further inputs stand: in front of those that may be absent, so that these can be left out."""
    return next(
        (i for i, each in enumerate(function.inputs) if each.name.partition(".")[0] in function.optional),
        len(function.inputs),
    )


def _is_table(op: Op) -> bool:
    return op.op == "const" and op.out.type.rank > 0


def _within_loops(body: Iterable[Op]) -> set[str]:
    """The values that are made within loops."""
    inner = (each for op in body if op.region is not None for each in walk(op.region.body))
    return {value.name for op in inner for value in op.outputs}


def _reads(op: Op, names: set[str]) -> bool:
    return any(not names.isdisjoint(each.inputs) for each in walk((op,)))


def _without(body: Iterable[Op], gone: set[str]) -> Iterator[Op]:
    """The body without the ops that make what is gone."""
    for op in body:
        if op.outputs and op.out.name in gone:
            continue
        if op.region is not None:
            inner = tuple(_without(op.region.body, gone))
            op = replace(op, region=Region(op.region.args, inner, op.region.results))
        yield op


def _names(function: Function, body: Iterable[Op]) -> Iterator[str]:
    """Every name in a function that gets this body."""
    yield from (value.name for value in function.inputs)
    for op in walk(body):
        yield from (value.name for value in op.outputs)
        yield from (value.name for value in (op.region.args if op.region is not None else ()))
