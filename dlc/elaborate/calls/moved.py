"""Norms along another axis than their own: `layer_norm(axis=1)`, `batch_norm(axis=-1)`.

    y = x |> layer_norm(axis=1) as norm      # x: [B, C, H, W]

is what one writes around the layer of a framework: the axis is moved to where the norm has it, and back behind it.

    h = permute(x, 0, 2, 3, 1) |> layer_norm as norm
    y = permute(h, 0, 3, 1, 2)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import Instance, Tensor, type_name
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.callee import Callee
from dlc.elaborate.tensors.operators import emit
from dlc.elaborate.types.static import plain
from dlc.syntax import ast

# Where the library's norms have the axis that `axis` says.
OWN: Mapping[str, int] = MappingProxyType(
    {"layer_norm": -1, "rms_norm": -1, "batch_norm": 1, "group_norm": 1, "instance_norm": 1}
)
Order = tuple[int, ...]


def moves(instance: Instance) -> bool:
    """Whether a part is a norm along another axis than its own."""
    own = own_axis(instance.definition)
    return own is not None and plain(instance.static.get("axis", own)) != own


def own_axis(definition: Definition) -> int | None:
    return OWN.get(definition.name) if definition.library else None


def to_own(body: Body, callee: Callee, given: dict[str, tuple[Any, Span]], node: ast.Node) -> Order | None:
    """Let a norm be called with its axis where it has it: the order that brings it back, or None if it was there."""
    own, axis = own_axis(callee.definition), plain(callee.static.get("axis"))
    tensor, span = given.get("x", (None, node.span))
    if own is None or axis == own or not isinstance(tensor, Tensor):
        return None
    callee.static = {**callee.static, "axis": own}
    _check(body, callee, axis, tensor)
    rank = tensor.type.rank
    order = [i for i in range(rank) if i != axis % rank]
    order.insert(own % rank, axis % rank)
    if order == list(range(rank)):
        return None
    given["x"] = emit(body, node, "permute", tensor, axes=tuple(order)), span
    return tuple(order.index(i) for i in range(rank))


def back(body: Body, result: Tensor, order: Order, node: ast.Node) -> Tensor:
    return emit(body, node, "permute", result, axes=order)


def _check(body: Body, callee: Callee, axis: Any, tensor: Tensor) -> None:
    name, rank = callee.definition.name, tensor.type.rank
    place = callee.places.get("axis", tensor.made_at)
    if not isinstance(axis, int):
        slots = {"callee": name, "name": "axis", "expected": "an axis number", "found": type_name(axis)}
        body.report.fail(problems.STATIC_TYPE, place, **slots)
    if not -rank <= axis < rank:
        body.report.fail(problems.AXIS, place, message=f"`{name}`: axis {axis} of a tensor with {rank} axes")
    if plain(callee.static.get("axes", 1)) != 1:
        message = f"`{name}`: `axis` is one axis, and `axes` counts the last ones"
        body.report.fail(problems.AXIS, place, message=message, help="give one of the two")
