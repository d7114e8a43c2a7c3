"""Whether a program keeps the IR's rules. Run after every pass in tests, and with `--verify-ir`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from dlc import ops
from dlc.diagnostics import NO_SPAN, Span
from dlc.ir.loops import INDEX_TYPE, LOOP, Loop, Sliced, turning, with_axis, without_axis
from dlc.ir.nodes import Attr, Function, Op, Program, Region, Value, walk
from dlc.ir.paths import Paths, turn_paths
from dlc.ir.splice import prefixed
from dlc.ops.definition import OpDef, OpError
from dlc.records import dataclass, field
from dlc.types.dims import Dim
from dlc.types.facts import Facts, Relation
from dlc.types.tensor import TensorType

Types = Sequence["TensorType | None"]
COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
"""Ops that compare two sizes, as facts say it."""


@dataclass(frozen=True, slots=True)
class IRProblem:
    """One broken rule: where, and what."""

    function: str
    message: str
    span: Span = NO_SPAN

    def __str__(self) -> str:
        at = f" ({self.span.file}:{self.span})" if self.span.line else ""
        return f"{self.function}: {self.message}{at}"


class IRError(Exception):
    """A program that breaks the IR's rules; `problems` are all that were found."""

    def __init__(self, problems: Iterable[IRProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def verify(program: Program) -> Program:
    """The program itself, if it is well formed. Raises IRError with every rule that it breaks."""
    problems = violations(program)
    if problems:
        raise IRError(problems)
    return program


def violations(program: Program) -> list[IRProblem]:
    """Every broken rule of the program, functions in order."""
    problems = list(_references(program))
    if problems:
        return problems
    problems += _parameters(program)
    paths = Paths(program.functions)
    results: dict[str, Types] = {}
    for name, function in program.functions.items():
        checker = _Checker(program, function, paths, results)
        results[name] = checker.run()
        problems += checker.problems
    return problems


def _references(program: Program) -> Iterable[IRProblem]:
    """Names of functions that do not exist, or stand too late."""
    if program.entry not in program.functions:
        yield IRProblem(program.entry, "the entry function does not exist")
    before: set[str] = set()
    for name, function in program.functions.items():
        if function.name != name:
            yield IRProblem(name, f"the function calls itself `{function.name}`")
        called = {op.callee: op.span for op in walk(function.body) if op.callee}
        for callee, span in called.items():
            if callee not in before:
                state = "stands later" if callee in program.functions else "does not exist"
                yield IRProblem(name, f"calls `{callee}`, which {state}", span)
        mentioned = [child.function for child in function.children] + [
            p.init for p in function.params if p.init
        ]
        for other in mentioned:
            if other not in program.functions:
                yield IRProblem(name, f"mentions `{other}`, which does not exist", function.span)
        before.add(name)


def _parameters(program: Program) -> Iterable[IRProblem]:
    listed: set[str] = set()
    for each in program.parameters:
        if each.path in listed:
            yield IRProblem(program.entry, f"two parameters at `{each.path}`")
        listed.add(each.path)
        if each.type.shape is None:
            yield IRProblem(
                program.entry, f"the size of the parameter `{each.path}` is not known: {each.type}"
            )
        if each.init not in program.functions:
            yield IRProblem(program.entry, f"`{each.path}` has no initial value: no function `{each.init}`")
    if program.parameters:
        types = {each.path: each.type for each in program.parameters}
        for prefix, param in Paths(program.functions).expand(program.entry):
            path = prefixed(prefix, param.name)
            if param.kind != "prepared" and path not in listed:
                yield IRProblem(program.entry, f"the program does not list the {param.kind} `{path}`")
            if path in listed and types[path] != param.type:
                message = f"`{path}` is listed as {types[path]}, and declared {param.type}"
                yield IRProblem(program.entry, message)


@dataclass
class _Checker:
    """Checks one function."""

    program: Program
    function: Function
    paths: Paths
    returned: Mapping[str, Types]  # the output types of the functions before this one
    problems: list[IRProblem] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    sizes: dict[str, Dim] = field(default_factory=dict)
    """Values that are sizes, or whole numbers."""
    said: dict[str, Relation] = field(default_factory=dict)
    """What a comparison of these says: a fact behind a `require` of it."""

    def run(self) -> Types:
        """Check all of it; gives the types of the outputs, None for those that nothing defines."""
        self.facts = Facts(self.function.facts)
        self.dims = set(self.function.dims)
        scope: dict[str, TensorType] = {}
        self.define(self.function.inputs, scope, self.function.span)
        self.body(self.function.body, scope, None)
        names = [name for name, _ in self.function.outputs]
        for name in sorted({each for each in names if names.count(each) > 1}):
            self.problem(f"two outputs are called `{name}`", self.function.span)
        for name, value in self.function.outputs:
            if value not in scope:
                self.problem(f"the output `{name}` is %{value}, which nothing defines", self.function.span)
        return tuple(scope.get(value) for _, value in self.function.outputs)

    def problem(self, message: str, span: Span) -> None:
        self.problems.append(IRProblem(self.function.name, message, span))

    def define(self, values: Iterable[Value], scope: dict[str, TensorType], span: Span) -> None:
        for value in values:
            if value.name in self.names:
                self.problem(f"%{value.name} is defined twice", span)
            unknown = value.type.symbols - self.dims
            if unknown:
                self.problem(
                    f"%{value.name}: {value.type} has sizes of no input: {', '.join(sorted(unknown))}", span
                )
            self.names.add(value.name)
            scope[value.name] = value.type

    def body(self, body: Iterable[Op], scope: dict[str, TensorType], loop: Op | None) -> None:
        for op in body:
            missing = [name for name in op.inputs if name and name not in scope]
            for name in missing:
                self.problem(f"`{op.op}` reads %{name}, which nothing before it defines", op.span)
            if not missing:
                self.op(op, [scope[name] if name else None for name in op.inputs], loop)
                self.remember(op)
            if op.region is not None:
                before = self.facts
                self.region(op, op.region, scope, loop)
                self.facts = before
            self.define(op.outputs, scope, op.span)

    def remember(self, op: Op) -> None:
        """Of sizes, what is compared."""
        number = op.attr("dim") if op.op == "size" else op.attr("value") if op.op == "const" else None
        if isinstance(number, Dim | int) and not isinstance(number, bool) and len(op.outputs) == 1:
            self.sizes[op.out.name] = Dim.of(number)
        elif op.op in COMPARED and all(name in self.sizes for name in op.inputs):
            left, right = (self.sizes[name] for name in op.inputs)
            self.said[op.out.name] = Relation(left, COMPARED[op.op], right)

    def op(self, op: Op, inputs: Types, loop: Op | None) -> None:
        if op.callee:
            self.call(op, inputs, loop)
        elif op.op in _STRUCTURAL:
            try:
                _STRUCTURAL[op.op](self, op, inputs, loop)
            except TypeError as error:  # of an attribute that is of another kind
                self.problem(str(error), op.span)
        elif ops.known(op.op):
            self.primitive(op, ops.get(op.op), inputs)
        else:
            self.problem(f"there is no op `{op.op}`", op.span)

    # One kind of op each

    def primitive(self, op: Op, definition: OpDef, inputs: Types) -> None:
        wanted = [attribute.name for attribute in definition.signature.attributes]
        wanted += ["draw"] if definition.random else []
        operands = definition.signature.operands
        if not definition.variadic and len(inputs) != len(operands):
            self.problem(f"`{op.op}` has {len(operands)} operands, not {len(inputs)}", op.span)
            return
        if not self.attributes(op, wanted):
            return
        attrs = {key: value for key, value in op.attrs if key != "draw"}
        try:
            inferred = definition.result_types(self.facts, inputs, attrs)
        except OpError as error:
            self.problem(error.message, op.span)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
            self.problem(f"`{op.op}` can't be checked: {error!r}", op.span)
        else:
            self.results(op, inferred)

    def call(self, op: Op, inputs: Types, loop: Op | None) -> None:
        callee, dims = self.program.functions[op.callee], dict(op.dims)
        unbound = [name for name in callee.dims if name not in dims]
        if unbound:
            self.problem(f"the call of `{callee.name}` says nothing of {', '.join(unbound)}", op.span)
            return
        present = [each for each in inputs if each is not None]
        if len(present) != len(callee.inputs):
            self.problem(f"`{callee.name}` has {len(callee.inputs)} inputs, the call {len(present)}", op.span)
            return
        for value, found in zip(callee.inputs, present, strict=True):
            self.same(
                value.type.substitute(dims), found, f"`{value.name}` of the call of `{callee.name}`", op.span
            )
        self.results(op, tuple(each and each.substitute(dims) for each in self.returned[op.callee]))
        for fact in callee.facts:
            if self.facts.decide(fact.substitute(dims)) is False:
                self.problem(f"the call of `{callee.name}` breaks its condition {fact}", op.span)
        if callee.params or callee.children:
            self.instance(op, callee, loop)

    def instance(self, op: Op, callee: Function, loop: Op | None) -> None:
        for path in turn_paths(op.path, loop) if op.path else ():
            found = self.paths.instance(self.function.name, path)
            if found is None:
                self.problem(f"there is no instance `{path}`", op.span)
            elif not _same_instance(callee, self.program.functions[found]):
                self.problem(f"the instance `{path}` is of `{found}`, not of `{callee.name}`", op.span)

    def param(self, op: Op, inputs: Types, loop: Op | None) -> None:
        if self.attributes(op, ["path"]):
            for type in self.param_types(op, loop):
                self.results(op, (type,))

    def update(self, op: Op, inputs: Types, loop: Op | None) -> None:
        if not self.attributes(op, ["path"]) or len(inputs) != 1 or inputs[0] is None:
            self.problem("`update` takes one operand", op.span)
            return
        for type in self.param_types(op, loop):
            self.same(type, inputs[0], f"the new value of `{op.attr('path')}`", op.span)

    def param_types(self, op: Op, loop: Op | None) -> Iterable[TensorType]:
        for path in turn_paths(op.text("path"), loop):
            found = self.paths.param(self.function.name, path)
            if found is None:
                self.problem(f"there is no parameter `{path}`", op.span)
            else:
                yield found.type

    def const(self, op: Op, inputs: Types, loop: Op | None) -> None:
        if self.attributes(op, ["value"]) and len(op.outputs) == 1:
            shape = const_shape(op.attr("value"))
            # Empty tuples do not show the axes behind a size of 0.
            if shape != op.out.type.shape and 0 not in (shape or ()):
                self.problem(f"%{op.out.name}: {op.out.type} holds a constant of shape {shape}", op.span)

    def require(self, op: Op, inputs: Types, loop: Op | None) -> None:
        self.attributes(op, ["message"])
        if len(inputs) != 1 or inputs[0] != TensorType("bool", ()):
            self.problem("`require` takes one bool scalar", op.span)
        elif op.inputs[0] in self.said:
            self.facts = self.facts.assume(self.said[op.inputs[0]])

    def loop(self, op: Op, inputs: Types, loop: Op | None) -> None:
        """What a loop says of itself and the values outside; `turn` checks what its body makes of them."""
        try:
            parts = Loop.of(op)
        except ValueError as error:
            self.problem(str(error), op.span)
            return
        self.count(parts)
        if parts.index is not None:
            self.same(INDEX_TYPE, parts.index.type, f"the index %{parts.index.name}", op.span)
        for each, found in zip(parts.carried, inputs, strict=False):
            self.same(each.arg.type, found, f"the first value of %{each.arg.name}", op.span)
            self.same(each.arg.type, each.out.type, f"%{each.out.name}, of `loop`,", op.span)
        for sequence, found in zip(parts.sequences, inputs[len(parts.carried) :], strict=True):
            self.sequence(parts, sequence, found)

    def count(self, loop: Loop) -> None:
        for what, number in (("count", loop.count), ("start", loop.start)):
            unknown = Dim.of(number).symbols - self.dims
            if unknown:
                self.problem(f"the {what} of `loop` has sizes of no input: {number}", loop.span)
            if isinstance(number, Dim) and not loop.shared:
                self.problem(
                    f"`loop` has a {what} of {number}, but turns with parameters of their own", loop.span
                )
        if self.facts.prove_ge(loop.count, 0) is False:
            self.problem(f"`loop` has {loop.count} turns", loop.span)

    def sequence(self, loop: Loop, sequence: Sliced, found: TensorType | None) -> None:
        if found is None or not 0 <= sequence.axis < found.rank:
            self.problem(f"%{sequence.source} is {found} and has no axis {sequence.axis} to read", loop.span)
            return
        size = found.axes[sequence.axis]
        if not self.facts.prove_eq(size, loop.count):
            what = f"%{sequence.source} has {size} slices along axis {sequence.axis}"
            self.problem(f"{what}, the loop {loop.count} turns", loop.span)
        slice = without_axis(found, sequence.axis)
        self.same(
            slice, sequence.arg.type, f"%{sequence.arg.name}, a slice of %{sequence.source},", loop.span
        )

    def region(self, op: Op, region: Region, scope: dict[str, TensorType], outer: Op | None) -> None:
        if op.op != LOOP:
            self.problem(f"`{op.op}` has a region, which only a loop has", op.span)
            return
        try:
            loop = Loop.of(op)
        except ValueError:
            return  # told as the op was checked
        if not (loop.shared or loop.is_known):
            return  # told likewise
        inner = _Scope(scope)
        self.define(region.args, inner, op.span)
        self.body(region.body, inner, turning(op, outer))
        for name in (name for name in region.results if name not in inner):
            self.problem(f"a turn ends with %{name}, which nothing defines", op.span)
        self.turn(loop, inner)

    def turn(self, loop: Loop, inner: Mapping[str, TensorType]) -> None:
        """What a turn's results are must fit what is carried and stacked."""
        for carried in (each for each in loop.carried if each.next in inner):
            what = f"%{carried.next}, the next %{carried.arg.name},"
            self.same(carried.arg.type, inner[carried.next], what, loop.span)
        for stacked in (each for each in loop.stacked if each.item in inner):
            item = inner[stacked.item]
            if not 0 <= stacked.axis <= item.rank:
                self.problem(
                    f"%{stacked.item} is {item} and can't be stacked along axis {stacked.axis}", loop.span
                )
                continue
            whole = with_axis(item, stacked.axis, loop.count)
            self.same(
                whole, stacked.out.type, f"%{stacked.out.name}, the stacked %{stacked.item},", loop.span
            )

    # Parts of checks

    def attributes(self, op: Op, wanted: Sequence[str]) -> bool:
        found = [key for key, _ in op.attrs]
        if sorted(found) == sorted(wanted):
            return True
        self.problem(f"`{op.op}` has the attributes ({', '.join(found)}), not ({', '.join(wanted)})", op.span)
        return False

    def results(self, op: Op, types: Types) -> None:
        if len(types) != len(op.outputs):
            self.problem(f"`{op.op}` has {len(types)} results, not {len(op.outputs)}", op.span)
            return
        for value, expected in zip(op.outputs, types, strict=True):
            if expected is None:
                continue  # named as a problem of the callee
            self.same(expected, value.type, f"%{value.name}, of `{op.op}`,", op.span)

    def same(self, expected: TensorType, found: TensorType | None, what: str, span: Span) -> None:
        if found is None or not self.equal(expected, found):
            self.problem(f"{what} should be {expected}, not {found}", span)

    def equal(self, a: TensorType, b: TensorType) -> bool:
        if a == b:
            return True
        if a.dtype != b.dtype or a.rank != b.rank:
            return False
        return all(self.facts.prove_eq(x, y) for x, y in zip(a.axes, b.axes, strict=True))


def _same_instance(a: Function, b: Function) -> bool:
    """Whether both can be ways into one instance: entries, or bodies for other types of inputs."""
    return a.source == b.source and (bool(a.entry or b.entry) or a.params == b.params)


class _Scope(dict[str, TensorType]):
    """The values of a region, and behind them those outside."""

    def __init__(self, outer: Mapping[str, TensorType]) -> None:
        super().__init__()
        self.outer = outer

    def __missing__(self, name: str) -> TensorType:
        return self.outer[name]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.outer


def const_shape(value: Attr) -> tuple[int, ...] | None:
    """The shape of nested tuples of numbers; None where they are ragged."""
    if not isinstance(value, tuple):
        return ()
    shapes = {const_shape(each) for each in value}
    if len(shapes) > 1:
        return None
    inner = shapes.pop() if shapes else ()
    return None if inner is None else (len(value), *inner)


_STRUCTURAL: Mapping[str, Callable[[_Checker, Op, Sequence[TensorType | None], Op | None], None]] = {
    "param": _Checker.param,
    "const": _Checker.const,
    "update": _Checker.update,
    "require": _Checker.require,
    LOOP: _Checker.loop,
}
