"""What an emitted class or function takes besides tensors: the static parameters of the module that it says.

A module's parameters come in the spec's order, with the spec's defaults. A default that is computed from other parameters
is `None` in the signature and computed where nothing is given (`mlp: int | None = None`, then `4 * d`). A size that the
spec only names in the type of an input (`x: [B, C, H, W]`) stands in front."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from dlc.emit.names import identifier
from dlc.emit.origins import expression, owned, said, size
from dlc.emit.tree import Arg, Expr, Keyword, Seq, Text, Word, text, transform, walk
from dlc.ir.nodes import Attr, Function, Op, Program
from dlc.ir.splice import callees, within
from dlc.once import once
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.terms import evaluate, names
from dlc.types.traced import Term, TracedFloat, TracedInt


class Symbol(str):
    """A name of the source as a static value: a function, which a static parameter is."""


@dataclass(frozen=True, slots=True)
class Functions:
    """What static parameters that are functions are in the source: their type there, and what the library's functions are called."""

    type: str
    names: Mapping[str, str]


NO_NAMES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Argument:
    """`name` in the spec and in the source. `default` is None for what must be given; `computed` is what `None` stands
    for."""

    spec: str
    name: str
    type: str
    default: Expr | None = None
    computed: Expr | None = None
    literal: Attr = None
    """The default's value, where it is a plain one."""
    nullable: bool = False
    """Whether the spec leaves it out: `scale: float = none`."""

    def signature(self, defaults: bool = True) -> str:
        kind = f"{self.type} | None" if self.is_optional and not self.type.endswith("None") else self.type
        if self.default is None:
            return f"{self.name}: {kind}"
        return f"{self.name}: {kind} = {text(self.default) if defaults else '...'}"

    @property
    def is_optional(self) -> bool:
        return self.nullable or self.computed is not None or self.default == Word("None")


def argument_name(spec: str, reserved: Container[str]) -> str:
    name = identifier(spec)
    return f"{name}_" if name in reserved else name


def arguments(
    function: Function,
    used: Iterable[str] | None,
    reserved: Container[str],
    *,
    main: bool = False,
    defaults: bool = True,
    own: bool | None = None,
) -> tuple[Argument, ...]:
    """The arguments of what a function becomes, of which `used` are read; where that is not known yet, all of a model's. A model's
    defaults are its settings, or without `defaults` the spec's where they are computed, so that the same comes out at all settings.
    What nothing reads would be taken and ignored, so that it is no argument. Names that are `reserved` stand for
    something else in the source. Those of an entry's `own` list are given alone (True), left out (False), or stand with the others."""
    read = set() if own else with_defaults(function, set(used or ()))
    found = [
        Argument(name, argument_name(name, reserved), "int") for name, _ in function.sizes if name in read
    ]
    static = dict(function.static)
    for setting in function.settings:
        if own is not None and setting.is_own is not own:
            continue
        if setting.name not in read and not (main and used is None) and not own:
            continue
        value = static.get(setting.name)
        one_for_all = setting.type in _SIZES and type(value) is int
        kind = "int" if one_for_all else python_type(setting.type)
        if kind is None:
            continue
        default = _main_default(setting.default, value, static, defaults) if main else setting.default
        made = _argument(setting.name, argument_name(setting.name, reserved), kind, default)
        found.append(replace(made, nullable=setting.default == _NONE))
    required = [each for each in found if each.default is None]
    return (*required, *(each for each in found if each.default is not None))


def with_defaults(function: Function, read: set[str]) -> set[str]:
    """What is read, and what the defaults of that speak of."""
    for setting in reversed(function.settings):
        if setting.name in read and setting.default is not None:
            read |= set(names(setting.default))
    return read


_NONE = Term("const", (None,))
# What the library takes as a number for all axes, or as one for each.
_SIZES = ("sizes", "any")


def _main_default(
    default: Term | None, value: Attr, static: Mapping[str, Attr], defaults: bool = True
) -> Term:
    """The setting; as the spec's expression where that has this value, or where values do not matter."""
    if default is not None and default.op not in ("const", "list", "tuple") and names(default):
        if not defaults:
            return default
        try:
            if evaluate(default, static) == value:
                return default
        except (ArithmeticError, KeyError, TypeError, ValueError):
            pass
    return _plain(value)


def _plain(value: Attr) -> Term:
    if isinstance(value, tuple):
        return Term("tuple", tuple(_plain(each) for each in value))
    if isinstance(value, Symbol):
        return Term("word", (str(value),))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Term("const", (float(value) if isinstance(value, float) else int(value),))
    return Term("const", (value,))


def _argument(name: str, said_as: str, kind: str, default: Term | None) -> Argument:
    if default is None:
        return Argument(name, said_as, kind)
    if names(default):
        return Argument(name, said_as, kind, Word("None"), expression(default))
    if default.op == "list":
        default = Term("tuple", default.args)
    return Argument(name, said_as, kind, expression(default), literal=_value(default))


def _value(default: Term) -> Any:
    try:
        return evaluate(default, {})
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return None


def python_type(text: str) -> str | None:
    """A static type in Python; None for what no number or word stands for."""
    kind, bracket, rest = text.partition("[")
    if kind == "Callable":
        return text
    if bracket:
        inner = [python_type(each) for each in _parts(rest[:-1])]
        if None in inner:
            return None
        return f"tuple[{', '.join(map(str, inner))}{', ...' if kind == 'list' else ''}]"
    return text if text in ("int", "float", "bool", "str") else "int" if text == "dim" else None


