"""Expressions of types and conditions as they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dlc.syntax import ast


def axes_text(axes: Sequence[ast.Expr]) -> str:
    return ", ".join(axis_text(axis) for axis in axes)


def axis_text(node: ast.Expr) -> str:
    """An axis as written."""
    match node:
        case ast.Int(value):
            return str(value)
        case ast.Name(id):
            return id
        case ast.Star(name):
            return f"*{name}"
        case ast.Wildcard():
            return "_"
        case ast.Binary(op, left, right):
            a, b = _operand(left, op, False), _operand(right, op, True)
            return f"{a}{op}{b}" if op in ("*", "//", "**") else f"{a} {op} {b}"
        case ast.Unary(op, operand):
            return f"{op}{_operand(operand, 'unary', False)}"
        case ast.Call(callee, args):
            return f"{axis_text(callee)}({', '.join(axis_text(arg.value) for arg in args)})"
        case ast.Bool(value):
            return "true" if value else "false"
        case ast.Float(_, text):
            return text
        case ast.Str(_, raw):
            return f'"{raw}"'
        case ast.NoneLit():
            return "none"
        case ast.Attribute(value, name):
            return f"{axis_text(value)}.{name}"
        case ast.Index(value, items):
            return f"{axis_text(value)}[{axes_text(items)}]"
        case ast.ListExpr(items):
            return f"[{axes_text(items)}]"
        case ast.TupleExpr(items):
            return f"({axes_text(items)})"
    return "…"


_STRENGTH = {"or": 1, "and": 2, "+": 4, "-": 4, "*": 5, "/": 5, "//": 5, "%": 5, "@": 5, "**": 7}


def _operand(node: ast.Expr, op: str, on_right: bool) -> str:
    """An operand as written, in parentheses where it binds more loosely than the operator."""
    text, outer = axis_text(node), _STRENGTH.get(op, 6)
    if not isinstance(node, ast.Binary):
        return text
    inner = _STRENGTH.get(node.op, 6)
    loose = inner < outer or (inner == outer and (on_right != (op == "**")))
    return f"({text})" if loose else text


def text(node: ast.Expr) -> str:
    """A condition as the language writes it."""
    match node:
        case ast.Compare(operands, ops):
            parts = [text(operands[0])]
            for op, operand in zip(ops, operands[1:], strict=True):
                parts += [op, text(operand)]
            return " ".join(parts)
        case ast.Binary("and" | "or" as op, left, right):
            return f"{text(left)} {op} {text(right)}"
    return axis_text(node)


def words(fact: str) -> list[str]:
    return re.findall(r"[A-Za-z_]\w*", fact)


def parts(node: ast.Expr) -> list[ast.Expr]:
    """The conditions that `and` joins."""
    if isinstance(node, ast.Binary) and node.op == "and":
        return [*parts(node.left), *parts(node.right)]
    return [node]
