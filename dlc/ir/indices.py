"""Where a program reads or writes at computed places, and between which bounds these places lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, walk
from dlc.ir.routing import ROUTED
from dlc.ops.bounds import ANY, RULES, Interval, Step, bounds, constant, joined, of_dtype
from dlc.records import dataclass
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

INDEXED: Mapping[str, int] = {
    "take": 1, "take_along": 1, "scatter": 1, "scatter_add": 1, "scatter_max": 1, "update_slice": 2, ROUTED: 1,
}  # fmt: skip
"""Ops that read or write at places of an axis, and which operand says them."""
DIVIDED = {"floordiv": "//", "mod": "%", "pow": "**"}
"""Ops that divide, of integers, by a second operand that is 0; or that is negative, in a power. And how a spec writes them."""
BUDGET = 20_000
"""How many operations one question looks at. What lies beyond is not known here; it is told when the network runs."""


def room(op: Op, types: Sequence[TensorType]) -> Dim:
    """How many places of its axis an op with operands of these types may name: from 0 to one less."""
    if op.op == ROUTED:
        return Dim.of(op.integer("experts"))
    axis = op.integer("axis")
    size = types[0].axes[axis]
    return size - types[1].axes[axis] + 1 if op.op == "update_slice" else size


@dataclass(frozen=True, slots=True)
class Use:
    """An operation that reads or writes at computed places, reached through these `calls`: its indices lie within `found`, and should
    be from 0 to `room - 1`. All sizes are those of the function that was asked about."""

    op: Op
    calls: tuple[Op, ...]
    found: Interval
    room: Dim

    @property
    def place(self) -> Op:
        """The operation of the function that was asked about."""
        return self.calls[0] if self.calls else self.op

    def inside(self, facts: Facts) -> tuple[bool | None, bool | None]:
        """Whether all indices are 0 or more, and whether all are below `room`: None where that depends on what is not known."""
        low, high = self.found.low, self.found.high
        return (
            None if low is None else facts.prove_ge(low, 0),
            None if high is None else facts.prove_ge(self.room - 1, high),
        )


@dataclass(frozen=True, slots=True)
class Division:
    """A division of integers, whose divisors lie within `found`; or a power, whose exponents do."""

    op: Op
    calls: tuple[Op, ...]
    found: Interval

    def safe(self, facts: Facts) -> bool:
        """Whether none of them is 0, or negative in a power."""
        low, high = self.found.low, self.found.high
        if self.op.op == "pow":
            return low is not None and facts.prove_ge(low, 0) is True
        above = low is not None and facts.prove_ge(low, 1) is True
        return above or (high is not None and facts.prove_ge(Dim.of(-1), high) is True)


def divides(op: Op) -> bool:
    """Whether an op divides integers, if only by a negative power."""
    return op.op in DIVIDED and not op.out.type.is_float


class Survey:
    """Goes through a function with what is known of its inputs, and notes the uses of indices that it meets, and the divisions."""

    def __init__(self, functions: Mapping[str, Function], facts: Facts, concerns: dict[str, bool]) -> None:
        self.functions = functions
        self.facts = facts
        self.uses: list[Use] = []
        self.divisions: list[Division] = []
        self._concerns = concerns
        self._left = BUDGET
        self._known: dict[Any, tuple[Interval, ...]] = {}

    def of(self, function: Function, limits: Mapping[str, Dim] = MappingProxyType({})) -> list[Use]:
        """The uses in a function and all that it calls; of its inputs only known that those with `limits` are from 0 to one less."""
        if self.concerned(function):
            given = (
                Interval(Dim.of(0), limits[each.name] - 1) if each.name in limits else of_dtype(each.type)
                for each in function.inputs
            )
            self._function(function, None, [*given], ())
        return self.uses

    def concerned(self, function: Function) -> bool:
        """Whether anything is read or written at computed places, or divided, in a function or in what it calls."""
        if function.name not in self._concerns:
            self._concerns[function.name] = any(
                op.op in INDEXED or divides(op) or (op.callee and self.concerned(self.functions[op.callee]))
                for op in walk(function.body)
            )
        return self._concerns[function.name]

    def _function(
        self,
        function: Function,
        dims: Mapping[str, Dim] | None,
        given: Sequence[Interval],
        calls: tuple[Op, ...],
    ) -> tuple[Interval, ...]:
        frame = _Frame(self, dims, calls)
        for value, interval in zip(function.inputs, given, strict=True):
            frame.enter(value.name, value.type, interval)
        frame.run(function.body)
        return tuple(frame.found(name) for _, name in function.outputs)

    def call(
        self, op: Op, dims: Mapping[str, Dim], given: Sequence[Interval], calls: tuple[Op, ...]
    ) -> tuple[Interval, ...]:
        """What is known of a call's results."""
        callee = self.functions[op.callee]
        whole = any(not value.type.is_float for value in op.outputs)
        if not (whole or self.concerned(callee)) or len(given) != len(callee.inputs):
            return tuple(of_dtype(value.type) for value in op.outputs)
        # Whoever asks about one function is told of each of its calls; below them, the same question has the same answer.
        key = (callee.name, tuple(dims.items()), tuple(given), id(calls[0]))
        if key not in self._known:
            self._known[key] = self._function(callee, dims, given, calls)
        return self._known[key]

    def spend(self) -> bool:
        self._left -= 1
        return self._left >= 0


