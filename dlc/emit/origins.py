"""Numbers as the expressions over static parameters that they came from.

3 * d          for 2304 in `GPT2(d=768)`
d // heads     for 64
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dlc.emit.tree import (
    Arg,
    At,
    Binary,
    Call,
    Conditional,
    Expr,
    Flag,
    Num,
    Ref,
    Seq,
    Text,
    Unary,
    Word,
    size,
    transform,
)
from dlc.ir.nodes import Function, Op, Region, Value
from dlc.records import replace
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import names, untraced
from dlc.types.traced import Term, TracedFloat, TracedInt

# Functions of static values that Python has elsewhere than among its own.
FUNCTIONS: Mapping[str, str] = {
    name: f"math.{name}"
    for name in ("sqrt", "log", "exp", "floor", "ceil", "sin", "cos", "tan", "tanh", "prod")
}
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
            return value if value.origin is None or names(value) - value.symbols <= own else Dim(value.terms)
        if isinstance(value, tuple):
            return tuple(map(number, value))
        return value if names(value) <= own else untraced(value)

    def typed(each: TensorType) -> TensorType:
        return TensorType(each.dtype, tuple(map(number, each.axes)))

    def plain(each: Value) -> Value:
        return replace(each, type=typed(each.type))

    def region(each: Region | None) -> Region | None:
        return each and Region(tuple(map(plain, each.args)), tuple(map(op, each.body)), each.results)

    def op(each: Op) -> Op:
        return replace(
            each,
            attrs=tuple((name, number(value)) for name, value in each.attrs),
            known=tuple((name, number(value)) for name, value in each.known),
            given=tuple((name, term) for name, term in each.given if names(term) <= own),
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


def expression(term: Term) -> Expr:
    """A term in Python."""
    match term:
        case Term("const", (value,)):
            return _constant(value)
        case Term("dim", (dim,)):
            return size(Dim({}).said(dim))  # a number, so that all that is named in it is an argument
        case Term("param" | "each", (name,)):
            return Arg(name) if term.op == "param" else Word(name)
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
        case Term("list" | "tuple", items):
            return Seq(tuple(map(expression, items)), "[]" if term.op == "list" else "()")
        case Term("call", (function, *args)):
            return Call(Word(FUNCTIONS.get(str(function), str(function))), tuple(map(expression, args)))
    return _operation(term)


def _constant(value: object) -> Expr:
    if isinstance(value, str):
        return Text(value)
    return Word(repr(value)) if value is None or isinstance(value, bool) else said(value)  # type: ignore[arg-type]


def _operation(term: Term) -> Expr:
    left, right = map(expression, term.args)
    if term.op in ("==", "!=") and right in (Word("None"), Word("True"), Word("False")):
        return Binary("is" if term.op == "==" else "is not", left, right)
    if term.op in _COMPARISONS | _ARITHMETIC | {"and", "or", "in"}:
        return Binary(term.op, left, right)
    raise ValueError(f"Python has no {term.op}")
