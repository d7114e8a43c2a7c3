"""What is made of sizes, integers and constants alone, in f32 where the rest of a network is computed in bf16 or f16.

bf16 has 8 bits for a number: of positions past 256 and of times past it there are only some, and `sin(777 * f)` of a rounded 777 is another
number. So tables of angles, times that are cast, masks and counts are computed in f32, and rounded once, where they meet what comes
from parameters and from inputs in the working precision. What only places, chooses or draws numbers is the same either way, and stays as it is.

Before:

    fn angles(%t: [B]) -> (output: %y) {
        %rate: [] = const() {value=0.1}
        %y: [B] = mul(%t, %rate)
    }

    model Net(%x: [B], %t: i64[B]) -> (y: %y) {
        %time: [B] = cast(%t) {dtype="float"}
        %angle: [B] = call(%time) -> angles [B=B]
        %wave: [B] = sin(%angle)
        %y: [B] = add(%x, %wave)
    }

After:

    fn angles_wide(%t: f32[B]) -> (output: %y)
        source angles
    {
        %rate: f32[] = const() {value=0.1}
        %y: f32[B] = mul(%t, %rate)
    }

    model Net(%x: [B], %t: i64[B]) -> (y: %y) {
        %time: f32[B] = cast(%t) {dtype="f32"}
        %angle: f32[B] = call(%time) -> angles_wide [B=B]
        %wave: f32[B] = sin(%angle)
        %wave_2: [B] = cast(%wave) {dtype="float"}
        %y: [B] = add(%x, %wave_2)
    }

A value is *bound* to the data if it comes from a parameter or an input of floats, *wide* if it is not and is computed with. A function without
parameters has a form for each set of its inputs that are wide; a module takes those that are wide in all of its calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Attr, Function, Op, Program, Value, callees_first, walk
from dlc.ir.splice import Names, references, referring
from dlc.passes.lower import alone, drop_orphans, resolve_float
from dlc.records import dataclass, field, replace
from dlc.types.tensor import TensorType

WIDE = "f32"
NARROW = frozenset({"bf16", "f16"})

EXACT = frozenset(
    (
        "abs", "arange", "broadcast", "cast", "concat", "const", "flip", "full", "max", "maximum", "min", "minimum", "neg", "normal",
        "pad", "permute", "reshape", "sign", "slice", "stop_gradient", "take", "take_along", "truncated_normal", "uniform", "where",
    )
)  # fmt: skip
"""Ops that give the same whether numbers are rounded before or after them."""


def in_precision(program: Program, precision: str, *, settled: bool = True) -> Program:
    """The program as it is computed where `float` is that precision."""
    return with_wide_constants(program, settled=settled) if precision in NARROW else program


def with_wide_constants(program: Program, *, settled: bool = True) -> Program:
    """The program with what no parameter and no input of floats has a part in computed in f32. Results of the entry have the types
    that they had, unless they need not be `settled`."""
    return _Whole(program, settled).run()


def _is_float(value: Value) -> bool:
    return value.type.dtype == "float"


@dataclass(slots=True)
class _Whole:
    """All functions of a program, and the forms that they get."""

    program: Program
    settled: bool
    done: dict[str, Function] = field(default_factory=dict)
    forms: dict[tuple[str, frozenset[str]], _Form] = field(default_factory=dict)
    passed: dict[str, frozenset[str]] = field(default_factory=dict)
    """Of each module, the inputs that are wide in all of its calls."""
    called: dict[tuple[str, frozenset[str]], str] = field(default_factory=dict)
    """What forms are called."""
    throughout: dict[str, str] = field(default_factory=dict)
    """Functions of the library that are f32 from their inputs on, by what they are called otherwise."""
    names: Names = field(default_factory=Names)

    def run(self) -> Program:
        functions = self.program.functions
        self.names = Names(functions)
        whole = [name for name in reversed(list(functions)) if not self.is_split(name)]
        for name in whole:  # callers first: they say what a module takes
            for callee, inputs in self.form(name, self.taken_by(name)).passed():
                self.passed[callee] = self.passed.get(callee, inputs) & inputs
        for name in whole:
            self.done[name] = _Writing(self.form(name, self.taken_by(name))).run(name)
        every = {**functions, **self.done}
        order = callees_first(every, lambda name: references(every[name]))
        return drop_orphans(self.program, self.program.with_functions({name: every[name] for name in order}))

    def is_split(self, name: str) -> bool:
        """Whether a function has a form for each set of wide inputs: one of the spec's without parameters."""
        function = self.program.functions[name]
        apart = function.library or function.kind in ("init", "prepare") or name == self.program.entry
        return not apart and not self.has_parts(name)

    def has_parts(self, name: str) -> bool:
        function = self.program.functions[name]
        return bool(function.params or function.children)

    def taken_by(self, name: str) -> frozenset[str]:
        return self.passed.get(name, frozenset())

    def form(self, name: str, inputs: frozenset[str]) -> _Form:
        key = (name, inputs)
        if key not in self.forms:
            self.forms[key] = _Form(self, self.program.functions[name], inputs)
        return self.forms[key]

    def wanted(self, name: str) -> frozenset[str]:
        """The inputs that a function of the spec computes with before they meet anything else."""
        function = self.program.functions[name]
        if function.library:
            return frozenset()
        form = self.form(name, frozenset(each.name for each in function.inputs if _is_float(each)))
        return frozenset(each.name for each in function.inputs if form.is_wide(each.name))

    def written(self, name: str, inputs: frozenset[str]) -> str:
        """What the form of a function is called."""
        key = (name, inputs)
        if key not in self.called:
            form = self.form(name, inputs)
            changed = _Writing(form).run(name)
            self.called[key] = name if changed == form.function else self.names.fresh(f"{name}_wide")
            self.done[self.called[key]] = replace(changed, name=self.called[key])
        return self.called[key]

    def wide(self, name: str) -> str:
        """A function that is f32 throughout, with all that it calls."""
        if name not in self.throughout:
            part = resolve_float(alone(self.program, name), WIDE)
            for each in part.functions:
                if each not in self.throughout:
                    self.throughout[each] = self.names.fresh(f"{each}_wide")
            for each, function in part.functions.items():
                made = referring(function, lambda called: self.throughout.get(called, called))
                self.done[self.throughout[each]] = replace(made, name=self.throughout[each])
        return self.throughout[name]

    def is_exact(self, name: str) -> bool:
        """Whether a function of no floats only places and chooses numbers."""
        return not self.has_parts(name) and all(
            self.is_exact(op.callee) if op.callee else op.op in EXACT or not any(map(_is_float, op.outputs))
            for op in walk(self.program.functions[name].body)
        )


