"""Numbers as the expressions over static parameters that they came from.

3 * d          for 2304 in `GPT2(d=768)`
d // heads     for 64
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from dlc.emit.names import identifier
from dlc.emit.tree import (
    Arg,
    At,
    Binary,
    Call,
    Conditional,
    Cut,
    Each,
    Expr,
    Fan,
    Flag,
    Gen,
    Helped,
    Num,
    Ref,
    Seq,
    Size,
    Splat,
    Text,
    Unary,
    Word,
    parse,
    transform,
)
from dlc.ir.nodes import Function, Op, Region, Value
from dlc.records import replace
from dlc.types.dims import Dim
from dlc.types.functions import FUNCTIONS
from dlc.types.opaque import Opaque
from dlc.types.tensor import TensorType
from dlc.types.terms import names, untraced
from dlc.types.traced import Helper, Term, TracedFloat, TracedInt

OPEN = Dim.symbol("_")
"""A size that a function's instances have in no common expression."""
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_ARITHMETIC = frozenset(("+", "-", "*", "/", "//", "%", "**"))


def numbered(expr: Expr, own: Collection[str] | None = None) -> Expr:
    """The tree with every number that has an origin as that expression, where that speaks of a function's `own` static
    parameters only."""

    def change(node: Expr) -> Expr:
        if not isinstance(node, Num):
            return node
        told = own is None or names(node.value) <= set(own)
        return said(node.value, node.role) if told else Num(untraced(node.value), node.role)

    return transform(expr, change)


def forgotten(function: Function) -> Function:
    """The function with plain numbers."""
    return owned(replace(function, settings=(), sizes=()))


def owned(function: Function) -> Function:
    """The function with plain numbers where their expressions speak of what are no static parameters of its own."""
    own = {setting.name for setting in function.settings} | {name for name, _ in function.sizes}

    def number(value: Any) -> Any:
        if isinstance(value, Dim):
            told = value.origin is None or value.origin == OPEN or names(value) - value.symbols <= own
            return value if told else Dim(value.terms)
        return value if names(value) <= own else untraced(value)

    return renumbered(function, number, lambda term: term if names(term) <= own else None)


def renumbered(
    function: Function,
    number: Callable[[Any], Any],
    term: Callable[[Term], Term | None],
    size: Callable[[Dim], Dim] = lambda size: size,
) -> Function:
    """The function with other expressions for its numbers, and for what its calls give, None for none; `size` is for the callees'
    dims."""

    def deep(value: Any) -> Any:
        return tuple(map(deep, value)) if isinstance(value, tuple) else number(value)

    def typed(each: TensorType) -> TensorType:
        return TensorType(each.dtype, tuple(map(number, each.axes)))

    def plain(each: Value) -> Value:
        return replace(each, type=typed(each.type))

    def region(each: Region | None) -> Region | None:
        return each and Region(tuple(map(plain, each.args)), tuple(map(op, each.body)), each.results)

    def op(each: Op) -> Op:
        given = ((name, term(told)) for name, told in each.given)
        return replace(
            each,
            attrs=tuple((name, deep(value)) for name, value in each.attrs),
            known=tuple((name, number(value)) for name, value in each.known),
            given=tuple((name, told) for name, told in given if told is not None),
            dims=tuple((name, size(value)) for name, value in each.dims),
            outputs=tuple(map(plain, each.outputs)),
            region=region(each.region),
            otherwise=region(each.otherwise),
        )

    return replace(
        function,
        inputs=tuple(map(plain, function.inputs)),
        params=tuple(replace(each, type=typed(each.type)) for each in function.params),
        body=tuple(map(op, function.body)),
    )


def said(value: int | float, role: str = "value") -> Expr:
    """A number: its origin where it has one."""
    match value:
        case TracedInt():
            return size(Dim.of(value), role)
        case TracedFloat():
            return expression(value.origin)
    return Num(value, role)


