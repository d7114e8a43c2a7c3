"""Instantiations of one module that differ only in numbers, as one function with parameters.

The numbers that differ are looked for among the module's static parameters and simple terms of them; a number
that is none of these becomes a parameter of its own, named after its role:

    Block(d=64, heads=4):   x.reshape(B, T, 4, 16)
    Block(d=128, heads=4):  x.reshape(B, T, 4, 32)      ->      x.reshape(B, T, 4, d // 4)   with d

A number that is the same in all of them is taken for a static parameter where no other could be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from dlc.emit.body import Step, comment_of
from dlc.emit.names import identifier, unique
from dlc.emit.sizes import readable
from dlc.emit.tree import Binary, Expr, Num, Ref, Seq, Size, Word, transform, walk
from dlc.ir.nodes import Function
from dlc.types.dims import Dim

# Roles of numbers that are sizes of tensors.
SIZES = frozenset(("size", "shape", "stop"))
# Numbers below this are too common to stand for a static parameter that happens to have their value.
LEAST = 4
# What static parameters are called that hold the width of vectors, and the number of their heads.
WIDTHS = ("d", "dim", "d_model", "hidden", "width")
HEADS = ("heads", "n_heads", "num_heads")

Number = int | float
Vector = tuple[Number, ...]
"""One number's value in each member of a group."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """A function of the IR with its operations as steps. `roles` are names for values that the spec did
    not name: what they are called by the function that they are passed to."""

    function: Function
    steps: tuple[Step, ...]
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Functions that become one. `sketch` is the first of them, with the numbers that differ replaced;
    `parameters` are the names that these read, in the order of the module's static parameters, with their
    values by member."""

    members: tuple[str, ...]
    sketch: Sketch
    parameters: tuple[tuple[str, Vector], ...] = ()
    shapes: tuple[tuple[Expr, ...], tuple[Expr, ...]] = ((), ())
    """The inputs' and the outputs' shapes."""

    def arguments(self, member: str) -> tuple[tuple[str, Number], ...]:
        """What a call of `member` passes."""
        at = self.members.index(member)
        return tuple((name, vector[at]) for name, vector in self.parameters)


def group(sketches: Iterable[Sketch]) -> list[Group]:
    """The sketches as few groups as possible, in order of their first members."""
    classes: dict[object, list[Sketch]] = {}
    for sketch in sketches:
        classes.setdefault(_key(sketch), []).append(sketch)
    return [_merge(members) for members in classes.values()]


def _key(sketch: Sketch) -> object:
    """What the members of a group share: all but numbers and the names of values."""
    function = sketch.function
    names = {value.name: str(i) for i, value in enumerate(function.inputs)}
    sizes = {
        symbol: f"{each.input} {each.axis} {each.size == Dim.symbol(symbol) or each.size}"
        for symbol, each in readable(function).items()
    }
    steps = tuple(_mask(step, names, sizes) for step in sketch.steps)
    outputs = tuple((name, names.get(value, value)) for name, value in function.outputs)
    return (
        function.source,
        function.kind,
        function.entry,
        function.library,
        len(function.inputs),
        steps,
        outputs,
    )


def _mask(step: Step, names: dict[str, str], sizes: Mapping[str, str]) -> object:
    def mask(node: Expr) -> Expr:
        match node:
            case Num(value, role):
                return Num(type(value)(0), role)
            case Ref(value):
                return Ref(names.get(value, value))
            case Size(symbol):
                return Size(sizes.get(symbol, symbol))
        return node

    region = step.op.region
    for arg in region.args if region else ():
        names[arg.name] = str(len(names))
    inner = tuple(_mask(each, names, sizes) for each in step.inner)
    results = tuple(names.get(each, each) for each in region.results) if region else ()
    value = transform(step.value, mask)
    for target in step.targets:
        names[target.name] = str(len(names))
    # What a region's operation says of its turns is no expression: it can't become a parameter.
    return step.op.op, step.op.attrs if region else (), value, len(step.targets), inner, results


