"""Outputs, parameters and their paths: what a function has when its body is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.frame import Frame, Silent
from dlc.elaborate.functions import Callee, flat
from dlc.elaborate.operators import cast, lift
from dlc.elaborate.paths import RELABEL
from dlc.elaborate.types import WrittenType, axes_text, declared_dtype, rank_help, written_type
from dlc.elaborate.values import POISON, GroupValue, Instance, Poison, Tensor, type_name
from dlc.ir.nodes import Function, Param
from dlc.syntax import ast
from dlc.types.axes import AxisError, Binding
from dlc.types.dims import Dim

if TYPE_CHECKING:
    from dlc.elaborate.elaborator import Elaborator


# --- outputs ---------------------------------------------------------------------------------------------------


def finish_outputs(frame: Frame, callee: Callee) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """Check what was returned against the header; give the structure of the results and the named output values."""
    done = frame.guarded(lambda: _finish(frame, callee))
    return done if done is not None else (POISON, ())


def _finish(frame: Frame, callee: Callee) -> tuple[Any, tuple[tuple[str, str], ...]]:
    if not frame.has_returned:
        if any(frame.elaborator.diagnostics):
            raise Silent
        outputs = ", ".join(_field_text(item) for item in callee.outputs)
        frame.fail(
            problems.NO_RETURN,
            _header_span(callee),
            name=callee.name,
            outputs=outputs,
            help="end it with `return …`",
        )
    if isinstance(frame.returned, Poison):
        raise Silent
    returned = _as_outputs(frame, callee)
    binding = Binding(lambda name: _known(frame, name), frame.facts)
    values: list[Any] = []
    for i, (item, value) in enumerate(zip(callee.outputs, returned, strict=True)):
        values.append(_check_output(frame, callee, item, value, binding, _return_span(frame, callee, i)))
    named: list[tuple[str, str]] = []
    for i, (item, value) in enumerate(zip(callee.outputs, values, strict=True)):
        base = item.name or ("output" if len(values) == 1 else f"output_{i}")
        named += _output_names(base, value)
    results = tuple(_structure(value) for value in values)
    return (results[0] if len(results) == 1 else results), tuple(named)


def _known(frame: Frame, name: str) -> Dim | tuple[Dim, ...] | None:
    value = frame.static.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return Dim.of(value)
    found: Dim | tuple[Dim, ...] | None = frame.dims.get(name)
    return found if found is not None else frame.elaborator.let_dims(frame.unit)(name)


def _as_outputs(frame: Frame, callee: Callee) -> list[Any]:
    value, count = frame.returned, len(callee.outputs)
    several = count != 1 or isinstance(callee.outputs[0].type, ast.TensorTypeExpr)
    values = list(value) if isinstance(value, tuple) and several else [value]
    missing = [item for item in callee.outputs[len(values) :] if item.default is not None]
    values += [None] * len(missing)
    if len(values) != count:
        expected = f"{count} output" + ("" if count == 1 else "s")
        frame.fail(
            problems.OUTPUT_COUNT,
            _return_span(frame, callee),
            name=callee.name,
            expected=expected,
            found=f"{len(values)} value" + ("" if len(values) == 1 else "s"),
        )
    return values


def _header_span(callee: Callee) -> Span:
    node = callee.definition.node
    span: Span = getattr(node, "name_span", None) or node.span
    return span


def _return_span(frame: Frame, callee: Callee, index: int | None = None) -> Span:
    """Where a result is returned; without an index all of them."""
    spans: list[Span] = frame.cached.get("return", [])
    if not spans:
        return _header_span(callee)
    if index is None:
        return spans[0].to(spans[-1]) if len(spans) > 1 else spans[0]
    return spans[index] if index < len(spans) else spans[0]


def _check_output(
    frame: Frame, callee: Callee, item: ast.Field, value: Any, binding: Binding, span: Span
) -> Any:
    if value is None and item.default is not None:
        return None
    if isinstance(value, int | float | Dim) and not isinstance(value, bool):
        value = lift(frame, ast.Node(span=span), value, frame.float_dtype)
    written = written_type(frame, frame.unit, item.type, span)
    if written is None or written.group is not None:
        return value
    if not isinstance(value, Tensor):
        help = (
            f"apply it: `x |> {value.name or value.definition.name}`" if isinstance(value, Instance) else ""
        )
        frame.fail(
            problems.RESULT,
            span,
            name=callee.name,
            expected=_field_text(item),
            found=type_name(value),
            help=help,
        )
    expected = f"{written.dtype or ''}[{axes_text(written.axes)}]"
    wanted = declared_dtype(written, frame.float_dtype)
    if wanted == frame.float_dtype and value.type.is_float:
        value = cast(frame, ast.Node(span=span), value, wanted)
    elif wanted not in (value.type.dtype, "any"):
        help = f"convert it: `cast(…, {wanted})`, or declare {value.type.dtype}"
        frame.fail(
            problems.RESULT, span, name=callee.name, expected=expected, found=str(value.type), help=help
        )
    try:
        binding.match(written.axes, value.type.axes)
    except AxisError as error:
        frame.fail(
            problems.RESULT,
            span,
            name=callee.name,
            expected=expected,
            found=str(value.type),
            notes=[error.message],
            help=_reordered(binding, written, value) or error.help or rank_help(written, value.type.rank),
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
        case tuple() | list():
            return tuple(_structure(each) for each in value)
    return None


# --- paths -----------------------------------------------------------------------------------------------------


def local_paths(
    functions: dict[str, Function], name: str, memo: dict[str, list[tuple[str, Param]]]
) -> list[tuple[str, Param]]:
    """(path relative to the function, parameter) for every parameter of a function and its children."""
    found = memo.get(name)
    if found is not None:
        return found
    function = functions[name]
    paths: dict[str, Param] = {param.name: param for param in function.params}
    for child in function.children:
        below = local_paths(functions, child.function, memo)
        for prefix in child.paths():
            for local, param in below:
                paths.setdefault(f"{prefix}.{local}" if prefix else local, param)
    memo[name] = list(paths.items())
    return memo[name]


def check_paths(elaborator: Elaborator, frame: Frame, function: Function) -> None:
    """A parameter of the function itself and one of a part must not share a path."""
    own = {param.name for param in function.params}
    for path, instance in frame.taken.items():
        if path in own and isinstance(instance, Instance):
            frame.report(problems.SAME_PATH, instance.span, path=path, help=RELABEL)


def enter_main(elaborator: Elaborator, frame: Frame, callee: Callee) -> None:
    """Let an entry see what the main body declares: parameters, buffers, and instances bound at its top level.

    The main body runs on inputs of symbolic sizes, for what it declares alone."""
    from dlc.elaborate.programs import main_inputs
    from dlc.elaborate.statements import declare_only

    module = callee.definition.node
    assert isinstance(module, ast.ModuleDef)
    own = dict(frame.env), dict(frame.dims)
    for item in callee.inputs:  # an input may have the name of a static parameter, which the main body reads
        frame.env.pop(str(item.name), None)
    frame.env = {**callee.static, **frame.env, **frame.guarded(lambda: main_inputs(frame, callee), {})}
    declare_only(frame, module.body, own)
    frame.env["self"] = Instance(callee.definition, callee.static, module.span, path="", frame=frame)


def tensors(value: Any) -> list[Tensor]:
    return flat(value)