@dataclass
class _Form:
    """A function where these of its inputs are wide."""

    whole: _Whole
    function: Function
    inputs: frozenset[str]

    @cached_property
    def types(self) -> Mapping[str, TensorType]:
        return self.function.types()

    @cached_property
    def _bound(self) -> frozenset[str]:
        """What comes from parameters and inputs of floats, and what may as well be rounded with it."""
        first = _Bound(self, frozenset()).found()
        needed = _Needed(self, first).found()
        kept = (name for name, type in self.types.items() if type.dtype == "float")
        return _Bound(self, frozenset(kept) - first - needed).found()

    def is_wide(self, name: str) -> bool:
        return bool(name) and self.types[name].dtype == "float" and name not in self._bound

    @property
    def settles(self) -> bool:
        """Whether results come out in the working precision, as callers and backends know them."""
        if self.function.name == self.whole.program.entry:
            return self.whole.settled
        return not self.whole.is_split(self.function.name)

    def passed(self) -> Iterator[tuple[str, frozenset[str]]]:
        """The modules that are called, with the inputs that they are given wide."""
        for op in walk(self.function.body):
            if op.callee and self.whole.has_parts(op.callee):
                yield op.callee, self.whole.wanted(op.callee) & self.given(op, self._bound)

    def given(self, op: Op, bound: frozenset[str] | set[str]) -> frozenset[str]:
        """The inputs of a callee that are given floats which are not `bound`."""
        pairs = zip(self.whole.program.functions[op.callee].inputs, filter(None, op.inputs), strict=True)
        return frozenset(
            value.name for value, name in pairs if self.types[name].dtype == "float" and name not in bound
        )

    def is_met(self, op: Op, bound: frozenset[str] | set[str]) -> bool:
        """Whether an operand comes from the data."""
        return any(name and self.types[name].is_float and name in bound for name in op.inputs)


