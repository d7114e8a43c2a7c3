"""The functions of a program that are emitted, callees first: drafted, settled, each with the static parameters that it takes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from dlc.emit.arguments import Argument, arguments, given, reads, renamed
from dlc.emit.names import Told, snake
from dlc.emit.origins import OPEN, expression, numbered
from dlc.emit.requirements import words
from dlc.emit.settled import ForOneSetting
from dlc.emit.statements import Draft, outline
from dlc.emit.tree import Arg, Call, Expr, Keyword, Make, Ref, Size, Word, text, transform, without
from dlc.ir.nodes import Function, Op, Program, Value, callees_first
from dlc.ir.routing import ROUTED
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import names, said
from dlc_jax import rows
from dlc_jax.drafter import JaxDrafter, Traits
from dlc_jax.layers import DIALECT
from dlc_jax.places import Places
from dlc_jax.settling import Settling
from dlc_jax.traits import traits_of


@dataclass
class Unit:
    """One emitted function."""

    name: str
    draft: Draft
    traits: Traits
    doc: str = ""
    arguments: tuple[Argument, ...] = ()

    @property
    def function(self) -> Function:
        return self.draft.function


@dataclass
class Units:
    """The functions of one program. `by_name` finds them by the program's names, in the order of emission."""

    program: Program
    taken: frozenset[str] = frozenset()
    """Names that no function may have."""
    by_name: dict[str, Unit] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    documented: set[tuple[str, str]] = field(default_factory=set)
    hints: dict[str, str] = field(default_factory=dict)
    told: Told = field(default_factory=Told)
    alike: dict[object, Unit] = field(default_factory=dict)
    """Functions by what they do, whatever the sizes of their inputs are called."""

    def __post_init__(self) -> None:
        self.places = Places(self.program)
        self.traits: Mapping[str, Traits] = traits_of(self.program, self.places)

    def add(self, root: str, hint: str = "") -> Unit:
        """A function and what it calls; `hint` is a name for one that the spec has none for."""
        if hint:
            self.hints[root] = hint
        for name in callees_first((root,), self._called_new):
            if name not in self.by_name:
                self.by_name[name] = self._unit(name)
        return self.by_name[root]

    def _called_new(self, name: str) -> Iterator[str]:
        """What a function calls; nothing where it has been added."""
        if name not in self.by_name:
            yield from (node.function for node in self._draft(name).nodes() if isinstance(node, Make))

    def _draft(self, name: str) -> Draft:
        if name not in self.drafts:
            about = self.program, self.program.functions[name], DIALECT, "float", self.needs
            self.drafts[name] = JaxDrafter(*about, traits=self.traits).draft()
        return self.drafts[name]

    def needs(self, name: str) -> frozenset[str]:
        return self._draft(name).needs

    def _unit(self, name: str) -> Unit:
        draft, traits = self._draft(name), self.traits[name]
        function = draft.function
        if str(OPEN) in draft.needs:  # a size of a turn that nothing tells
            raise ForOneSetting("sizes that differ by the turn")
        main = name == self.program.entry
        called = frozenset(
            self.by_name[each.function].name for each in draft.nodes() if isinstance(each, Make)
        )
        draft = Settling(function, self.places, traits, called, self._call).run(draft)
        draft = replace(draft, function=readable_sizes(function))
        read = frozenset(draft.function.dims) - frozenset(function.dims)
        draft = draft.rewritten(partial(self._called, words(function), read))
        found = self._arguments(draft, main)
        names = {each.spec: each.name for each in found}
        draft = draft.rewritten(partial(finished, names))
        if main:
            return Unit("apply", draft, traits, self._doc(function), found)
        base = self._base(function, self.hints.get(name, ""))
        key = base, _alike(draft, traits, found)
        reads_sizes = draft.needs or any(isinstance(node, Size) for node in draft.nodes())
        of_any_shape = base, _alike(draft, traits, found, shapes=False)
        if not reads_sizes and of_any_shape in self.alike:
            known = self.alike[of_any_shape]
            known.draft = _of_both_shapes(known.draft, draft)
            return known
        if key not in self.alike or draft.needs:
            has = [value.name for value in function.inputs] + sorted(called)
            has += ["parameters"] if traits.params else []
            if function.library and not traits.params and base in self.taken:  # a layer is called so
                base = f"plain_{base}"
            self.alike[key] = Unit(self._fresh(base, has), draft, traits, self._doc(function), found)
        if not reads_sizes:
            self.alike[of_any_shape] = self.alike[key]
        return self.alike[key]

    def _arguments(self, draft: Draft, main: bool) -> tuple[Argument, ...]:
        """The static parameters that it takes; none has the name of a function that it calls. (The model's are the config's.)"""
        called = {
            each.function.text
            for each in draft.nodes()
            if isinstance(each, Call) and isinstance(each.function, Word) and not main
        }
        own = False if main else None  # (the model's entry has those of its own list in `Written`)
        found = arguments(draft.function, reads(draft.expressions()), RESERVED | called, own=own)
        return tuple(replace(_must_be_given(each), name=TELLING.get(each.name, each.name)) for each in found)

    def _called(self, own: frozenset[str], read: frozenset[str], expr: Expr) -> Expr:
        """An expression of a function with these words of its own: numbers as these say them, calls with the static arguments
        that they give. Words in `read` are sizes of the inputs."""

        def change(node: Expr) -> Expr:
            return self._call(node) if isinstance(node, Make) else node

        def sized(node: Expr) -> Expr:
            return Size(node.name) if isinstance(node, Arg) and node.name in read else node

        return transform(numbered(transform(expr, change), own), sized)

    def _call(self, made: Make) -> Expr:
        callee = self.by_name[made.function]
        more: list[Expr] = []
        for argument in callee.arguments:
            value = _computed(argument, callee.function, made.op) or given(argument, callee.function, made.op)
            if value is not None:
                more.append(Keyword(argument.name, value, argument.default))
        if callee.traits.training:
            more.append(Keyword("training", Word("training")))
        named = [arg for arg in made.args if isinstance(arg, Keyword)]
        key = [arg for arg in named if arg.name == "key"]
        args = [arg for arg in made.args if not isinstance(arg, Keyword)]
        return Call(Word(callee.name), (*args, *(arg for arg in named if arg not in key), *more, *key))

    def _base(self, function: Function, hint: str) -> str:
        name = hint or snake(function.source.strip("_"))
        name = f"{name}_{function.entry}" if function.entry else name
        return ALIASES.get(name, name) if function.library else name

    def _fresh(self, name: str, has: Sequence[str]) -> str:
        taken = {*self.taken, *RESERVED, *(each.name for each in self.by_name.values())}
        return self.told.name(name, has, taken)

    def _doc(self, function: Function) -> str:
        """The spec's documentation; its first sentence where it is the library's, or has been given before. How rows come to their
        experts is told in full: no reader knows that by its name."""
        known = function.library and function.source != ROUTED
        first = (function.source, function.doc) not in self.documented and not known
        self.documented.add((function.source, function.doc))
        return function.doc if first else _SENTENCE.split(" ".join(function.doc.split()), maxsplit=1)[0]


