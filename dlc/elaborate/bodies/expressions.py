"""Evaluating expressions: static values as in Python, tensors by appending operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from dlc.diagnostics import did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.budget import PART_STEPS, weight
from dlc.elaborate.base.trees import below, target_names
from dlc.elaborate.base.units import entries
from dlc.elaborate.base.values import (
    Archive,
    Builtin,
    GroupValue,
    Instance,
    Method,
    PathRef,
    Poison,
    Tensor,
    show,
    type_name,
)
from dlc.elaborate.calls import calls
from dlc.elaborate.calls.arguments import Given
from dlc.elaborate.names import lookup as names
from dlc.elaborate.names.conditions import answer, truth
from dlc.elaborate.names.origins import chosen, kept, outlived, spelled, turned
from dlc.elaborate.reports.report import Report, Silent, too_large
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.callee import flat_statics
from dlc.elaborate.state.emission import Emission
from dlc.elaborate.state.scope import LoopContext
from dlc.elaborate.tensors import indexing, operators
from dlc.elaborate.tensors.archives import constant
from dlc.ir.nodes import Op, Value
from dlc.syntax import ast
from dlc.types.dims import Dim, DimTooLarge
from dlc.types.tensor import TensorType

LIST_LIMIT = 100_000


def evaluate(body: Body, node: ast.Expr) -> Any:
    """The value of an expression. Raises ElabError where it has none, Silent where it depends on an error."""
    body.context.session.spend(1, node.span, body.report)
    try:
        value = _EVALUATORS[type(node)](body, node)
    except DimTooLarge as error:
        body.report.fail(
            problems.BUDGET, node.span, what="this size", found=too_large(error), limit="2,000 terms"
        )
    if isinstance(value, Poison):
        raise Silent
    if isinstance(value, list | tuple | str) and len(value) >= 10:
        body.context.session.spend(weight(value), node.span, body.report)
    return value


def _name(body: Body, node: ast.Name) -> Any:
    value = names.lookup(body, node.id, node.span)
    if body.context.init_shape is not None and isinstance(value, Builtin):
        return value.expand(body, node, Given())  # `ones * 0.5`: an initial value needs no brackets
    return value


def _string(body: Body, node: ast.Str) -> str:
    return node.value


def _list(body: Body, node: ast.ListExpr) -> list[Any]:
    items: list[Any] = []
    for item in node.items:
        if isinstance(item, ast.Star):
            items += names.star(body, item)
        else:
            items.append(evaluate(body, item))
    check_size(body.report, items, node)
    return items


def check_size(report: Report, value: Any, node: ast.Node) -> None:
    """A list of lists may hold far more than its length says: its elements are counted, up to the limit."""
    count, stack = 0, [value]
    while stack:
        each = stack.pop()
        if isinstance(each, list | tuple):
            count += len(each)
            stack += each
        if count > LIST_LIMIT:
            found, limit = f"over {LIST_LIMIT:,} elements", f"{LIST_LIMIT:,}"
            report.fail(problems.BUDGET, node.span, what="this list", found=found, limit=limit)


def _tuple(body: Body, node: ast.TupleExpr) -> tuple[Any, ...]:
    items = tuple(evaluate(body, item) for item in node.items)
    check_size(body.report, items, node)
    return items


def _comprehension(body: Body, node: ast.ListComp) -> list[Any]:
    outside = body.scope
    result = []
    iterable = evaluate(body, node.iterable)
    sized = node.condition is None and isinstance(iterable, range | list | tuple)
    if sized and len(iterable) > LIST_LIMIT:  # told before the budget is spent on it
        _too_long(body, node)
    turning, made = frozenset(target_names(node.target)), list[dict[str, int]]()
    for k, item in enumerate(iterate(body.report, iterable, node.iterable)):
        bind_static(body, node.target, item)
        if body.context.session.traced:
            body.scope = outlived(body.scope, turning)
        if node.condition is None or truth(body, node.condition):
            with inside_turn(body, LoopContext(turning, turn_index(iterable, k), None)) as found:
                result.append(evaluate(body, node.element))
            if found != body.emission.unnamed:
                made.append(found)
            if isinstance(result[-1], Instance):
                body.context.session.spend(PART_STEPS, node.span, body.report)
        if len(result) > LIST_LIMIT:
            _too_long(body, node)
    body.scope = outside
    for counts in made:
        counted_on(body, counts)
    check_size(body.report, result, node)
    return result


def turn_index(items: Any, k: int) -> int:
    """The index in paths of the k-th turn: the value for a range, the position otherwise."""
    return items[k] if isinstance(items, range) else k


@contextmanager
def inside_turn(body: Body, loop: LoopContext) -> Iterator[dict[str, int]]:
    """Within a turn of a loop. Parts without a name are counted anew in it, so that their paths differ by its index only, and what comes behind
    counts on. Gives how many there are, once the turn is over."""
    counts, found = body.emission.unnamed, dict[str, int]()
    body.emission.unnamed = dict(counts)
    body.scope = body.scope.inside(loop)
    try:
        yield found
    finally:
        body.scope = body.scope.outside()
        found |= body.emission.unnamed
        body.emission.unnamed = counts


def counted_on(body: Body, found: Mapping[str, int]) -> None:
    """Let parts without a name count on behind a turn in which there were so many."""
    counts = body.emission.unnamed
    body.emission.unnamed = {**counts, **{k: max(n, counts.get(k, 0)) for k, n in found.items()}}


def _too_long(body: Body, node: ast.ListComp) -> NoReturn:
    limit = f"{LIST_LIMIT:,}"
    body.report.fail(problems.BUDGET, node.span, what="this list", found=f"over {limit}", limit=limit)


def bind_static(body: Body, target: ast.Target, value: Any) -> None:
    """Bind the names of a loop's or comprehension's target."""
    match target:
        case ast.NameTarget(id):
            if id != "_":
                if body.context.session.traced:
                    body.scope = turned(body.scope, id)
                body.bind(id, value, target, turns=True)
        case ast.TupleTarget(items):
            if not isinstance(value, list | tuple) or len(value) != len(items):
                body.report.fail(problems.UNPACK, target.span, found=show(value), count=len(items))
            for item, each in zip(items, value, strict=True):
                bind_static(body, item, each)


def iterate(report: Report, value: Any, node: ast.Node) -> Iterator[Any]:
    if not isinstance(value, range | list | tuple):
        help = "write `range(…)`" if isinstance(value, int | Dim) else ""
        if isinstance(value, Tensor):
            help = "go along a tensor's axis with `scan`, or take it apart with `chunk`"
        report.fail(problems.NOT_ITERABLE, node.span, found=type_name(value), help=help)
    return iter(value)


def _unary(body: Body, node: ast.Unary) -> Any:
    return operators.unary(body, node, evaluate(body, node.operand))


def _binary(body: Body, node: ast.Binary) -> Any:
    left = evaluate(body, node.left)
    if node.op in ("and", "or") and isinstance(left, bool):
        if left == (node.op == "or"):
            return left
        return evaluate(body, node.right)
    return spelled(body, node, operators.binary(body, node, left, evaluate(body, node.right)))


def _compare(body: Body, node: ast.Compare) -> Any:
    operands = [evaluate(body, operand) for operand in node.operands]
    if any(isinstance(each, Tensor) for each in operands) and node.ops[0] not in ("in", "not in"):
        if None in operands:
            return _presence(node, operands)
        if len(node.ops) > 1:
            body.report.fail(
                problems.BAD_OPERANDS,
                node.span,
                op="a chained comparison",
                left="tensors",
                right="tensors",
                help="join two comparisons with `and`",
            )
        return operators.compare_tensors(body, node, operands[0], operands[1])
    return all(
        operators.compare_static(body, node, op, a, b)
        for op, a, b in zip(node.ops, operands[:-1], operands[1:], strict=True)
    )


def _presence(node: ast.Compare, operands: list[Any]) -> bool:
    """`mask != none`: whether an optional tensor is there."""
    same = operands[0] is None and operands[1] is None
    return same if node.ops[0] == "==" else not same


def _conditional(body: Body, node: ast.Conditional) -> Any:
    holds = answer(body, node.condition)
    return chosen(body, node, holds, evaluate(body, node.then if holds else node.otherwise))


def _attribute(body: Body, node: ast.Attribute) -> Any:
    names.prefixed(body, node)
    value = evaluate(body, node.value)
    span = node.name_span if node.name_span.line else node.span
    if isinstance(value, Tensor):
        return _tensor_attribute(body, node, value, span)
    if isinstance(value, GroupValue):
        if node.name in dict(value.members):
            return value.get(node.name)
        known = [name for name, _ in value.members]
        what = f"the group {value.definition.name}"
        body.report.fail(
            problems.NO_ATTRIBUTE, span, what=what, name=node.name, help=did_you_mean(node.name, known)
        )
    if isinstance(value, Instance):
        return part(body, value, node.name, span)
    if isinstance(value, Archive):
        return constant(body, node, value, node.name, span)
    if isinstance(value, PathRef):
        return part(body, value.instance, f"{value.path}.{node.name}", span)
    found = names.unit_member(body, value, node.name, span)
    if found is not None:
        return found
    help = habits.ATTRIBUTES.get(node.name, "")
    body.report.fail(problems.NO_ATTRIBUTE, span, what=type_name(value), name=node.name, help=help)


def _tensor_attribute(body: Body, node: ast.Attribute, value: Tensor, span: Any) -> Tensor:
    if node.name == "T":
        rank = value.type.rank
        if rank < 2:
            body.report.fail(
                problems.AXIS, span, message=f"`.T` swaps the last two axes; {value.type} has {rank}"
            )
        order = (*range(rank - 2), rank - 1, rank - 2)
        return operators.emit(body, node, "permute", value, axes=order)
    like = (
        f"write `{node.name}(x)` or `x |> {node.name}`"
        if node.name in body.context.session.vocabulary
        else ""
    )
    help = habits.ATTRIBUTES.get(node.name) or like or did_you_mean(node.name, ["T"])
    body.report.fail(problems.NO_ATTRIBUTE, span, what=f"a tensor {value.type}", name=node.name, help=help)


def part(body: Body, instance: Instance, path: str, span: Any) -> Any:
    """What `path` means below an instance: one of its parameters, a part of it, or an entry."""
    known_entries = entries(instance.definition)
    if path in known_entries:
        return Method(instance, path)
    if not instance.functions:
        _check_declared(body.report, instance, path, span)
        name = instance.name or instance.definition.name
        body.report.fail(problems.HIDES_CALLABLE, span, name=name, help=_unapplied(name, instance, path))
    known: set[str] = set()
    prefix = False
    for function in instance.functions.values():
        for local, param in body.context.session.local_paths(function):
            if local == path:
                type = _type_here(param.type, instance) if body.context.session.traced else param.type
                return read_parameter(body.emission, instance, local, type, span)
            known.add(local)
            prefix = prefix or local.startswith(path + ".")
    if prefix:
        return PathRef(instance, path)
    heads = {each[: len(path) + each[len(path) :].find(".")] if "." in each else each for each in known}
    what = f"`{instance.name or instance.definition.name}` ({instance.definition.name})"
    help = did_you_mean(path, known | heads | set(known_entries)) or habits.ATTRIBUTES.get(path, "")
    body.report.fail(problems.NO_ATTRIBUTE, span, what=what, name=path, help=help)


def _unapplied(name: str, instance: Instance, path: str) -> str:
    """How a parameter of a part is read: behind its use, or, if it is used for nothing else, as a parameter of its own."""
    before = f"apply it in a line before, `y = {name}(x)`"
    module = instance.definition.node
    if (
        not instance.name
        or not isinstance(module, ast.ModuleDef)
        or path not in {each.name for each in below(module.body, ast.ParamStmt)}
    ):
        return before
    return f'{before}, or declare the tensor alone: `param {path}: […] as "{name}.{path}"`'


def _type_here(type: TensorType, instance: Instance) -> TensorType:
    """The type of an instance's parameter in the terms of the body that reads it, as far as its static arguments tell."""
    known = dict(flat_statics(instance.static))
    return TensorType(type.dtype, tuple(_size_here(axis, known) for axis in type.axes))


