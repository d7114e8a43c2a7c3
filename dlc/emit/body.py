"""A function's operations as statements: what is nested where it is used, what gets a name of its own.

A value that the spec named keeps its name and its statement; one that it did not name stands where it is
used, as long as the line stays short and calls do not nest deeply. Names are taken again when the value that
they held is not read any more, so `x = x + attention(x)` comes out as it was written.

A backend first says every operation as a `Step`, an expression over `Ref`s to other values. `Writer` then
decides which steps become statements. For steps that are more than an assignment (`loop`, `update`)
`special` gives a method of the backend.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import Variables, base
from dlc.emit.tree import (
    Call,
    Expr,
    Make,
    Num,
    Path,
    Ref,
    Seq,
    Size,
    Text,
    Word,
    children,
    refs,
    size,
    text,
    transform,
    walk,
)
from dlc.ir.nodes import Op, Region, Value
from dlc.types.tensor import TensorType

MAX_DEPTH = 3  # calls within calls
MAX_WIDTH = 88  # of a line with nested values; one that can't be shorter may use the whole width
ATOMS = (Word, Path, Num, Text, Size)  # as cheap to write twice as a variable


@dataclass(frozen=True, slots=True)
class Step:
    """An operation as an expression. `comments` are its results' shapes as the source shows them;
    `unnamed` are the names that results have where the spec gives them none. A `loop` has its region's
    steps in `inner` and reads in `value` what it carries at first."""

    op: Op
    value: Expr
    comments: tuple[Expr | None, ...] = ()
    unnamed: frozenset[str] = frozenset()
    inner: tuple[Step, ...] = ()

    @property
    def targets(self) -> tuple[Value, ...]:
        return self.op.outputs

    @property
    def region(self) -> Region:
        assert self.op.region is not None
        return self.op.region

    def reads(self) -> list[str]:
        """The values that this step reads, as often as its source does; those that a region captures
        included."""
        return [*refs(self.value), *self.captured()]

    def captured(self) -> list[str]:
        """The values of the enclosing function that the region's steps read, each once."""
        if self.op.region is None:
            return []
        own = {arg.name for arg in self.region.args}
        read: dict[str, None] = {}
        for step in self.inner:
            own.update(value.name for value in step.targets)
            read.update((name, None) for name in step.reads())
        read.update((name, None) for name in self.region.results)
        return [name for name in read if name not in own]


@dataclass(frozen=True, slots=True)
class Uses:
    """Which steps matter for the results, and how often each value is read. `inner` values are read by a
    region: they are not nested into it, where they would be computed at every turn."""

    live: frozenset[int]
    reads: Mapping[str, int]
    inner: frozenset[str]
    readers: Mapping[str, Step]

    @staticmethod
    def of(
        steps: Sequence[Step], results: Iterable[str], is_pure: Callable[[Step], bool] = lambda step: True
    ) -> Uses:
        live: set[int] = set()
        reads: Counter[str] = Counter(results)
        inner: set[str] = set()
        readers: dict[str, Step] = {}
        for step in reversed(steps):
            if is_pure(step) and not any(reads[value.name] for value in step.targets):
                continue
            live.add(id(step))
            inner.update(step.captured())
            read = step.reads()
            reads.update(read)
            readers.update((name, step) for name in read)
        return Uses(frozenset(live), reads, frozenset(inner), readers)


Special = Callable[["Writer", Step], None]


