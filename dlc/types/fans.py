"""fan_in and fan_out: how many numbers go into, and come out of, one place of a kernel [out, in, ...]."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dlc.types.dims import Dim
from dlc.types.opaque import Opaque
from dlc.types.traced import Term


def fan_sizes(sizes: Sequence[Dim]) -> dict[str, Dim]:
    """Those of a tensor of these sizes, as PyTorch counts them; none of less than two axes."""
    if len(sizes) < 2:
        return {}
    field = math.prod(sizes[2:], start=Dim.of(1))
    return {"fan_in": sizes[1] * field, "fan_out": sizes[0] * field}


def with_fans(told: Term, known: Mapping[str, Dim]) -> Term:
    """An expression with sizes in place of the fans that it speaks of."""

    def sized(atom: object) -> Dim | None:
        match atom:
            case Opaque(term=Term("fan", (name,))):
                return known.get(str(name))
        return None

    if told.op == "dim":
        return Term("dim", (told.args[0].replace(sized),))
    return Term(
        told.op, tuple(with_fans(each, known) if isinstance(each, Term) else each for each in told.args)
    )
