"""Where values of a program come from: through what lays them out otherwise, and out of the functions of the spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from dlc.diagnostics import Diagnostic, Problem
from dlc.ir.nodes import Function, Op, Program, Value, walk
from dlc.records import dataclass

LAID_OUT = frozenset({"reshape", "permute", "slice", "cast"})
_FAR = 100


class Values:
    """The values of a function by their names."""

    def __init__(self, node: Function) -> None:
        self.node = node

    @cached_property
    def made(self) -> Mapping[str, Op]:
        """The operation that makes each value; none makes an input."""
        return {value.name: op for op in walk(self.node.body) for value in op.outputs}

    @cached_property
    def known(self) -> Mapping[str, Value]:
        """Every value, with its type."""
        inside = [each for op in walk(self.node.body) if op.region for each in op.region.args]
        results = [each for op in walk(self.node.body) for each in op.outputs]
        return {each.name: each for each in (*self.node.inputs, *inside, *results)}

    @cached_property
    def readers(self) -> Mapping[str, list[Op]]:
        """The operations that read each value."""
        found: dict[str, list[Op]] = {}
        for op in walk(self.node.body):
            for name in op.inputs:
                found.setdefault(name, []).append(op)
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """An operation in the function where it stands."""

    values: Values
    op: Op
    functions: Mapping[str, Values]

    def operand(self, index: int) -> Value | None:
        """An operand with its type; None for one that is absent."""
        name = self.op.inputs[index] if index < len(self.op.inputs) else ""
        return self.values.known.get(name)

    def source(self, name: str, through: frozenset[str] = LAID_OUT) -> Place | None:
        """What computes a value, in the function where it does; None for an input, and for what a loop carries."""
        values: Values | None = self.values
        for _ in range(_FAR):
            op = values.made.get(name) if values is not None else None
            if op is None or values is None:
                return None
            if op.op == "call":
                index = [each.name for each in op.outputs].index(name)
                values = self.functions.get(op.callee)
                name = values.node.outputs[index][1] if values is not None else ""
            elif op.op in through:
                name = op.inputs[0]
            else:
                return Place(values, op, self.functions)
        return None

    def number(self, name: str) -> float | None:
        """The value that is a constant number."""
        op = self.values.made.get(name)
        value = op.attr("value") if op is not None and op.op == "const" else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def told(self, problem: Problem, help: str, **slots: Any) -> Diagnostic:
        """A problem of this operation."""
        chain = (self.values.node.source,) if self.values.node.source else ()
        return problem.at(self.op.span, help=help, chain=chain, **slots)


def places(program: Program) -> Iterator[Place]:
    """Every operation that the spec's own text says."""
    functions = {name: Values(each) for name, each in program.functions.items()}
    for values in functions.values():
        if not values.node.library:
            yield from (Place(values, op, functions) for op in walk(values.node.body) if op.span.line)


def reached(functions: Mapping[str, Values], name: str) -> Iterator[Op]:
    """Every operation of a function, and of the spec's own that it calls."""
    seen, left = {name}, [name]
    while left:
        values = functions.get(left.pop())
        for op in walk(values.node.body) if values is not None else ():
            yield op
            if op.op == "call" and op.callee not in seen:
                seen.add(op.callee)
                left.append(op.callee)
