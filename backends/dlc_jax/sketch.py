"""A function of the IR as steps: every operation as an expression over other values, before anything is
nested or named.

Values that Python computes (constants, sizes and arithmetic on them) are `host` values: they are written as
numbers where arrays take them, and become arrays only where an array is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dlc import ops
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.emit.body import Step, comment_of
from dlc.emit.grouping import Sketch
from dlc.emit.names import snake
from dlc.emit.tree import (
    Call,
    Expr,
    Keyword,
    Make,
    Num,
    Path,
    Ref,
    Seq,
    Text,
    Word,
    size,
    template,
    text,
    transform,
)
from dlc.ir.nodes import Attr, Function, Op, Program, Value, walk
from dlc.types.dims import Dim
from dlc.types.tensor import FLOATS, TensorType
from dlc_jax import rows


@dataclass(frozen=True, slots=True)
class Key(Expr):
    """The key of one draw of randomness, or of a call that draws: `index` numbers them within a function."""

    index: int


@dataclass(frozen=True, slots=True)
class Updating(Expr):
    """A call that also gives its instance's new buffers."""

    call: Expr


def pure(step: Step) -> bool:
    """Whether a step does no more than give its results."""
    return (
        step.op.op not in ("update", "require")
        and not isinstance(step.value, Updating)
        and all(map(pure, step.inner))
    )


@dataclass(frozen=True, slots=True)
class Traits:
    """What a call of a function has to give and gets: parameters, a key, buffers' new values."""

    params: bool
    key: bool
    updates: bool

    @staticmethod
    def of(function: Function, known: Mapping[str, Traits]) -> Traits:
        callees = [(op, known[op.callee]) for op in walk(function.body) if op.callee in known]
        return Traits(
            params=any(op.op in ("param", "update") for op in walk(function.body))
            or any(traits.params for _, traits in callees),
            key=any(is_draw(op) for op in walk(function.body)) or any(traits.key for _, traits in callees),
            updates=any(op.op == "update" for op in walk(function.body))
            or any(t.updates for _, t in callees),
        )


def is_draw(op: Op) -> bool:
    return isinstance(op.attr("draw"), int)


@dataclass(frozen=True, slots=True)
class Callee:
    """How an emitted function is called: its name and the keyword arguments that this member of its group
    needs."""

    name: str
    traits: Traits
    arguments: tuple[tuple[str, int | float], ...] = ()


Say = Callable[["Sketcher", Op], "Expr | None"]


