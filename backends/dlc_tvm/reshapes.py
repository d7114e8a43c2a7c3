"""A reshape by the axes that stay, and those that become one or several.

    [B, S + P, N, 8] as [B, P + S, N, 2, 4]:      y[b, s, n, h, e] = x[b, s, n, 4*h + e]

TVM's own goes by the place in the whole tensor, and is left with five divisions an element where it does not see that two sizes are one.
LLVM then takes half a minute for such a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx
from tvm.ir import Op

from dlc_tvm.emission import equal
from dlc_tvm.schedule.loops import product


def legal_reshape(builder: Any, call: Any) -> Any:
    """How a reshape becomes a kernel."""
    x, shape = call.args
    if not isinstance(shape, relax.ShapeExpr):
        return Op.get("relax.reshape").get_attr("FLegalize")(builder, call)
    target = list(shape.values)
    groups = grouped(list(x.ty.shape), target)

    def compute(x: te.Tensor) -> te.Tensor:
        return te.compute(target, lambda *at: x(*places(groups, at)), name="T_reshape")

    return builder.call_te(compute, x, primfunc_name_hint="reshape")


Group = tuple[list[Any], list[Any]]
"""Axes of a tensor in a row, and of its reshape, that hold the same elements."""


def grouped(source: Sequence[Any], target: Sequence[Any]) -> list[Group]:
    """The axes of a tensor and of its reshape in groups, as small as they can be proved to be."""
    groups: list[Group] = []
    while source or target:
        i, j = _first(source, target)
        groups.append((list(source[:i]), list(target[:j])))
        source, target = source[i:], target[j:]
    return groups


def _first(source: Sequence[Any], target: Sequence[Any]) -> tuple[int, int]:
    """How many axes of both make the first group."""
    pairs = [(i, j) for i in range(len(source) + 1) for j in range(len(target) + 1) if i or j]
    for i, j in sorted(pairs, key=sum):
        if equal(product(source[:i]), product(target[:j])):
            return i, j
    return len(source), len(target)


def places(groups: Sequence[Group], at: Sequence[Any]) -> list[Any]:
    """Where in the tensor an element of its reshape stands."""
    found: list[Any] = []
    for source, target in groups:
        mine, at = at[: len(target)], at[len(target) :]
        place: Any = tirx.const(0, "int64")
        for index, size in zip(mine, target, strict=True):
            place = place * size + index
        found += _apart(place, source)
    return found


def _apart(place: Any, sizes: Sequence[Any]) -> list[Any]:
    """A place among all elements of some axes, by axis."""
    found: list[Any] = []
    for i, size in enumerate(sizes):
        behind = product(sizes[i + 1 :])
        index = tirx.floordiv(place, behind)
        found.append(tirx.floormod(index, size) if i else index)
    return found
