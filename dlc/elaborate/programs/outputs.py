"""Outputs: what was returned, against the header."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.spelling import axes_text
from dlc.elaborate.base.values import POISON, GroupValue, Instance, Poison, Tensor, type_name
from dlc.elaborate.names.static import let_dims
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.callee import Callee
from dlc.elaborate.tensors.operators import cast, lift
from dlc.elaborate.types.written import WrittenType, declared_dtype, rank_help, written_type
from dlc.syntax import ast
from dlc.types.axes import AxisError, Binding, evaluate_axis
from dlc.types.dims import Dim


def finish_outputs(body: Body, callee: Callee) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """Check what was returned against the header; give the structure of the results and the named output values."""
    done = body.report.guarded(lambda: _finish(body, callee))
    return done if done is not None else (POISON, ())


def _finish(body: Body, callee: Callee) -> tuple[Any, tuple[tuple[str, str], ...]]:
    if not body.emission.has_returned:
        if any(body.context.session.diagnostics):
            raise Silent
        outputs = ", ".join(_field_text(item) for item in callee.outputs)
        body.report.fail(
            problems.NO_RETURN,
            _header_span(callee),
            name=callee.name,
            outputs=outputs,
            help="end it with `return …`",
        )
    if isinstance(body.emission.returned, Poison):
        raise Silent
    returned = _as_outputs(body, callee)
    binding = Binding(lambda name: _known(body, name), body.emission.facts)
    values: list[Any] = []
    results: list[Any] = []
    for i, (item, value) in enumerate(zip(callee.outputs, returned, strict=True)):
        span = _return_span(body, callee, i)
        values.append(_check_output(body, callee, item, value, binding, span))
        results.append(_as_stated(body, item, values[-1], binding, span))
    named: list[tuple[str, str]] = []
    for i, (item, value) in enumerate(zip(callee.outputs, values, strict=True)):
        base = item.name or ("output" if len(values) == 1 else f"output_{i}")
        named += _output_names(base, value)
    return (results[0] if len(results) == 1 else tuple(results)), tuple(named)


def _as_stated(body: Body, item: ast.Field, value: Any, binding: Binding, span: Span) -> Any:
    """The structure of a result. A number among its sizes has the expression that the header states: that of what was computed may
    be another one with the same value here, such as the width of a shortcut's input."""
    found = _structure(value)
    if not body.context.session.traced or not isinstance(value, Tensor):
        return found
    written = written_type(body.report, body.context.unit, item.type, span)
    if written is None or any(isinstance(each, ast.Star) for each in written.axes):
        return found
    pairs = zip(written.axes, value.type.axes, strict=True)
    return value.type.with_axes(tuple(_stated_size(binding, each, axis) for each, axis in pairs))


def _stated_size(binding: Binding, written: ast.Expr, axis: Dim) -> Dim:
    if isinstance(written, ast.Wildcard) or axis.constant is None:
        return axis
    stated = evaluate_axis(written, binding.lookup)
    return stated if stated.constant == axis.constant else axis


def _known(body: Body, name: str) -> Dim | tuple[Dim, ...] | None:
    value = body.scope.static.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return Dim.of(value)
    found: Dim | tuple[Dim, ...] | None = body.scope.dims.get(name)
    return found if found is not None else let_dims(body.context.session, body.context.unit)(name)


def _as_outputs(body: Body, callee: Callee) -> list[Any]:
    value, count = body.emission.returned, len(callee.outputs)
    several = count != 1 or isinstance(callee.outputs[0].type, ast.TensorTypeExpr)
    values = list(value) if isinstance(value, tuple) and several else [value]
    missing = [item for item in callee.outputs[len(values) :] if item.default is not None]
    values += [None] * len(missing)
    if len(values) != count:
        expected = f"{count} output" + ("" if count == 1 else "s")
        body.report.fail(
            problems.OUTPUT_COUNT,
            _return_span(body, callee),
            name=callee.name,
            expected=expected,
            found=f"{len(values)} value" + ("" if len(values) == 1 else "s"),
        )
    return values


