"""Evaluating expressions: static values as in Python, tensors by appending operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from dlc.diagnostics import did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate import calls, habits, indexing, names, operators
from dlc.elaborate.archives import constant
from dlc.elaborate.frame import Frame, Silent, too_large
from dlc.elaborate.values import (
    POISON,
    Archive,
    Builtin,
    Dtype,
    GroupValue,
    Instance,
    Method,
    PathRef,
    Poison,
    Tensor,
    show,
    type_name,
)
from dlc.ir.nodes import Op, Value
from dlc.syntax import ast
from dlc.types.dims import Dim, DimTooLarge
from dlc.types.facts import Relation

LIST_LIMIT = 100_000


def evaluate(frame: Frame, node: ast.Expr) -> Any:
    """The value of an expression. Raises ElabError where it has none, Silent where it depends on an error."""
    frame.elaborator.spend(1, node.span, frame)
    try:
        value = _EVALUATORS[type(node)](frame, node)
    except DimTooLarge as error:
        frame.fail(problems.BUDGET, node.span, what="this size", found=too_large(error), limit="2,000 terms")
    if isinstance(value, Poison):
        raise Silent
    return value


def _name(frame: Frame, node: ast.Name) -> Any:
    value = names.lookup(frame, node.id, node.span)
    if frame.init_shape is not None and isinstance(value, Builtin):
        return value.expand(frame, node, calls.Given())  # `ones * 0.5`: an initial value needs no brackets
    return value


def _string(frame: Frame, node: ast.Str) -> str:
    return node.value


def _list(frame: Frame, node: ast.ListExpr) -> list[Any]:
    items: list[Any] = []
    for item in node.items:
        if isinstance(item, ast.Star):
            items += names.star(frame, item)
        else:
            items.append(evaluate(frame, item))
    check_size(frame, items, node)
    return items


def check_size(frame: Frame, value: Any, node: ast.Node) -> None:
    """A list of lists may hold far more than its length says: its elements are counted, up to the limit."""
    count, stack = 0, [value]
    while stack:
        each = stack.pop()
        if isinstance(each, list | tuple):
            count += len(each)
            stack += each
        if count > LIST_LIMIT:
            found, limit = f"over {LIST_LIMIT:,} elements", f"{LIST_LIMIT:,}"
            frame.fail(problems.BUDGET, node.span, what="this list", found=found, limit=limit)


def _tuple(frame: Frame, node: ast.TupleExpr) -> tuple[Any, ...]:
    items = tuple(evaluate(frame, item) for item in node.items)
    check_size(frame, items, node)
    return items


def _comprehension(frame: Frame, node: ast.ListComp) -> list[Any]:
    saved, turning = dict(frame.env), set(frame.turning)
    result = []
    for item in iterate(frame, evaluate(frame, node.iterable), node.iterable):
        bind_static(frame, node.target, item)
        if node.condition is None or truth(frame, node.condition):
            result.append(evaluate(frame, node.element))
        if len(result) > LIST_LIMIT:
            frame.fail(
                problems.BUDGET,
                node.span,
                what="this list",
                found=f"over {LIST_LIMIT:,}",
                limit=f"{LIST_LIMIT:,}",
            )
    frame.env, frame.turning = saved, turning
    check_size(frame, result, node)
    return result


def bind_static(frame: Frame, target: ast.Target, value: Any) -> None:
    """Bind the names of a loop's or comprehension's target."""
    match target:
        case ast.NameTarget(id):
            if id != "_":
                frame.env[id] = value
                frame.turning.add(id)
        case ast.TupleTarget(items):
            if not isinstance(value, list | tuple) or len(value) != len(items):
                frame.fail(problems.UNPACK, target.span, found=show(value), count=len(items))
            for item, each in zip(items, value, strict=True):
                bind_static(frame, item, each)


def iterate(frame: Frame, value: Any, node: ast.Node) -> Iterator[Any]:
    if not isinstance(value, range | list | tuple):
        help = "write `range(…)`" if isinstance(value, int | Dim) else ""
        if isinstance(value, Tensor):
            help = "go along a tensor's axis with `scan`, or take it apart with `chunk`"
        frame.fail(problems.NOT_ITERABLE, node.span, found=type_name(value), help=help)
    return iter(value)


def _unary(frame: Frame, node: ast.Unary) -> Any:
    return operators.unary(frame, node, evaluate(frame, node.operand))


def _binary(frame: Frame, node: ast.Binary) -> Any:
    left = evaluate(frame, node.left)
    if node.op in ("and", "or") and isinstance(left, bool):
        if left == (node.op == "or"):
            return left
        return evaluate(frame, node.right)
    return operators.binary(frame, node, left, evaluate(frame, node.right))


def _compare(frame: Frame, node: ast.Compare) -> Any:
    operands = [evaluate(frame, operand) for operand in node.operands]
    if any(isinstance(each, Tensor) for each in operands) and node.ops[0] not in ("in", "not in"):
        if None in operands:
            return _presence(node, operands)
        if len(node.ops) > 1:
            frame.fail(
                problems.BAD_OPERANDS,
                node.span,
                op="a chained comparison",
                left="tensors",
                right="tensors",
                help="join two comparisons with `and`",
            )
        return operators.compare_tensors(frame, node, operands[0], operands[1])
    return all(
        operators.compare_static(frame, node, op, a, b)
        for op, a, b in zip(node.ops, operands[:-1], operands[1:], strict=True)
    )


def _presence(node: ast.Compare, operands: list[Any]) -> bool:
    """`mask != none`: whether an optional tensor is there."""
    same = operands[0] is None and operands[1] is None
    return same if node.ops[0] == "==" else not same


def _conditional(frame: Frame, node: ast.Conditional) -> Any:
    return evaluate(frame, node.then if truth(frame, node.condition) else node.otherwise)


def truth(frame: Frame, node: ast.Expr) -> bool:
    """A condition that the compiler decides."""
    value = evaluate(frame, node)
    if isinstance(value, Tensor):
        help = "choose by data with `where(condition, a, b)`"
        frame.fail(
            problems.NOT_STATIC, node.span, what="a condition", found=f"a tensor {value.type}", help=help
        )
    if isinstance(value, Dim):
        decided = frame.facts.decide(Relation(value, "!=", Dim.of(0)))
        if decided is None:
            frame.fail(problems.UNDECIDED, node.span, condition=value)
        return decided
    if value is None or isinstance(value, bool | int | float | str | list | tuple):
        return bool(value)
    return True


def _attribute(frame: Frame, node: ast.Attribute) -> Any:
    names.prefixed(frame, node)
    value = evaluate(frame, node.value)
    span = node.name_span if node.name_span.line else node.span
    if isinstance(value, Tensor):
        return _tensor_attribute(frame, node, value, span)
    if isinstance(value, GroupValue):
        if node.name in dict(value.members):
            return value.get(node.name)
        known = [name for name, _ in value.members]
        what = f"the group {value.definition.name}"
        frame.fail(
            problems.NO_ATTRIBUTE, span, what=what, name=node.name, help=did_you_mean(node.name, known)
        )
    if isinstance(value, Instance):
        return part(frame, value, node.name, span)
    if isinstance(value, Archive):
        return constant(frame, node, value, node.name, span)
    if isinstance(value, PathRef):
        return part(frame, value.instance, f"{value.path}.{node.name}", span)
    found = names.unit_member(frame, value, node.name, span)
    if found is not None:
        return found
    help = habits.ATTRIBUTES.get(node.name, "")
    frame.fail(problems.NO_ATTRIBUTE, span, what=type_name(value), name=node.name, help=help)


def _tensor_attribute(frame: Frame, node: ast.Attribute, value: Tensor, span: Any) -> Tensor:
    if node.name == "T":
        rank = value.type.rank
        if rank < 2:
            frame.fail(problems.AXIS, span, message=f"`.T` swaps the last two axes; {value.type} has {rank}")
        order = (*range(rank - 2), rank - 1, rank - 2)
        return operators.emit(frame, node, "permute", value, axes=order)
    like = f"write `{node.name}(x)` or `x |> {node.name}`" if names.is_op(node.name) else ""
    help = habits.ATTRIBUTES.get(node.name) or like or did_you_mean(node.name, ["T"])
    frame.fail(problems.NO_ATTRIBUTE, span, what=f"a tensor {value.type}", name=node.name, help=help)


def part(frame: Frame, instance: Instance, path: str, span: Any) -> Any:
    """What `path` means below an instance: one of its parameters, a part of it, or an entry."""
    entries = calls.entries(instance.definition)
    if path in entries:
        return Method(instance, path)
    if not instance.functions and not frame.elaborator.make_known(frame, instance):
        _check_declared(frame, instance, path, span)
        name = instance.name or instance.definition.name
        frame.fail(problems.HIDES_CALLABLE, span, name=name, help=f"apply it first: `{name}(x)`")
    known: set[str] = set()
    prefix = False
    for function in instance.functions.values():
        for local, param in frame.elaborator.local_paths(function):
            if local == path:
                return read_parameter(frame, instance, local, param.type, span)
            known.add(local)
            prefix = prefix or local.startswith(path + ".")
    if prefix:
        return PathRef(instance, path)
    heads = {each[: len(path) + each[len(path) :].find(".")] if "." in each else each for each in known}
    what = f"`{instance.name or instance.definition.name}` ({instance.definition.name})"
    help = did_you_mean(path, known | heads | set(entries)) or habits.ATTRIBUTES.get(path, "")
    frame.fail(problems.NO_ATTRIBUTE, span, what=what, name=path, help=help)


def _check_declared(frame: Frame, instance: Instance, path: str, span: Any) -> None:
    """A part that was not applied has, of what its module declares, certainly no other names."""
    module = instance.definition.node
    assert isinstance(module, ast.ModuleDef)
    known = names.declared(module.body)
    if path.split(".")[0] not in known:
        what = f"`{instance.name or instance.definition.name}` ({instance.definition.name})"
        help = did_you_mean(path, known) or habits.ATTRIBUTES.get(path, "")
        frame.fail(problems.NO_ATTRIBUTE, span, what=what, name=path, help=help)


def read_parameter(frame: Frame, instance: Instance, local: str, type: Any, span: Any) -> Tensor:
    path = f"{instance.path}.{local}" if instance.path else local
    return read_path(frame, path, type, span)


def read_path(frame: Frame, path: str, type: Any, span: Any) -> Tensor:
    """The parameter at a path, read once per body."""
    hint = path.rsplit(".", 1)[-1]
    value = Value(frame.builder.fresh(hint), type)
    frame.builder.append(Op("param", (), (value,), (("path", path),), span=span))
    return Tensor(value, span, path)


def _call(frame: Frame, node: ast.Call) -> Any:
    return calls.call(frame, node)


def _pipe(frame: Frame, node: ast.Pipe) -> Any:
    return calls.pipe(frame, node)


def _labeled(frame: Frame, node: ast.Labeled) -> Any:
    return calls.labeled(frame, node)


def _index(frame: Frame, node: ast.Index) -> Any:
    return indexing.index(frame, node, evaluate(frame, node.value))


def _ellipsis(frame: Frame, node: ast.Ellipsis_) -> Any:
    frame.fail(
        problems.STATIC_ERROR, node.span, message="`...` stands only in calls of modules and in indices"
    )


def _wildcard(frame: Frame, node: ast.Wildcard) -> Any:
    frame.fail(problems.UNKNOWN_NAME, node.span, name="_", help="`_` stands for any size in a type")


def _stray(frame: Frame, node: ast.Expr) -> Any:
    frame.fail(problems.STATIC_ERROR, node.span, message="this can't stand here")


_EVALUATORS: dict[type[ast.Expr], Callable[[Frame, Any], Any]] = {
    ast.Int: lambda frame, node: node.value,
    ast.Float: lambda frame, node: node.value,
    ast.Bool: lambda frame, node: node.value,
    ast.NoneLit: lambda frame, node: None,
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

CONSTANTS: dict[str, Any] = {"pi": math.pi, "inf": math.inf}

__all__ = ["POISON", "Dtype", "evaluate", "iterate", "truth"]
