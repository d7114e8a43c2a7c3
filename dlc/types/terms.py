"""Terms and traced values between functions: a callee's expressions in its caller's words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dlc.types.dims import Dim
from dlc.types.traced import Term, TracedFloat, TracedInt, leaf

_WHOLE: Mapping[str, Callable[[Dim, Dim], Dim]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


def term(value: Any) -> Term:
    """A static value as an expression: its origin where it has one."""
    match value:
        case Term():
            return value
        case Dim():
            return Term("dim", (said(value),))
        case list() | tuple():
            return Term(type(value).__name__, tuple(term(each) for each in value))
    return leaf(value)


def said(dim: Dim) -> Dim:
    """A size in terms of static parameters where it has such terms."""
    return dim if dim.origin is None else dim.origin


def origin_of(value: Any) -> Any:
    """What a value is in terms of static parameters, to tell values apart that are equal by chance; else None."""
    match value:
        case TracedInt() | TracedFloat():
            return value.origin
        case Dim():
            return value.origin
        case tuple() | list():
            return tuple(map(origin_of, value))
    return None


def as_dim(value: Any) -> Dim | None:
    """A static value as a size in terms of the parameters; None if it is no whole number."""
    match value:
        case Dim():
            return said(value)
        case bool():
            return None
        case int():
            return said(Dim.of(value))
        case Term("dim", (dim,)):
            return dim if isinstance(dim, Dim) else None
        case Term("const", (number,)):
            return as_dim(number)
        case Term("param" | "turn", (name,)):
            return Dim.symbol(name)
        case Term(op, (a, b)) if op in _WHOLE:
            return _combined(_WHOLE[op], as_dim(a), as_dim(b))
    return None


def _combined(operate: Callable[[Dim, Dim], Dim], a: Dim | None, b: Dim | None) -> Dim | None:
    try:
        return None if a is None or b is None else operate(a, b)
    except (ValueError, ZeroDivisionError):
        return None


def names(value: Any) -> set[str]:
    """The parameters that a term, size or traced value speaks of; of a list's element, the list."""
    match value:
        case Term():
            found = {each.args[0] for each in value.parts() if isinstance(each, Term) and each.op == "param"}
            return found.union(*(names(each) for each in value.parts() if isinstance(each, Dim)))
        case Dim():
            return {symbol.partition("[")[0] for symbol in said(value).symbols}
        case TracedInt() | TracedFloat():
            return names(value.origin)
        case tuple() | list():
            return set().union(*map(names, value))
    return set()


def substituted(value: Term, values: Mapping[str, Any]) -> Term:
    """A term with the parameters replaced by the values that `values` has for them."""
    if value.op == "param" and value.args[0] in values:
        return term(values[value.args[0]])
    return Term(value.op, tuple(_substituted(each, values) for each in value.args))


def _substituted(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Term):
        return substituted(value, values)
    if isinstance(value, Dim):
        sizes = {name: as_dim(each) for name, each in values.items() if name in value.symbols}
        return value.substitute({name: size for name, size in sizes.items() if size is not None})
    return value


def rooted(name: str, value: Any) -> Any:
    """The value of a static parameter inside the function that it is a parameter of: there its expression is its name."""
    match value:
        case bool():
            return value
        case int():
            return TracedInt(int(value), Dim.symbol(name))
        case float():
            return TracedFloat(float(value), Term("param", (name,)))
        case list() | tuple():
            return type(value)(rooted(f"{name}[{i}]", each) for i, each in enumerate(value))
    return value


def untraced(value: Any) -> Any:
    """The plain number, where its expression says nothing: in another function."""
    match value:
        case TracedInt():
            return int(value)
        case TracedFloat():
            return float(value)
        case list() | tuple():
            return type(value)(map(untraced, value))
    return value


def moved(value: Any, values: Mapping[str, Any]) -> Any:
    """An attribute of a callee's operation in the caller's terms; `values` says what the callee's parameters are there."""
    match value:
        case TracedInt():
            origin = _substituted(value.origin, values)
            return TracedInt(int(value), origin) if origin.constant is None else int(value)
        case TracedFloat():
            origin = substituted(value.origin, values)
            return TracedFloat(float(value), origin)
        case tuple():
            return tuple(moved(each, values) for each in value)
    return value


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    **_WHOLE,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "in": lambda a, b: a in b,
    "not": lambda a: not a,
    "neg": lambda a: -a,
    "index": lambda a, i: a[i],
}
_CALLED: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("sqrt", "log", "exp", "floor", "ceil")},
    **{
        "range": range,
        "len": len,
        "min": min,
        "max": max,
        "abs": abs,
        "round": round,
        "int": int,
        "float": float,
        "sum": sum,
    },
}


def evaluate(value: Any, static: Mapping[str, Any]) -> Any:
    """The value of a term at given static parameters. Raises KeyError for a missing one, and what its operations raise."""
    match value:
        case Dim():
            return value.evaluate({name: _entry(name, static) for name in value.symbols})
        case Term("const", (constant,)):
            return constant
        case Term("dim", (dim,)):
            return evaluate(dim, static)
        case Term("param" | "turn" | "input", (name,)):
            return static[name]
        case Term("training"):
            return static["training"]
        case Term("if", (condition, then, otherwise)):
            return evaluate(then if evaluate(condition, static) else otherwise, static)
        case Term("list" | "tuple", items):
            return tuple(evaluate(each, static) for each in items)
        case Term("call", (name, *args)):
            return _CALLED[name](*(evaluate(each, static) for each in args))
        case Term(op, args):
            return _OPERATIONS[op](*(evaluate(each, static) for each in args))
    return value


def _entry(name: str, static: Mapping[str, Any]) -> Any:
    """`widths[0]` among lists."""
    head, *indices = name.replace("]", "").split("[")
    value = static[head]
    for index in indices:
        value = value[int(index)]
    return value