def _header_span(callee: Callee) -> Span:
    node = callee.definition.node
    span: Span = getattr(node, "name_span", None) or node.span
    return span


def _return_span(body: Body, callee: Callee, index: int | None = None) -> Span:
    """Where a result is returned; without an index all of them."""
    spans: list[Span] = body.emission.result_spans
    if not spans:
        return _header_span(callee)
    if index is None:
        return spans[0].to(spans[-1]) if len(spans) > 1 else spans[0]
    return spans[index] if index < len(spans) else spans[0]


def _check_output(
    body: Body, callee: Callee, item: ast.Field, value: Any, binding: Binding, span: Span
) -> Any:
    if value is None and item.default is not None:
        return None
    if isinstance(value, int | float | Dim) and not isinstance(value, bool):
        value = lift(body, ast.Node(span=span), value, body.context.float_dtype)
    written = written_type(body.report, body.context.unit, item.type, span)
    if written is None or written.group is not None:
        return value
    if not isinstance(value, Tensor):
        help = (
            f"apply it: `x |> {value.name or value.definition.name}`" if isinstance(value, Instance) else ""
        )
        body.report.fail(
            problems.RESULT,
            span,
            name=callee.name,
            expected=_field_text(item),
            found=type_name(value),
            help=help,
        )
    expected = f"{written.dtype or ''}[{axes_text(written.axes)}]"
    wanted = declared_dtype(written, body.context.float_dtype)
    if wanted == body.context.float_dtype and value.type.is_float:
        value = cast(body, ast.Node(span=span), value, wanted)
    elif wanted not in (value.type.dtype, "any"):
        help = f"convert it: `cast(…, {wanted})`, or declare {value.type.dtype}"
        body.report.fail(
            problems.RESULT, span, name=callee.name, expected=expected, found=str(value.type), help=help
        )
    try:
        binding.match(written.axes, value.type.axes)
    except AxisError as error:
        body.report.fail(
            problems.RESULT,
            span,
            name=callee.name,
            expected=expected,
            found=str(value.type),
            notes=[error.message],
            help=_reordered(binding, written, value)
            or error.help
            or rank_help(written, value.type.axes, binding.lookup),
        )
    return value


def _reordered(binding: Binding, written: WrittenType, value: Tensor) -> str:
    """Help where the axes are the declared ones in another order."""
    sizes = [_written_size(binding, each) for each in written.axes]
    wanted, found = [*map(str, sizes)], [*map(str, value.type.axes)]
    if None in sizes or len(set(found)) != len(found) or {*wanted} != {*found}:
        return ""
    return f"the axes are in another order: `permute(…, {[found.index(each) for each in wanted]})`"


def _written_size(binding: Binding, axis: ast.Expr) -> Any:
    match axis:
        case ast.Int(value):
            return value
        case ast.Name(id):
            return binding.lookup(id)
    return None


def _field_text(item: ast.Field) -> str:
    if isinstance(item.type, ast.TensorTypeExpr):
        return f"{item.type.dtype or ''}[{axes_text(item.type.axes)}]"
    return item.name or "a value"


def _output_names(base: str, value: Any) -> list[tuple[str, str]]:
    match value:
        case Tensor():
            return [(base, value.name)]
        case GroupValue(_, members):
            return [pair for name, each in members for pair in _output_names(f"{base}.{name}", each)]
        case tuple() | list():
            return [pair for i, each in enumerate(value) for pair in _output_names(f"{base}_{i}", each)]
    return []


def _structure(value: Any) -> Any:
    match value:
        case Tensor():
            return value.type
        case GroupValue(definition, members):
            return GroupValue(definition, tuple((name, _structure(each)) for name, each in members))
        case tuple():
            return tuple(_structure(each) for each in value)
        case list():
            return [_structure(each) for each in value]
    return None
