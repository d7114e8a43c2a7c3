"""Arguments matched to the types of inputs: dtypes, axes, and the sizes that names stand for."""

from __future__ import annotations

from itertools import chain, count
from typing import Any

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.handles import flat
from dlc.elaborate.base.spelling import axes_text, words
from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import GroupValue, Poison, Tensor, type_name, unapplied
from dlc.elaborate.calls.sizes import own_static
from dlc.elaborate.names.static import let_dims
from dlc.elaborate.reports.report import ElabError, Silent
from dlc.elaborate.state.body import Body, Context
from dlc.elaborate.state.callee import Bound, Callee
from dlc.elaborate.state.callee import size_of as _dim
from dlc.elaborate.tensors.failures import described, spelled
from dlc.elaborate.tensors.operators import cast, lift
from dlc.elaborate.types.written import WrittenType, declared_dtype, rank_help, written_type
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.axes import AxisError, Binding, evaluate_axis
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import rooted


def bind_inputs(body: Body, callee: Callee, given: dict[str, tuple[Any, Span]], node: ast.Node) -> Bound:
    """Arguments by input, and what the callee's names of sizes stand for: in the caller's terms (`outer`) and in its own (`inner`).

    Inputs are matched in declared order, each against what the ones before it bound: a name that stands first takes the size it
    meets, later ones must agree by the caller's facts. An axis such as `2 * d` is solved for a `d` that nothing bound yet."""
    bound = Bound(traced=body.context.session.traced)
    static = {name: _dim(value) for name, value in callee.static.items()}
    lets = let_dims(body.context.session, callee.definition.unit)
    binding = Binding(lambda name: static.get(name) or lets(name), body.emission.facts)
    if callee.definition.library and not callee.is_module:
        bound.float_dtype = _float_dtype(callee, given)
    for item in callee.inputs:
        name = str(item.name)
        if name not in given:
            if item.default is None:
                help = habits.missing(callee.name, name, is_op=not callee.is_module and not given)
                body.report.fail(
                    problems.MISSING_ARGUMENT, node.span, callee=callee.name, name=name, help=help
                )
            bound.values[name] = None
            continue
        value, span = given[name]
        if isinstance(value, Poison):
            raise Silent
        if value is None and item.default is not None:
            bound.values[name] = None
            continue
        written = written_type(body.report, callee.definition.unit, item.type, span)
        try:
            bound.values[name] = _fit(body, callee, item, written, value, binding, bound.float_dtype, span)
        except ElabError as error:
            raise ElabError(_with_others(body.context, error.diagnostic, bound, written)) from None
        _remember(body, bound, name, written)
    bound.outer = dict(binding.dims)
    _rename(callee, bound)
    bound.static = own_static(callee, bound, body.emission.facts)
    fixed = body.context.session.fixed_in(callee.definition)
    inside = {
        name: _dim(rooted(name, value) if bound.traced and name not in fixed else value)
        for name, value in bound.static.items()
    }
    bound.known = lambda name: inside.get(name) or lets(name)
    bound.types = inner_types(bound)
    return bound


def _with_others(
    context: Context, diagnostic: Diagnostic, bound: Bound, written: WrittenType | None
) -> Diagnostic:
    """A shape that does not fit is shown beside the inputs that bound the same names."""
    if diagnostic.code != problems.INPUT_SHAPE.code or written is None:
        return diagnostic
    names = set(words(axes_text(written.axes)))
    notes = []
    for (name, i), other in bound.written.items():
        if names & set(words(axes_text(other.axes))):
            tensor = flat(bound.values[name])[i]
            notes.append(described(context, tensor) + (f", for `{name}`" if tensor.name != name else ""))
    return replace(diagnostic, notes=(*notes, *diagnostic.notes))


def _remember(body: Body, bound: Bound, name: str, written: WrittenType | None) -> None:
    if written is None:
        return
    parts = written.members(body.report) if written.group is not None else [written]
    bound.written.update(((name, i), part) for i, part in enumerate(parts) if part is not None)


def _float_dtype(callee: Callee, given: dict[str, tuple[Any, Span]]) -> str:
    """A library fn computes in the float dtype of its operands: the explicit one, if any has one."""
    for item in callee.inputs:
        value = given.get(str(item.name), (None, None))[0]
        wants_float = isinstance(item.type, ast.TensorTypeExpr) and item.type.dtype is None
        if wants_float and isinstance(value, Tensor) and value.type.is_float and value.type.dtype != "float":
            return value.type.dtype
    return "float"