def _merge(members: list[Sketch]) -> Group:
    names = tuple(member.function.name for member in members)
    first = members[0].function
    terms = Terms(
        [member.function for member in members], believes=first.kind == "module" and not first.library
    )
    steps = tuple(
        _merged(parallel, terms) for parallel in zip(*(each.steps for each in members), strict=True)
    )
    steps = tuple(_commented(step, parallel, terms) for step, parallel in _parallel(steps, members))
    inputs = ([comment_of(value.type) for value in member.function.inputs] for member in members)
    outputs = (map(comment_of, member.function.output_types) for member in members)
    shapes = (
        tuple(_shape(each, terms) for each in zip(*inputs, strict=True)),
        tuple(_shape(each, terms) for each in zip(*outputs, strict=True)),
    )
    return Group(names, replace(members[0], steps=steps), terms.parameters(), shapes)


def _parallel(steps: Sequence[Step], members: list[Sketch]) -> Iterator[tuple[Step, tuple[Step, ...]]]:
    yield from zip(steps, zip(*(each.steps for each in members), strict=True), strict=True)


def _merged(steps: Sequence[Step], terms: Terms) -> Step:
    """The same step of every member as one."""
    numbers = [[node.value for node in walk(step.value) if isinstance(node, Num)] for step in steps]
    roles = [node.role for node in walk(steps[0].value) if isinstance(node, Num)]
    found = iter(
        [terms.find(vector, role) for vector, role in zip(zip(*numbers, strict=True), roles, strict=True)]
    )
    value = transform(steps[0].value, lambda node: next(found) if isinstance(node, Num) else node)
    inner = tuple(_merged(each, terms) for each in zip(*(step.inner for step in steps), strict=True))
    return replace(steps[0], value=value, inner=inner)


def _commented(step: Step, steps: Sequence[Step], terms: Terms) -> Step:
    """`step` with comments that hold for every member: axes that differ are named or left open."""
    comments = tuple(_comment(each, terms) for each in zip(*(other.comments for other in steps), strict=True))
    inner = tuple(
        _commented(mine, others, terms)
        for mine, others in zip(step.inner, zip(*(other.inner for other in steps), strict=True), strict=True)
    )
    return replace(step, comments=comments, inner=inner)


def _comment(comments: Sequence[Expr | None], terms: Terms) -> Expr | None:
    axes = [each.items for each in comments if isinstance(each, Seq)]
    if len(axes) != len(comments) or len(set(map(len, axes))) > 1:
        return None
    return Seq(tuple(_axis(sizes, terms) for sizes in zip(*axes, strict=True)), "[]")


def _shape(comments: Sequence[Expr | None], terms: Terms) -> Expr:
    """`[B, _, 64]`; `[...]` where members differ in the number of axes."""
    return _comment(comments, terms) or Word("[...]" if any(comments) else "[]")


def _axis(sizes: Sequence[Expr], terms: Terms) -> Expr:
    numbers = tuple(each.value for each in sizes if isinstance(each, Num))
    named = terms.named(numbers) if len(numbers) == len(sizes) else None
    if named is not None:
        return named
    return sizes[0] if all(each == sizes[0] for each in sizes) else Word("_")


