"""A function of the IR as statements over trees: first draft of a body, before anything is nested or named.

Values that Python computes (constants, sizes and arithmetic on them) are written where they are used; every
other operation is a statement of its own. What an op is called stands in a backend's `Dialect`: rows of text,
and *forms*, functions for what a row can't say. A backend derives its `Drafter` for what differs in kind: how
a number becomes a tensor, how axes are counted, how one emitted function calls another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlc import ops
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.emit.axes import axis_slots
from dlc.emit.checks import Check, checks
from dlc.emit.names import identifier
from dlc.emit.numbers import Numbers
from dlc.emit.origins import expression, size
from dlc.emit.ranges import numbers
from dlc.emit.rows import OPERATORS
from dlc.emit.sizes import readable
from dlc.emit.statements import NOWHERE, Assign, Draft, If, Loop, Stmt, Target, expressions
from dlc.emit.tree import (
    Binary,
    Call,
    Dot,
    Expr,
    Keyword,
    Leaf,
    Num,
    Ref,
    Seq,
    Size,
    Text,
    Word,
    refs,
    template,
    text,
    transform,
    walk,
    without,
)
from dlc.emit.turning import computed_by
from dlc.emit.uneven import LISTED, POP, PUSH
from dlc.ir import loops
from dlc.ir.drawing import drawing_functions, is_random
from dlc.ir.loops import LOOP
from dlc.ir.nodes import BY, Attr, Function, Op, Program, Region, Remark, Value
from dlc.ir.nodes import walk as walk_ops
from dlc.ops.axes import axis_names
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.tensor import FLOATS, INTS, TensorType
from dlc.types.terms import origin_free, said
from dlc.types.traced import Term, TracedFloat, TracedInt, as_float

# Names of operands that say nothing about what is passed.
PLAIN_NAMES = frozenset({"x", "a", "b", "xs", "y", "input"})
# Names of values that only say which operation made them, in any backend.
OPERATIONS = frozenset({"broadcast", "cast", "conv", "reshape", "slice", "permute", "concat", "where", LOOP})

Say = Callable[[Any, Op], "Expr | None"]
"""A form: how a backend's drafter says an operation; None where it is not covered in this form, DONE where it
has been dealt with."""

# Slots of a row that no Python number can fill: methods are called of them, or they are indexed.
_OF_TENSOR = re.compile(r"\{(\w+)\}[.\[]")

DONE = Word("")
LIST = "list"
"""What is in the name of a list of what layers hand out."""


@dataclass(frozen=True)
class Dialect:
    """A backend's tables. `rows` say primitive ops and `composites` those of the library, with the operands and
    attributes as slots; `host` the same on Python numbers; `forms` what a row can't. Keyword arguments are left
    out where they have their value in `defaults`. Names in `generated` only say which operation made a value,
    those in `reserved` are no variables."""

    name: str
    rows: Mapping[str, str]
    host: Mapping[str, str]
    composites: Mapping[str, str]
    forms: Mapping[str, Say]
    dtypes: Mapping[str, str]
    defaults: Mapping[str, str]
    reserved: frozenset[str]
    is_layer: Callable[[Expr], bool]
    """Whether an expression calls a part that holds parameters."""
    generated: frozenset[str] = frozenset()
    draws_in_order: bool = False
    """Whether a draw is the next number of a generator: what was drawn first in the spec is drawn first then."""

    def __post_init__(self) -> None:
        found = self.generated | OPERATIONS | self.rows.keys() | self.composites.keys()
        object.__setattr__(self, "generated", found)

    def is_generated(self, name: str) -> bool:
        """Whether a value's name only says which operation made it."""
        return plain_name(name) in self.generated