def _parts(text: str) -> Iterator[str]:
    """The types in a list of types: `tuple[int, str], int` are two."""
    depth, start = 0, 0
    for i, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip()


def sayable(function: Function, program: Program, functions: Functions | None = None) -> Function:
    """The function with those of its static parameters that can be arguments. A module is none, nor a function that the source has no
    name for: what comes of it is a plain number, and what is decided on it parts two functions."""
    if functions is None:
        return _sayable(function)
    called = (program.functions[name] for name in callees(function) if name in program.functions)
    taking = (each for each in called if any(setting.type == "fn" for setting in each.settings))
    return _sayable(_with_symbols(function, functions, *taking))


@once
def _sayable(function: Function) -> Function:
    kept = tuple(
        each for each in function.settings if each.type in _SIZES or python_type(each.type) is not None
    )
    if len(kept) == len(function.settings):
        return function
    lost = {each.name for each in function.settings} - {each.name for each in kept}
    plain = owned(replace(function, settings=kept))
    return replace(
        plain,
        decisions=tuple(each for each in plain.decisions if not names(each.condition) & lost),
        requires=tuple(each for each in plain.requires if not names(each) & lost),
    )


@once
def _with_symbols(function: Function, functions: Functions, *taking: Function) -> Function:
    """The function with the names of the source for functions that its static parameters are, or that it passes on to those that
    are `taking` some."""
    own = {each.name for each in function.settings if each.type == "fn"}
    if not own and not taking:
        return function
    passed = {
        each.name: {setting.name for setting in each.settings if setting.type == "fn"} for each in taking
    }

    def symbol(value: Any) -> Any:
        return Symbol(functions.names[value]) if value in functions.names else value

    def word(told: Term) -> Term:
        known = told.op == "name" and told.args[0] in functions.names
        return Term("word", (functions.names[told.args[0]],)) if known else told

    def op(each: Op) -> Op:
        names = passed.get(each.callee, ())
        given = tuple((name, word(told) if name in names else told) for name, told in each.given)
        attrs = tuple((name, symbol(value) if name in names else value) for name, value in each.attrs)
        return within(replace(each, given=given, attrs=attrs), op)

    static = tuple((name, symbol(value) if name in own else value) for name, value in function.static)
    held = {name for name, value in static if isinstance(value, Symbol)}
    settings = tuple(
        replace(each, type=functions.type, default=_known(each.default and word(each.default)))
        if each.name in held
        else each
        for each in function.settings
    )
    return replace(function, static=static, settings=settings, body=tuple(map(op, function.body)))


def _known(default: Term | None) -> Term | None:
    """A default that is a function; None for one that the source has no name for."""
    return None if default is None or default.op == "name" else default


def given(argument: Argument, function: Function, op: Op | None) -> Expr | None:
    """What a call gives for an argument; None where that is the default."""
    if op is None:
        return _unwritten(argument, dict(function.static).get(argument.spec))
    sizes = dict(op.known)
    if argument.spec in sizes:
        return size(sizes[argument.spec])
    if argument.spec in dict(op.dims):
        return size(dict(op.dims)[argument.spec])
    value = dict(op.attrs).get(argument.spec)
    term = dict(op.given).get(argument.spec)
    if term is not None and not term.holds("turn") and not _is_default(argument, term):
        found = expression(term)  # (lists are tuples in Python: what is made of them is hashed)
        return replace(found, brackets="()") if isinstance(found, Seq) else found
    if term is None and isinstance(value, TracedInt | TracedFloat) and names(value):
        return literal(value)  # a static parameter, be it the default here
    if term is None or term.holds("turn"):
        return _unwritten(argument, value)
    return None


def passed(arguments: Iterable[Argument], function: Function, op: Op | None) -> Iterator[Keyword]:
    """What a call gives, where that is not the default."""
    for argument in arguments:
        value = given(argument, function, op)
        if value is not None:
            yield Keyword(argument.name, value, argument.default)


def _is_default(argument: Argument, term: Term) -> bool:
    return term.op == "const" and argument.default is not None and expression(term) == argument.default


def _unwritten(argument: Argument, value: Attr) -> Expr | None:
    """A value that the spec does not write at the call: its default, as a rule."""
    if argument.computed is not None or (argument.default is not None and value == argument.literal):
        return None
    return literal(value)


def literal(value: Any) -> Expr:
    match value:
        case bool() | None:
            return Word(repr(value))
        case Symbol():
            return Word(str(value))
        case str():
            return Text(value)
        case tuple() | list():
            return Seq(tuple(map(literal, value)))
        case Dim():
            return size(value)
    return said(value)


def renamed(names: Mapping[str, str], expr: Expr) -> Expr:
    """The expression with arguments by other names."""
    return transform(
        expr, lambda node: Arg(names.get(node.name, node.name)) if isinstance(node, Arg) else node
    )


def by_name(expr: Expr, names: Mapping[str, str] = NO_NAMES, owner: str = "") -> Expr:
    """The expression with arguments as names: what stands in `names` for them, behind `owner`."""
    return transform(
        expr,
        lambda node: Word(owner + names.get(node.name, node.name)) if isinstance(node, Arg) else node,
    )


def reads(exprs: Iterable[Expr]) -> Iterator[str]:
    """The static arguments that expressions read."""
    return (node.name for expr in exprs for node in walk(expr) if isinstance(node, Arg))
