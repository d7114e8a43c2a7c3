"""Expressions of the emitted source as trees, so that two instantiations of a module can be compared number
by number.

Leaves that are settled later: `Ref` (a value of the IR; which variable holds it is decided per class), `Path`
(a parameter or instance; how it is reached depends on the class's containers), `Size` (a dim; read from a
shape), `Num` (a number, which may become a constructor's argument) and `Make` (an instance or call of another
emitted function).

    template("{a} + {b}", {"a": Ref("x"), "b": Num(2.0)})  ->  Binary("+", Ref("x"), Num(2.0))
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter, is_not
from typing import Any, ClassVar

from dlc.emit.names import TURN
from dlc.emit.python import number, quoted
from dlc.ir.nodes import Function, Op
from dlc.records import dataclass, fields
from dlc.types.traced import Helper


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression of Python."""


@dataclass(frozen=True, slots=True)
class Word(Expr):
    """A name, dotted name or literal that stands as it is."""

    text: str


class Each(Word):
    """The variable of a loop over static values, or of a comprehension: a name like any other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Word) and self.text == other.text

    __hash__ = Word.__hash__


@dataclass(frozen=True, slots=True)
class Text(Expr):
    """A string literal."""

    value: str


@dataclass(frozen=True, slots=True)
class Formatted(Expr):
    """An f-string, of texts and of what stands in braces."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Num(Expr):
    """A number that may differ between instances of a module. `role` says what it is (`out_features`);
    `soft` ones, in comments, never become an argument of their own."""

    value: int | float
    role: str = "value"
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Ref(Expr):
    """The value of that name in the function's IR."""

    value: str


@dataclass(frozen=True, slots=True)
class Path(Expr):
    """The parameter, buffer or instance at a path relative to the class; `{i}` is the turn of the loop
    around it. `tensor` is true for parameters and buffers."""

    path: str
    tensor: bool = False


@dataclass(frozen=True, slots=True)
class Size(Expr):
    """The size that a dim of the function stands for."""

    symbol: str


@dataclass(frozen=True, slots=True)
class Arg(Expr):
    """A static argument of the function or class: `d` in its constructor, `self.d` in methods."""

    name: str


@dataclass(frozen=True, slots=True)
class Flag(Expr):
    """What the mode decides, by name: `training`."""

    name: str


@dataclass(frozen=True, slots=True)
class Fan(Expr):
    """`fan_in` or `fan_out` of the tensor that an initial value is for."""

    name: str


@dataclass(frozen=True, slots=True)
class Conditional(Expr):
    """`then if condition else otherwise`."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Make(Expr):
    """A new instance of the class of an IR function, or a call of an `fn` on `args`."""

    function: str
    args: tuple[Expr, ...] = ()
    op: Op | None = None
    """The operation that calls it, which tells its static arguments."""


@dataclass(frozen=True, slots=True)
class Leaf(Expr):
    """What only the function around it settles: the device of its inputs, the key of a draw. `plain` is about
    as long as what it becomes."""

    plain: ClassVar[str] = ""

    def need(self, function: Function) -> str:
        """What a plain function has to be passed for it, as `the` names it; "" for nothing."""
        return ""


_THE = "the "


def the(name: str) -> str:
    """What a function is passed besides operands and sizes, as the name of a need: a size may be called `training`, too."""
    return f"{_THE}{name}"


def need_name(need: str) -> str:
    """What an argument for a need is called."""
    return need.removeprefix(_THE)


@dataclass(frozen=True, slots=True)
class Heavy(Expr):
    """A function of ours or a container that is called: a step that a line should not hold many of."""

    value: Expr


@dataclass(frozen=True, slots=True)
class Keyword(Expr):
    """`name=value` in a call; left out where the value turns out to be `default`."""

    name: str
    value: Expr
    default: Expr | None = None


@dataclass(frozen=True, slots=True)
class Call(Expr):
    function: Expr
    args: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class Dot(Expr):
    base: Expr
    name: str


@dataclass(frozen=True, slots=True)
class At(Expr):
    """`base[items]`."""

    base: Expr
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Cut(Expr):
    """`start:stop:step` between the brackets of `At`."""

    start: Expr | None = None
    stop: Expr | None = None
    step: Expr | None = None


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    operator: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Seq(Expr):
    """A tuple `()`, a list `[]`, or `""` for a tuple without brackets."""

    items: tuple[Expr, ...]
    brackets: str = "()"


@dataclass(frozen=True, slots=True)
class Pairs(Expr):
    """A dict display."""

    items: tuple[tuple[Expr, Expr], ...]


@dataclass(frozen=True, slots=True)
class Splat(Expr):
    value: Expr


@dataclass(frozen=True, slots=True)
class Gen(Expr):
    """`element for variable in source`, in a call's brackets or its own; with `parts`, each of those in every turn. With brackets
    `[]` a list."""

    element: Expr
    variable: str
    source: Expr
    parts: Expr | None = None
    condition: Expr | None = None
    brackets: str = "()"


@dataclass(frozen=True, slots=True)
class Helped(Expr):
    """An `fn` of the spec that computes static values, which the source has as a function: its name."""

    helper: Helper


@dataclass(frozen=True, slots=True)
class DictGen(Expr):
    """`{key: element for variable in source}`."""

    key: Expr
    element: Expr
    variable: str
    source: Expr


# --- walking
# ---------------------------------------------------------------------------------------------------


def transform(root: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The tree with `change` applied to every node, leaves first."""
    return change(_rebuilt(root, change))


