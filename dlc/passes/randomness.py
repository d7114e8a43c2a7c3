"""Draws of randomness become inputs, for backends that have no generator and for comparing results.

Before:

    model Net(%x: [B, 8]) -> (y: %y) {
        %noise: [B, 8] = normal() {shape=[B, 8], dtype="float", draw=1}
        %y: [B, 8] = add(%x, %noise)
    }

After:

    model Net(%x: [B, 8], %noise: [B, 8]) -> (y: %y) {
        %y: [B, 8] = add(%x, %noise)
    }
"""

from __future__ import annotations

from collections.abc import Iterable

from dlc.ir.drawing import drawing_functions, is_random
from dlc.ir.loops import Loop, Sliced, with_axis
from dlc.ir.nodes import Attr, Function, Op, Program, Region, Value
from dlc.ir.splice import Names, substitute
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim


@dataclass(frozen=True, slots=True)
class Draw:
    """An input of the entry function that a draw became: what to fill it with is the op and its
    attributes. One of an optimizer is for the parameter at `path`."""

    input: Value
    op: str
    attrs: tuple[tuple[str, Attr], ...]
    path: str = ""

    def renamed(self, name: str, dims: dict[str, Dim]) -> Draw:
        """The same draw as the caller's input `name`, in the caller's dims."""
        attrs = tuple((key, substitute(value, dims)) for key, value in self.attrs)
        return Draw(Value(name, self.input.type.substitute(dims)), self.op, attrs)


def hoist_randomness(program: Program) -> tuple[Program, tuple[Draw, ...]]:
    """The program with every draw that the entry reaches as a further input of it, and these inputs in order.

    Layers of the library that draw are inlined: backends say them by names that take no draws. Each turn of a loop has draws of its own, which it
    reads from a sequence."""
    from dlc.passes.lower import inline

    drawing = drawing_functions(program)
    if not drawing:
        return program, ()
    layers = {
        name for name in drawing if program.functions[name].library and program.functions[name].kind != "fn"
    }
    program = inline(program, lambda op: op.callee not in layers)
    draws: dict[str, tuple[Draw, ...]] = {}
    functions = dict(program.functions)
    for name in program.reachable():
        if name in drawing:
            functions[name], draws[name] = _Hoister(functions[name], draws).run()
    return program.with_functions(functions), draws.get(program.entry, ())


@dataclass
class _Hoister:
    """Hoists within one function; `hoisted` are the draws of the functions before it."""

    function: Function
    hoisted: dict[str, tuple[Draw, ...]]
    found: list[Draw] = field(default_factory=list)

    def run(self) -> tuple[Function, tuple[Draw, ...]]:
        self.names = Names.of(self.function)
        body = self._body(self.function.body)
        inputs = (*self.function.inputs, *(draw.input for draw in self.found))
        return replace(self.function, inputs=inputs, body=body), tuple(self.found)

    def _body(self, body: Iterable[Op]) -> tuple[Op, ...]:
        result: list[Op] = []
        for op in body:
            if is_random(op):
                attrs = tuple((key, value) for key, value in op.attrs if key != "draw")
                self.found.append(Draw(op.out, op.op, attrs))
            else:
                result.append(self._op(op))
        return tuple(result)

    def _op(self, op: Op) -> Op:
        if op.region is not None:
            outside, self.found = self.found, []
            region = Region(op.region.args, self._body(op.region.body), op.region.results)
            drawn, self.found = self.found, outside
            return self._each_turn(replace(op, region=region), drawn)
        inner = self.hoisted.get(op.callee, ())
        dims = dict(op.dims)
        passed = [draw.renamed(self.names.fresh(draw.input.name), dims) for draw in inner]
        self.found += passed
        if not passed:
            return op
        names = (*op.names, *(draw.input.name for draw in inner)) if op.names else ()
        return replace(op, inputs=(*op.inputs, *(draw.input.name for draw in passed)), names=names)

    def _each_turn(self, op: Op, drawn: list[Draw]) -> Op:
        """The loop with the draws of its turns as sequences."""
        if not drawn:
            return op
        loop = Loop.of(op)
        count = Dim.of(loop.count)
        sequences = []
        for draw in drawn:
            whole = Value(self.names.fresh(draw.input.name), with_axis(draw.input.type, 0, count))
            shape = tuple(Dim.of(axis) for axis in whole.type.axes)
            attrs = tuple((key, shape if key == "shape" else value) for key, value in draw.attrs)
            self.found.append(Draw(whole, draw.op, attrs))
            sequences.append(Sliced(whole.name, 0, draw.input))
        return replace(loop, sequences=(*loop.sequences, *sequences)).op()
