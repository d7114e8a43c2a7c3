"""A slice of what was just put together is a slice of the piece that it lies in.

Before:

    model Net(%a: [2, 4], %b: [3, 4]) -> (y: %y) {
        %whole: [5, 4] = concat(%a, %b) {axis=0}
        %part: [2, 4] = slice(%whole) {start=[3, 0], stop=[5, 4], step=[1, 1]}
        %y: [2, 4] = neg(%part)
    }

After (the pass of dead code then takes what nothing reads):

    model Net(%a: [2, 4], %b: [3, 4]) -> (y: %y) {
        %whole: [5, 4] = concat(%a, %b) {axis=0}
        %part: [2, 4] = slice(%b) {start=[1, 0], stop=[3, 4], step=[1, 1]}
        %y: [2, 4] = neg(%part)
    }

So layers that are written out stack nothing: what a loop hands out a turn, and another reads a turn, is one value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.ir.nodes import Function, Op, Program, walk
from dlc.ir.splice import within
from dlc.ops.shape import sizes_of
from dlc.passes.base import each_function
from dlc.records import dataclass, replace
from dlc.types.dims import Dim


@dataclass(frozen=True, slots=True)
class Pieces:
    """Needs nothing; leaves what its replacements no longer read to the pass of dead code."""

    name: str = "pieces"

    def run(self, program: Program) -> Program:
        return each_function(program, _taken_apart)


@dataclass(frozen=True, slots=True)
class _Whole:
    """What a concat put together along an axis, and where each piece begins; the last number is where all ends."""

    axis: int
    pieces: tuple[str, ...]
    bounds: Sequence[Dim]

    def piece(self, start: Dim, stop: Dim) -> int | None:
        """The first piece that surely holds this range."""
        for i in range(len(self.pieces)):
            if _holds(self.bounds[i], start) and _holds(stop, self.bounds[i + 1]):
                return i
        return None


def _holds(low: Dim, high: Dim) -> bool:
    apart = (high - low).constant
    return apart is not None and apart >= 0


def _taken_apart(function: Function) -> Function:
    ops = [op for op in walk(function.body) if op.op in ("concat", "slice")]
    made = {op.out.name: op for op in ops if op.op == "concat"}
    read = {op.inputs[0] for op in ops if op.op == "slice"} & made.keys()
    if not read:
        return function
    types = function.types()
    wholes = {name: _whole(made[name], [types[each].axes for each in made[name].inputs]) for name in read}

    def change(op: Op) -> Op:
        if op.op == "slice" and op.inputs[0] in wholes:
            return _of_piece(op, wholes)
        return within(op, change)

    return replace(function, body=tuple(map(change, function.body)))


def _whole(op: Op, shapes: Sequence[Sequence[Dim]]) -> _Whole:
    axis, bounds = op.integer("axis"), [Dim.of(0)]
    for axes in shapes:
        bounds.append(bounds[-1] + axes[axis])
    return _Whole(axis, op.inputs, bounds)


def _of_piece(op: Op, wholes: Mapping[str, _Whole]) -> Op:
    whole = wholes[op.inputs[0]]
    starts, stops = list(sizes_of(op.attr("start"))), list(sizes_of(op.attr("stop")))
    at = whole.piece(starts[whole.axis], stops[whole.axis])
    if at is None:
        return op
    for bounds in (starts, stops):
        bounds[whole.axis] -= whole.bounds[at]
    changed = {"start": tuple(starts), "stop": tuple(stops)}
    attrs = tuple((key, changed.get(key, value)) for key, value in op.attrs)
    return replace(op, inputs=(whole.pieces[at],), attrs=attrs)
