"""Places that are computed, and divisors, are looked at where they are used, for artifacts that run without dlc: what reads beyond an
axis would find whatever memory holds there, what writes there would change it, and a division by 0 ends the process.

Before:

    model Net(%x: [B, T], %t: i64[N]) -> (y: %y) {
        %one: i64[] = const() {value=1}
        %at: i64[N] = add(%t, %one)
        %y: [B, N] = take(%x, %at) {axis=1}
    }

After:

    model Net(%x: [B, T], %t: i64[N]) -> (y: %y) {
        %one: i64[] = const() {value=1}
        %at: i64[N] = add(%t, %one)
        %const: i64[] = const() {value=0}
        %ge: bool[N] = ge(%at, %const)
        %size: i64[] = size() {dim=T}
        %lt: bool[N] = lt(%at, %size)
        %logical_and: bool[N] = logical_and(%ge, %lt)
        %all: bool[] = all(%logical_and) {axis=[0], keepdims=false}
        require(%all) {message="what `take` is given as places must be from 0 to T - 1"}
        %const_2: i64[] = const() {value=0}
        %where: i64[N] = where(%logical_and, %at, %const_2)
        %y: [B, N] = take(%x, %where) {axis=1}
    }

What sizes and constants decide was proved (`dlc/ir/indices.py`), or is the library's own, and inputs that are places as they are stand in
the artifact's limits: these are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dlc.ir.builder import Builder
from dlc.ir.drawing import is_random
from dlc.ir.indices import DIVIDED, INDEXED, Survey, divides, room
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, Program, Region, Value, walk
from dlc.ir.routing import ROUTED
from dlc.ir.splice import Names
from dlc.passes.base import each_function, functions_with
from dlc.passes.lower import Keep, always, inline
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType


def guarded(program: Program, limits: Mapping[str, Dim], whole: Keep = always) -> Program:
    """The program with a `require` before each use of places, and each division of integers, that may go wrong; what goes wrong then
    reads and writes at 0, and divides by 1. Of inputs with `limits` (how many places there are) others see to it.

    Composites of the library with such uses in them are replaced by their bodies where the backend says them in one piece (`whole`), which
    can't look."""
    unsafe = _unsafe(program, limits)
    if not unsafe:
        return program
    holders = functions_with(program, lambda op: id(op) in unsafe)

    def keep(op: Op) -> bool:
        library = program.functions[op.callee].library
        return op.op == ROUTED or op.callee not in holders or not (library and whole(op))

    opened = inline(program, keep)
    found = _unsafe(opened, limits)
    return each_function(opened, lambda function: _Guarding(function, found).run())


def _unsafe(program: Program, limits: Mapping[str, Dim]) -> set[int]:
    """By identity, the ops that are not known to read and write inside, or not to divide by 0, and that data decides."""
    facts = Facts(program.main.facts)
    survey = Survey(program.functions, facts, {})
    uses = survey.of(program.main, limits)
    found = [each.op for each in uses if each.inside(facts) != (True, True) and each.op.op != ROUTED]
    found += (each.op for each in survey.divisions if not each.safe(facts))
    if not found:
        return set()
    data = _Data(program.functions)
    data.function(program.main, (True,) * len(program.main.inputs))
    return {id(op) for op in found} & data.decided


def _place_of(op: Op) -> int | None:
    """Which operand says places, or divides."""
    return 1 if divides(op) else INDEXED.get(op.op)


