"""Functions of a program as ONNX functions: parameters become inputs behind the data, in the order of their first use.

Every module of the spec, and every composite that ONNX has no node for, is a function of the model, called once per
instance. A `repeat` is unrolled into calls of one function: onnxruntime runs an ONNX Loop turn by turn, with copies of
the carried values, and optimises nothing across turns.

What a function checks (`require`) and the new values of its buffers (`update`) are further outputs, which callers hand on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Function, Op, Program
from dlc.ir.paths import Paths
from dlc.ir.splice import Names, prefixed
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType
from dlc_onnx import layers, methods, rows
from dlc_onnx.body import Body
from dlc_onnx.sizes import Sizes
from dlc_onnx.template import Ref, evaluate

if TYPE_CHECKING:
    import onnx

    from dlc_onnx.methods import Say

SAYINGS: Mapping[str, Say] = {**methods.METHODS, **layers.LAYERS}


def known(op: str) -> bool:
    """Whether ONNX has nodes for an op of this name."""
    tables = (rows.ROWS, rows.FLOAT_ROWS, rows.COMPOSITES, SAYINGS)
    return any(op in table for table in tables)


def row_of(op: str, dtype: str) -> str | None:
    """The row of an op whose result has this dtype."""
    family = rows.BOOL_ROWS if dtype == "bool" else rows.INTEGER_ROWS
    if TensorType(dtype, ()).is_float:
        family = rows.FLOAT_ROWS
    return family.get(op) or rows.ROWS.get(op) or rows.COMPOSITES.get(op)


@dataclass(frozen=True)
class Emitted:
    """A function of the model: its proto's name, and what follows the data in its inputs (`params`, local paths) and the
    results in its outputs (`requires`, messages; `updates`, local paths)."""

    name: str
    params: tuple[str, ...]
    requires: tuple[str, ...]
    updates: tuple[str, ...]


@dataclass
class Emission:
    """The functions of a program that the entry needs, made when they are first called."""

    program: Program
    wider: Mapping[str, str]
    protos: dict[str, onnx.FunctionProto] = field(default_factory=dict)
    _emitted: dict[str, Emitted] = field(default_factory=dict)
    _bodies: dict[bytes, str] = field(default_factory=dict)

    @cached_property
    def paths(self) -> Paths:
        return Paths(self.program.functions)

    def function(self, name: str) -> Emitted:
        if name not in self._emitted:
            writer = FunctionWriter(self, self.program.functions[name])
            writer.write()
            self._emitted[name] = self._deduplicated(name, writer)
        return self._emitted[name]

    def _deduplicated(self, name: str, writer: FunctionWriter) -> Emitted:
        """Functions that differ only in sizes are one in ONNX, which has no types in them."""
        proto = writer.proto("")
        key: bytes = proto.SerializeToString(deterministic=True)
        first = self._bodies.setdefault(key, name)
        if first == name:
            self.protos[name] = writer.proto(name)
            self.protos[name].value_info.extend(writer.value_infos())
        else:
            self.protos[first].ClearField("value_info")
        return Emitted(first, tuple(writer.params), tuple(writer.requires), tuple(writer.updated))


class FunctionWriter:
    """Writes one function's operations as nodes. What `methods.py` and `layers.py` are given."""

    def __init__(self, emission: Emission, function: Function) -> None:
        self.emission = emission
        self.function = function
        self.types = function.types()
        self.names = Names()
        self.body = Body(self.names, emission.wider)
        self.inputs = {each.name: self.body.define(each.name, each.type.dtype) for each in function.inputs}
        self.outputs = [Ref(self.names.fresh(name)) for name, _ in function.outputs]
        self.values: dict[str, Ref] = dict(self.inputs)
        self.params: dict[str, Ref] = {}
        self.updated: dict[str, Ref] = {}
        self.requires: dict[str, Ref] = {}
        self.sizes = Sizes(function, self.body, self.inputs)
        self._wanted: dict[str, Ref] = {}
        for (_, value), name in zip(function.outputs, self.outputs, strict=True):
            self._wanted.setdefault(value, name)

    # What sayings ask

    @property
    def facts(self) -> Facts:
        return self.sizes.facts

    def value(self, name: str) -> Ref:
        """ONNX's name of an operand ("" for one that is absent)."""
        return self.values[name] if name else Ref("")

    def operands(self, op: Op) -> list[Ref]:
        return [self.value(name) for name in op.inputs]

    def type(self, name: str) -> TensorType:
        return self.types[name]

    def callee(self, op: Op) -> Function:
        return self.emission.program.functions[op.callee]

    def parameter(self, path: str) -> Ref:
        """The parameter or buffer at a path relative to this function: its new value once it was updated, else an input."""
        if path in self.updated:
            return self.updated[path]
        if path not in self.params:
            self.params[path] = self.body.define(path, self.parameter_type(path).dtype)
        return self.params[path]

    def parameter_type(self, path: str) -> TensorType:
        found = self.emission.paths.param(self.function.name, path)
        if found is None:
            raise KeyError(f"{self.function.name} has no parameter {path}")
        return found.type

    # Writing

    def write(self) -> None:
        for op in self.function.body:
            self.body.scope = op.path or (op.outputs[0].name if op.outputs else op.op)
            self.body.place = f"{op.span.file.rsplit('/', 1)[-1]}:{op.span}" if op.span.line else ""
            self._write(op)
        self.body.place, self.body.scope = "", "output"
        for (_, value), name in zip(self.function.outputs, self.outputs, strict=True):
            # An input, or a value under two names, is handed out as a copy.
            if self.values[value] != name:
                self.body.rename(self.body.one("Identity", self.values[value]), name)
        for table in (self.requires, self.updated):
            table.update((key, self.body.one("Identity", value)) for key, value in list(table.items()))
        self.body.name_nodes()

    def _write(self, op: Op) -> None:
        structural = _STRUCTURAL.get(op.op)
        if structural is not None:
            structural(self, op)
            return
        result = self._said(op)
        if result is not None:
            self.bind(op, result)
        elif op.callee:
            self._call(op)
        else:
            reason = rows.UNSUPPORTED.get(op.op, "it has no row for it")
            raise SpecError([problems.UNSUPPORTED.at(op.span, backend="onnx", op=op.op, reason=reason)])

    def _said(self, op: Op) -> Any:
        """The results of an op that ONNX has nodes for; None where it has not."""
        say = SAYINGS.get(op.op)
        if say is not None:
            return say(self, op)
        row = row_of(op.op, op.out.type.dtype) if op.op != "call" else None
        return None if row is None else evaluate(row, self._lookup(op), self.body)

    def _lookup(self, op: Op) -> layers.Lookup:
        return layers.lookup(self, op)

    def bind(self, op: Op, result: Any) -> None:
        """Let the op's values be these; those that its last node has just made take the values' names."""
        results = result if isinstance(result, tuple) else (result,)
        for value, name in zip(op.outputs, results, strict=True):
            if self.body.fresh_result(name):
                wanted = self._wanted.get(value.name)
                name = self.body.rename(name, wanted or self.names.fresh(value.name))
            self.values[value.name] = self.body.keep(Ref(name))

    def _call(self, op: Op) -> None:
        callee = self.callee(op)
        if not callee.body:
            inner = dict(zip((each.name for each in callee.inputs), filter(None, op.inputs), strict=True))
            self.bind(op, tuple(self.value(inner[value]) for _, value in callee.outputs))
            return
        emitted = self.emission.function(op.callee)
        inputs = [self.value(name) for name in op.inputs if name]
        inputs += [self.parameter(prefixed(op.path, path)) for path in emitted.params]
        updates = [prefixed(op.path, path) for path in emitted.updates]
        outputs = [(value.name, value.type.dtype) for value in op.outputs]
        outputs += [("require", "bool") for _ in emitted.requires]
        outputs += [("update", self.parameter_type(path).dtype) for path in updates]
        results = self.body.call(emitted.name, rows.DOMAIN, inputs, outputs)
        count = len(op.outputs)
        for value, name in zip(op.outputs, results, strict=False):
            wanted = self._wanted.get(value.name)
            self.values[value.name] = self.body.keep(self.body.rename(name, wanted) if wanted else name)
        for message, name in zip(emitted.requires, results[count:], strict=False):
            self._require(message, name)
        self.updated.update(zip(updates, results[count + len(emitted.requires) :], strict=True))

    # Structural ops

    def _param(self, op: Op) -> None:
        self.values[op.out.name] = self.parameter(str(op.attr("path")))

    def _const(self, op: Op) -> None:
        type = op.out.type
        assert type.shape is not None
        self.values[op.out.name] = self.body.const(op.attr("value"), type.dtype, type.shape)

    def _update(self, op: Op) -> None:
        self.updated[str(op.attr("path"))] = self.value(op.inputs[0])

    def _require_op(self, op: Op) -> None:
        self._require(str(op.attr("message")), self.value(op.inputs[0]))

    def _require(self, message: str, value: Ref) -> None:
        known = self.requires.get(message)
        self.requires[message] = value if known is None else self.body.one("And", known, value)

    # Protos

    def proto(self, name: str) -> onnx.FunctionProto:
        """The function under a name; without one, only what it computes, to find equal ones."""
        from onnx import helper

        outputs = [*self.outputs, *self.requires.values(), *self.updated.values()]
        opsets = [helper.make_opsetid("", rows.OPSET), helper.make_opsetid(rows.DOMAIN, 1)]
        inputs = [*self.inputs.values(), *self.params.values()]
        proto = helper.make_function(rows.DOMAIN, name, inputs, outputs, self.body.nodes, opsets)
        if name:
            proto.doc_string = self.function.doc
        else:
            for node in proto.node:
                node.ClearField("doc_string")
        return proto

    def value_infos(self) -> list[onnx.ValueInfoProto]:
        """The types of the function's values, in its own dims."""
        names = {name: value for value, name in self.values.items() if value in self.types}
        made = [name for node in self.body.nodes for name in node.output if name in names]
        inputs = [(name, self.types[value]) for value, name in self.inputs.items()]
        found = [*inputs, *((name, self.types[names[name]]) for name in made if name not in self.outputs)]
        return [value_info(name, type) for name, type in found]


_STRUCTURAL: Mapping[str, Any] = {
    "param": FunctionWriter._param,
    "const": FunctionWriter._const,
    "update": FunctionWriter._update,
    "require": FunctionWriter._require_op,
}


def value_info(name: str, type: TensorType) -> onnx.ValueInfoProto:
    """A type as ONNX's: sizes are numbers or texts over dims."""
    from onnx import helper

    axes = [str(axis) if axis.constant is None else axis.constant for axis in type.axes]
    return helper.make_tensor_value_info(name, rows.TYPES[type.dtype], axes)
