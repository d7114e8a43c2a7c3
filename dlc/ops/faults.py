"""What is wrong with an op of another package: with its declaration, said when it is added and not when a spec uses it, and with what
its reference and its derivative give."""

from __future__ import annotations

import ast as python
import re
from collections.abc import Iterator, Sequence

from dlc.diagnostics import SpecError
from dlc.diagnostics.training import PLUGIN
from dlc.ir.nodes import Op, Value
from dlc.ops.calls import ATTRIBUTES, OPERANDS
from dlc.ops.definition import COST_FUNCTIONS, FAMILIES, OpDef
from dlc.ops.signature import Signature
from dlc.syntax import ast
from dlc.types.tensor import TensorType

_SLOT = re.compile(r"\{(\w+)\}")


def fault(op: OpDef) -> str:
    """The first fault of a declaration; "" where there is none."""
    try:
        signature = op.signature
    except (ValueError, AssertionError) as error:
        return str(error) or f"bad op signature {op.signature_text!r}"
    return next(_faults(op, signature), "")


def check_results(op: Op, shapes: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, ...]]) -> None:
    """Raises SpecError (E0904) for results of a reference that are not as many, or not of the shapes, that the signature says."""
    if list(shapes) != list(wanted):
        given, said = (", ".join(map(str, map(list, each))) for each in (shapes, wanted))
        raise _broken(op, f"its reference gives {given}, where its signature says {said}")


def check_gradients(op: Op, given: object, operands: Sequence[TensorType]) -> None:
    """Raises SpecError (E0904) for gradients that are not one for each operand, of its shape or None."""
    if not isinstance(given, list | tuple):
        raise _broken(op, f"its derivative gives no list of gradients, but {type(given).__name__}")
    if len(given) != len(operands):
        raise _broken(op, f"its derivative gives {len(given)} of {len(operands)} gradients")
    for place, (grad, type_) in enumerate(zip(given, operands, strict=True)):
        if grad is not None and not isinstance(grad, Value):
            raise _broken(op, f"gradient {place} of its derivative is no value, but {type(grad).__name__}")
        if grad is not None and not _may_be(grad.type, type_):
            raise _broken(op, f"gradient {place} of its derivative is {grad.type}, the operand {type_}")


def _may_be(found: TensorType, wanted: TensorType) -> bool:
    """Whether shapes may be the same. Sizes that are not known may be written in two ways."""
    return found.rank == wanted.rank and all(
        a.constant == b.constant
        for a, b in zip(found.axes, wanted.axes, strict=True)
        if a.constant is not None and b.constant is not None
    )


def _broken(op: Op, reason: str) -> SpecError:
    return SpecError([PLUGIN.at(op.span, what=f"the op `{op.op}`", reason=reason)])


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