@dataclass
class _Data:
    """Goes through what runs, and notes the ops whose places, or divisors, hang on more than sizes and constants."""

    functions: Mapping[str, Function]
    decided: set[int] = field(default_factory=set)
    _known: dict[tuple[str, tuple[bool, ...]], tuple[bool, ...]] = field(default_factory=dict)

    def function(self, function: Function, given: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which outputs are of data, if the inputs are that are `given` as such."""
        key = (function.name, given)
        if key not in self._known:
            of_data = {value.name for value, each in zip(function.inputs, given, strict=True) if each}
            self._body(function.body, of_data)
            self._known[key] = tuple(value in of_data for _, value in function.outputs)
        return self._known[key]

    def _body(self, body: Iterable[Op], of_data: set[str]) -> None:
        for op in body:
            position = _place_of(op)
            if position is not None and op.inputs[position] in of_data:
                self.decided.add(id(op))
            results = self._results(op, of_data)
            of_data.update(value.name for value, each in zip(op.outputs, results, strict=True) if each)

    def _results(self, op: Op, of_data: set[str]) -> Iterable[bool]:
        if op.op == LOOP:
            return self._loop(Loop.of(op), of_data)
        given = tuple(name in of_data for name in op.inputs if name)
        if op.callee and op.op != ROUTED:
            return self.function(self.functions[op.callee], given)
        return [any(given) or op.op == "param" or is_random(op)] * len(op.outputs)

    def _loop(self, loop: Loop, of_data: set[str]) -> Iterable[bool]:
        of_data.update(each.arg.name for each in loop.sequences if each.source in of_data)
        while True:
            before = len(of_data)
            carried = (each for each in loop.carried if not of_data.isdisjoint((each.first, each.next)))
            of_data.update(each.arg.name for each in carried)
            self._body(loop.body, of_data)
            if len(of_data) == before:
                break
        ended = [each.arg.name in of_data or each.next in of_data for each in loop.carried]
        return [*ended, *(each.item in of_data for each in loop.stacked)]


@dataclass
class _Guarding:
    """One function; `found` are the ops to be guarded, by identity."""

    function: Function
    found: set[int]
    types: Mapping[str, TensorType] = field(init=False)
    names: Names = field(init=False)
    facts: Facts = field(init=False)

    def __post_init__(self) -> None:
        self.types, self.names = self.function.types(), Names.of(self.function)
        self.facts = Facts(self.function.facts)

    def run(self) -> Function:
        if not any(id(op) in self.found for op in walk(self.function.body)):
            return self.function
        return replace(self.function, body=tuple(self._body(self.function.body)))

    def _body(self, body: Iterable[Op]) -> Iterator[Op]:
        for op in body:
            if id(op) in self.found:
                yield from self._guarded(op)
            elif op.region is not None:
                region = Region(op.region.args, tuple(self._body(op.region.body)), op.region.results)
                yield replace(op, region=region)
            else:
                yield op

    def _guarded(self, op: Op) -> list[Op]:
        b = Builder(self.facts, names=self.names.fresh)
        b.span = op.span
        position = _place_of(op)
        assert position is not None
        given = Value(op.inputs[position], self.types[op.inputs[position]])
        safe = (self._divisor if divides(op) else self._place)(b, op, given)
        inputs = (*op.inputs[:position], safe.name, *op.inputs[position + 1 :])
        return [*b.body, replace(op, inputs=inputs)]

    def _place(self, b: Builder, op: Op, given: Value) -> Value:
        size = room(op, [self.types[name] for name in op.inputs])
        wide = b.cast(given, "i64")
        inside = b.op("logical_and", b.op("ge", wide, 0), b.op("lt", wide, b.size(size)))
        _require(b, inside, f"what `{op.op}` is given as places must be from 0 to {size - 1}")
        return b.where(inside, given, 0)

    def _divisor(self, b: Builder, op: Op, given: Value) -> Value:
        power = op.op == "pow"
        safe = b.op("ge" if power else "ne", given, 0)
        asked = safe
        if any(self.facts.prove_ge(size, 1) is not True for size in op.out.type.axes):
            asked = b.broadcast(safe, op.out.type.axes)  # where nothing is divided, nothing is asked
        told = "be 0 or more: integers are raised to it" if power else "not be 0: integers are divided by it"
        _require(b, asked, f"what stands behind `{DIVIDED[op.op]}` must {told}")
        return b.where(safe, given, 1)


def _require(b: Builder, held: Value, message: str) -> None:
    if held.type.rank:
        held = b.op("all", held, axis=tuple(range(held.type.rank)))
    b.append(Op("require", (held.name,), (), (("message", message),), span=b.span))