@dataclass
class Sketcher:
    """Sketches one function. `callees` are the functions emitted before it; `say` the methods for ops
    without a row."""

    program: Program
    function: Function
    callees: Mapping[str, Callee]
    say: Mapping[str, Say]
    partition: Callable[[Sketcher, Op], Step | None]
    precision: str = "f32"
    host: dict[str, Expr] = field(default_factory=dict)
    types: dict[str, TensorType] = field(init=False)
    producers: dict[str, Op] = field(init=False)
    readers: dict[str, list[Op]] = field(init=False)
    buffers: dict[str, str] = field(default_factory=dict)
    """Buffers that have been updated, with the value that they have now."""
    keys: int = 0
    skip: set[str] = field(default_factory=set)
    """Values that a step before theirs has given."""
    block: dict[str, int] = field(default_factory=dict)
    """Which body an operation stands in, by its first result."""
    results: set[str] = field(default_factory=set)
    """Results of the function and of regions."""
    roles: dict[str, str] = field(default_factory=dict)
    """What a value is called by the function that it is passed to."""

    def __post_init__(self) -> None:
        self.types = self.function.types()
        self.producers = {}
        self.readers = {}
        self.results.update(value for _, value in self.function.outputs)
        bodies = [self.function.body, *(op.region.body for op in walk(self.function.body) if op.region)]
        for number, body in enumerate(bodies):
            for op in body:
                self._index(op, number)

    def _index(self, op: Op, block: int) -> None:
        for value in op.outputs:
            self.producers[value.name] = op
            self.block[value.name] = block
        for name in op.inputs:
            self.readers.setdefault(name, []).append(op)
        if op.region is not None:
            self.results.update(op.region.results)
            self._name(zip((arg.name for arg in op.region.args), op.inputs, strict=True))
        if op.callee:
            self.roles.update(
                (value, role) for role, value in self.operands(op).items() if role not in ("x", value)
            )

    def _name(self, roles: Iterable[tuple[str, str]]) -> None:
        """Note what values are called where they go; one that has two such names has none."""
        for role, value in roles:
            self.roles[value] = role if self.roles.get(value, role) == role else "x"

    def sketch(self) -> Sketch:
        roles = {value: role for value, role in self.roles.items() if role != "x"}
        results = [value for _, value in self.function.outputs]
        return Sketch(self.function, tuple(self.steps(self.function.body, results)), roles)

    def steps(self, body: Iterable[Op], results: Iterable[str]) -> Iterator[Step]:
        """The steps of a body; results that are numbers become arrays at its end."""
        for op in body:
            if self._is_given(op):
                continue
            if op.op == "require":
                yield Step(op, self._requirement(op))
                continue
            group = self.partition(self, op) if op.op == "slice" else None
            if group is not None:
                yield group
            elif not self._on_host(op):
                yield self.step(op)
        for name in dict.fromkeys(results):
            if name in self.host:
                value = Value(name, self.types[name])
                yield Step(Op("array", (), (value,)), self.array(name), (comment_of(value.type),))

    def _requirement(self, op: Op) -> Expr:
        """What must hold: a condition on sizes, or a call of the library's `require`."""
        (name,) = op.inputs
        if name in self.host:
            return self.value(name)
        message = str(op.attr("message") or "a requirement does not hold")
        return Call(Word("require"), (self.value(name), Text(message)))

    def _is_given(self, op: Op) -> bool:
        """Whether a step before this operation's has given its results."""
        return op.outputs != () and all(value.name in self.skip for value in op.outputs)

    def step(self, op: Op) -> Step:
        comments = tuple(comment_of(value.type) for value in op.outputs)
        if op.region is None:
            return Step(op, self.expression(op), comments, self.unnamed(op))
        inner = tuple(self.steps(op.region.body, op.region.results))
        carried = Seq(tuple(self.array(name) for name in op.inputs))
        return Step(op, carried, comments, inner=inner)

    def unnamed(self, op: Op) -> frozenset[str]:
        """The names of results that only say which operation or instance they come from."""
        own = {op.op, op.path.rpartition(".")[2], "y", "output", "table"}
        names = own.union(rows.COMPOSITES, rows.FUNCTIONS, rows.PLAIN)
        if op.callee:
            names.add(snake(self.program.functions[op.callee].source))
        return frozenset(names)

    def expression(self, op: Op) -> Expr:
        say = self.say.get(op.op)
        found = say(self, op) if say is not None else None
        if found is not None:
            return found
        if op.op in rows.ROWS:
            return self.row(rows.ROWS[op.op], op)
        if op.op in rows.COMPOSITES:
            return self.row(rows.COMPOSITES[op.op], op)
        if op.callee:
            return self.call(op)
        row = ops.row(op.op, "jax")
        if row is not None:
            return self.row(row, op)
        raise SpecError(
            [problems.UNSUPPORTED.at(op.span, backend="jax", op=op.op, reason="it has no row for it")]
        )

    # Operands

    def value(self, name: str) -> Expr:
        """A value as it is read; a host value as a number."""
        return self.host.get(name, Ref(name))

    def array(self, name: str) -> Expr:
        """A value that must be an array."""
        if name not in self.host:
            return Ref(name)
        return Call(Word("jnp.asarray"), (self.host[name], *self.dtype_argument(self.types[name].dtype)))

    def dtype(self, name: str) -> str:
        return self.precision if name == "float" else name

    def dtype_word(self, name: str) -> Word:
        return Word(rows.DTYPES[self.dtype(name)])

    def dtype_argument(self, name: str) -> tuple[Expr, ...]:
        """The dtype of a new array; JAX's own integers and booleans need none."""
        return () if self.dtype(name) in ("i64", "bool") else (self.dtype_word(name),)

    def operands(self, op: Op) -> dict[str, str]:
        """The operands that are there, by their names in the op's definition."""
        if op.callee:
            names = [value.name for value in self.program.functions[op.callee].inputs]
            return dict(zip(names, (name for name in op.inputs if name), strict=True))
        from dlc.ops import get

        names = [operand.name for operand in get(op.op).signature.operands]
        return {name: value for name, value in zip(names, op.inputs, strict=False) if value}

    def key(self) -> Key:
        self.keys += 1
        return Key(self.keys - 1)

    # Rows

    def row(self, row: str, op: Op) -> Expr:
        """A row filled with the op's operands and attributes."""
        slots = {name: self.attribute(op, name, value) for name, value in op.attrs}
        operands = self.operands(op)
        loose = any(name not in self.host for name in operands.values())
        for name, value in operands.items():
            slots[name] = self.value(value) if loose else self.array(value)
        if is_draw(op):
            slots["key"] = self.key()
        return without_defaults(template(row, slots))

    def attribute(self, op: Op, name: str, value: Attr) -> Expr:
        if name == "dtype":
            return self.dtype_word(str(value))
        if isinstance(value, bool) or value is None:
            return Word(repr(value))
        if isinstance(value, str):
            return Text(value)
        if name in ("axis", "axes") and op.inputs:
            return self.axes(value, self.types[op.inputs[0]].rank)
        if isinstance(value, tuple):
            return Seq(tuple(self.attribute(op, name, each) for each in value))
        return size(value, name) if isinstance(value, Dim) else number(value, name)

    def axes(self, value: Attr, rank: int) -> Expr:
        """Axes as a person counts them: the last one is -1, one axis is no tuple, all of them are None."""
        if isinstance(value, tuple):
            if len(value) == rank:
                return Word("None")
            axes = tuple(Num(each, "axis") for each in value if isinstance(each, int))
            return self.axes(value[0], rank) if len(axes) == 1 else Seq(axes)
        assert isinstance(value, int)
        return Num(-1 if value % max(rank, 1) == rank - 1 else value, "axis")

    # Calls

    def call(self, op: Op) -> Expr:
        """A call of another emitted function."""
        callee = self.callees[op.callee]
        same = _identity(self.program.functions[op.callee])
        if same is not None:
            return self.value(op.inputs[same])
        arguments: list[Expr] = [self.array(name) for name in op.inputs if name]
        if callee.traits.params:
            arguments.insert(0, Path(op.path))
        if callee.traits.key:
            arguments.append(self.key())
        arguments += (Keyword(name, number(value, name)) for name, value in callee.arguments)
        made = Make(callee.name, tuple(arguments))
        return Updating(made) if callee.traits.updates else made

    # What Python computes

    def _on_host(self, op: Op) -> bool:
        """Whether Python computes the operation: constants, sizes, and arithmetic on them."""
        value = self._host_value(op)
        if value is None:
            return False
        self.host[op.out.name] = value
        return True

    def _host_value(self, op: Op) -> Expr | None:
        if op.op == "const" and not op.out.type.rank:
            return constant(op.attr("value"), self.dtype(op.out.type.dtype))
        if op.op == "size":
            return size(_dim(op.attr("dim")))
        if op.op not in (*rows.HOST, "cast") or any(name not in self.host for name in op.inputs):
            return None
        slots = {name: self.host[value] for name, value in self.operands(op).items()}
        if op.op == "cast":
            return _converted(slots["x"], self.dtype(op.out.type.dtype))
        return template(rows.HOST[op.op], slots)


