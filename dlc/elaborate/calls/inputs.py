"""Inputs of a body that no call gives: every name without a value is a dim."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.handles import flat
from dlc.elaborate.base.values import GroupValue, Tensor
from dlc.elaborate.names.static import let_dims
from dlc.elaborate.reports.report import Report
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.callee import Bound, Callee, way_in
from dlc.elaborate.types.written import WrittenType, declared_dtype, written_type
from dlc.ir.nodes import Value
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.axes import AxisError, evaluate_axis, unbound_names
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import rooted


def free_inputs(body: Body, callee: Callee, wanted: tuple[str, ...]) -> Bound:
    """Inputs of an entry: every name that nothing gives a value is a dim of the program."""
    bound = Bound(traced=body.context.session.traced)
    static = {
        name: Dim.of(rooted(name, v) if bound.traced and name not in body.context.session.fixed else v)
        for name, v in callee.static.items()
        if isinstance(v, int | Dim) and not isinstance(v, bool)
    }
    bound.names.update((str(each.name), Dim.symbol(str(each.name))) for each in callee.sizes)
    lets = let_dims(body.context.session, body.context.unit)

    def known(name: str) -> Dim | tuple[Dim, ...] | None:
        return static.get(name) or bound.inner.get(name) or lets(name)

    for item in callee.inputs:
        name = str(item.name)
        if item.default is not None and name not in wanted:
            bound.values[name] = None
            continue
        written = written_type(body.report, body.context.unit, item.type, item.span)
        if written is None:
            body.report.fail(
                problems.BAD_TYPE, item.span, message=f"the input `{name}` of a model needs a type"
            )
        bound.values[name] = _input(body, bound, written, name, known, item.span)
    bound.outer = dict(bound.inner)
    bound.types = {name: [each.type for each in flat(value)] for name, value in bound.values.items()}
    return bound


def main_inputs(body: Body, callee: Callee) -> dict[str, Any]:
    """The inputs of a module's main body with symbolic sizes."""
    main = with_free_sizes(way_in(callee.definition, main_statics(callee)))
    bound = free_inputs(body, main, ())
    body.scope = body.scope.with_sizes(bound.inner)
    return {**{str(each.name): main.static[str(each.name)] for each in main.sizes}, **bound.values}


def main_statics(callee: Callee) -> dict[str, Any]:
    """The static arguments that the main computation has, of those of an entry."""
    own = {str(each.name) for each in callee.own}
    return {name: value for name, value in callee.static.items() if name not in own}


def with_free_sizes(callee: Callee) -> Callee:
    """A way in whose sizes among the inputs are dims of the program."""
    sizes = {str(each.name): Dim.symbol(str(each.name)) for each in callee.sizes}
    return replace(callee, static={**callee.static, **sizes})


def _input(body: Body, bound: Bound, written: WrittenType, name: str, known: Any, span: Span) -> Any:
    if written.group is not None:
        node = written.group.node
        assert isinstance(node, ast.GroupDef)
        members = [
            (str(item.name), _input(body, bound, part, f"{name}.{item.name}", known, span))
            for item, part in zip(node.fields, written.members(body.report), strict=True)
            if part is not None
        ]
        return GroupValue(written.group, tuple(members))
    axes: list[Dim] = []
    for axis in written.axes:
        axes += _input_axis(body.report, bound, axis, known, span)
    return Tensor(Value(name, TensorType(declared_dtype(written, "float"), tuple(axes))))


def _input_axis(report: Report, bound: Bound, axis: ast.Expr, known: Any, span: Span) -> list[Dim]:
    if isinstance(axis, ast.Star):
        report.fail(
            problems.BAD_TYPE,
            axis.span,
            message=f"`*{axis.name}` stands for any number of axes; a model's input has a fixed number",
        )
    if isinstance(axis, ast.Wildcard):
        report.fail(
            problems.BAD_TYPE, axis.span, message="give this axis of a model's input a name or a size"
        )
    for name in unbound_names(axis, known):
        bound.inner[name] = Dim.symbol(name)
        bound.names[name] = Dim.symbol(name)
    try:
        size = evaluate_axis(axis, known)
    except AxisError as error:
        where = error.node.span if error.node is not None else span
        report.fail(problems.BAD_TYPE, where, message=error.message)
    if size.constant is not None and size.constant < 0:
        report.fail(problems.BAD_TYPE, axis.span, message=f"a size can't be negative: {size}")
    return [size]
