"""Binding names: a target takes a value, or takes one apart."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.budget import NAMES_A_STEP
from dlc.elaborate.base.handles import tensors_in
from dlc.elaborate.base.spelling import axes_text
from dlc.elaborate.base.values import GroupValue, Instance, Tensor, type_name
from dlc.elaborate.names.origins import remember
from dlc.elaborate.names.static import size_of
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors.failures import described
from dlc.elaborate.tensors.operators import cast, emit
from dlc.elaborate.types.written import declared_dtype, written_type
from dlc.ir.nodes import Value
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.axes import AxisError, Binding
from dlc.types.dims import Dim


def bind(body: Body, target: ast.Target, value: Any, node: ast.Node) -> None:
    """Bind a target's names to a value, taking tuples and tensors' first axes apart."""
    match target:
        case ast.NameTarget(id, written):
            if written is not None:
                value = _check_binding(body, target, value)
            if isinstance(value, Instance) and value.path is None and value.label is None and not value.name:
                value.name = id
                value.owner, value.loops, value.scope = body, tuple(body.scope.loops), body.scope
            elif isinstance(value, Instance) and not value.name:
                value.name = id
            elif isinstance(value, list):
                _name_parts(body, id, value)
            if id != "_":
                body.bind(id, name_value(body, id, value), target)
                if written is not None:
                    body.scope = body.scope.with_written(id, written)
                remember(body, id, node, value)
        case ast.TupleTarget(items):
            whole = ast.Node(span=node.span)  # the expression is that of none of the parts
            for item, part in zip(items, _parts(body, value, len(items), node), strict=True):
                bind(body, item, part, whole)


def _name_parts(body: Body, name: str, made: list[Any]) -> None:
    """Let the parts that a comprehension made be called like the list that it is bound to, each with its index behind."""
    depth = len(body.scope.loops)
    for each in made:
        if isinstance(each, list):
            _name_parts(body, name, each)
        elif isinstance(each, Instance) and each.path is None and each.label is None and each.owner is body:
            each.name = each.name or (name if len(each.loops) > depth else "")


def name_value(body: Body, name: str, value: Any) -> Any:
    """Let a value that was just made carry the name that it is bound to, for the sake of those who read the IR."""
    named = body.emission.named
    if not isinstance(value, Tensor) or value.name in named or _is_held(body, value):
        return value
    ops = body.emission.builder.body
    for i in range(len(ops) - 1, max(len(ops) - 24, -1), -1):
        op = ops[i]
        for k, out in enumerate(op.outputs):
            if out.name == value.name:
                made = Value(body.emission.builder.fresh(name), out.type)
                named.add(made.name)
                ops[i] = replace(op, outputs=(*op.outputs[:k], made, *op.outputs[k + 1 :]))
                return replace(value, value=made)
        if value.name in op.inputs or op.region is not None:
            break
    return value


def _is_held(body: Body, value: Tensor) -> bool:
    """Whether some name holds the tensor, or something that contains it."""
    names = body.scope.names
    body.context.session.spend(len(names) // NAMES_A_STEP, body.report.place, body.report)
    wanted = value.name
    for held in names.values():
        if isinstance(held, Tensor):
            if held.value.name == wanted:
                return True
        elif isinstance(held, list | tuple | GroupValue) and wanted in _tensors_in(body, held):
            return True
    return False


def _tensors_in(body: Body, held: Any) -> frozenset[str]:
    """Those of a list or a group, which stay what they are: looked through once, however often names are bound beside it."""
    known = body.context.session.held
    if id(held) not in known:
        known[id(held)] = held, tensors_in(held)
    return known[id(held)][1]


def _parts(body: Body, value: Any, count: int, node: ast.Node) -> list[Any]:
    if isinstance(value, GroupValue):
        value = tuple(member for _, member in value.members)
    if isinstance(value, tuple | list):
        if len(value) != count:
            what = f"{len(value)} values"
            body.report.fail(problems.UNPACK, node.span, found=what, count=count)
        return list(value)
    if not isinstance(value, Tensor) or value.type.rank == 0:
        body.report.fail(problems.UNPACK, node.span, found=type_name(value), count=count)
    first = value.type.axes[0]
    if body.emission.facts.prove_eq(first, Dim.of(count)) is not True:
        body.report.fail(
            problems.UNPACK,
            node.span,
            found=f"a tensor {value.type}",
            count=count,
            help=_unpack_help(value, node),
        )
    return [_row(body, node, value, i) for i in range(count)]


def _unpack_help(value: Tensor, node: ast.Node) -> str:
    help = "a tensor unpacks along its first axis; use `chunk` or `split` for another"
    if value.type.axes[0].constant is not None:
        help = f"a tensor unpacks along its first axis, and that is {value.type.axes[0]}"
    made = isinstance(node, ast.Call) and value.made_at == node.span and value.made_by
    return f"`{value.made_by}` gives one tensor; {help}" if made else help


def _row(body: Body, node: ast.Node, value: Tensor, index: int) -> Tensor:
    axes = value.type.axes
    zeros = tuple(Dim.of(0) for _ in axes)
    start = (Dim.of(index), *zeros[1:])
    stop = (Dim.of(index + 1), *axes[1:])
    row = emit(body, node, "slice", value, start=start, stop=stop, step=(1,) * len(axes))
    return emit(body, node, "reshape", row, shape=axes[1:])


def _check_binding(body: Body, target: ast.NameTarget, value: Any) -> Any:
    written = written_type(body.report, body.context.unit, target.type, target.span)
    if written is None or written.group is not None:
        return value
    expected = f"{written.dtype or ''}[{axes_text(written.axes)}]"
    if not isinstance(value, Tensor):
        body.report.fail(
            problems.BINDING_TYPE,
            target.span,
            name=target.id,
            expected=expected,
            reason=f"it is {type_name(value)}",
        )
    wanted = declared_dtype(written, body.context.float_dtype)
    if (
        written.dtype is not None
        and wanted != value.type.dtype
        and not (wanted == "float" and value.type.is_float)
    ):
        reason = f"it is {value.type}"
        body.report.fail(problems.BINDING_TYPE, target.span, name=target.id, expected=expected, reason=reason)
    if written.dtype == "float" and value.type.is_float:
        value = cast(body, target, value, wanted)
    body.scope = body.scope.without_sizes_of(target.span)
    binding = Binding(lambda name: size_of(body, name), body.emission.facts)
    try:
        binding.match(written.axes, value.type.axes)
    except AxisError as error:
        notes = [described(body.context, value)]
        place = error.node.span if error.node is not None and error.node.span.line else target.span
        body.report.fail(
            problems.BINDING_TYPE,
            place,
            name=target.id,
            expected=expected,
            reason=error.message,
            notes=notes,
            help=error.help,
        )
    body.note_types([target.type])
    body.scope = body.scope.with_sizes_of(target.span, binding.dims)
    return value
