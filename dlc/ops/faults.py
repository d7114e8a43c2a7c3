"""What is wrong with the declaration of an op, said when it is added and not when a spec uses it."""

from __future__ import annotations

import ast as python
import re
from collections.abc import Iterator

from dlc.ops.calls import ATTRIBUTES, OPERANDS
from dlc.ops.definition import COST_FUNCTIONS, FAMILIES, OpDef
from dlc.ops.signature import Signature
from dlc.syntax import ast

_SLOT = re.compile(r"\{(\w+)\}")


def fault(op: OpDef) -> str:
    """The first fault of a declaration; "" where there is none."""
    try:
        signature = op.signature
    except (ValueError, AssertionError) as error:
        return str(error) or f"bad op signature {op.signature_text!r}"
    return next(_faults(op, signature), "")


def _faults(op: OpDef, signature: Signature) -> Iterator[str]:
    known = [*(each.name for each in signature.operands), *(each.name for each in signature.attributes)]
    if not signature.outputs:
        yield "its signature has no result"
    if op.dtypes not in FAMILIES:
        yield f"its dtypes are {', '.join(FAMILIES)}, and not {op.dtypes!r}"
    for name, what in (("reference", op.reference), ("infer", op.infer), ("vjp", op.vjp)):
        if what is not None and not callable(what):
            yield f"its {name} is no function"
    for word in _unknown_in_cost(op.flops, {*known, *_dims(signature)}):
        yield f"its flops speak of `{word}`"
    for arg in op.call.args if op.call is not None else ():
        if arg.read not in OPERANDS and arg.read not in ATTRIBUTES:
            yield f"its call reads `{arg.name}` as {arg.read!r}, which is no way to read"
    for backend, row in op.rows.items():
        slots = _SLOT.findall(row) if isinstance(row, str) else ()
        for slot in slots:
            if slot.removeprefix("neat_") not in known and slot != "key":
                yield f"its row for {backend} speaks of `{{{slot}}}`, which is no operand and no attribute"


def _unknown_in_cost(text: str, known: set[str]) -> Iterator[str]:
    try:
        tree = python.parse(text, mode="eval")
    except SyntaxError:
        yield text
        return
    for node in python.walk(tree):
        if isinstance(node, python.Name) and node.id not in known and node.id not in COST_FUNCTIONS:
            yield node.id


def _dims(signature: Signature) -> Iterator[str]:
    stack: list[object] = [axis for operand in signature.operands for axis in operand.axes or ()]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Star):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
        else:
            stack += ast.children(node)
