"""The call form of an op: its own, or what its signature says."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.ops.calls import BY_SIGNATURE, REQUIRED, Arg, Form
from dlc.ops.definition import OpDef

# How the types that attributes have in signatures are read.
_BY_TYPE: Mapping[str, str] = {
    **{name: name for name in ("axis", "axes", "int", "float", "bool", "str", "dtype", "dim")},
    "dims": "sizes", "list[dim]": "sizes", "list[int]": "ints", "list[float]": "floats",
}  # fmt: skip


def call_form(op: OpDef) -> Form | None:
    """How specs call an op; None if they don't by its name."""
    return _by_signature(op) if op.call is BY_SIGNATURE else op.call


def _by_signature(op: OpDef) -> Form:
    """Operands in their order, then attributes with their defaults."""
    own = [each for each in op.signature.operands if each.dtype is None]
    free = "pair" if len(own) > 1 else "tensor"
    args = [
        Arg(each.name, _operand(op, each.dtype, free), None if each.optional else REQUIRED)
        for each in op.signature.operands
    ]
    for attribute in op.signature.attributes:
        default = attribute.default if attribute.has_default else REQUIRED
        args.append(Arg(attribute.name, _BY_TYPE.get(attribute.type, "value"), default))
    return Form(tuple(args))


def _operand(op: OpDef, dtype: str | None, free: str) -> str:
    if op.variadic:
        return "tensors"
    if dtype is None:
        return free
    return "index" if dtype == "i64" else "tensor"
