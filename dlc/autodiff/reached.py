"""Which parameters a loss has a gradient by, without taking it.

    model Net(%x: [B, 4]) -> (loss: %loss)
        param a: [4]
        param b: [4]
    {
        %a: [4] = param() {path="a"}
        %b: [4] = param() {path="b"}
        %y: [B, 4] = mul(%x, %a)
        %stopped: [4] = stop_gradient(%b)
        %z: [B, 4] = mul(%y, %stopped)
        %loss: [] = sum(%z) {axis=[0, 1], keepdims=false}
    }

reaches `a`: what is no gradient leaves a parameter as it is, and is none of 0, which weight decay would go on with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from dlc.autodiff.bodies import has_derivative
from dlc.ir.index import fits
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, Program
from dlc.ir.splice import prefixed

Found = tuple[frozenset[str], frozenset[str]]


def with_gradient(program: Program, output: str) -> frozenset[str]:
    """The paths of the parameters that an output has a gradient by."""
    value = dict(program.main.outputs)[output]
    _, found = _Reach(program).of(program.main, frozenset({value}))
    patterns = [path for path in found if "{" in path]
    known = (each.path for each in program.parameters)
    return frozenset(path for path in known if path in found or any(fits(each, path) for each in patterns))


class _Reach:
    """What gradients reach, by function and which of its values they come from."""

    def __init__(self, program: Program) -> None:
        self.functions = program.functions
        self.known: dict[tuple[str, frozenset[str]], Found] = {}

    def of(self, function: Function, values: frozenset[str]) -> Found:
        """The inputs of a function that these of its values have a gradient by, and the paths of its parameters."""
        key = (function.name, values)
        if key not in self.known:
            live, paths = self._body(function.body, values)
            inputs = {each.name for each in function.inputs if each.type.is_float}
            self.known[key] = (frozenset(inputs & live), frozenset(paths))
        return self.known[key]

    def _body(self, body: Iterable[Op], values: Collection[str]) -> tuple[set[str], set[str]]:
        live, paths = set(values), set[str]()
        for op in reversed(tuple(body)):
            if not any(each.name in live and each.type.is_float for each in op.outputs):
                continue
            if op.op == "param":
                paths.add(op.text("path"))
            elif op.callee:
                paths.update(self._call(op, live))
            elif op.op == LOOP:
                paths.update(self._loop(Loop.of(op), live))
            elif has_derivative(op):
                live.update(filter(None, op.inputs))
        return live, paths

    def _call(self, op: Op, live: set[str]) -> Iterator[str]:
        callee = self.functions[op.callee]
        pairs = zip(callee.outputs, op.outputs, strict=True)
        wanted = frozenset(inner for (_, inner), outer in pairs if outer.name in live)
        inputs, paths = self.of(callee, wanted)
        given = zip(
            callee.inputs, filter(None, op.inputs), strict=True
        )  # those that are absent are none of it
        live.update(outer for inner, outer in given if inner.name in inputs)
        return (prefixed(op.path, path) for path in paths)

    def _loop(self, loop: Loop, live: set[str]) -> set[str]:
        """What a turn reaches is asked again until it hands nothing more to the one before."""
        wanted = {each.next for each in loop.carried if each.out.name in live}
        wanted |= {each.item for each in loop.stacked if each.out.name in live}
        while True:
            inner, paths = self._body(loop.body, wanted)
            more = {each.next for each in loop.carried if each.arg.name in inner} - wanted
            if not more:
                break
            wanted |= more
        live |= inner
        live.update(each.first for each in loop.carried if {each.arg.name, each.next} & inner)
        live.update(each.source for each in loop.sequences if each.arg.name in inner)
        return paths
