"""Conditions of `where` and `require`: as relations between sizes where they are, as truth values otherwise."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.spelling import text, words
from dlc.elaborate.base.values import Tensor, settings
from dlc.elaborate.names.origins import decided, origin
from dlc.elaborate.state.body import Body
from dlc.elaborate.types.static import plain
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.facts import Facts, Relation
from dlc.types.terms import as_dim


def relations(body: Body, node: ast.Expr) -> list[Relation | bool]:
    """What a condition says, one element per comparison; a bool where it is decided by static values alone."""
    match node:
        case ast.Binary("and", left, right):
            return relations(body, left) + relations(body, right)
        case ast.Compare(operands, ops) if not any(op in ("in", "not in") for op in ops):
            values = [_claimed(body, operand) for operand in operands]
            if all(_is_size(value) for value in values) and any(isinstance(value, Dim) for value in values):
                return [
                    Relation(Dim.of(a), op, Dim.of(b))
                    for op, a, b in zip(ops, values[:-1], values[1:], strict=True)
                ]
            if any(isinstance(value, Tensor) for value in values) and None not in values:
                body.report.fail(
                    problems.BAD_FACT,
                    node.span,
                    message="a `where` speaks of sizes and static values, not of tensors",
                    help="check data in the body: `require all(x > 0)`",
                )
    return [answer(body, node)]


def _claimed(body: Body, node: ast.Expr) -> Any:
    before, body.emission.claimed = body.emission.claimed, True
    try:
        return plain(body.evaluate(node))
    finally:
        body.emission.claimed = before


def _is_size(value: Any) -> bool:
    return isinstance(value, int | Dim) and not isinstance(value, bool)


def assume(body: Body, node: ast.Expr) -> None:
    """Take a `where` of the frame's own header for true; one that is false already is an error."""
    for relation in relations(body, node):
        if isinstance(relation, bool):
            if not relation:
                fail_false(body, node)
            _assume_of_statics(body, node)
            continue
        if body.emission.facts.decide(relation) is False:
            fail_false(body, node)
        body.emission.where.append(relation)
        body.emission.facts = body.emission.facts.assume(relation)


def _assume_of_statics(body: Body, node: ast.Expr) -> None:
    """What a `where` says of static parameters alone makes their expressions simpler: `heads*(d//heads)` is `d`."""
    if not body.context.session.traced or not isinstance(node, ast.Compare):
        return
    sides = [origin(body.context, body.scope, operand) for operand in node.operands]
    sizes = [None if side is None else as_dim(side) for side in sides]
    facts = body.emission.facts
    for op, a, b in zip(node.ops, sizes[:-1], sizes[1:], strict=True):
        if a is not None and b is not None and op not in ("in", "not in"):
            facts.statics = (facts.statics or Facts()).assume(Relation(a, op, b))


def fail_false(body: Body, node: ast.Expr) -> None:
    known = {name: body.scope.static[name] for name in words(text(node)) if name in body.scope.static}
    shown = settings(known)
    body.report.fail(
        problems.FACT_VIOLATED,
        node.span,
        callee=body.context.name,
        fact=text(node),
        notes=[f"with {shown}"] if shown else [],
    )


def truth(body: Body, node: ast.Expr) -> bool:
    """A condition that the compiler decides."""
    found = answer(body, node)
    decided(body, node, found)
    return found


def answer(body: Body, node: ast.Expr) -> bool:
    """The same where nothing depends on it but whether the spec is right."""
    value = body.evaluate(node)
    if isinstance(value, Tensor):
        help = "choose by data with `where(condition, a, b)`"
        body.report.fail(
            problems.NOT_STATIC, node.span, what="a condition", found=f"a tensor {value.type}", help=help
        )
    if isinstance(value, Dim):
        decided = body.emission.facts.decide(Relation(value, "!=", Dim.of(0)))
        if decided is None:
            body.report.fail(problems.UNDECIDED, node.span, condition=value)
        return decided
    if value is None or isinstance(value, bool | int | float | str | list | tuple):
        return bool(value)
    return True