def _must_be_given(argument: Argument) -> Argument:
    """A default that is computed is computed where the function is called: what it is computed from need not be known inside."""
    return argument if argument.computed is None else Argument(argument.spec, argument.name, argument.type)


def _computed(argument: Argument, function: Function, op: Op | None) -> Expr | None:
    """A default that is computed from other static parameters, at a call that leaves it out; None for any other argument."""
    defaults = {each.name: each.default for each in function.settings}
    default = defaults.get(argument.spec)
    if op is None or default is None or not names(default) or argument.spec in dict(op.given):
        return None

    def here(node: Expr) -> Expr:
        if not isinstance(node, Arg):
            return node
        other = Argument(node.name, node.name, "int")
        return _computed(other, function, op) or given(other, function, op) or node

    return transform(expression(default), here)


def _of_both_shapes(one: Draft, other: Draft) -> Draft:
    """A function that is called with values of several shapes: `[..., d]` says what these have in common."""
    pairs = zip(one.targets(), other.targets(), strict=True)
    return one.reshaped(_common_axes(a.axes, b.axes) for a, b in pairs)


def _common_axes(one: Sequence[Expr], other: Sequence[Expr]) -> tuple[Expr, ...]:
    if list(map(text, one)) == list(map(text, other)):
        return tuple(one)
    last = _alike_axes(one[::-1], other[::-1])
    shortest = min(len(one), len(other)) - len(last)
    return (*_alike_axes(one[:shortest], other[:shortest]), Word(ANY), *last[::-1])