def _identity(function: Function) -> int | None:
    """Which input a function gives back unchanged, if that is all it does (dropout outside of training)."""
    names = [value.name for value in function.inputs]
    results = [value for _, value in function.outputs]
    return names.index(results[0]) if not function.body and len(results) == 1 else None


def number(value: Attr, role: str = "value") -> Expr:
    """A number's expression. Infinities and nan have names."""
    assert isinstance(value, int | float)
    if value != value:
        return Word("jnp.nan")
    if value in (float("inf"), float("-inf")):
        return Word("jnp.inf" if value > 0 else "-jnp.inf")
    return Num(value, role)


def constant(value: Attr, dtype: str) -> Expr:
    """A constant as Python writes it for an array of that dtype."""
    assert isinstance(value, int | float)
    if dtype == "bool":
        return Word(repr(bool(value)))
    return number(float(value) if dtype in FLOATS else int(value))


def _converted(value: Expr, dtype: str) -> Expr:
    if isinstance(value, Num):
        return constant(value.value, dtype)
    # An int stands for a float wherever one is asked for.
    return value if dtype in FLOATS else Call(Word("bool" if dtype == "bool" else "int"), (value,))


def _dim(value: Attr) -> Dim | int:
    assert isinstance(value, int | Dim)
    return value


def without_defaults(expr: Expr) -> Expr:
    """Keyword arguments that say what the function does anyhow are left out."""

    def change(node: Expr) -> Expr:
        if not isinstance(node, Call):
            return node
        return Call(node.function, tuple(arg for arg in node.args if not _is_default(arg)))

    return transform(expr, change)


def _is_default(node: Expr) -> bool:
    if not isinstance(node, Keyword):
        return False
    value = node.value
    return rows.DEFAULTS.get(node.name) == text(value)