@dataclass
class Terms:
    """Names for numbers of `functions`, which are one but for them. `used` are the static parameters that
    become parameters, `own` further ones."""

    functions: Sequence[Function]
    believes: bool = True
    """Whether a number that is the same everywhere may be taken for a static parameter."""
    used: set[str] = field(default_factory=set)
    own: dict[str, Vector] = field(default_factory=dict)
    statics: dict[str, Vector] = field(init=False)

    def __post_init__(self) -> None:
        columns = [dict(function.static) for function in self.functions]
        shared = [name for name in columns[0] if all(_is_number(column.get(name)) for column in columns)]
        self.statics = {name: tuple(column[name] for column in columns) for name in shared}  # type: ignore[misc]

    def find(self, vector: Vector, role: str) -> Expr:
        """An expression with these values, which may make a parameter of its own of them."""
        for names, expression in self._candidates(vector, role):
            self.used.update(names)
            return expression
        return Num(vector[0], role) if len(set(vector)) == 1 else self._new(vector, role)

    def named(self, vector: Vector) -> Expr | None:
        """An expression over static parameters, for a comment."""
        return next((expression for _, expression in self._candidates(vector, "size")), None)

    def parameters(self) -> tuple[tuple[str, Vector], ...]:
        """The parameters that are used, static ones in their own order first."""
        statics = ((identifier(name), vector) for name, vector in self.statics.items() if name in self.used)
        return (*statics, *self.own.items())

    def _candidates(self, vector: Vector, role: str) -> Iterator[tuple[tuple[str, ...], Expr]]:
        if len(set(vector)) == 1:
            yield from self._believed(vector, role)
            return
        varying = {name: values for name, values in self.statics.items() if len(set(values)) > 1}
        for name, values in varying.items():
            if values == vector:
                yield (name,), Word(identifier(name))
        for name, values in self.own.items():
            if values == vector:
                yield (), Word(name)
        for name, values in varying.items():
            if found := _scaled(Word(identifier(name)), values, vector):
                yield (name,), found

    def _believed(self, vector: Vector, role: str) -> Iterator[tuple[tuple[str, ...], Expr]]:
        """What a number stands for that is the same everywhere: a static parameter of its role, or the
        only one of its value, if that is no common one; the size of one of several heads."""
        value = vector[0]
        if not self.believes or not isinstance(value, int):
            return
        equal = [name for name, values in self.statics.items() if values == vector]
        if role in equal and value > 1:
            yield (role,), Word(identifier(role))
        elif role in SIZES and value not in self._elsewhere:
            if len(equal) == 1 and value >= LEAST:
                yield (equal[0],), Word(identifier(equal[0]))
            elif not equal and value >= LEAST:
                yield from self._terms(vector)

    def _terms(self, vector: Vector) -> Iterator[tuple[tuple[str, ...], Expr]]:
        """`d // heads`, `4 * d`."""
        value = int(vector[0])
        for wide in (name for name in WIDTHS if name in self.statics):
            for heads in (name for name in HEADS if name in self.statics):
                if all(d == value * n for d, n in zip(self.statics[wide], self.statics[heads], strict=True)):
                    yield (wide, heads), Binary("//", Word(identifier(wide)), Word(identifier(heads)))
        # A part of a width is no term of it: 64 is more often half a head than `d // 12`.
        for wide in (name for name in WIDTHS if name in self.statics and value > int(self.statics[name][0])):
            if found := _scaled(Word(identifier(wide)), self.statics[wide], vector):
                yield (wide,), found

    @cached_property
    def _elsewhere(self) -> frozenset[int]:
        """Numbers that may stand for something else: sizes of images, entries of lists."""
        images = (value.type.axes[2:] for value in self.functions[0].inputs if value.type.rank >= 4)
        sizes = {axis.constant for axes in images for axis in axes}
        lists = {each for _, value in self.functions[0].static if isinstance(value, tuple) for each in value}
        return frozenset(each for each in sizes | lists if isinstance(each, int))

    def _new(self, vector: Vector, role: str) -> Expr:
        taken = {identifier(name) for name in self.statics} | set(self.own)
        taken.update(value.name for value in self.functions[0].inputs)
        name = unique(identifier(role), taken)
        self.own[name] = vector
        return Word(name)


def _scaled(name: Expr, values: Vector, vector: Vector) -> Expr | None:
    """`k * name` or `name // k`."""
    if not all(isinstance(each, int) and each > 0 for each in (*values, *vector)):
        return None
    for a, b, operator in ((vector, values, "*"), (values, vector, "//")):
        factors = {x // y if x % y == 0 else 0 for x, y in zip(a, b, strict=True)}
        if len(factors) == 1 and (factor := int(factors.pop())) > 1:
            return Binary("*", Num(factor), name) if operator == "*" else Binary("//", name, Num(factor))
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