def _size_here(axis: Dim, known: dict[str, Any]) -> Dim:
    told = axis.origin is not None and axis.origin.symbols <= known.keys()
    return axis.substitute(known) if told else Dim(axis.terms)


def _check_declared(report: Report, instance: Instance, path: str, span: Any) -> None:
    """A part that was not applied has, of what its module declares, certainly no other names."""
    module = instance.definition.node
    assert isinstance(module, ast.ModuleDef)
    known = names.declared(module.body)
    if path.split(".")[0] not in known:
        what = f"`{instance.name or instance.definition.name}` ({instance.definition.name})"
        help = did_you_mean(path, known) or habits.ATTRIBUTES.get(path, "")
        report.fail(problems.NO_ATTRIBUTE, span, what=what, name=path, help=help)


def read_parameter(emission: Emission, instance: Instance, local: str, type: Any, span: Any) -> Tensor:
    path = f"{instance.path}.{local}" if instance.path else local
    return read_path(emission, path, type, span)


def read_path(emission: Emission, path: str, type: Any, span: Any) -> Tensor:
    """The parameter at a path, read once per body."""
    hint = path.rsplit(".", 1)[-1]
    value = Value(emission.builder.fresh(hint), type)
    emission.builder.append(Op("param", (), (value,), (("path", path),), span=span))
    return Tensor(value, span, path)


