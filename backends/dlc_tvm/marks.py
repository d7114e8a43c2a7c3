"""A loop in a Relax function, which has none: its turn is written out once, between two calls that mark where it begins and ends.

    %arg, %slice, %outside = dlc.loop.begin(sizes, %first, %sequence, %captured)
    %next = …                                                                      any operations, other loops too
    %last, %all = dlc.loop.end(%next, %item, (%arg, %slice, %outside))

To TVM's passes and ours a turn is a part of the function like any other: it is laid out, fused and scheduled with it, and what it
computes of weights alone is prepared with the weights. Nothing knows what the marks compute, so nothing crosses them. At the end
`dlc_tvm.loops` makes of the marks, and of the kernels between, one kernel with a loop in it. What a turn does not need the marks
for is then outside of the loop.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tvm import relax
from tvm.ir import StringImm

BEGIN, END = "dlc.loop.begin", "dlc.loop.end"
PART, WHOLE = (
    "dlc.part",
    "dlc.whole",
)  # attributes of functions that only loops call, and of the loops that call them


@dataclass(frozen=True)
class Mark:
    """What both calls of a loop say of it. Operands and results of the first: what is carried, sequences and slices (`sequences`
    are their axes), captured values, the same inside and outside; of its results the first is the index if there is one
    (`index`). Of the second: what is carried, items and stacks (`stacked` are their axes), and at last all that the first gave: a turn of
    no elements may read nothing of it, and TVM would leave it out."""

    key: int
    carried: int
    sequences: tuple[int, ...]
    stacked: tuple[int, ...]
    index: bool
    step: int
    backwards: bool

    def begin(self, count: Any, start: Any, operands: Sequence[Any], types: Sequence[Any]) -> Any:
        sizes = relax.ShapeExpr([count, start])
        return self._call(BEGIN, [sizes, *operands], types)

    def end(self, operands: Sequence[Any], begun: Any, types: Sequence[Any]) -> Any:
        return self._call(END, [*operands, begun], types)

    def _call(self, name: str, operands: Sequence[Any], types: Sequence[Any]) -> Any:
        said = StringImm(json.dumps(asdict(self)))
        return relax.op.call_pure_packed(name, said, *operands, ty_args=relax.TupleType(list(types)))

    @staticmethod
    def of(value: Any, name: str) -> tuple[Mark, list[Any]] | None:
        """The mark, and the operands, of a value that is a call of that name."""
        if not isinstance(value, relax.Call) or getattr(value.op, "name", "") != "relax.call_pure_packed":
            return None
        function, *operands = value.args
        if not isinstance(function, relax.ExternFunc) or str(function.global_symbol) != name:
            return None
        said = json.loads(operands[0].value)
        axes = {key: tuple(said[key]) for key in ("sequences", "stacked")}
        return Mark(**{**said, **axes}), operands[1:]
