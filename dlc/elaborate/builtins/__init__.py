"""What specs call without importing it and without a definition in `dlc/std`: ops by their call forms (`dlc/ops`), and the
few names that are special syntax."""

from __future__ import annotations

from dlc import ops
from dlc.elaborate.base.values import Builtin
from dlc.elaborate.builtins import (
    copies,
    creation,
    derivative,
    library,
    notation,
    resizing,
    reweighted,
    rounding,
    shape,
    standing,
    static,
)
from dlc.elaborate.builtins.forms import op_builtin

_SPECIAL = (
    *shape.BUILTINS,
    *notation.BUILTINS,
    *creation.BUILTINS,
    *derivative.BUILTINS,
    *static.BUILTINS,
    *library.BUILTINS,
    *copies.BUILTINS,
    *reweighted.BUILTINS,
    *resizing.BUILTINS,
    *standing.BUILTINS,
)


def _of_ops() -> dict[str, Builtin]:
    first = {**static.OF_NUMBERS, **rounding.FIRST}
    found = (op_builtin(op, first.get(op.name)) for op in ops.all_ops() if op.name not in ops.added())
    return {each.name: each for each in found if each is not None}


BUILTINS: dict[str, Builtin] = {**_of_ops(), **{each.name: each for each in _SPECIAL}}


def defined(name: str) -> Builtin | None:
    """The op of that name, if it was defined outside this project: by `dlc.ops.define`, or by a package that is installed."""
    if name not in ops.added():
        ops.add_installed()
    return op_builtin(ops.get(name)) if name in ops.added() else None
