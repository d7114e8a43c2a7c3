"""Functions of a program as nodes of ONNX: parameters become inputs behind the data, in the order of their first use.

By default all bodies stand in the graph, one instance after the other, as many readers of ONNX know no functions. Where
functions are kept, every module of the spec, and every composite that ONNX has no node for, is a function of the model,
called once per instance; what it checks (`require`) and the new values of its buffers (`update`) are further outputs,
which callers hand on. A `loop` is unrolled in both: onnxruntime runs an ONNX Loop turn by turn, with copies of the
carried values, and optimises nothing across turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from dlc import ops
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.ir.loops import INDEX_TYPE, LOOP, Loop
from dlc.ir.nodes import Function, Op, Program, Value, walk
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType
from dlc_onnx import layers, methods, rows
from dlc_onnx.body import Body
from dlc_onnx.frames import Frame, inlined
from dlc_onnx.graphs import every_node, read_by
from dlc_onnx.integers import INTEGERS
from dlc_onnx.naming import Numbered, bare, function_names, within
from dlc_onnx.saying import Say, Writer
from dlc_onnx.scans import LARGE, Scan, Turn, given_out
from dlc_onnx.sizes import Sizes
from dlc_onnx.template import Ref, evaluate

if TYPE_CHECKING:
    import onnx

SAYINGS: Mapping[str, Say] = {**methods.METHODS, **layers.LAYERS}


def known(op: str) -> bool:
    """Whether ONNX has nodes for an op of this name."""
    tables = (rows.ROWS, rows.FLOAT_ROWS, rows.COMPOSITES, SAYINGS)
    return any(op in table for table in tables) or ops.row(op, "onnx") is not None


def row_of(op: str, dtype: str) -> str | None:
    """The row of an op whose result has this dtype, or whose operand has, where that decides (`BY_OPERAND`)."""
    family = rows.BOOL_ROWS if dtype == "bool" else rows.INTEGER_ROWS
    if TensorType(dtype, ()).is_float:
        family = rows.FLOAT_ROWS
    found = family.get(op) or rows.ROWS.get(op) or rows.COMPOSITES.get(op) or ops.row(op, "onnx")
    return found if isinstance(found, str) else None


@dataclass(frozen=True)
class Emitted:
    """A function of the model: its proto's name, and what follows the data in its inputs (`sizes`, `params` by local paths) and the
    results in its outputs (`requires`, messages; `updates`, local paths)."""

    name: str
    sizes: tuple[str, ...]
    params: tuple[str, ...]
    requires: tuple[str, ...]
    updates: tuple[str, ...]


@dataclass
class Emission:
    """The functions of a program that the entry needs, made when they are first called; none where all is `inline`."""

    program: Program
    wider: Mapping[str, str]
    inline: bool = True
    protos: dict[str, onnx.FunctionProto] = field(default_factory=dict)
    _emitted: dict[str, Emitted] = field(default_factory=dict)
    _bodies: dict[bytes, str] = field(default_factory=dict)
    _members: dict[str, list[Function]] = field(default_factory=dict)

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
        """Functions that differ only in sizes are one in ONNX, which needs no types in them."""
        proto = writer.proto("")
        key: bytes = proto.SerializeToString(deterministic=True)
        first = self._bodies.setdefault(key, name)
        self._members.setdefault(first, []).append(writer.function)
        if first == name:
            self.protos[name] = writer.proto(name)
            self.protos[name].value_info.extend(writer.value_infos())
        else:
            self.protos[first].ClearField("value_info")
        sizes, params = tuple(writer.given), tuple(writer.params)
        return Emitted(first, sizes, params, tuple(writer.requires), tuple(writer.updated))

    def name_functions(self, graph: Sequence[onnx.NodeProto]) -> None:
        """Give all functions their names in the model, once it is known which there are."""
        nodes = [*graph, *(node for proto in self.protos.values() for node in proto.node)]
        calls = [node for node in every_node(nodes) if node.domain == rows.DOMAIN]
        names = function_names(self._members, Counter(node.op_type for node in calls))
        for node in calls:
            node.op_type = names[node.op_type]
        for name, proto in self.protos.items():
            proto.name = names[name]


class FunctionWriter(Writer):
    """Writes one function's operations as nodes."""

    def __init__(self, emission: Emission, function: Function) -> None:
        self.emission = emission
        self.function = function
        self.body = Body(emission.wider)
        self.inputs = {each.name: self.body.define(each.name, each.type.dtype) for each in function.inputs}
        self.given = {name: self.body.define(name, "i64") for name in function.given_sizes}
        self.outputs = [self._output(name) for name, _ in function.outputs]
        self.params: dict[str, Ref] = {}
        self.updated: dict[str, Ref] = {}
        self.requires: dict[str, Ref] = {}
        self.sizes = Sizes(function, self.body, self.inputs, self.given)
        self.frame = Frame(function.body, function.types(), values=dict(self.inputs))
        for (_, value), name in zip(function.outputs, self.outputs, strict=True):
            self.frame.wanted.setdefault(value, name)
        self._scopes = Numbered()
        self._typed: dict[str, TensorType] = {}

    def _output(self, name: str) -> Ref:
        """An output's name; where an input has it, `x_out`."""
        free = self.body.names.fresh(name)
        return Ref(free if free == name else self.body.names.fresh(f"{name}_out"))

    # What sayings ask

    @property
    def facts(self) -> Facts:
        return self.sizes.facts

    def value(self, name: str) -> Ref:
        """ONNX's name of an operand ("" for one that is absent)."""
        return self.frame.values[name] if name else Ref("")

    def operands(self, op: Op) -> list[Ref]:
        return [self.value(name) for name in op.inputs]

    def type(self, name: str) -> TensorType:
        return self.frame.types[name]

    def callee(self, op: Op) -> Function:
        return self.emission.program.functions[op.callee]

    def parameter(self, path: str) -> Ref:
        """The parameter or buffer at a path relative to the body at work: its new value once it was updated, else an
        input."""
        path = self.frame.parameter(path)
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
        self._write_body()
        for (_, value), name in zip(self.function.outputs, self.outputs, strict=True):
            # An input, or a value under two names, is handed out as a copy.
            if self.value(value) != name:
                self.body.rename(self.body.one("Identity", self.value(value)), name)
        self._hand_out(self.requires, dict.fromkeys(self.requires, "require"))
        self._hand_out(self.updated, {path: f"{path}_out" for path in self.updated})
        read = set(read_by(self.body.nodes))
        self.params = {path: name for path, name in self.params.items() if name in read}

    def _hand_out(self, table: dict[str, Ref], names: Mapping[str, str]) -> None:
        """Let further outputs have names of their own."""
        for key, value in list(table.items()):
            copy = self.body.one("Identity", value)
            table[key] = self.body.rename(copy, self.body.names.fresh(names[key]))

    def _write_body(self) -> None:
        for op in self.frame.body:
            place = f"{op.span.file.rsplit('/', 1)[-1]}:{op.span}" if op.span.line else ""
            with self.body.at(self.frame.scope_of(op), place):
                self._write(op)

    def _write(self, op: Op) -> None:
        structural = _STRUCTURAL.get(op.op)
        if structural is not None:
            structural(self, op)
            return
        start = len(self.body.nodes)
        result = self._said(op)
        if result is not None:
            self._bind(op, result if isinstance(result, tuple) else (result,), start)
        elif op.callee:
            self._call(op)
        else:
            reason = "it has no row for it" if ops.row(op.op, "onnx") is None else "its row is no text"
            raise SpecError([problems.UNSUPPORTED.at(op.span, backend="onnx", op=op.op, reason=reason)])

    def _said(self, op: Op) -> Any:
        """The results of an op that ONNX has nodes for; None where it has not."""
        if op.op in rows.PRODUCTS and any(self.type(name).is_empty for name in op.inputs):
            return methods.zeros(self, op)
        say = SAYINGS.get(op.op) or (None if op.out.type.is_float else INTEGERS.get(op.op))
        if say is not None:
            return say(self, op)
        decides = self.type(op.inputs[0]) if op.op in rows.BY_OPERAND else op.out.type
        row = row_of(op.op, decides.dtype) if op.op != "call" else None
        return None if row is None else evaluate(row, self._lookup(op), self.body)

    def _lookup(self, op: Op) -> layers.Lookup:
        return layers.lookup(self, op)

    def _bind(self, op: Op, results: Sequence[Ref], start: int) -> None:
        """Let the op's values be these; those that its nodes, from `start` on, have just made take the values' names."""
        path, moved = ("", {}) if op.path else self._gathered(op, start)
        results = [Ref(moved.get(each, each)) for each in results]
        path = path if len(results) == 1 else ""
        fresh, names = self.body.fresh_results(start), dict[str, str]()
        for value, made in zip(op.outputs, results, strict=True):
            if made in fresh and made not in names:
                names[made] = self._named(op, value, made, path)
        self.body.settle(start, names)
        for value, made in zip(op.outputs, results, strict=True):
            self._set(value, self.body.keep(Ref(names.get(made, made))))

    def _gathered(self, op: Op, start: int) -> tuple[str, dict[str, str]]:
        """The path under which an op's nodes stand, if they are several, and the new names of their results."""
        paths: list[str] = []

        def path() -> str:
            paths.append(self._scopes.fresh(f"{self.frame.scope}/{op.op.strip('_')}"))
            return paths[0]

        moved = self.body.gather(start, path)
        return (paths[0] if paths else ""), moved

    def _named(self, op: Op, value: Value, made: str, path: str) -> str:
        """The best name that there is for a result: as it is wanted, after its instance, as in the spec, after the op (`path`)."""
        hint = self.frame.hint(op, value) or path
        return self._wanted(value) or (self.body.names.fresh(hint) if hint else made)

    def _set(self, value: Value, name: Ref) -> None:
        self.frame.values[value.name] = name
        self._typed.setdefault(name, value.type)

    def _call(self, op: Op) -> None:
        if self.emission.inline or not self.callee(op).body:
            self._inline(op)
        else:
            self._call_function(op)

    def _inline(self, op: Op) -> None:
        """Write the callee's operations here."""
        outer, callee = self.frame, self.callee(op)
        self.frame = inner = inlined(outer, op, callee, self._scopes.fresh)
        self.sizes.assume(inner.facts)
        self._write_body()
        self.frame = outer
        for (_, result), value in zip(callee.outputs, op.outputs, strict=True):
            self._set(value, inner.values[result])

    def _call_function(self, op: Op) -> None:
        emitted = self.emission.function(op.callee)
        inputs = [self.value(name) for name in op.inputs if name]
        dims = dict(op.dims)
        inputs += [self.sizes.scalar(dims[name]) for name in emitted.sizes]
        inputs += [self.parameter(prefixed(op.path, path)) for path in emitted.params]
        updates = [prefixed(op.path, path) for path in emitted.updates]
        scope = within(self.frame.scope, op.path or self.callee(op).source.strip("_"))
        outputs = [(self._called(op, value) or scope, value.type.dtype) for value in op.outputs]
        outputs += [(f"{scope}/require", "bool") for _ in emitted.requires]
        outputs += [(f"{scope}/update", self.parameter_type(path).dtype) for path in updates]
        results = self.body.call(emitted.name, rows.DOMAIN, scope, inputs, outputs)
        count = len(op.outputs)
        for value, name in zip(op.outputs, results, strict=False):
            wanted = self.frame.wanted.get(value.name)
            self._set(value, self.body.keep(self.body.rename(name, wanted) if wanted else name))
        for message, name in zip(emitted.requires, results[count:], strict=False):
            self._require(message, name)
        self.updated.update(zip(updates, results[count + len(emitted.requires) :], strict=True))

    def _called(self, op: Op, value: Value) -> str:
        """What a result of a call is called; "" where only the callee has called it so."""
        inside = {name for _, name in self.callee(op).outputs}
        return "" if not op.path and value.name in inside else self.frame.hint(op, value)

    # Structural ops

    def _loop(self, op: Op) -> None:
        """A `Scan`. What a turn checks is carried along, as one bool for each message."""
        loop = Loop.of(op)
        names = self._loop_names(loop)
        turn, checks = self._turn(op, loop)
        states = [self.value(each.first) for each in loop.carried]
        sources = [self.value(each.source) for each in loop.sequences]
        # One constant, and none where nothing reads it.
        first = [self.body.const(True, "bool") for _ in checks]
        count = len(states)
        names[count:count] = [self.body.names.fresh(f"{self.frame.scope}/require") for _ in checks]
        found = Scan(
            self.body, self.sizes, loop, turn, [*states, *first], sources, names, self._stays
        ).write()
        for value, name in zip(op.outputs, (*found[:count], *found[count + len(checks) :]), strict=True):
            self._set(value, self.body.keep(name))
        for message, name in zip(checks, found[count:], strict=False):
            self._require(message, name)

    def _stays(self, name: str) -> bool:
        """Whether turns look for a value outside of them: a parameter, a constant, or what is too large to be copied in each."""
        type = self._typed.get(name)
        sizes = [axis.constant for axis in type.axes] if type is not None else []
        is_large = None not in sizes and prod(int(each or 0) for each in sizes) > LARGE
        return is_large or name in self.params.values() or self.body.is_constant(name)

    def _loop_names(self, loop: Loop) -> list[str]:
        """What a loop's results are called: `h_last`, what is carried, and as in the spec what is stacked."""
        last = [(each.out, "_last") for each in loop.carried]
        return [
            self._wanted(value) or self.body.names.fresh(f"{self.frame.scope}/{bare(value.name)}{suffix}")
            for value, suffix in (*last, *((each.out, "") for each in loop.stacked))
        ]

    def _wanted(self, value: Value) -> str:
        """The name that a value must have, if it must."""
        wanted = self.frame.wanted.pop(value.name, None)
        if wanted is None:
            return ""
        return wanted if wanted in self.outputs else self.body.names.fresh(wanted)

    def _turn(self, op: Op, loop: Loop) -> tuple[Turn, list[str]]:
        """A turn of a loop as a graph, and the messages of what it checks."""
        outer, frame, requires, updated = self.body, self.frame, self.requires, dict(self.updated)
        self.body = self.sizes.body = outer.nested()
        read = {name for each in walk(loop.body) for name in each.inputs}.union(loop.region.results)
        unread = not any(each.arg.name in read for each in loop.sequences)
        index = [loop.index or Value("index", INDEX_TYPE)] if loop.index or unread else []
        carried, slices = ([each.arg for each in part] for part in (loop.carried, loop.sequences))
        args = [*carried, *index, *slices]
        hints = [f"{bare(each.name)}_prev" for each in carried]
        hints += [
            each.name if bare(each.name) == each.name else f"{bare(each.name)}_item"
            for each in args[len(carried) :]
        ]
        given = {
            each.name: self.body.define(f"{frame.scope}/{hint}", each.type.dtype)
            for each, hint in zip(args, hints, strict=True)
        }
        types = {each.name: each.type for each in (*args, *(v for o in walk(loop.body) for v in o.outputs))}
        self.frame, self.requires = frame.inside(loop.body, given, types), {}
        self._write_body()
        if self.updated != updated:
            reason = "a buffer that every step changes can't be said in its Scan"
            raise SpecError([problems.UNSUPPORTED.at(op.span, backend="onnx", op="update", reason=reason)])
        last = [self.value(each.next) for each in loop.carried]
        items = [self.value(each.item) for each in loop.stacked]
        checks = {message: self.body.define(f"{frame.scope}/require", "bool") for message in self.requires}
        held = [self.body.one("And", checks[message], value) for message, value in self.requires.items()]
        if unread and not (loop.index and loop.index.name in read):
            last, held, items = self._read_index(given[index[0].name], last, held, items)
        gives = given_out(self.body, [*last, *held, *items])
        at = len(carried)
        names = list(given.values())
        names[at:at] = checks.values()
        known: list[int | None] = [each.type.rank for each in args]
        known[at:at] = [0] * len(checks)
        turn = Turn(self.body.nodes, names, gives, known)
        self.body = self.sizes.body = outer
        self.frame, self.requires = frame, requires
        return turn, list(checks)

    def _read_index(self, index: Ref, *given: list[Ref]) -> list[list[Ref]]:
        """What a turn gives, one of them with the index in it: OpenVINO (2026.4) leaves out what turns do not read, and if that is all that there
        are as many of as turns, it takes one turn."""
        body, least = self.body, self.body.const(-(2**62), "i64")
        for values in given:
            for i, value in enumerate(values):
                dtype = body.dtypes[value]
                if dtype in ("f32", "f64", "i64", "i32"):
                    reached = body.one("GreaterOrEqual", index, least)
                    values[i] = body.one("Where", reached, value, body.const(0, dtype))
                    return [*given]
                if dtype == "bool":
                    values[i] = body.one("Or", value, body.one("Less", index, least))
                    return [*given]
        return [*given]

    def _param(self, op: Op) -> None:
        self.frame.values[op.out.name] = self.parameter(op.text("path"))

    def _const(self, op: Op) -> None:
        type = op.out.type
        assert type.shape is not None
        hint = self.frame.hint(op, op.out).strip("/")
        self.frame.values[op.out.name] = self.body.const(op.attr("value"), type.dtype, type.shape, hint)

    def _update(self, op: Op) -> None:
        self.updated[self.frame.parameter(op.text("path"))] = self.value(op.inputs[0])

    def _require_op(self, op: Op) -> None:
        self._require(op.text("message"), self.value(op.inputs[0]))

    def _require(self, message: str, value: Ref) -> None:
        known = self.requires.get(message)
        self.requires[message] = value if known is None else self.body.one("And", known, value)

    # Protos

    def proto(self, name: str) -> onnx.FunctionProto:
        """The function under a name; without one, only what it computes, to find equal ones."""
        from onnx import helper

        outputs = [*self.outputs, *self.requires.values(), *self.updated.values()]
        opsets = [helper.make_opsetid("", rows.OPSET), helper.make_opsetid(rows.DOMAIN, 1)]
        inputs = [*self.inputs.values(), *self.given.values(), *self.params.values()]
        proto = helper.make_function(rows.DOMAIN, name, inputs, outputs, self.body.nodes, opsets)
        if name:
            proto.doc_string = self.function.doc
        else:
            for node in proto.node:
                node.ClearField("doc_string")
        return proto

    def value_infos(self) -> list[onnx.ValueInfoProto]:
        """The types of the function's values, in its own dims."""
        made = [name for node in self.body.nodes for name in node.output]
        outputs = set(self.outputs)
        inside = ((name, self._typed[name]) for name in made if name in self._typed and name not in outputs)
        inputs = ((self.inputs[each.name], each.type) for each in self.function.inputs)
        sizes = ((name, TensorType("i64", ())) for name in self.given.values())
        return [value_info(name, type) for name, type in (*inputs, *sizes, *inside)]


_STRUCTURAL: Mapping[str, Any] = {
    "param": FunctionWriter._param,
    "const": FunctionWriter._const,
    "update": FunctionWriter._update,
    "require": FunctionWriter._require_op,
    LOOP: FunctionWriter._loop,
}


def value_info(name: str, type: TensorType) -> onnx.ValueInfoProto:
    """A type as ONNX's: sizes are numbers or texts over dims."""
    from onnx import helper

    axes = [str(axis) if axis.constant is None else axis.constant for axis in type.axes]
    return helper.make_tensor_value_info(name, rows.TYPES[type.dtype], axes)