@dataclass
class Drafter:
    """Drafts one function. `needs` tells what a plain function is passed besides its operands."""

    program: Program
    function: Function
    dialect: Dialect
    precision: str = "f32"
    needs: Callable[[str], frozenset[str]] = lambda name: frozenset()
    body: list[Stmt] = field(default_factory=list)
    inline: dict[str, Expr] = field(default_factory=dict)
    """Values that are written wherever they are read: what Python computes, parameters, other names for a
    value."""
    host: set[str] = field(default_factory=set)
    """Those of them that are Python numbers."""
    skip: set[str] = field(default_factory=set)
    """Results that a statement for several operations has computed already."""
    scanned: set[str] = field(default_factory=set)
    """What steps along an axis carry and read, which the spec has named."""
    better: dict[str, str] = field(default_factory=dict)
    """Names that the spec gives to values one step later (`c = cast(cos(a), float)`)."""

    def __post_init__(self) -> None:
        self.unsaid: Sequence[Remark] = self.function.remarks
        self.types: dict[str, TensorType] = self.function.types()
        self.producers: dict[str, Op] = {}
        self.readers: dict[str, list[Op]] = {}
        self.uses: Counter[str] = Counter(value for _, value in self.function.outputs)
        self.block: dict[str, int] = {}
        self._count_uses()
        self.numbers = Numbers(self.function, self.producers)
        updates = (op for op in walk_ops(self.function.body) if op.op == "update")
        self.updated = frozenset(op.text("path") for op in updates)

    def _count_uses(self) -> None:
        stack = [(op, 0) for op in reversed(self.function.body)]
        while stack:
            op, block = stack.pop()
            self.uses.update(name for name in op.inputs if name)
            self.producers.update((value.name, op) for value in op.outputs)
            self.block.update((value.name, block) for value in op.outputs)
            if op.region is not None and op.attr("shared"):
                self.scanned.update(value.name for value in op.region.args)
            for name in op.inputs:
                self.readers.setdefault(name, []).append(op)
            for region in op.regions:
                self.uses.update(name for name in region.results if name)
                stack.extend((inner, id(region)) for inner in reversed(region.body))

    # --- what a backend says in its own way -----------------------------------------------------------------

    def wrapped(self, number: Expr, dtype: str) -> Expr:
        """A tensor that holds a number."""
        raise NotImplementedError

    def call(self, op: Op) -> Expr:
        """A call of another emitted function, or of an instance."""
        raise NotImplementedError

    def covers(self, op: Op) -> bool:
        """Whether the row of a composite holds for this one's static arguments."""
        return True

    def takes_numbers(self, row: str) -> bool:
        """Whether a row takes Python numbers beside tensors: operators do, functions need not."""
        return row in OPERATORS.values()

    def literal(self, value: int | float, role: str = "value") -> Expr:
        return Num(value, role)

    def axes(self, value: Attr, rank: int) -> Expr:
        """An axis as a person counts it, the last one is -1; or several, all from the front."""
        if isinstance(value, tuple) and len(value) > 1 and rank:
            return Seq(tuple(Word(str(int(str(each)) % rank)) for each in value))
        if isinstance(value, tuple):
            return Seq(tuple(self.axes(each, rank) for each in value))
        return Word(repr(value)) if value is None else self.axis(int(str(value)), rank)

    def more_slots(self, op: Op) -> Mapping[str, Expr]:
        """What a row may speak of besides operands and attributes."""
        return {}

    def layer(self, expr: Expr) -> Expr | None:
        """An operation as a layer, where the backend has chains of layers."""
        return None

    # --- the whole ------------------------------------------------------------------------------------------

    def draft(self) -> Draft:
        if self.function.name == self.program.entry or self.function.kind == "model":
            self.body += checks(self.function)
        for op in self.function.body:
            self.operation(op)
        inputs = tuple(map(self.target, self.function.inputs))
        named = zip(self.function.outputs, self.function.output_types, strict=True)
        outputs = tuple(self.target(Value(value, type)) for (_, value), type in named)
        results = self.results()
        body = without_dead(self._numbered(self._renamed()), results)
        needs = self._needs(body, results)
        return Draft(self.function, inputs, body, results, outputs, needs, self.roles(), self._draws())

    def _draws(self) -> frozenset[str]:
        """The values that are drawn, or made by what draws, where there are several."""
        if not self.dialect.draws_in_order:
            return frozenset()
        drawing = drawing_functions(self.program)
        ops = [op for op in walk_ops(self.function.body) if is_random(op) or op.callee in drawing]
        return frozenset(value.name for op in ops for value in op.outputs) if len(ops) > 1 else frozenset()

    def results(self) -> tuple[Expr, ...]:
        return tuple(self.tensor(value) for _, value in self.function.outputs)

    def _renamed(self) -> Iterable[Stmt]:
        """Temporaries that the spec names one step later are none."""
        for stmt in self.body:
            named = isinstance(stmt, Assign) and stmt.targets[0].name in self.better
            yield replace(stmt, temporary=False) if isinstance(stmt, Assign) and named else stmt

    def _numbered(self, body: Iterable[Stmt]) -> list[Stmt]:
        """Values that carry one name many times over, as in an unrolled loop, are no more than
        temporaries."""
        stmts = list(body)
        names = Counter(plain_name(stmt.targets[0].name) for stmt in stmts if isinstance(stmt, Assign))
        often = {name for name, count in names.items() if count > 4 and name not in PLAIN_NAMES}

        def loosened(stmt: Stmt) -> Stmt:
            if not isinstance(stmt, Assign) or plain_name(stmt.targets[0].name) not in often:
                return stmt
            return replace(stmt, temporary=stmt.temporary or len(stmt.targets) == 1)

        return list(map(loosened, stmts))

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Telling names for values: of the operand that one is passed as, of what it becomes in the end."""
        found: dict[str, list[str]] = {value: [plain_name(name)] for value, name in self.better.items()}
        for op in walk_ops(self.function.body):
            if op.callee:
                operands = self.operands(op)
                plain = PLAIN_NAMES if len(operands) < 4 else PLAIN_NAMES - {"a", "b"}
                named = [(value, name) for name, value in operands.items() if name not in plain]
                several = Counter(value for value, _ in named)
                for value, name in named:
                    if several[value] == 1 and self._lacks_name(value):
                        found.setdefault(value, []).append(name)
            for out in op.outputs:
                found.setdefault(out.name, []).extend(self._goal(out.name) or self._callee_says(op))
                if op.callee and len(op.outputs) > 1:
                    found[out.name].extend(self._handed_out(out.name))
                    found[out.name].append(plain_name(out.name))
        return {value: tuple(names) for value, names in found.items()}

    def _callee_says(self, op: Op) -> list[str]:
        """What a function of the spec calls the one thing that it gives, where that is something else than what it works on."""
        callee = self.program.functions[op.callee] if op.callee else None
        if callee is None or callee.library or len(callee.outputs) != 1 or not self._lacks_name(op.out.name):
            return []
        name = callee.outputs[0][0]
        before = self.types[op.inputs[0]].axes if op.inputs else ()
        same = list(map(said, before)) == list(map(said, op.out.type.axes))
        return [] if same or name in PLAIN_NAMES or name.startswith("output") else [name]

    def _handed_out(self, value: str) -> list[str]:
        """What the function calls a value among its results, if the spec has no name for it inside."""
        names = [name for name, each in self.function.outputs if each == value]
        return names if len(names) == 1 and self._lacks_name(value) else []

    def _lacks_name(self, value: str) -> bool:
        """Whether the spec itself does not name a value that an operation computes."""
        return value not in self.scanned and (value not in self.producers or self.temporary(value))

    def _goal(self, name: str) -> list[str]:
        """The name that the spec gives to what a temporary goes into."""
        while self.temporary(name):
            readers = self.readers.get(name, [])
            if len(readers) != 1 or self.uses[name] != 1 or len(readers[0].outputs) != 1:
                return []
            if readers[0].callee and name != readers[0].inputs[0]:
                return []  # beside what a part works on
            last, name = name, readers[0].out.name
            if self.dtype_of(last) != self.dtype_of(name):
                return []
            if not self.temporary(name):
                return [plain_name(name)]
        return []

    def temporary(self, name: str) -> bool:
        """Whether a value is only named after the operation that computes it, or the function that is
        called."""
        op = self.producers.get(name)
        if op is None:
            return False
        source = self.program.functions[op.callee].source if op.callee else ""
        base = plain_name(name)
        own = (
            op.op.strip("_"),
            "call",
            "",
            "y" if op.callee and not op.path else "",
        )
        called = base == op.path.rpartition(".")[2] or (
            bool(source) and base.replace("_", "") == source.replace("_", "").lower()
        )
        alone = len(op.outputs) == 1  # (several results have names of their own: `cos, sin = rope_tables(…)`)
        return base in own or name in own or called or (alone and self.dialect.is_generated(name))

    def _needs(self, body: Iterable[Stmt], results: tuple[Expr, ...]) -> frozenset[str]:
        """What the statements read that a plain function has to be given."""
        known = readable(self.function)
        # What is called from outside takes all its sizes, also one that nothing reads.
        needs = set(self.function.given_sizes if self.function.kind == "model" else ())
        for node in Draft(self.function, (), tuple(body), results).nodes():
            if isinstance(node, Leaf):
                needs.add(node.need(self.function))
            elif isinstance(node, Size) and node.symbol not in known:
                needs.add(node.symbol)
        return frozenset(needs - {""})

    def operation(self, op: Op) -> None:
        """Append the statements of one operation, with what the spec says of it."""
        before = len(self.body)
        said = self._remarks(op)
        self._operation(op)
        stmt = self.body[before] if len(self.body) > before else None
        if stmt is None or isinstance(stmt, Check):
            self.unsaid = sorted((*self.unsaid, *said), key=lambda each: each.first)
        elif said:
            inside = isinstance(stmt, Assign) and stmt.temporary
            told = [each.text for each in said if not (inside and each.behind)]
            self.body[before] = replace(stmt, note="\n".join(told))

    def _remarks(self, op: Op) -> list[Remark]:
        """What is not said yet of an operation, or of all that it holds."""
        spans = [each.span for each in walk_ops((op,)) if each.region is None and each.span.line]
        if not self.unsaid or not spans:
            return []
        begins = op.span.line if op.region is not None and op.span.file == spans[0].file else 0
        found = [
            each
            for each in self.unsaid
            if all(map(each.covers, spans)) and (not begins or each.first <= begins)
        ]
        self.unsaid = [each for each in self.unsaid if each not in found]
        return found

    def _operation(self, op: Op) -> None:
        if op.outputs and all(value.name in self.skip for value in op.outputs):
            return
        if op.condition is not None:
            self.body.append(self.choice(op, op.condition))
            return
        if op.op in (LISTED, PUSH, POP):
            self.body.append(self._of_list(op))
            return
        if self._on_host(op):
            return
        expr = self.expression(op)
        if expr is not DONE:
            self.assign(op, expr)

    def _of_list(self, op: Op) -> Stmt:
        """What is done with a list of what turns keep for others."""
        if op.op == LISTED:
            return Assign((Target(op.out.name, "", ()),), Seq(tuple(map(self.tensor, op.inputs)), "[]"))
        held, *values = map(self.tensor, op.inputs)
        if op.op == POP:
            return Assign((self.target(op.out),), Call(Dot(held, "pop")))
        if len(values) == 1:
            return Check(Call(Dot(held, "append"), tuple(values)), "")
        return Check(Binary("+=", held, Seq(tuple(values), "[]")), "")

    def expression(self, op: Op) -> Expr:
        """The operation as an expression; DONE where it has become statements, or a name for another
        value."""
        by = dict(op.given).get(BY)
        if by is not None:
            return Call(expression(by), tuple(map(self.tensor, op.inputs)))
        say = self.dialect.forms.get(op.op)
        found = say(self, op) if say is not None else None
        if found is not None:
            return found
        if op.op in self.dialect.composites and self.covers(op):
            return self.row(self.dialect.composites[op.op], op)
        if op.callee:
            return self.call(op)
        row = self.dialect.rows.get(op.op) or ops.row(op.op, self.dialect.name)
        if isinstance(row, str):
            return self.row(row, op)
        reason = "it has no row for it" if row is None else "its row is no text"
        raise SpecError(
            [problems.UNSUPPORTED.at(op.span, backend=self.dialect.name, op=op.op, reason=reason)]
        )

    def assign(self, op: Op, expr: Expr, outputs: Sequence[Value] = ()) -> None:
        values = tuple(outputs or op.outputs)
        temporary = len(values) == 1 and (
            self.temporary(values[0].name) or values[0].name not in self.producers
        )
        first = expr.args[0] if isinstance(expr, Call) and expr.args else None
        through = first.value if isinstance(first, Ref) else ""
        self.body.append(Assign(tuple(map(self.target, values)), expr, temporary, self.layer(expr), through))

    def drafted(self, ops: Iterable[Op]) -> tuple[Stmt, ...]:
        """The statements of operations that stand in a block of their own."""
        outside, self.body = self.body, []
        for each in ops:
            self.operation(each)
        inside, self.body = self.body, outside
        return tuple(inside)

    def passes(self, op: Op) -> bool:
        """Whether a call passes on the static arguments that the spec gives; a class is made with them."""
        return True

    def _variable(self, body: Iterable[Op]) -> str:
        """The variable of a loop whose turns differ by a static value."""
        ops = list(walk_ops(body))
        given = [term for op in ops if self.passes(op) for _, term in op.given]
        given += [term for op in ops if not op.callee for term in computed_by(op)]
        asked = [op.condition for op in ops if op.condition is not None]
        parts = (part for term in (*given, *asked) for part in term.parts())
        return next(
            (str(part.args[0]) for part in parts if isinstance(part, Term) and part.op == "each"), "_"
        )

    def loop(self, op: Op) -> Loop | None:
        """A loop over layers; its body is drafted as the function's is. None for any other."""
        parts = loops.Loop.of(op)
        if not parts.is_layers or op.region is None:
            return None
        inputs = tuple(map(self.tensor, op.inputs))
        inside = self.drafted(op.region.body)
        results = [self.tensor(each.next) for each in parts.carried]
        kept = tuple((self.list_of(each.out, LIST), self.tensor(each.item)) for each in parts.stacked)
        turns, start = Dim.of(dim_of(op.attr("count"))), parts.start
        assert isinstance(start, int)
        args = tuple(map(self.target, op.region.args))
        outputs = tuple(self.target(each.out) for each in parts.carried)
        return Loop(
            size(turns, "count"),
            start,
            op.integer("step"),
            args,
            inputs,
            inside,
            tuple(results),
            outputs,
            self._variable(op.region.body),
            kept=kept,
            turns=None if turns.constant is None else int(turns.constant),
            recompute=parts.recompute,
            numbers=NOWHERE if origin_free(start) and parts.step == 1 else numbers(turns, start, parts.step),
        )

    def list_of(self, whole: Value, word: str) -> Target:
        """The list of what each turn of a loop hands out; a `word` of its name tells it from the whole."""
        item = self.target(whole)
        return Target(f"{item.name} {word}", item.dtype, ())

    def choice(self, op: Op, condition: Term) -> If:
        """Two bodies of which one is done, as the spec's `if` has it."""
        assert op.region is not None and op.otherwise is not None
        sides: list[tuple[tuple[Stmt, ...], tuple[Expr | None, ...]]] = []
        for region in (op.region, op.otherwise):
            inside = (*self._given(region), *self.drafted(region.body))
            results = tuple(self.tensor(name) if name else None for name in region.results)
            sides.append((inside, results))
        outputs = tuple(map(self.target, op.outputs))
        return If(expression(condition), *sides[0], *sides[1], outputs)

    def _given(self, region: Region) -> Iterator[Check]:
        """What one side reads of the inputs that instances share is asked for: an absent mask would hide nothing."""
        maybe = set(self.function.further) & set(self.function.optional)
        read = dict.fromkeys(name for op in region.body if op.op != "call" for name in op.inputs)
        for name in read:
            if name in maybe:
                yield Check(Binary("is not", Ref(name), Word("None")), f"{name} must be given")

    def target(self, value: Value) -> Target:
        axes = tuple(_soft(size(axis)) for axis in value.type.axes)
        return Target(value.name, self.dtype(value.type.dtype), axes)

    # --- operands -------------------------------------------------------------------------------------------

    def dtype(self, name: str) -> str:
        return self.precision if name == "float" else name

    def dtype_of(self, value: str) -> str:
        return self.dtype(self.types[value].dtype)

    def dtype_word(self, name: str) -> Expr:
        return Word(self.dialect.dtypes[self.dtype(name)])

    def value(self, name: str) -> Expr:
        """A value as it is read: a variable, or what it is written as."""
        return self.inline.get(name, Ref(name))

    def tensor(self, name: str) -> Expr:
        """A value that must be a tensor."""
        return self.wrapped(self.inline[name], self.dtype_of(name)) if name in self.host else self.value(name)

    def axis(self, axis: int, rank: int) -> Expr:
        """An axis as a person counts it: the last one is -1."""
        axis = axis % rank if rank else axis
        return Word("-1" if axis == rank - 1 and rank > 1 else str(axis))

    def attribute(self, op: Op, name: str, value: Attr) -> Expr:
        if isinstance(value, bool) or value is None:
            return Word(repr(value))
        if isinstance(value, str):
            return self.dtype_word(value) if name == "dtype" else Text(value)
        if op.inputs and op.inputs[0] and name in axis_names(op):
            return self.axes(value, self.types[op.inputs[0]].rank)
        if isinstance(value, tuple):
            return Seq(tuple(self.attribute(op, name, each) for each in value))
        return size(value, name) if isinstance(value, Dim) else self.literal(value, name)

    def operands(self, op: Op) -> dict[str, str]:
        """The operands that are there, by their names in the op's definition."""
        if op.names:
            return {name: value for name, value in zip(op.names, op.inputs, strict=True) if value}
        if op.callee:
            named = [value.name for value in self.program.functions[op.callee].inputs]
            return dict(zip(named, (name for name in op.inputs if name), strict=True))
        named = [operand.name for operand in ops.get(op.op).signature.operands]
        return {name: value for name, value in zip(named, op.inputs, strict=False) if value}

    def passed(self, op: Op, callee: Function) -> tuple[Expr, ...]:
        """The operands of a call by place; by name behind one that is absent, and where forms with other operands have given the
        function another order."""
        if not op.names:
            return tuple(self.tensor(name) for name in op.inputs if name)
        known = [value.name for value in callee.inputs]
        args: list[Expr] = []
        skipped = False
        for key, name in zip(op.names, op.inputs, strict=True):
            if not name:
                skipped = skipped or key in known
            elif key in known:
                skipped = skipped or known[len(args)] != key
                args.append(Keyword(identifier(key), self.tensor(name)) if skipped else self.tensor(name))
        given = {key for key, name in zip(op.names, op.inputs, strict=True) if name}
        return (
            *args,
            *(Keyword(identifier(each), Word("None")) for each in _wanted(callee) if each not in given),
        )

    def row(self, row: str, op: Op) -> Expr:
        """A row filled with the op's operands and attributes."""
        slots = {name: self.attribute(op, name, value) for name, value in op.attrs}
        slots.update(axis_slots(op, self.types, slots))
        operands = self.operands(op)
        tensors = set(_OF_TENSOR.findall(row)) if self.takes_numbers(row) else set(operands)
        # Of numbers that Python is not to compute with, the last one as a tensor is enough.
        if all(value in self.host for value in operands.values()):
            tensors.update([*operands][-1:])
        for name, value in operands.items():
            slots[name] = self.tensor(value) if name in tensors else self.value(value)
        return self.without_defaults(template(row, {**slots, **self.more_slots(op)}))

    def without_defaults(self, expr: Expr) -> Expr:
        """Keyword arguments that say what the function does anyhow are left out. A number that a static parameter says may be
        another."""
        usual = self.dialect.defaults
        return without(
            expr, lambda each: usual.get(each.name) == text(each.value) and not _is_told(each.value)
        )

    # --- what Python computes -------------------------------------------------------------------------------

    def number(self, name: str, expr: Expr) -> bool:
        self.inline[name] = expr
        self.host.add(name)
        return True

    def constant(self, value: object, dtype: str, role: str = "value") -> Expr:
        """A constant as Python writes it for a tensor of that dtype; nested tuples as lists."""
        if isinstance(value, tuple):
            return Seq(tuple(self.constant(each, dtype) for each in value), "[]")
        assert isinstance(value, int | float)
        if dtype == "bool":
            return Word(repr(bool(value)))
        if dtype in FLOATS:
            return self.literal(as_float(value), role)
        return self.literal(value if isinstance(value, int) else int(value), role)

    def _on_host(self, op: Op) -> bool:
        """Settle an operation on numbers that Python knows; False if a tensor is involved."""
        value = self._host_value(op)
        return value is not None and self.number(op.out.name, value)

    def _host_value(self, op: Op) -> Expr | None:
        if op.op == "const":
            return None if op.out.type.rank else self.constant(op.attr("value"), self.dtype_of(op.out.name))
        if op.op == "size":
            return size(dim_of(op.attr("dim")))
        if op.op not in (*self.dialect.host, "cast") or any(name not in self.host for name in op.inputs):
            return None
        if not self.numbers.computes(op):
            return None
        slots = {key: self.inline[name] for key, name in self.operands(op).items()}
        if op.op == "cast":
            return self._cast(slots["x"], self.dtype_of(op.inputs[0]), self.dtype_of(op.out.name))
        return template(self.dialect.host[op.op], slots)

    def _cast(self, expr: Expr, source: str, to: str) -> Expr:
        if isinstance(expr, Num):
            return self.constant(expr.value, to, expr.role)
        if (to in FLOATS and source != "bool") or source == to:
            return expr  # an int stands for a float wherever one is asked for
        return Call(Word("bool" if to == "bool" else "int" if to in INTS else "float"), (expr,))


