"""Ops that change only the derivative."""

from __future__ import annotations

from dlc.ops.calls import X, form
from dlc.ops.definition import OpDef, Sample, op
from dlc.ops.derivatives import no_gradient

OPS: tuple[OpDef, ...] = (
    op(
        "stop_gradient(x: [*S]) -> [*S]",
        "x, seen as a constant by derivatives.",
        lambda x: x,
        vjp=no_gradient,
        call=form(X, members=True),
        dtypes="any",
        samples=(Sample(("f32[2, 3]",), grad=False), Sample(("f32[]",), grad=False), Sample(("i64[0]",))),
    ),
)