def size(dim: Dim | int, role: str = "size") -> Expr:
    """A size as an expression: a number, a dim, or arithmetic on them."""
    dim = Dim.of(dim)
    told = dim if dim.origin is None else dim.origin
    if told.constant is not None:
        return Num(int(told.constant), role)
    own = dim.symbols
    terms: dict[str, Opaque] = {}
    named = told.lettered(terms)
    sizes = {symbol.replace("'", _PRIME): symbol for symbol in named.symbols & own}
    statics = {symbol.partition("[")[0] for symbol in named.symbols - own}

    def settle(node: Expr) -> Expr:
        if not isinstance(node, Word):
            return node
        word = node.text.removesuffix(_NAME)
        if word in terms:
            return expression(terms[word].term)
        if word in sizes:
            return Size(sizes[word])
        if word.isdigit():
            return Num(int(word), role)
        return Arg(word) if word in statics else node

    return transform(parse(_of_python(str(named).replace("'", _PRIME))), settle)


_PRIME = "__prime"  # dims may be called n'
_NAME = "__name"  # and `class`
_WORD = re.compile(r"[A-Za-z_]\w*")


def _of_python(text: str) -> str:
    """A text of sizes as one that Python reads: its keywords are names here."""
    return _WORD.sub(lambda word: word[0] + _NAME if keyword.iskeyword(word[0]) else word[0], text)


def expression(term: Term) -> Expr:
    """A term in Python."""
    match term:
        case Term("const", (value,)):
            return _constant(value)
        case Term("dim", (dim,)):
            return size(Dim({}).said(dim))  # a number, so that all that is named in it is an argument
        case Term("param", (name,)):
            return Arg(name)
        case Term("each", (name,)):
            return Each(identifier(name))
        case Term("fan", (name,)):
            return Fan(name)
        case Term("input", (name,)):
            return Ref(name)
        case Term("training"):
            return Flag("training")
        case Term("not", (operand,)):
            return Unary("not ", expression(operand))
        case Term("neg", (operand,)):
            return Unary("-", expression(operand))
        case Term("if", (condition, then, otherwise)):
            return Conditional(expression(condition), expression(then), expression(otherwise))
        case Term("index", (base, item)):
            return At(expression(base), (expression(item),))
        case Term("cut", (base, *bounds)):
            start, stop, step = (None if each == _NONE else expression(each) for each in bounds)
            return At(expression(base), (Cut(start, stop, step),))
        case Term("word", (name,)):
            return Word(name)
        case Term("star", (items,)):
            return Splat(expression(items))
        case Term("list" | "tuple", items):
            return Seq(tuple(map(expression, items)), "[]" if term.op == "list" else "()")
        case Term("for", (element, target, iterable, *condition)):
            asked = expression(condition[0]) if condition else None
            return Gen(expression(element), _names(target), iterated(iterable), None, asked, "[]")
        case Term("call", (Helper() as helper, *args)):
            return Call(Helped(helper), tuple(map(expression, args)))
        case Term("call", (function, *args)):
            made = _called(str(function), args)
            return Call(Word("list"), (made,)) if FUNCTIONS[str(function)].listed else made
    return _operation(term)


_NONE = Term("const", (None,))


def iterated(term: Term) -> Expr:
    """What a loop goes over."""
    match term:
        case Term("call", (str(function), *args)):
            return _called(function, args)
    return expression(term)


def _called(function: str, args: Sequence[Term]) -> Expr:
    """A call of a function of static values. One that takes a list once takes its elements from a generator."""
    made = tuple(map(iterated if FUNCTIONS[function].listed else expression, args))
    if function in _REDUCTIONS and len(made) == 1 and isinstance(made[0], Gen):
        made = (replace(made[0], brackets="()"),)
    return Call(Word(FUNCTIONS[function].python), made)


_REDUCTIONS = frozenset(("sum", "min", "max", "any", "all", "prod"))


def _names(target: Any) -> str:
    """The target of a comprehension; in brackets where it stands in another."""
    if isinstance(target, str):
        return identifier(target)
    inner = (_names(each) if isinstance(each, str) else f"({_names(each)})" for each in target)
    return ", ".join(inner)


def _constant(value: object) -> Expr:
    if isinstance(value, str):
        return Text(value)
    return Word(repr(value)) if value is None or isinstance(value, bool) else said(value)  # type: ignore[arg-type]


def _operation(term: Term) -> Expr:
    left, right = map(expression, term.args)
    if term.op in ("==", "!=") and right in (Word("None"), Word("True"), Word("False")):
        return Binary("is" if term.op == "==" else "is not", left, right)
    if term.op in _COMPARISONS | _ARITHMETIC | {"and", "or", "in", "not in"}:
        return Binary(term.op, left, right)
    raise ValueError(f"Python has no {term.op}")