def plain_name(name: str) -> str:
    """`x` for `x_2`."""
    return re.sub(r"_\d+$", "", name).strip("_")


def _is_told(expr: Expr) -> bool:
    """Whether a number in it is an expression of static parameters."""
    numbers = (node.value for node in walk(expr) if isinstance(node, Num))
    return any(isinstance(each, TracedInt | TracedFloat) for each in numbers)


def without_dead(body: Sequence[Stmt], results: Iterable[Expr]) -> tuple[Stmt, ...]:
    """The statements that matter for the results, or have an effect."""
    live = {name for expr in results for name in refs(expr)}
    kept: list[Stmt] = []
    for stmt in reversed(body):
        if isinstance(stmt, Assign) and not any(target.name in live for target in stmt.targets):
            continue
        if isinstance(stmt, Loop):
            items = (item for _, item in stmt.kept)
            stmt = replace(stmt, body=without_dead(stmt.body, (*stmt.results, *items)))
        if isinstance(stmt, If):
            stmt = _pruned(stmt, live)
            if not (stmt.then or stmt.otherwise or stmt.outputs):
                continue
        live.update(name for expr in expressions((stmt,)) for name in refs(expr))
        kept.append(stmt)
    return tuple(reversed(kept))


def _pruned(stmt: If, live: set[str]) -> If:
    """The choice with what is read of its results, and what those need."""
    kept = [i for i, target in enumerate(stmt.outputs) if target.name in live]
    results, others = ([each[i] for i in kept] for each in (stmt.results, stmt.others))
    then = without_dead(stmt.then, [each for each in results if each is not None])
    otherwise = without_dead(stmt.otherwise, [each for each in others if each is not None])
    outputs = tuple(stmt.outputs[i] for i in kept)
    return If(stmt.condition, then, tuple(results), otherwise, tuple(others), outputs, stmt.note)


def _wanted(callee: Function) -> Iterator[str]:
    """The optional inputs of a function that have no default, for what stands behind them has none."""
    names = [value.name for value in callee.inputs]
    last = max((k for k, name in enumerate(names) if name not in callee.optional), default=-1)
    yield from (name for name in names[:last] if name in callee.optional)


def _soft(expr: Expr) -> Expr:
    return transform(expr, lambda node: Num(node.value, node.role, True) if isinstance(node, Num) else node)


def dim_of(value: Attr) -> Dim | int:
    """A size among an op's attributes."""
    assert isinstance(value, int | Dim)
    return value
