"""Rows: ONNX nodes written as expressions.

    u = Exp(x); Where(Abs(x) < 0.5, x, u - 1.0)

A name is an operand or attribute of the op, or what the row bound before; `Name(…)` is a node of that kind, keywords are
its attributes, a number or list among its operands becomes a constant; `*xs` stands for all operands. Operators are
nodes too, or arithmetic on numbers. The last expression is the result.
"""

from __future__ import annotations

import ast
import math
import operator
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from dlc_onnx.rows import TYPES

if TYPE_CHECKING:
    from dlc_onnx.body import Body

Lookup = Callable[[str], Any]


class Ref(str):
    """The name of an ONNX value, as opposed to a text."""


OPERATORS: Mapping[type, str] = {
    ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Div: "Div", ast.BitAnd: "And", ast.BitOr: "Or",
    ast.BitXor: "Xor", ast.USub: "Neg", ast.Invert: "Not",
}  # fmt: skip
# `!=` takes two nodes.
COMPARISONS: Mapping[type, str] = {
    ast.Lt: "Less", ast.LtE: "LessOrEqual", ast.Gt: "Greater", ast.GtE: "GreaterOrEqual", ast.Eq: "Equal",
}  # fmt: skip
ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {ast.Div: operator.truediv, ast.Mult: operator.mul}
WORDS: Mapping[str, Any] = {
    "nan": math.nan, "inf": math.inf, "LARGEST": sys.float_info.max, "INT32": TYPES["i32"], "FLOAT": TYPES["f32"], "DOUBLE": TYPES["f64"],
}  # fmt: skip


@cache
def _parsed(row: str) -> tuple[ast.stmt, ...]:
    return tuple(ast.parse(row).body)


def evaluate(row: str, lookup: Lookup, body: Body) -> Any:
    """Append a row's nodes to the body and give the name of the result, or the names of all."""
    return _Evaluation(lookup, body).run(row)


class _Evaluation:
    def __init__(self, lookup: Lookup, body: Body) -> None:
        self.lookup = lookup
        self.body = body
        self.bound: dict[str, Any] = {}

    def run(self, row: str) -> Any:
        *bindings, last = _parsed(row)
        for statement in bindings:
            assert isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
            self.bound[statement.targets[0].id] = self.value(statement.value)
        assert isinstance(last, ast.Expr)
        return self.value(last.value)

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id):
                return self._name(id)
            case ast.Constant(value):
                return value
            case ast.List(items):
                return [self.value(item) for item in items]
            case ast.Call(ast.Name(kind), args, keywords):
                attrs = {str(each.arg): self.value(each.value) for each in keywords}
                return self.body.node(kind, *self._operands(args), **attrs)
            case ast.UnaryOp(op, operand):
                found = self.value(operand)
                return self.body.node(OPERATORS[type(op)], found) if isinstance(found, Ref) else -found
            case ast.BinOp(left, op, right):
                return self._binary(type(op), self.value(left), self.value(right))
            case ast.Compare(left, [op], [right]):
                return self._compared(type(op), self.value(left), self.value(right))
        raise ValueError(f"a row can't say {ast.unparse(node)}")

    def _name(self, name: str) -> Any:
        if name in self.bound:
            return self.bound[name]
        return WORDS[name] if name in WORDS else self.lookup(name)

    def _operands(self, args: list[ast.expr]) -> list[Any]:
        found: list[Any] = []
        for arg in args:
            if isinstance(arg, ast.Starred):
                found += self.value(arg.value)
            else:
                found.append(self.value(arg))
        return found

    def _binary(self, op: type, left: Any, right: Any) -> Any:
        if not isinstance(left, Ref) and not isinstance(right, Ref):
            return ARITHMETIC[op](left, right)
        return self.body.node(OPERATORS[op], left, right)

    def _compared(self, op: type, left: Any, right: Any) -> Any:
        if op is ast.NotEq:
            return self.body.node("Not", self.body.node("Equal", left, right))
        return self.body.node(COMPARISONS[op], left, right)
