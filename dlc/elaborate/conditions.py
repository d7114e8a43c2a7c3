"""Conditions of `where` and `require`: as relations between sizes where they are, as truth values otherwise."""

from __future__ import annotations

import re
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.frame import Frame
from dlc.elaborate.operators import plain
from dlc.elaborate.types import axis_text
from dlc.elaborate.values import Tensor, settings
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.facts import Relation


def relations(frame: Frame, node: ast.Expr) -> list[Relation | bool]:
    """What a condition says, one element per comparison; a bool where it is decided by static values alone."""
    from dlc.elaborate.expressions import evaluate, truth

    match node:
        case ast.Binary("and", left, right):
            return relations(frame, left) + relations(frame, right)
        case ast.Compare(operands, ops) if not any(op in ("in", "not in") for op in ops):
            values = [plain(evaluate(frame, operand)) for operand in operands]
            if all(_is_size(value) for value in values) and any(isinstance(value, Dim) for value in values):
                return [
                    Relation(Dim.of(a), op, Dim.of(b))
                    for op, a, b in zip(ops, values[:-1], values[1:], strict=True)
                ]
            if any(isinstance(value, Tensor) for value in values) and None not in values:
                frame.fail(
                    problems.BAD_FACT,
                    node.span,
                    message="a `where` speaks of sizes and static values, not of tensors",
                    help="check data in the body: `require all(x > 0)`",
                )
    return [truth(frame, node)]


def parts(node: ast.Expr) -> list[ast.Expr]:
    """The conditions that `and` joins."""
    if isinstance(node, ast.Binary) and node.op == "and":
        return [*parts(node.left), *parts(node.right)]
    return [node]


def _is_size(value: Any) -> bool:
    return isinstance(value, int | Dim) and not isinstance(value, bool)


def assume(frame: Frame, node: ast.Expr) -> None:
    """Take a `where` of the frame's own header for true; one that is false already is an error."""
    for relation in relations(frame, node):
        if isinstance(relation, bool):
            if not relation:
                fail_false(frame, node)
            continue
        if frame.facts.decide(relation) is False:
            fail_false(frame, node)
        frame.where.append(relation)
        frame.facts = frame.facts.assume(relation)


def fail_false(frame: Frame, node: ast.Expr) -> None:
    known = {name: frame.static[name] for name in words(text(node)) if name in frame.static}
    shown = settings(known)
    frame.fail(
        problems.FACT_VIOLATED,
        node.span,
        callee=frame.name,
        fact=text(node),
        notes=[f"with {shown}"] if shown else [],
    )


def text(node: ast.Expr) -> str:
    """A condition as the language writes it."""
    match node:
        case ast.Compare(operands, ops):
            parts = [text(operands[0])]
            for op, operand in zip(ops, operands[1:], strict=True):
                parts += [op, text(operand)]
            return " ".join(parts)
        case ast.Binary("and" | "or" as op, left, right):
            return f"{text(left)} {op} {text(right)}"
    return axis_text(node)


def words(fact: str) -> list[str]:
    return re.findall(r"[A-Za-z_]\w*", fact)
