"""Instantiations of one module that differ only in numbers, as one function with parameters.

The numbers that differ are looked for among the module's static parameters and simple terms of them; a number
that is none of these becomes a parameter of its own, named after its role:

    Block(d=64, heads=4):   x.reshape(B, T, 4, 16)
    Block(d=128, heads=4):  x.reshape(B, T, 4, 32)      ->      x.reshape(B, T, 4, d // 4)   with d

A number that is the same in all of them is taken for a static parameter where no other could be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dlc.emit.names import identifier, unique
from dlc.emit.sizes import readable
from dlc.emit.statements import Draft, outline, targets
from dlc.emit.tree import Arg, Binary, Expr, Num, Ref, Size, Word, transform
from dlc.ir.nodes import Function
from dlc.types.dims import Dim

# Roles of numbers that are sizes of tensors.
SIZES = frozenset(("size", "shape", "index"))
# Numbers below this are too common to stand for a static parameter that happens to have their value.
LEAST = 4
# What static parameters are called that hold the width of vectors, and the number of their heads.
WIDTHS = ("d", "dim", "d_model", "hidden", "width")
HEADS = ("heads", "n_heads", "num_heads")

Number = int | float
Vector = tuple[Number, ...]
"""One number's value in each member of a group."""


@dataclass(frozen=True, slots=True)
class Group:
    """Functions that become one. `draft` is the first of them, with the numbers that differ replaced;
    `parameters` are the names that it reads, in the order of the module's static parameters, with their
    values by member."""

    members: tuple[str, ...]
    draft: Draft
    parameters: tuple[tuple[str, Vector], ...] = ()

    def arguments(self, member: str) -> tuple[tuple[str, Number], ...]:
        """What a call of `member` passes."""
        at = self.members.index(member)
        return tuple((name, vector[at]) for name, vector in self.parameters)


def group(drafts: Iterable[Draft]) -> list[Group]:
    """The drafts as few groups as possible, in order of their first members."""
    classes: dict[object, list[Draft]] = {}
    for draft in drafts:
        classes.setdefault(_key(draft), []).append(draft)
    return [_merge(members) for members in classes.values()]


def _key(draft: Draft) -> object:
    """What the members of a group share: all but numbers and the names of values."""
    function = draft.function
    names = {target.name: f"#{i}" for i, target in enumerate((*draft.inputs, *targets(draft.body)))}
    sizes = {
        symbol: f"{each.input} {each.axis} {each.size == Dim.symbol(symbol) or each.size}"
        for symbol, each in readable(function).items()
    }

    def mask(node: Expr) -> Expr:
        match node:
            case Num(value, role):
                return Num(type(value)(0), role)
            case Ref(value):
                return Ref(names.get(value, value))
            case Size(symbol):
                return Size(sizes.get(symbol, symbol))
        return node

    exprs = tuple(transform(expr, mask) for expr in draft.expressions())
    inputs = tuple(each.dtype for each in draft.inputs)
    outputs = tuple(name for name, _ in function.outputs)
    about = function.source, function.kind, function.entry, function.library
    return about, inputs, outline(draft.body), exprs, outputs


def _merge(members: list[Draft]) -> Group:
    names = tuple(member.function.name for member in members)
    first = members[0].function
    terms = Terms(
        [member.function for member in members], believes=first.kind == "module" and not first.library
    )
    leaves = [[node for node in member.nodes() if isinstance(node, Num)] for member in members]
    columns = zip(*leaves, strict=True)
    found = iter([terms.find(tuple(each.value for each in column), column[0].role) for column in columns])
    draft = members[0].rewritten(
        lambda expr: transform(expr, lambda node: next(found) if isinstance(node, Num) else node)
    )
    values = zip(*(member.targets() for member in members), strict=True)
    draft = draft.reshaped(iter([_axes([value.axes for value in each], terms) for each in values]))
    used = {node.name for node in draft.nodes() if isinstance(node, Arg)}
    parameters = tuple(each for each in terms.parameters() if each[0] in used)
    return Group(names, draft, parameters)


def _axes(shapes: Sequence[tuple[Expr, ...]], terms: Terms) -> tuple[Expr, ...]:
    """`[B, _, 64]`; `[...]` where members differ in the number of axes."""
    if len(set(map(len, shapes))) > 1:
        return (Word("..."),)
    return tuple(_axis(sizes, terms) for sizes in zip(*shapes, strict=True))


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
                yield (name,), Arg(identifier(name))
        for name, values in self.own.items():
            if values == vector:
                yield (), Arg(name)
        for name, values in varying.items():
            if found := _scaled(Arg(identifier(name)), values, vector):
                yield (name,), found

    def _believed(self, vector: Vector, role: str) -> Iterator[tuple[tuple[str, ...], Expr]]:
        """What a number stands for that is the same everywhere: a static parameter of its role, or the
        only one of its value, if that is no common one; the size of one of several heads."""
        value = vector[0]
        if not self.believes or not isinstance(value, int):
            return
        equal = [name for name, values in self.statics.items() if values == vector]
        if role in equal and value > 1:
            yield (role,), Arg(identifier(role))
        elif role in SIZES and value not in self._elsewhere:
            if len(equal) == 1 and value >= LEAST:
                yield (equal[0],), Arg(identifier(equal[0]))
            elif not equal and value >= LEAST:
                yield from self._terms(vector)

    def _terms(self, vector: Vector) -> Iterator[tuple[tuple[str, ...], Expr]]:
        """`d // heads`, `4 * d`."""
        value = int(vector[0])
        for wide in (name for name in WIDTHS if name in self.statics):
            for heads in (name for name in HEADS if name in self.statics):
                if all(d == value * n for d, n in zip(self.statics[wide], self.statics[heads], strict=True)):
                    yield (wide, heads), Binary("//", Arg(identifier(wide)), Arg(identifier(heads)))
        # A part of a width is no term of it: 64 is more often half a head than `d // 12`.
        for wide in (name for name in WIDTHS if name in self.statics and value > int(self.statics[name][0])):
            if found := _scaled(Arg(identifier(wide)), self.statics[wide], vector):
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
        return Arg(name)


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