@dataclass
class Writer:
    """Writes the statements of one Python function. `lines` is what has been written; `finish` is applied
    to every expression before it becomes text (paths, sizes and calls become what the backend writes for
    them)."""

    uses: Uses
    values: frozenset[str]
    """Names of all values of the function: `x_2` is only `x` again if there is an `x`."""
    special: Callable[[Step], Special | None]
    finish: Callable[[Expr], Expr]
    indent: int = 1
    lone_result: bool = False
    """Whether the only result stands alone behind `return`, where a long expression may take several lines."""
    roles: Mapping[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    variables: Variables = field(init=False)
    pending: dict[str, tuple[Step, Expr]] = field(default_factory=dict)
    atoms: set[str] = field(default_factory=set)
    shapes: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = Variables(dict(self.uses.reads))

    def argument(self, value: Value, comment: str = "") -> str:
        """A variable that holds an input."""
        name = self.variables.hold(value.name, (self.hint(value.name),))
        self.shapes[name] = comment
        self.dtypes[name] = value.type.dtype
        return name

    def hint(self, value: str) -> str:
        return base(value, self.values)

    def write(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if id(step) not in self.uses.live:
                continue
            special = self.special(step)
            if special is not None:
                special(self, step)
            elif self._nests(step, value := self.value(step)):
                self.pending[step.targets[0].name] = (step, value)
            else:
                self.assign(step, value)

    def value(self, step: Step) -> Expr:
        """The step's expression. Nested values that make it too long or too deep become statements first."""
        return self.settled(step.value, room=len(self._longest_target(step)) + 3)

    def settled(self, value: Expr, room: int) -> Expr:
        """`value` over variables and nested values, which become statements where it would be too long or
        deep."""
        while True:
            result = self.finish(transform(value, self._operand))
            found = dict.fromkeys(refs(value))
            nested = [name for name in found if name in self.pending and not self._is_atom(name)]
            if not nested or (self.fits(result, room) and depth(result) <= MAX_DEPTH):
                return result
            # Of many alike (the branches of a concatenation), none stays.
            for name in nested if len(nested) > 2 else [max(nested, key=self._weight)]:
                self.settle(name)

    def settle(self, name: str) -> None:
        """Make a nested value a statement."""
        step, value = self.pending.pop(name)
        self.assign(step, value)

    def assign(self, step: Step, value: Expr) -> None:
        """`name = expression`, with a shape comment where the shape is not that of what the name held
        before."""
        self.release(step)
        names = [self.target(step, target, value) for target in step.targets]
        self.line(f"{', '.join(names)} = {text(value)}", self.comment(step, names))

    def line(self, statement: str, comment: str = "") -> None:
        self.lines += layout(statement, self.indent, comment=comment)

    def results(self, values: Sequence[str], room: int = 0) -> list[Expr]:
        """The expressions of a function's results, short enough for one `return`."""
        while True:
            found = [self.finish(self._operand(Ref(name))) for name in values]
            nested = [name for name in values if name in self.pending and not self._is_atom(name)]
            length = (
                len(INDENT) * self.indent + len("return ") + sum(len(text(each)) + 2 for each in found) + room
            )
            if not nested or length <= WIDTH or (len(values) == 1 and not room):
                return found
            self.settle(max(nested, key=self._weight))

    def release(self, step: Step) -> None:
        """Count the reads that a statement of `step` makes, those of nested values included."""
        stack = [step]
        while stack:
            for name in stack.pop().reads():
                self.variables.read(name)
                if name in self.pending and not self._is_atom(name):
                    stack.append(self.pending.pop(name)[0])

    def target(self, step: Step, value: Value, source: Expr | None = None) -> str:
        """The variable that takes a result, computed by `source`."""
        if not self.uses.reads.get(value.name):
            return "_"
        hints = [self.hint(value.name)]
        if hints[0] in step.unnamed:
            hints = [*self._said(value.name), *self._passed_on(step, source), *self._goal(value.name)]
            hints += () if value.name in self.roles else ("y", "z", "w")
        name = self.variables.hold(value.name, hints)
        self.dtypes[name] = value.type.dtype
        return name

    def comment(self, step: Step, names: Sequence[str]) -> str:
        """The shapes of results, where a name's shape is new."""
        texts = [text(each) if each is not None else "" for each in step.comments]
        shown = [(name, shape) for name, shape in zip(names, texts, strict=False) if name != "_"]
        new = any(self.shapes.get(name) != shape for name, shape in shown)
        self.shapes.update(shown)
        shapes = [shape for _, shape in shown]
        vague = any(shape.count("_,") + shape.count("_]") > 1 for shape in shapes)
        return (
            ", ".join(shapes[:1] if len(set(shapes)) == 1 else shapes)
            if new and all(shapes) and not vague
            else ""
        )

    def fits(self, value: Expr, room: int) -> bool:
        return len(INDENT) * self.indent + len(text(value)) + room <= MAX_WIDTH

    def _operand(self, node: Expr) -> Expr:
        """How a value is read: by its variable, or as the expression that it is."""
        if not isinstance(node, Ref):
            return node
        return (
            self.pending[node.value][1]
            if node.value in self.pending
            else Word(self.variables.names[node.value])
        )

    def _nests(self, step: Step, value: Expr) -> bool:
        if len(step.targets) != 1:
            return False
        name = step.targets[0].name
        if isinstance(step.value, ATOMS):
            self.atoms.add(name)
            return True
        if self.uses.reads[name] != 1 or name in self.uses.inner:
            return False
        if name not in self.uses.readers:
            return self.lone_result or self.fits(value, 0)
        return self.hint(name) in step.unnamed and self.fits(value, 0)

    def _is_atom(self, name: str) -> bool:
        return name in self.atoms

    def _weight(self, name: str) -> tuple[int, int]:
        value = self.pending[name][1]
        return depth(value), len(text(value))

    def _longest_target(self, step: Step) -> str:
        return ", ".join(self.hint(value.name) for value in step.targets)

    def _passed_on(self, step: Step, source: Expr | None) -> list[str]:
        """What is computed from one variable alone takes its name, if that has been read for the last
        time."""
        read = {node.text for node in walk(source) if isinstance(node, Word)}
        held = [name for name in read if self.variables.holders.get(name)]
        alike = len(held) == len(step.targets) == 1 and self.dtypes.get(held[0]) == step.targets[0].type.dtype
        return held if alike else []

    def _said(self, value: str) -> list[str]:
        """What a value is called where it goes: by the function that takes it, or by its parts."""
        if value in self.roles:
            return [self.hint(self.roles[value])]
        while (reader := self.uses.readers.get(value)) is not None and len(reader.targets) == 1:
            value = reader.targets[0].name
            if self.hint(value) not in reader.unnamed:
                return []
        if reader is None or not reader.targets:
            return []
        names = [self.roles.get(each.name, self.hint(each.name)) for each in reader.targets]
        return ["".join(names) if all(len(name) == 1 for name in names) else "parts"]

    def _goal(self, value: str) -> list[str]:
        """The name that the spec gives to what a value goes into."""
        while (reader := self.uses.readers.get(value)) is not None and len(reader.targets) == 1:
            value = reader.targets[0].name
            if self.hint(value) not in reader.unnamed:
                return [self.hint(value)]
        return []


def depth(value: Expr) -> int:
    """How deep calls nest."""
    deepest = 0
    stack: list[tuple[Expr, int]] = [(value, 0)]
    while stack:
        node, level = stack.pop()
        inner = level + isinstance(node, Call | Make)
        deepest = max(deepest, inner)
        stack += ((child, inner) for child in children(node))
    return deepest


def comment_of(type: TensorType) -> Expr | None:
    """`[B, T, 64]`: what a comment says of a value. Its numbers are soft: never worth a parameter of their
    own. None for scalars."""
    if not type.rank:
        return None
    axes = (transform(size(axis), _soft) for axis in type.axes)
    return Seq(tuple(axes), "[]")


def _soft(node: Expr) -> Expr:
    return Num(node.value, node.role, True) if isinstance(node, Num) else node
