"""Static values: their types, and the numbers that a dtype has."""

from __future__ import annotations

import sys
from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.handles import flat
from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import Builtin, Dtype, Instance, Method, PresetRef, Tensor, show, type_name
from dlc.elaborate.reports.report import Report
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.tensor import INTS, holds
from dlc.types.traced import as_float


def plain(value: Any) -> Any:
    """A dim that is a number, as that number."""
    if isinstance(value, Dim) and value.constant is not None:
        return value.constant
    return value


Number = bool | int | float


def in_range(report: Report, span: Span, value: Number, dtype: str) -> Number:
    """The number, if a dtype has it."""
    if dtype in INTS:
        if not holds(dtype, value):
            message = f"{in_brief(value)} is out of the range of {dtype}"
            report.fail(problems.STATIC_ERROR, span, message=message)
    elif isinstance(value, int) and abs(value) > sys.float_info.max:
        message = f"{in_brief(value)} is larger than any float"
        report.fail(problems.STATIC_ERROR, span, message=message)
    return value


def in_brief(value: Number) -> str:
    text = show(value)
    return text if len(text) <= 30 else f"{text[:20]}…"


_CHECKS: dict[str, Any] = {
    "int": lambda v: isinstance(v, int | Dim) and not isinstance(v, bool),
    "dim": lambda v: isinstance(v, int | Dim) and not isinstance(v, bool),
    "float": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "dtype": lambda v: isinstance(v, Dtype),
    "module": lambda v: isinstance(v, Instance | PresetRef) or _is_definition(v, ast.ModuleDef),
    "fn": lambda v: isinstance(v, Builtin | Instance | Method) or _is_definition(v, ast.FnDef),
    "sizes": lambda v: isinstance(v, int | Dim | list | tuple) and not isinstance(v, bool),
    "any": lambda v: True,
}


def _is_definition(value: Any, kind: type) -> bool:
    return isinstance(value, Definition) and isinstance(value.node, kind)


def check_static(report: Report, callee: str, item: ast.Field, value: Any, span: Span) -> Any:
    """The value, if it is of the parameter's static type (an int is also a float)."""
    if value is None and (
        isinstance(item.default, ast.NoneLit) or (item.default is None and item.type is None)
    ):
        return value
    if isinstance(value, Dim) and value.constant is not None:
        value = value.constant
    if tensors := flat(value):
        what = f"`{item.name}` of `{callee}`"
        if isinstance(value, Tensor):
            report.fail(problems.NOT_STATIC, span, what=what, found=f"a tensor {value.type}")
        help = "pass them as one tensor, `stack(xs)`, or each for an input of its own"
        report.fail(
            problems.NOT_STATIC,
            span,
            what=what,
            found=f"{type_name(value)} with a tensor {tensors[0].type}",
            help=help,
        )
    if not fits(item.type, value):
        expected = type_text(item.type)
        found = (
            f"{type_name(value)} ({show(value)})"
            if isinstance(value, int | float | str)
            else type_name(value)
        )
        help = habits.static(callee, str(item.name), expected, value)
        report.fail(
            problems.STATIC_TYPE,
            span,
            callee=callee,
            name=item.name,
            expected=expected,
            found=found,
            help=help,
        )
    return _with_floats(report, item.type, value, span)


def _with_floats(report: Report, node: ast.TypeExpr | None, value: Any, span: Span) -> Any:
    """The value with floats where its type says so, in lists and tuples too."""
    match node:
        case ast.NamedTypeExpr("float", ()) if isinstance(value, int) and not isinstance(value, bool):
            in_range(report, span, value, "float")
            return as_float(value)
        case ast.NamedTypeExpr("list", (inner,)) if isinstance(value, list | tuple):
            return type(value)(_with_floats(report, inner, each, span) for each in value)
        case ast.NamedTypeExpr("tuple", args) if isinstance(value, list | tuple) and len(args) == len(value):
            pairs = zip(args, value, strict=True)
            return type(value)(_with_floats(report, inner, each, span) for inner, each in pairs)
    return value


def fits(node: ast.TypeExpr | None, value: Any) -> bool:
    match node:
        case ast.NamedTypeExpr("list", args):
            if not isinstance(value, list | tuple):
                return False
            return not args or all(fits(args[0], each) for each in value)
        case ast.NamedTypeExpr("tuple", args):
            if not isinstance(value, list | tuple):
                return False
            return not args or (len(args) == len(value) and all(map(fits, args, value)))
        case ast.NamedTypeExpr(name, ()):
            check = _CHECKS.get(name)
            return bool(check is None or check(value))
    return True


def type_text(node: ast.TypeExpr | None) -> str:
    match node:
        case ast.NamedTypeExpr("sizes"):
            return "an int or a list of ints"
        case ast.NamedTypeExpr(name, ()):
            return _ARTICLES.get(name, f"a {name}")
        case ast.NamedTypeExpr(name, args):
            return f"a {name}[{', '.join(inner_text(each) for each in args)}]"
    return "a value"


_ARTICLES = {"int": "an int", "str": "a string", "fn": "an fn"}


def inner_text(node: ast.TypeExpr | None) -> str:
    """A static type as the language writes it."""
    match node:
        case ast.NamedTypeExpr(name, args):
            return f"{name}[{', '.join(map(inner_text, args))}]" if args else name
    return "…"


STATIC_TYPES = (
    "int",
    "float",
    "bool",
    "str",
    "dtype",
    "dim",
    "module",
    "fn",
    "list",
    "tuple",
    "sizes",
    "any",
)
