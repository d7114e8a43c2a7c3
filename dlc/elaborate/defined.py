"""Ops that were defined outside this project (`dlc.ops.define`), as the language calls them: by their signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dlc import ops
from dlc.elaborate.base.values import Builtin, Tensor
from dlc.elaborate.builtins import REQUIRED, Call, builtin
from dlc.elaborate.tensors.operators import emit_all
from dlc.ops.definition import OpDef
from dlc.ops.signature import MISSING

# How a static argument is read, by its written type.
_READ: Mapping[str, Callable[[Call, str], Any]] = {
    "int": Call.integer, "float": Call.number, "bool": Call.flag, "str": Call.text, "dtype": Call.dtype, "dim": Call.size,
    "list[dim]": Call.sizes, "dims": Call.sizes,
}  # fmt: skip


def defined(name: str) -> Builtin | None:
    """The op of that name, if it was defined from outside."""
    if name not in ops.added():
        return None
    op = ops.get(name)
    operands = {each.name: None if each.optional else REQUIRED for each in op.signature.operands}
    attributes = {
        each.name: REQUIRED if each.default is MISSING else each.default for each in op.signature.attributes
    }
    return builtin(name, {**operands, **attributes}, lambda call: _expand(call, op))


def _expand(call: Call, op: OpDef) -> Any:
    first: Tensor | None = next(
        (call[each.name] for each in op.signature.operands if isinstance(call[each.name], Tensor)), None
    )
    operands = [
        None if each.optional and call[each.name] is None else call.tensor(each.name, like=first)
        for each in op.signature.operands
    ]
    attributes = {each.name: _read(call, each.name, each.type) for each in op.signature.attributes}
    results = emit_all(call.body, call.node, op.name, *operands, **attributes)
    return results[0] if len(results) == 1 else results


def _read(call: Call, name: str, type: str) -> Any:
    read = _READ.get(type)
    return call[name] if read is None or call[name] is None else read(call, name)