def _rebuilt(root: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The node with what is below it transformed."""
    values = _values(root)
    made = [_transformed(each, change) for each in values]
    return type(root)(*made) if any(map(is_not, made, values)) else root


def _transformed(value: Any, change: Callable[[Expr], Expr]) -> Any:
    if isinstance(value, Expr):
        return change(_rebuilt(value, change))
    if isinstance(value, tuple) and value:
        made = [_transformed(each, change) for each in value]
        return tuple(made) if any(map(is_not, made, value)) else value
    return value


_FIELDS: dict[type[Expr], Callable[[Expr], tuple[Any, ...]]] = {}


def _values(node: Expr) -> tuple[Any, ...]:
    """The values of a node's fields."""
    kind = type(node)
    if kind not in _FIELDS:
        _FIELDS[kind] = _getter([each.name for each in fields(kind)])
    return _FIELDS[kind](node)


def _getter(names: Sequence[str]) -> Callable[[Expr], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda node: tuple([getattr(node, name) for name in names])


def children(node: Expr) -> list[Expr]:
    """The nodes right below."""
    found: list[Expr] = []
    stack: list[Any] = [*_values(node)[::-1]]
    while stack:
        value = stack.pop()
        if isinstance(value, Expr):
            found.append(value)
        elif isinstance(value, tuple):
            stack.extend(reversed(value))
    return found


def walk(root: Any) -> Iterator[Expr]:
    """Every node, in the order in which the source shows them."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            stack.extend(node[::-1])
        elif isinstance(node, Expr):
            yield node
            stack.extend(_values(node)[::-1])


def names_turns(exprs: Iterable[Expr]) -> bool:
    """Whether expressions have turns of their own, or read the number of one around."""
    return any(isinstance(node, Gen | DictGen) or node == Word(TURN) for expr in exprs for node in walk(expr))


def refs(root: Expr) -> Iterator[str]:
    """The IR values that an expression reads, as often as it reads them."""
    return (node.value for node in walk(root) if isinstance(node, Ref))


def without(root: Expr, is_default: Callable[[Keyword], bool]) -> Expr:
    """The tree without the keyword arguments of calls that say what is so anyhow."""

    def change(node: Expr) -> Expr:
        if not isinstance(node, Call):
            return node
        kept = tuple(arg for arg in node.args if not (isinstance(arg, Keyword) and is_default(arg)))
        return node if len(kept) == len(node.args) else Call(node.function, kept)

    return transform(root, change)


# --- templates
# -------------------------------------------------------------------------------------------------

_SLOT = re.compile(r"\{(\w+)\}")
_MARK = "slot__"

_OPERATORS: Mapping[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.USub: "-", ast.Invert: "~",
    ast.Not: "not ", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.And: "and", ast.Or: "or",
}  # fmt: skip


def template(text: str, slots: Mapping[str, Expr]) -> Expr:
    """The expression that `text` says, `{name}` standing for `slots["name"]`. Raises KeyError for a
    missing slot."""

    def fill(node: Expr) -> Expr:
        if isinstance(node, Word) and node.text.startswith(_MARK):
            return slots[node.text.removeprefix(_MARK)]
        return node

    return transform(parse(_SLOT.sub(rf"{_MARK}\1", text)), fill)


@cache
def parse(text: str) -> Expr:
    """Python source as a tree."""
    return _from_python(ast.parse(text, mode="eval").body)


def _from_python(node: ast.AST) -> Expr:
    match node:
        case ast.Name(id):
            return Word(id)
        case ast.Constant(value):
            return Text(value) if isinstance(value, str) else Word("..." if value is ... else repr(value))
        case ast.Attribute(value, name):
            base = _from_python(value)
            plain = isinstance(base, Word) and not base.text.startswith(_MARK)
            return Word(f"{base.text}.{name}") if plain and isinstance(base, Word) else Dot(base, name)
        case ast.Call(function, args, keywords):
            named = (Keyword(each.arg or "", _from_python(each.value)) for each in keywords)
            return Call(_from_python(function), (*map(_from_python, args), *named))
        case ast.BinOp(left, op, right):
            return Binary(_OPERATORS[type(op)], _from_python(left), _from_python(right))
        case ast.Compare(left, [op], [right]):
            return Binary(_OPERATORS[type(op)], _from_python(left), _from_python(right))
        case ast.UnaryOp(op, operand):
            return Unary(_OPERATORS[type(op)], _from_python(operand))
        case ast.Tuple(items):
            return Seq(tuple(map(_from_python, items)))
        case ast.List(items):
            return Seq(tuple(map(_from_python, items)), "[]")
        case ast.Starred(value):
            return Splat(_from_python(value))
        case ast.Subscript(value, ast.Tuple(items)):
            return At(_from_python(value), tuple(map(_from_python, items)))
        case ast.Subscript(value, item):
            return At(_from_python(value), (_from_python(item),))
        case ast.Slice(start, stop, step):
            bounds = [None if each is None else _from_python(each) for each in (start, stop, step)]
            return Cut(*bounds)
    raise ValueError(f"no expression of a row: {ast.dump(node)}")


# --- text
# ------------------------------------------------------------------------------------------------------

# How tightly an expression binds, loosest first (Python's grammar).
_LEVELS: Mapping[str, int] = {
    "+=": 0, "or": 1, "and": 2, "not ": 3, "is": 4, "is not": 4, "in": 4, "not in": 4, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "|": 5, "^": 6, "&": 7,
    "+": 9, "-": 9, "*": 10, "/": 10, "//": 10, "%": 10, "@": 10, "**": 12,
}  # fmt: skip
_UNARY, _POWER, _ATOM = 11, 12, 13


def text(node: Expr) -> str:
    """The expression on one line, as the formatter spaces it. `Ref`, `Path`, `Size` and `Make` print their
    names, which suits comparing and debugging; they are replaced before emission."""
    return _text(node)[0]


def _at(node: Expr, level: int) -> str:
    found, binds = _text(node)
    return found if binds >= level else f"({found})"


def _text(node: Expr) -> tuple[str, int]:
    """The text, and how tightly it binds."""
    match node:
        case Word(found):
            return found, _UNARY if found.startswith("-") else _ATOM
        case Text(value):
            return quoted(value), _ATOM
        case Formatted(parts):
            return f"f{quoted(''.join(map(_formatted, parts)))}", _ATOM
        case Num(value):
            found = "math.pi" if value == math.pi else str(number(value))
            return found, _UNARY if found.startswith("-") else _ATOM
        case Ref(found) | Path(found) | Size(found) | Arg(found) | Flag(found) | Fan(found):
            return found, _ATOM
        case Leaf():
            return node.plain, _ATOM
        case Helped(helper):
            return helper.name, _ATOM
        case Heavy(value):
            return _text(value)
        case Make(function, args):
            return f"{function}({_joined(args)})", _ATOM
        case Keyword(name, value):
            return (f"{name}={_at(value, 0)}" if name else f"**{_at(value, _ATOM)}"), 0
        case Call(function, args):
            return f"{_base(function)}({_joined(args, alone=len(args) == 1)})", _ATOM
        case Dot(base, name):
            return f"{_base(base)}.{name}", _ATOM
        case At(base, items):
            return f"{_base(base)}[{_joined(items)}]", _ATOM
    return _compound(node)


def _formatted(part: Expr) -> str:
    if isinstance(part, Text):
        return part.value.replace("{", "{{").replace("}", "}}")
    return f"{{{_at(part, 0)}}}"


def _base(node: Expr) -> str:
    """What stands before `.`, `(` or `[`: `2 .sum()` is no attribute of a number."""
    return f"({_text(node)[0]})" if isinstance(node, Num) else _at(node, _ATOM)


def _compound(node: Expr) -> tuple[str, int]:
    match node:
        case Unary(operator, operand):
            level = _LEVELS["not "] if operator == "not " else _UNARY
            return f"{operator}{_at(operand, level)}", level
        case Binary("**", left, right):
            return _power(left, right), _POWER
        case Binary("and", left, right) if chain := _chain(left, right):
            low, first, middle, second, high = chain
            return f"{_at(low, 5)} {first} {_at(middle, 5)} {second} {_at(high, 5)}", _LEVELS["<="]
        case Binary(operator, left, right):
            level = _LEVELS[operator]
            # A comparison of comparisons is no chain, so both sides need brackets.
            return f"{_at(left, level + (level == 4))} {operator} {_at(right, level + 1)}", level
        case Conditional(condition, then, otherwise):
            return f"{_at(then, 1)} if {_at(condition, 1)} else {_at(otherwise, 0)}", 0
        case Seq(items, brackets):
            joined = _joined(items)
            if not brackets:
                return joined, 0
            comma = "," if brackets == "()" and len(items) == 1 else ""
            return brackets[0] + joined + comma + brackets[1], _ATOM
        case Pairs(items):
            return "{" + ", ".join(f"{_at(key, 0)}: {_at(value, 0)}" for key, value in items) + "}", _ATOM
        case Splat(value):
            return f"*{_at(value, _LEVELS['|'])}", 0
        case Gen():
            return node.brackets[0] + _gen_text(node) + node.brackets[1], _ATOM
        case DictGen(key, element, variable, source):
            return "{" + f"{_at(key, 0)}: {_gen(element, variable, source)}" + "}", _ATOM
        case Cut(start, stop, step):
            return _cut(start, stop, step), 0
    raise TypeError(f"no expression: {node!r}")


_RISING: Mapping[str, str] = {">=": "<=", ">": "<"}


def _chain(left: Expr, right: Expr) -> tuple[Expr, str, Expr, str, Expr] | None:
    """Two bounds of one value as Python chains them: `1 <= up and up <= 2` is `1 <= up <= 2`."""
    if not isinstance(left, Binary) or not isinstance(right, Binary):
        return None
    low, high = _rising(left), _rising(right)
    if (
        low.operator not in _RISING.values()
        or high.operator not in _RISING.values()
        or low.right != high.left
    ):
        return None
    return low.left, low.operator, low.right, high.operator, high.right


def _rising(node: Binary) -> Binary:
    """The comparison with the greater side on the right."""
    if node.operator not in _RISING:
        return node
    return Binary(_RISING[node.operator], node.right, node.left)


def _joined(items: tuple[Expr, ...], alone: bool = False) -> str:
    if alone and isinstance(items[0], Gen) and items[0].brackets == "()":
        return _gen_text(items[0])
    return ", ".join(_text(item)[0] for item in items)


def _gen_text(node: Gen) -> str:
    text = _gen(node.element, node.variable, node.source)
    if node.condition is not None:
        return f"{text} if {_at(node.condition, 1)}"
    return text if node.parts is None else f"{text} for {_at(node.element, 0)} in {_at(node.parts, 1)}"


def _gen(element: Expr, variable: str, source: Expr) -> str:
    return f"{_at(element, 0)} for {variable} in {_at(source, 1)}"


def _power(left: Expr, right: Expr) -> str:
    """The formatter writes simple operands without spaces: `x**2`, but `f(x) ** 2`."""
    a, b = _at(left, _ATOM), _at(right, _UNARY)
    return f"{a}**{b}" if _SIMPLE.fullmatch(a) and _SIMPLE.fullmatch(b.lstrip("-")) else f"{a} ** {b}"


_SIMPLE = re.compile(r"[A-Za-z_][\w.]*|\d[\w.]*(e-\d+)?")


def _cut(start: Expr | None, stop: Expr | None, step: Expr | None) -> str:
    """A slice: the formatter puts spaces around the colon where a bound is more than a name or number."""
    bounds = [_text(each)[0] if each is not None else "" for each in (start, stop)]
    complex = any(not _PLAIN.fullmatch(bound) for bound in bounds)
    left = bounds[0] + (" " if complex and bounds[0] else "")
    right = (" " if complex and bounds[1] else "") + bounds[1]
    if step is None:
        return f"{left}:{right}"
    last = _text(step)[0]
    spaced = complex or not _PLAIN.fullmatch(last)
    return f"{left}:{right}{' ' if spaced else ''}:{' ' if spaced else ''}{last}"


_PLAIN = re.compile(r"-?\w*")
