"""Tensors that a pass adds to a program begin as zeros."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dlc.ir.builder import Builder
from dlc.ir.nodes import Function
from dlc.ir.splice import Names
from dlc.types.tensor import TensorType


def zeros(
    functions: Mapping[str, Function], types: Iterable[TensorType]
) -> tuple[dict[str, Function], dict[TensorType, str]]:
    """Functions of initial values for these types, by names that none of the others has; and the name for each type."""
    names, made, found = Names(functions), dict[str, Function](), dict[TensorType, str]()
    for type in types:
        if type not in found:
            name = found[type] = names.fresh("zeros")
            b = Builder()
            value = b.op(
                "full", shape=type.axes, value=0.0 if type.is_float else 0, dtype=type.dtype, hint="zeros"
            )
            made[name] = Function(name, "zeros", "init", (), (("output", value.name),), tuple(b.body))
    return made, found
