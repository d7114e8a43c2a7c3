"""Constants from nested lists of numbers."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Tensor, type_name
from dlc.elaborate.state.body import Body
from dlc.elaborate.types.static import in_range, plain
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.terms import called, lengths, untraced
from dlc.types.traced import Term, as_float


def table(
    body: Body,
    node: ast.Node,
    value: Any,
    dtype: str | None,
    span: Span,
    hint: str = "table",
    told: Term | None = None,
) -> Tensor:
    """A constant from nested lists of numbers; `told` is its expression where it depends on static parameters."""
    shape, rows = [], value
    while isinstance(rows, list | tuple):
        shape.append(len(rows))
        rows = rows[0] if rows else None
    found: set[type] = set()

    def tidy(each: Any, depth: int) -> Any:
        if isinstance(each, list | tuple):
            if depth >= len(shape) or len(each) != shape[depth]:
                body.report.fail(
                    problems.STATIC_ERROR, span, message="the rows of a constant must be equally long"
                )
            return tuple(tidy(item, depth + 1) for item in each)
        each = plain(each)
        if not isinstance(each, bool | int | float) or depth != len(shape):
            body.report.fail(
                problems.STATIC_ERROR, span, message=f"a constant is made of numbers, not {type_name(each)}"
            )
        found.add(type(untraced(each)))
        return in_range(body.report, span, each, dtype or ("float" if isinstance(each, float) else "i64"))

    table = tidy(value, 0)
    default = body.context.float_dtype if float in found else "bool" if found == {bool} else "i64"
    dtype = dtype or default
    body.emission.builder.span = node.span
    table = _convert(table, dtype)
    if told is not None:
        shape = lengths(told, shape)
    made = body.emission.builder.const(table, dtype, tuple(shape), hint=hint)
    if told is not None:
        ops = body.emission.builder.body
        ops[-1] = replace(ops[-1], given=(("value", told),))
    return Tensor(made, node.span, "tensor")


def _convert(value: Any, dtype: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_convert(each, dtype) for each in value)
    return as_dtype(value, dtype)


def as_dtype(value: float, dtype: str) -> Any:
    if dtype == "bool":
        return bool(value)
    if dtype.startswith(("i", "u")):
        return (
            value
            if isinstance(value, int) and not isinstance(value, bool)
            else called("int", int(value), value)
        )
    return as_float(value)