@dataclass(slots=True)
class _Bound:
    """What is bound to the data, from operands to results; `kept` are values that are taken for bound."""

    form: _Form
    kept: frozenset[str]
    bound: set[str] = field(default_factory=set)

    def found(self) -> frozenset[str]:
        for value in self.form.function.inputs:
            self._mark((value,), [value.name not in self.form.inputs])
        self._body(self.form.function.body)
        return frozenset(self.bound)

    def _mark(self, values: Sequence[Value], bound: Iterable[bool]) -> None:
        marked = zip(values, bound, strict=True)
        self.bound.update(
            each.name
            for each, is_bound in marked
            if each.type.is_float and (is_bound or each.name in self.kept)
        )

    def _body(self, body: Iterable[Op]) -> None:
        for op in body:
            if op.op == LOOP:
                self._loop(Loop.of(op))
            else:
                self._mark(op.outputs, self._results(op))

    def _results(self, op: Op) -> Sequence[bool]:
        whole = self.form.whole
        if not op.callee or not whole.is_split(op.callee):
            is_bound = op.op == "param" or self.form.is_met(op, self.bound)
            return [is_bound or bool(op.callee and whole.has_parts(op.callee))] * len(op.outputs)
        callee = whole.form(op.callee, whole.wanted(op.callee) & self.form.given(op, self.bound))
        return [not callee.is_wide(value) for _, value in callee.function.outputs]

    def _loop(self, loop: Loop) -> None:
        for sliced in loop.sequences:
            self._mark((sliced.arg,), [sliced.source in self.bound])
        for each in loop.carried:
            self._mark((each.arg,), [each.first in self.bound])
        while True:
            self._body(loop.body)
            turned = [each for each in loop.carried if each.next in self.bound and each.arg.type.is_float]
            if all(each.arg.name in self.bound for each in turned):
                break
            self._mark([each.arg for each in turned], [True] * len(turned))
        for each in loop.carried:
            self._mark((each.out,), [each.arg.name in self.bound])
        for stack in loop.stacked:
            self._mark((stack.out,), [stack.item in self.bound])


@dataclass(slots=True)
class _Needed:
    """What is computed with before it meets what is bound, from results to operands."""

    form: _Form
    bound: frozenset[str]
    needed: set[str] = field(default_factory=set)

    def found(self) -> frozenset[str]:
        if not self.form.settles:
            self._need(value for _, value in self.form.function.outputs)
        self._body(self.form.function.body)
        return frozenset(self.needed)

    def _need(self, names: Iterable[str]) -> None:
        types = self.form.types
        self.needed.update(
            name for name in names if name and types[name].dtype == "float" and name not in self.bound
        )

    def _body(self, body: Sequence[Op]) -> None:
        for op in reversed(body):
            if op.op == LOOP:
                self._loop(Loop.of(op))
            elif op.op != "update":
                self._op(op)

    def _op(self, op: Op) -> None:
        whole, results = self.form.whole, [value.name for value in op.outputs]
        if op.callee and (whole.is_split(op.callee) or whole.has_parts(op.callee)):
            wanted = whole.wanted(op.callee)
            inputs = whole.program.functions[op.callee].inputs
            pairs = zip(inputs, filter(None, op.inputs), strict=True)
            self._need([*results, *(name for value, name in pairs if value.name in wanted)])
        elif not self.form.is_met(op, self.bound):
            is_exact = whole.is_exact(op.callee) if op.callee else op.op in EXACT
            floats = all(map(_is_float, op.outputs))
            if not (is_exact and floats and self.needed.isdisjoint(results)):
                self._need([*results, *op.inputs])

    def _loop(self, loop: Loop) -> None:
        for each in loop.carried:
            if each.arg.name not in self.bound:
                self._need((each.first, each.arg.name, each.next, each.out.name))
        self._need(each.item for each in loop.stacked if each.out.name in self.needed)
        self._body(loop.body)
        self._need(each.source for each in loop.sequences if each.arg.name in self.needed)


