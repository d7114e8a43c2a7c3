"""Solving an axis for a dim: from the size of `2*n + 1`, what n is."""

from __future__ import annotations

from collections.abc import MutableMapping

from dlc.types.dims import Dim


def bind(axis: Dim, size: int, sizes: MutableMapping[str, int]) -> None:
    """Adds the size of the one dim of an axis that has none yet, if the axis is linear in it. Where the division leaves a rest,
    no size fits: the caller sees that when it compares the axis with what it was given, and can say there what is wrong."""
    unknown = sorted(axis.symbols - sizes.keys())
    linear = axis.linear_in(unknown[0]) if len(unknown) == 1 else None
    if linear is not None:
        factor, rest = (part.evaluate(sizes) for part in linear)
        sizes[unknown[0]] = (size - rest) // factor


def slope_and_rest(axis: Dim, name: str) -> tuple[int, int]:
    """`(2, 1)` for an axis of `2*name + 1`: how emitted code gets the dim back. ValueError for an axis of another form."""
    linear = axis.linear_in(name)
    slope, rest = (part.constant for part in linear) if linear is not None else (None, None)
    if not slope or rest is None:
        raise ValueError(f"{axis} can't be solved for {name}")
    return slope, rest
