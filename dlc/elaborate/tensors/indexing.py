"""Indexing: lists and tuples as in Python, tensors as in NumPy with static indices."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Archive, Tensor, show, type_name, unapplied
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors.archives import constant
from dlc.elaborate.tensors.operators import emit
from dlc.elaborate.types.static import plain
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.dims import Dim


def index(body: Body, node: ast.Index, value: Any) -> Any:
    if isinstance(value, Tensor):
        return _tensor(body, node, value)
    if isinstance(value, list | tuple | str | range):
        return _sequence(body, node, value)
    if isinstance(value, Archive) and len(node.items) == 1:
        return constant(body, node, value, body.evaluate(node.items[0]), node.span)
    body.report.fail(
        problems.BAD_OPERANDS,
        node.span,
        op="[…]",
        left=type_name(value),
        right="an index",
        help=_numbered(node) or unapplied(value),
    )


def _numbered(node: ast.Index) -> str:
    """Help where a label was given a number, `as h[i]`."""
    match node:
        case ast.Index(ast.Labeled(label=ast.Label((str(word),))), (ast.Name(index),)):
            return f'a number in a label is written `as "{word}.{{{index}}}"`; a loop gives its layers one by itself'
    return ""


def _sequence(body: Body, node: ast.Index, value: Any) -> Any:
    if len(node.items) != 1:
        taken = ", ".join(["first", *("_" for _ in value[1:])])
        is_apart = 1 < len(value) < 9 and all(isinstance(each, Tensor) for each in value)
        help = f"it holds {len(value)} tensors; take it apart first: `{taken} = …`" if is_apart else ""
        message = f"{type_name(value)} takes one index"
        body.report.fail(problems.STATIC_ERROR, node.span, message=message, help=help)
    item = node.items[0]
    if isinstance(item, ast.Slice):
        parts = [_static_int(body, each) for each in (item.start, item.stop, item.step)]
        if parts[2] == 0:
            body.report.fail(problems.STATIC_ERROR, node.span, message="the step of a slice can't be 0")
        return value[slice(*parts)]
    at = _static_int(body, item)
    if not isinstance(at, int):
        body.report.fail(problems.NOT_STATIC, item.span, what="an index", found=type_name(at))
    if not -len(value) <= at < len(value):
        message = f"index {at} is past the end: {type_name(value)} of {len(value)}"
        body.report.fail(problems.STATIC_ERROR, item.span, message=message)
    return value[at]


def _static_int(body: Body, node: ast.Expr | None) -> Any:
    if node is None:
        return None
    value = plain(body.evaluate(node))
    if not isinstance(value, int) or isinstance(value, bool):
        body.report.fail(problems.NOT_STATIC, node.span, what="an index", found=type_name(value))
    return value


# --- tensors ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Plan:
    """What an index does to the axes: a slice per axis of the tensor, then the shape after dropping and adding axes."""

    start: list[Dim]
    stop: list[Dim]
    step: list[int]
    shape: list[Dim | None]  # None: the sliced axis of that position was dropped
    reshaped: bool = False


def _tensor(body: Body, node: ast.Index, value: Tensor) -> Tensor:
    items = _expand(body, node, value)
    plan = _Plan([], [], [], [])
    axis = 0
    for item in items:
        axis += _take(body, node, value, item, axis, plan)
    full = all(a.constant == 0 for a in plan.start) and all(s == 1 for s in plan.step)
    result = value
    if not full or tuple(plan.stop) != value.type.axes:
        result = emit(
            body, node, "slice", value, start=tuple(plan.start), stop=tuple(plan.stop), step=tuple(plan.step)
        )
    if plan.reshaped:
        result = emit(body, node, "reshape", result, shape=_final_shape(plan, result))
    return result


def _final_shape(plan: _Plan, sliced: Tensor) -> tuple[Dim, ...]:
    """Axes of the sliced tensor in order, without the dropped ones, with the new ones of size 1."""
    axes = list(sliced.type.axes)
    shape: list[Dim] = []
    for entry in plan.shape:
        if entry is None:
            axes.pop(0)
        elif entry is _NEW:
            shape.append(Dim.of(1))
        else:
            shape.append(axes.pop(0))
    return tuple(shape)


_NEW = Dim.symbol("?new")
_KEEP = Dim.symbol("?keep")


def _expand(body: Body, node: ast.Index, value: Tensor) -> list[Any]:
    """The index items evaluated, `...` and missing ones filled with whole slices."""
    items: list[Any] = []
    for item in node.items:
        if isinstance(item, ast.Slice | ast.Ellipsis_):
            items.append(item)
        else:
            items.append((plain(body.evaluate(item)), item.span))
    used = sum(1 for item in items if not isinstance(item, ast.Ellipsis_) and not _is_new(item))
    rank = value.type.rank
    if used > rank:
        message = f"{value.type} has {rank} axes, {used} are indexed"
        body.report.fail(problems.AXIS, node.items[rank].span, message=message)
    ellipses = [i for i, item in enumerate(items) if isinstance(item, ast.Ellipsis_)]
    if len(ellipses) > 1:
        body.report.fail(problems.AXIS, node.span, message="an index can hold one `...`")
    whole = [ast.Slice(None, None, None, span=node.span)] * (rank - used)
    if ellipses:
        return [*items[: ellipses[0]], *whole, *items[ellipses[0] + 1 :]]
    return [*items, *whole]


def _is_new(item: Any) -> bool:
    return isinstance(item, tuple) and item[0] is None


def _take(body: Body, node: ast.Index, value: Tensor, item: Any, axis: int, plan: _Plan) -> int:
    """Enter one item of the index; gives how many axes of the tensor it uses."""
    if _is_new(item):
        plan.shape.append(_NEW)
        plan.reshaped = True
        return 0
    size = value.type.axes[axis]
    if isinstance(item, ast.Slice):
        start, stop, step = _bounds(body, item, size, axis, value)
        plan.start.append(start)
        plan.stop.append(stop)
        plan.step.append(step)
        plan.shape.append(_KEEP)
        return 1
    at, span = item
    position = _position(body, at, size, axis, value, span)
    plan.start.append(position)
    plan.stop.append(position + 1)
    plan.step.append(1)
    plan.shape.append(None)
    plan.reshaped = True
    return 1


def _position(body: Body, at: Any, size: Dim, axis: int, value: Tensor, span: Span) -> Dim:
    if isinstance(at, Tensor):
        help = "take rows with a tensor of indices by `take(x, index, axis=…)` or `take_along`"
        body.report.fail(problems.NOT_STATIC, span, what="an index", found=f"a tensor {at.type}", help=help)
    if isinstance(at, list | tuple):
        help = f"take several with `take(x, tensor({show(list(at))}), axis={axis})`"
        body.report.fail(problems.NOT_STATIC, span, what="an index", found=type_name(at), help=help)
    if not isinstance(at, int | Dim) or isinstance(at, bool):
        body.report.fail(problems.NOT_STATIC, span, what="an index", found=type_name(at))
    position = size + at if isinstance(at, int) and at < 0 else Dim.of(at)
    inside = (
        body.emission.facts.prove_ge(position, Dim.of(0)),
        body.emission.facts.prove_ge(size - 1, position),
    )
    if False in inside:
        body.report.fail(problems.AXIS, span, message=f"index {at} is outside axis {axis} of {value.type}")
    if None in inside:
        body.report.fail(
            problems.UNPROVED_SHAPE,
            span,
            message=f"index {at} is not known to be inside axis {axis} of {value.type}",
            help=f"state it: `where {Dim.of(at) + 1} <= {size}`"
            if not (isinstance(at, int) and at < 0)
            else f"state it: `where {-at} <= {size}`",
        )
    return position


def _bounds(body: Body, item: ast.Slice, size: Dim, axis: int, value: Tensor) -> tuple[Dim, Dim, int]:
    step = _static_int(body, item.step)
    if step is not None and step <= 0:
        body.report.fail(
            problems.AXIS,
            item.span,
            message="the step of a tensor's slice must be positive",
            help="reverse with `flip(x, axis)`",
        )
    start = _bound(body, item.start, Dim.of(0), size)
    stop = _bound(body, item.stop, size, size)
    for low, high in ((Dim.of(0), start), (start, stop), (stop, size)):
        holds = body.emission.facts.prove_ge(high, low)
        if holds is True:
            continue
        shown = f"{start}:{stop}"
        if holds is False:
            body.report.fail(
                problems.AXIS, item.span, message=f"the slice {shown} is outside axis {axis} of {value.type}"
            )
        body.report.fail(
            problems.UNPROVED_SHAPE,
            item.span,
            message=f"the slice {shown} is not known to be inside axis {axis} of {value.type}",
            help=f"state it: `where {low} <= {high}`",
        )
    return start, stop, step or 1


def _bound(body: Body, node: ast.Expr | None, default: Dim, size: Dim) -> Dim:
    if node is None:
        return default
    value = plain(body.evaluate(node))
    if value is None:
        return default
    if not isinstance(value, int | Dim) or isinstance(value, bool):
        found = f"a tensor {value.type}" if isinstance(value, Tensor) else type_name(value)
        help = "cut at a place given by data with `update_slice` and masks, or `take`"
        body.report.fail(problems.NOT_STATIC, node.span, what="the bound of a slice", found=found, help=help)
    if isinstance(value, int):
        return size + value if value < 0 else Dim.of(value)
    negative = isinstance(node, ast.Unary) and node.op == "-"
    return size + value if negative else value