def _alike_axes(one: Sequence[Expr], other: Sequence[Expr]) -> list[Expr]:
    """The axes that both begin with."""
    pairs = itertools.takewhile(
        lambda pair: text(pair[0]) == text(pair[1]) != ANY, zip(one, other, strict=False)
    )
    return [axis for axis, _ in pairs]


ANY = "..."


def _alike(draft: Draft, traits: Traits, found: Sequence[Argument], *, shapes: bool = True) -> object:
    """What makes two functions one, but for the names of sizes and values; of a function that reads no size, whatever the `shapes`."""
    names: dict[str, str] = {}

    def plain(node: Expr) -> Expr:
        match node:
            case Ref(name) | Size(name):
                return Word(names.setdefault(f"{type(node).__name__} {name}", f"n{len(names)}"))
        return node

    def axis(expr: Expr) -> str:
        return text(transform(expr, plain))

    inputs = [(each.dtype, tuple(map(axis, each.axes)) if shapes else ()) for each in draft.inputs]
    for i, each in enumerate(draft.targets()):
        names.setdefault(f"Ref {each.name}", f"value {i}")
    exprs = [text(transform(expr, plain)) for expr in draft.expressions()]
    return (
        shapes, draft.function.source, draft.function.optional, tuple(inputs), tuple(exprs), outline(draft.body), traits, tuple(found),
        tuple(each.dtype for each in draft.targets()), draft.needs,
    )  # fmt: skip


_SENTENCE = re.compile(r"(?<=[a-z0-9)][.]) ")

# Names of the library that modules of a spec like to have.
ALIASES = {"attention": "dot_product_attention"}

# Arguments that would hide a function.
TELLING = {"dropout_": "dropout_rate"}

# What emitted functions call their arguments besides the spec's.
RESERVED = rows.RESERVED | {"params", "state", "config", "training", "key", "dtype"}


def finished(names: Mapping[str, str], expr: Expr) -> Expr:
    """The expression with arguments by their names, and without those that are the default."""
    return without(renamed(names, expr), is_default)


def is_default(node: Keyword) -> bool:
    """Whether a keyword argument says what is so anyhow."""
    return node.default is not None and text(node.value) == text(node.default)


def readable_sizes(function: Function) -> Function:
    """The function with sizes that nobody writes (`x: [B, C, H, W]`) as what they are: read from the input."""
    known = {name for name, _ in function.sizes}
    symbols = {
        said(axis): Dim.symbol(name)
        for value in function.inputs
        if value.name not in function.optional
        for axis in value.type.axes
        if axis.constant is not None
        for name in known
        if said(axis) == Dim.symbol(name)
    }
    if not symbols:
        return function
    inputs = tuple(
        Value(
            value.name,
            TensorType(value.type.dtype, tuple(symbols.get(said(axis), axis) for axis in value.type.axes)),
        )
        for value in function.inputs
    )
    return replace(function, inputs=inputs)
