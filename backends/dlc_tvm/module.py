"""A flat function of the IR as a Relax module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import IRModule, relax
from tvm.relax import op as R

from dlc import ops
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.ir.loops import Loop
from dlc.ir.nodes import Op, Program, Value, walk
from dlc.ir.splice import prefixed
from dlc.ops.arrays import numpy_dtype
from dlc.ops.axes import axes_from_zero
from dlc.types.tensor import TensorType
from dlc_tvm.emission import Emission, all_equal
from dlc_tvm.marks import Mark
from dlc_tvm.names import TVM
from dlc_tvm.rows import ROWS
from dlc_tvm.scans import Scan
from dlc_tvm.sizes import Sizes
from dlc_tvm.text import identifier


@dataclass
class Module:
    """The Relax module `relax` of a program's entry: its `main` takes the data, then `parameters` by path; it returns the
    outputs, whether each of `requires` holds, and the new values of the buffers in `updates`."""

    relax: IRModule
    parameters: dict[str, Value]
    requires: list[str]
    updates: list[str]
    """The paths of the buffers."""

    @staticmethod
    def of(program: Program, *, prepares: bool = True) -> Module:
        """`prepares` is whether work on parameters alone may be done once, before all calls: they don't change then. Raises SpecError
        for an operation that has no row."""
        writer = Writer(program, parameters_of(program), prepares)
        module = writer.write()
        return Module(module, writer.parameters, writer.requires, list(writer.updates))


def parameters_of(program: Program) -> dict[str, Value]:
    """The parameters and buffers that the entry reads or writes, in the order of their first use."""
    found: dict[str, Value] = {}
    types = program.main.types()
    for op in walk(program.main.body):
        paths = [(op.text("path"), op.out.type)] if op.op == "param" else []
        paths += [(op.text("path"), types[op.inputs[0]])] if op.op == "update" else []
        paths += [(prefixed(op.path, name), type) for name, type in layer_params(program, op)]
        for path, type in paths:
            found.setdefault(path, Value(path, type))
    return found


def layer_params(program: Program, op: Op) -> Iterator[tuple[str, TensorType]]:
    """The parameters of a layer that is a row of its own, by their local names."""
    if op.callee:
        yield from ((param.name, param.type) for param in program.functions[op.callee].params)


@dataclass
class Writer:
    """Writes `main`. `values` are the IR's, `read` the parameters by path, as they are at this place."""

    program: Program
    parameters: dict[str, Value]
    prepares: bool = True
    requires: list[str] = field(default_factory=list)
    updates: dict[str, Any] = field(default_factory=dict)
    checked: list[Any] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    varying: set[str] = field(default_factory=set)
    """The values that depend on inputs, or on the turn of a loop."""
    depth: int = 0
    """How many loops the turn at work lies in."""
    held: dict[int, Any] = field(default_factory=dict)
    """Inside loops: whether a check, by its op's identity, held in all turns so far."""
    marks: int = 0

    def write(self) -> IRModule:
        main = self.program.main
        self.sizes = Sizes(main)
        builder = relax.BlockBuilder()
        inputs = [self._variable(each) for each in main.inputs]
        given = self.sizes.given()
        self.read = {path: self._variable(each) for path, each in self.parameters.items()}
        self.emission = Emission(builder, self.sizes, input=next(iter(inputs), None))
        self.varying.update(each.name for each in main.inputs)
        arguments = [*inputs, *given]
        attrs = {"num_input": len(arguments)} if self.prepares else {}
        with builder.function("main", [*arguments, *self.read.values()], attrs=attrs):
            self.sizes.solve(builder)
            for each, variable in zip(main.inputs, inputs, strict=True):
                self.values[each.name] = self._proved(variable, each)
            with builder.dataflow():
                self.body(main.body)
                outputs = [self.values[name] for _, name in main.outputs]
                results = relax.Tuple([*outputs, *self.checked, *self.updates.values()])
                returned = builder.emit_output(results)
            builder.emit_func_output(returned)
        return builder.finalize()

    def _variable(self, value: Value) -> Any:
        return relax.Var(identifier(value.name), self.sizes.input_type(value))

    def body(self, body: Iterable[Op]) -> None:
        for op in body:
            if not self.varying.isdisjoint(op.inputs):
                self.varying.update(value.name for value in op.outputs)
            STRUCTURE.get(op.op, Writer._row)(self, op)

    def mark(self, make: Callable[[int], Mark]) -> Mark:
        """The mark of one more loop."""
        self.marks += 1
        return make(self.marks - 1)

    def hold(self, check: Op, held: Any) -> None:
        """Note whether a check holds: for the turns of the loop around it, or for the runtime to see."""
        if self.depth:
            self.held[id(check)] = held
        else:
            self.requires.append(check.text("message"))
            self.checked.append(held)

    def set(self, path: str, value: Any) -> None:
        """A buffer's new value, which later reads see."""
        self.updates[path] = self.read[path] = value

    def _loop(self, op: Op) -> None:
        Scan(self, Loop.of(op)).write()

    def _param(self, op: Op) -> None:
        self.values[op.out.name] = self.read[op.text("path")]

    def _require(self, op: Op) -> None:
        condition = self.values[op.inputs[0]]
        if self.depth:
            condition = self.emission.emit(R.logical_and(self.held[id(op)], condition))
        self.hold(op, condition)

    def _update(self, op: Op) -> None:
        self.set(op.text("path"), self.values[op.inputs[0]])

    def _const(self, op: Op) -> None:
        type = op.out.type
        if type.is_empty:
            self.values[op.out.name] = self._empty(op.out)
            return
        with np.errstate(over="ignore"):  # a bound of 1e6 is infinite in f16
            array = np.asarray(op.attr("value"), numpy_dtype(type.dtype)).reshape(self.sizes.all(type.axes))
        self.values[op.out.name] = relax.const(array, TVM[type.dtype])

    def _row(self, op: Op) -> None:
        row = ROWS.get(op.op) or ops.row(op.op, "tvm")
        if row is None or isinstance(row, str):
            reason = "it has no row for it" if row is None else "its row is no function"
            raise SpecError([problems.UNSUPPORTED.at(op.span, backend="tvm", op=op.op, reason=reason)])
        emission, first = self.emission, op.outputs[0].type
        emission.shape, emission.dtype = self.sizes.all(first.axes), TVM[first.dtype]
        emission.params = {n: self.read[prefixed(op.path, n)] for n, _ in layer_params(self.program, op)}
        operands = [self.values[name] for name in op.inputs if name]
        rank = int(operands[0].ty.ndim) if operands else 0
        attributes = {**op.attributes, **axes_from_zero(op, rank)}
        empty = 0 in emission.shape
        results = tuple(map(self._empty, op.outputs)) if empty else row(emission, *operands, **attributes)
        results = results if isinstance(results, tuple) else (results,)
        for out, result in zip(op.outputs, results, strict=True):
            self.values[out.name] = self._proved(emission.emit(result, identifier(out.name)), out)

    def _empty(self, out: Value) -> Any:
        self.emission.shape, self.emission.dtype = self.sizes.all(out.type.axes), TVM[out.type.dtype]
        return self.emission.emit(self.emission.empty())

    def _proved(self, value: Any, out: Value) -> Any:
        """The value with the shape that the IR proved for it, where TVM did not find that itself."""
        known = value.ty.shape
        if known is not None and all_equal(list(known), self.sizes.all(out.type.axes)):
            return value
        return self.emission.builder.match_cast(value, self.sizes.type(out), identifier(out.name))


STRUCTURE = {
    "param": Writer._param,
    "const": Writer._const,
    "require": Writer._require,
    "update": Writer._update,
    "loop": Writer._loop,
}