def _call(body: Body, node: ast.Call) -> Any:
    return kept(body, node, calls.call(body, node))


def _pipe(body: Body, node: ast.Pipe) -> Any:
    return calls.pipe(body, node)


def _labeled(body: Body, node: ast.Labeled) -> Any:
    return calls.labeled(body, node)


def _index(body: Body, node: ast.Index) -> Any:
    return kept(body, node, indexing.index(body, node, evaluate(body, node.value)))


def _ellipsis(body: Body, node: ast.Ellipsis_) -> Any:
    body.report.fail(
        problems.STATIC_ERROR, node.span, message="`...` stands only in calls of modules and in indices"
    )


def _wildcard(body: Body, node: ast.Wildcard) -> Any:
    body.report.fail(problems.UNKNOWN_NAME, node.span, name="_", help="`_` stands for any size in a type")


def _stray(body: Body, node: ast.Expr) -> Any:
    body.report.fail(problems.STATIC_ERROR, node.span, message="this can't stand here")


_EVALUATORS: dict[type[ast.Expr], Callable[[Body, Any], Any]] = {
    ast.Int: lambda body, node: node.value,
    ast.Float: lambda body, node: node.value,
    ast.Bool: lambda body, node: node.value,
    ast.NoneLit: lambda body, node: None,
    ast.Str: _string,
    ast.Name: _name,
    ast.ListExpr: _list,
    ast.ListComp: _comprehension,
    ast.TupleExpr: _tuple,
    ast.Unary: _unary,
    ast.Binary: _binary,
    ast.Compare: _compare,
    ast.Conditional: _conditional,
    ast.Call: _call,
    ast.Index: _index,
    ast.Attribute: _attribute,
    ast.Pipe: _pipe,
    ast.Labeled: _labeled,
    ast.Ellipsis_: _ellipsis,
    ast.Wildcard: _wildcard,
    ast.Star: _stray,
    ast.Slice: _stray,
}
