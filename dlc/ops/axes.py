"""Which attributes of an op are axes, and these counted from 0 on, whatever a spec has written.

`{axis}` in a backend's row is such a number. `{neat_axis}` is the same as a person writes it in that framework: -1 for
the last axis, nothing for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc.ir.nodes import Attr, Op


def axis_names(op: Op) -> frozenset[str]:
    """The attributes that are axes of the first operand: those that a primitive's signature says, `axis` of a composite."""
    from dlc import ops

    if op.callee or not ops.known(op.op):
        return frozenset({"axis"})
    return frozenset(each.name for each in ops.get(op.op).signature.attributes if each.is_axis)


def axes_from_zero(op: Op, rank: int) -> Mapping[str, Attr]:
    """The axes among an op's attributes by name, where its first operand has `rank` axes. None (for all) stays None, as does
    every number where there are no axes."""
    names = axis_names(op)
    return {name: _from_zero(value, rank) for name, value in op.attrs if name in names}


def _from_zero(value: Attr, rank: int) -> Attr:
    if isinstance(value, tuple):
        return tuple(_from_zero(each, rank) for each in value)
    return value % rank if rank and isinstance(value, int) else value