class _Frame:
    """One function on the way: what is known of its values, and their types in the sizes of the function that was asked about."""

    def __init__(self, survey: Survey, dims: Mapping[str, Dim] | None, calls: tuple[Op, ...]) -> None:
        self.survey, self.dims, self.calls = survey, dims, calls
        self.intervals: dict[str, Interval] = {}
        self.types: dict[str, TensorType] = {}

    def enter(self, name: str, type: TensorType, interval: Interval) -> None:
        self.types[name] = type
        if interval is not ANY:
            self.intervals[name] = interval

    def found(self, name: str) -> Interval:
        return self.intervals.get(name, ANY)

    def run(self, body: Sequence[Op]) -> None:
        for op in body:
            results = self._results(op) if self.survey.spend() else ()
            for value, interval in zip(
                op.outputs, results or [of_dtype(each.type) for each in op.outputs], strict=True
            ):
                self.enter(value.name, value.type, interval)

    def _results(self, op: Op) -> Sequence[Interval]:
        if op.op in INDEXED:
            self._note(op)
        elif divides(op):
            self.survey.divisions.append(Division(op, self.calls, self.found(op.inputs[1])))
        if op.op == ROUTED:
            return ()
        if op.callee:
            return self._call(op)
        return _STRUCTURAL.get(op.op, _Frame._primitive)(self, op)

    def _note(self, op: Op) -> None:
        types = [self._type(name) for name in op.inputs]
        index = op.inputs[INDEXED[op.op]]
        self.survey.uses.append(Use(op, self.calls, self.found(index), room(op, types)))

    def _type(self, name: str) -> TensorType:
        type = self.types[name]
        return type if self.dims is None else TensorType(type.dtype, tuple(map(self._here, type.axes)))

    def _here(self, value: Any) -> Any:
        """Sizes in those of the function that was asked about."""
        if self.dims is None:
            return value
        if isinstance(value, tuple):
            return tuple(map(self._here, value))
        return value.substitute(self.dims) if isinstance(value, Dim) else value

    def _primitive(self, op: Op) -> Sequence[Interval]:
        if op.op not in RULES or not all(op.inputs):
            return ()
        if all(value.type.is_float for value in op.outputs) and not any(map(self.intervals.get, op.inputs)):
            return ()
        attrs = {name: self._here(value) for name, value in op.attrs}
        step = Step(self.survey.facts, [*map(self.found, op.inputs)], [*map(self._type, op.inputs)], attrs)
        return bounds(op.op, step, [value.type for value in op.outputs])

    def _const(self, op: Op) -> Sequence[Interval]:
        return (constant(op.attr("value")),)

    def _call(self, op: Op) -> Sequence[Interval]:
        callee = self.survey.functions[op.callee]
        given = {name: self._here(size) for name, size in op.dims}
        # A size that the call does not say is none of ours, whatever its name.
        dims = {name: given.get(name, Dim.symbol(f"?{callee.name}.{name}")) for name in callee.dims} | given
        inputs = [self.found(name) for name in op.inputs if name]
        return self.survey.call(op, dims, inputs, (*self.calls, op))

    def _loop(self, op: Op) -> Sequence[Interval]:
        loop = Loop.of(op)
        count, start = self._here(Dim.of(loop.count)), self._here(Dim.of(loop.start))
        if loop.index is not None:
            ends = start, start + loop.step * (count - 1)
            low, high = ends if loop.step > 0 else reversed(ends)
            self.enter(loop.index.name, loop.index.type, Interval(low, high, exact=True))
        for each in loop.carried:
            self.enter(each.arg.name, each.arg.type, of_dtype(each.arg.type))
        for sliced in loop.sequences:
            self.enter(sliced.arg.name, sliced.arg.type, self.found(sliced.source))
        self.run(loop.body)
        # Nothing was known of what a turn was given: each turn's end, the last one's too, or the beginning.
        ended = (joined([self.found(each.first), self.found(each.next)]) for each in loop.carried)
        return [*ended, *(self.found(each.item) for each in loop.stacked)]


_STRUCTURAL: Mapping[str, Callable[[_Frame, Op], Sequence[Interval]]] = {
    "const": _Frame._const,
    LOOP: _Frame._loop,
}