@dataclass(slots=True)
class _Writing:
    """Writes one form of a function."""

    form: _Form
    names: Names = field(default_factory=Names)
    same: dict[str, str] = field(default_factory=dict)
    """Casts of what is f32 already, and what they are of."""
    casts: dict[str, Value] = field(default_factory=dict)
    """Wide values in the working precision."""

    def run(self, name: str) -> Function:
        function = self.form.function
        if function.kind in ("init", "prepare"):
            return function
        self.names = Names.of(function)
        body = self._body(function.body)
        outputs = tuple(
            (each, self._working(value) if self.form.settles else self._now(value))
            for each, value in function.outputs
        )
        inputs = self._typed(function.inputs)
        begin = [cast for value in inputs for cast in self._cast(value, function.body)]
        return replace(function, inputs=inputs, body=(*begin, *self._with_casts(body)), outputs=outputs)

    def _now(self, name: str) -> str:
        return self.same.get(name, name)

    def _working(self, name: str) -> str:
        """A value as what is bound to the data takes it."""
        if not self.form.is_wide(name):
            return self._now(name)
        name = self._now(name)
        if name not in self.casts:
            type = self.form.types[name].with_dtype("float")
            self.casts[name] = Value(self.names.fresh(name), type)
        return self.casts[name].name

    def _typed(self, values: Iterable[Value]) -> tuple[Value, ...]:
        return tuple(
            replace(each, type=each.type.with_dtype(WIDE)) if self.form.is_wide(each.name) else each
            for each in values
        )

    def _body(self, body: Iterable[Op]) -> list[Op]:
        return [made for op in body if (made := self._op(op)) is not None]

    def _op(self, op: Op) -> Op | None:
        if op.op == LOOP:
            return self._loop(op)
        if op.callee:
            return self._call(op)
        outputs = self._typed(op.outputs)
        floats = [name for name in op.inputs if name and self.form.types[name].dtype == "float"]
        if op.op == "cast" and self._is_kept(op):
            self.same[op.out.name] = self._now(op.inputs[0])
            return None
        if outputs != op.outputs:
            return replace(
                op, inputs=tuple(map(self._now, op.inputs)), outputs=outputs, attrs=_wide_attrs(op)
            )
        is_working = op.op == "update" or any(not self.form.is_wide(name) for name in floats)
        if is_working or (op.op != "cast" and any(map(_is_float, op.outputs))):
            return replace(op, inputs=tuple(map(self._working, op.inputs)))
        return replace(op, inputs=tuple(map(self._now, op.inputs)))

    def _is_kept(self, op: Op) -> bool:
        """Whether a cast is one of f32 to f32."""
        source, wide = op.inputs[0], self.form.is_wide
        to = WIDE if wide(op.out.name) else op.out.type.dtype
        return to == WIDE == (WIDE if wide(source) else self.form.types[source].dtype)

    def _call(self, op: Op) -> Op:
        whole, wide = self.form.whole, self.form.is_wide
        callee, outputs = op.callee, self._typed(op.outputs)
        taken = frozenset[str]()
        if whole.has_parts(callee):
            taken = whole.taken_by(callee)
        elif whole.is_split(callee):
            taken = whole.wanted(callee) & self.form.given(op, self.form._bound)
            callee = whole.written(callee, taken)
        elif outputs != op.outputs or (
            any(map(wide, op.inputs)) and not self.form.is_met(op, self.form._bound)
        ):
            inputs = tuple(map(self._now, op.inputs))
            return replace(
                op, inputs=inputs, outputs=outputs, attrs=_wide_attrs(op), callee=whole.wide(callee)
            )
        values = iter(whole.program.functions[op.callee].inputs)
        inputs = tuple(
            name and (self._now(name) if next(values).name in taken else self._working(name))
            for name in op.inputs
        )
        return replace(op, inputs=inputs, outputs=outputs, callee=callee)

    def _loop(self, op: Op) -> Op:
        loop = Loop.of(op)

        def alike(name: str, other: Value) -> str:
            """A value as wide as another."""
            return self._now(name) if self.form.is_wide(other.name) else self._working(name)

        body = self._body(loop.body)
        inputs = (
            *(alike(each.first, each.arg) for each in loop.carried),
            *(alike(each.source, each.arg) for each in loop.sequences),
        )
        results = (
            *(alike(each.next, each.arg) for each in loop.carried),
            *(alike(each.item, each.out) for each in loop.stacked),
        )
        region = replace(loop.region, args=self._typed(loop.region.args), body=tuple(body), results=results)
        return replace(op, inputs=inputs, outputs=self._typed(op.outputs), region=region)

    # --- casts stand behind what they are of: before loops that read them in each turn

    def _with_casts(self, body: Iterable[Op]) -> Iterator[Op]:
        for op in body:
            if op.region is not None:
                begin = [cast for value in op.region.args for cast in self._cast(value, op.region.body)]
                inner = (*begin, *self._with_casts(op.region.body))
                op = replace(op, region=replace(op.region, body=inner))
            yield op
            for value in op.outputs:
                yield from self._cast(value, (op,))

    def _cast(self, value: Value, near: Sequence[Op]) -> Iterator[Op]:
        out = self.casts.get(value.name)
        if out is None:
            return
        if near and near[0].op == "const" and near[0].out.name == value.name:
            yield replace(near[0], outputs=(out,))
        else:
            span = near[0].span if near else self.form.function.span
            yield Op("cast", (value.name,), (out,), (("dtype", "float"),), span=span)


def _wide_attrs(op: Op) -> tuple[tuple[str, Attr], ...]:
    return tuple((key, WIDE if key == "dtype" and value == "float" else value) for key, value in op.attrs)