def _fit(
    body: Body,
    callee: Callee,
    item: ast.Field,
    written: WrittenType | None,
    value: Any,
    binding: Binding,
    float_dtype: str,
    span: Span,
) -> Any:
    node = ast.Node(span=span)
    if isinstance(value, int | float | Dim) and not isinstance(value, bool):
        rankless = (
            written is None or written.axes == () or (written.axes and isinstance(written.axes[0], ast.Star))
        )
        if written is None or (written.group is None and rankless and not isinstance(value, bool)):
            wanted = "any" if written is None else declared_dtype(written, float_dtype)
            value = lift(body, node, value, float_dtype if wanted == "any" else wanted)
    if written is not None and written.group is not None:
        return _fit_group(body, callee, item, written, value, binding, float_dtype, span)
    if not isinstance(value, Tensor):
        help = unapplied(value)
        body.report.fail(
            problems.NOT_A_TENSOR, span, callee=callee.name, name=item.name, found=type_name(value), help=help
        )
    if written is None:
        return value
    value = _fit_dtype(body, callee, item, written, value, float_dtype, span)
    try:
        binding.match(written.axes, value.type.axes)
    except AxisError as error:
        _shape_error(body, callee, item, written, value, binding, error, span)
    return value


def _fit_dtype(
    body: Body,
    callee: Callee,
    item: ast.Field,
    written: WrittenType,
    value: Tensor,
    float_dtype: str,
    span: Span,
) -> Tensor:
    wanted, found = declared_dtype(written, float_dtype), value.type.dtype
    if wanted == found or (written.any_dtype and wanted == "any"):
        return value
    if (wanted == "float" and value.type.is_float) or (
        float_dtype != "float" and wanted == float_dtype and value.type.is_float
    ):
        return cast(body, ast.Node(span=span), value, wanted)
    help = (
        _swapped(callee, item, found)
        or (_shares(callee, item) if value.type.is_float and value.type.rank > 1 else "")
        or _undeclared(body, value, wanted)
        or f"convert it: `cast({spelled(body.scope, value)}, {wanted})`"
    )
    message = f"`{callee.name}` takes `{item.name}` as {wanted}, not {found}"
    body.report.fail(problems.DTYPE, span, message=message, notes=[described(body.context, value)], help=help)


def _swapped(callee: Callee, item: ast.Field, found: str) -> str:
    """Help where whole numbers come first, as predictions."""
    names = [str(each.name) for each in callee.inputs]
    if (
        found == "i64"
        and names[:2] == ["logits", "target"] == [item.name, names[1]]
        and callee.definition.library
    ):
        return f"predictions come first, what they should be after them: `{callee.name}(logits, target)`"
    return ""


def _shares(callee: Callee, item: ast.Field) -> str:
    """Help where classes come as a number for each of them, one-hot say."""
    if callee.name == "cross_entropy" and callee.definition.library and str(item.name) == "target":
        return "`target` is the number of each class; a share for each of them is for `soft_cross_entropy`"
    return ""


def _undeclared(body: Body, value: Tensor, wanted: str) -> str:
    """Help for an input of this body that is a float only because its type says no dtype."""
    name = spelled(body.scope, value)
    if value.type.dtype != "float" or not wanted.startswith(("i", "u")) or name == "…":
        return ""
    if value.made_by not in ("", "the batch"):
        return ""
    return f"declare it {wanted}: `{name}: {TensorType(wanted, value.type.axes)}`"


def _shape_error(
    body: Body,
    callee: Callee,
    item: ast.Field,
    written: WrittenType,
    value: Tensor,
    binding: Binding,
    error: AxisError,
    span: Span,
) -> None:
    expected = f"{written.dtype or ''}[{axes_text(written.axes)}]"
    notes = [described(body.context, value)]
    help = error.help or (_shares(callee, item) if value.made_by.startswith("one_hot") else "")
    body.report.fail(
        problems.INPUT_SHAPE,
        span,
        callee=callee.name,
        name=item.name,
        expected=expected,
        reason=error.message,
        notes=notes,
        help=help or rank_help(written, value.type.axes, binding.lookup, spelled(body.scope, value)),
    )


def _fit_group(
    body: Body,
    callee: Callee,
    item: ast.Field,
    written: WrittenType,
    value: Any,
    binding: Binding,
    float_dtype: str,
    span: Span,
) -> Any:
    if not isinstance(value, GroupValue) or value.definition is not written.group:
        body.report.fail(
            problems.NOT_A_TENSOR, span, callee=callee.name, name=item.name, found=type_name(value)
        )
    members = []
    for field_, member in zip(written.members(body.report), value.members, strict=True):
        inner = ast.Field(f"{item.name}.{member[0]}", None, span=span)
        members.append((member[0], _fit(body, callee, inner, field_, member[1], binding, float_dtype, span)))
    return GroupValue(value.definition, tuple(members))


def fit_members(body: Body, definition: Definition, given: dict[str, tuple[Any, Span]]) -> GroupValue:
    """A group made of tensors, each checked against the type of its member: the same names are the same sizes."""
    group = definition.node
    assert isinstance(group, ast.GroupDef)
    callee = Callee(definition, {}, group.fields, (), (), ())
    binding = Binding(let_dims(body.context.session, definition.unit), body.emission.facts)
    written = WrittenType(None, group.axes, definition).members(body.report)
    members = []
    for item, type in zip(group.fields, written, strict=True):
        value, span = given[str(item.name)]
        if isinstance(value, Poison):
            raise Silent
        members.append((str(item.name), _fit(body, callee, item, type, value, binding, "float", span)))
    return GroupValue(definition, tuple(members))


def _rename(callee: Callee, bound: Bound) -> None:
    """The callee's own dims: numbers stay numbers, names become its own symbols. An axis of a `*S` that has the size of a named
    dim at the call is that dim; in the library, so is another named dim of that size (self-attention's U is T).

    Symbols of its own make a function of use to other callers. That goes too far where the callee adds what two of its names
    measure: with T and U apart, `x + y` would not be known to fit although it does at this call. A user's module says so by using
    one name twice, or by a `where`; the library can't, since it serves callers where they differ, so there equal sizes share a
    symbol, and a call where they differ is another instantiation."""
    stars = {name: size for name, size in bound.outer.items() if isinstance(size, tuple)}
    for name, size in bound.outer.items():
        if isinstance(size, Dim):
            same = (
                [key for key, other in bound.names.items() if other == size]
                if callee.definition.library
                else []
            )
            bound.inner[name] = Dim.symbol(same[0]) if same else _own(name, size, bound)
    for name, axes in stars.items():
        bound.inner[name] = _free_axes(bound, axes, name)


def _own(name: str, size: Dim, bound: Bound) -> Dim:
    if size.constant is not None:
        return _known_size(name, size, bound)
    bound.names[name] = size
    return Dim.symbol(name)


def _known_size(name: str, size: Dim, bound: Bound) -> Dim:
    """A size that is a number at the call is one inside, where its expression is the name it has there."""
    if not bound.traced:
        return size
    bound.sizes[name] = size
    return size.said(Dim.symbol(name))


def _numbered(star: str, bound: Bound) -> str:
    """A name for an axis that has none: of `*S` S0, S1, …, of `*heads`, which is a word, heads, heads1, …"""
    word = [star] if len(star) > 1 else []
    names = chain(word, (f"{star}{i}" for i in count(len(word))))
    return next(name for name in names if name not in bound.names and name not in bound.sizes)


def inner_types(bound: Bound) -> dict[str, list[TensorType]]:
    """The types of the inputs in the callee's own dims, by input name."""
    types: dict[str, list[TensorType]] = {}
    for name, value in bound.values.items():
        for i, tensor in enumerate(flat(value)):
            written = bound.written.get((name, i))
            axes = _written_axes(bound, written, tensor) if written else _free_axes(bound, tensor.type.axes)
            types.setdefault(name, []).append(TensorType(tensor.type.dtype, axes))
    return types


def _written_axes(bound: Bound, written: WrittenType, tensor: Tensor) -> tuple[Dim, ...]:
    axes: list[Dim] = []
    for pattern in written.axes:
        if isinstance(pattern, ast.Star):
            star = bound.inner.get(pattern.name, ())
            axes += star if isinstance(star, tuple) else (star,)
        elif isinstance(pattern, ast.Wildcard):
            axes += _free_axes(bound, (tensor.type.axes[len(axes)],))
        else:
            axes.append(evaluate_axis(pattern, lambda name: bound.inner.get(name, bound.known(name))))
    return tuple(axes)


def _free_axes(bound: Bound, axes: tuple[Dim, ...], star: str = "n") -> tuple[Dim, ...]:
    """Axes that the callee gives no name: a known number stays, anything else becomes a dim of its own.

    An axis with the size of a dim that the callee has a name for takes that name, or its body could not prove the two equal. The
    caller's own word is kept where it is free, for the sake of those who read the function; else a number is added."""
    result = []
    for axis in axes:
        if axis.constant is not None:
            result.append(_known_size(_numbered(star, bound), axis, bound))
            continue
        same = next((name for name, size in bound.names.items() if size == axis), None)
        if same is None:
            symbol = next(iter(axis.symbols))
            taken = symbol in {*bound.names, *bound.sizes} or isinstance(bound.outer.get(symbol), Dim)
            plain = symbol if axis == Dim.symbol(symbol) and not taken else ""
            same = plain or _numbered(star, bound)
            bound.names[same] = axis
        result.append(Dim.symbol(same))
    return tuple(result)
