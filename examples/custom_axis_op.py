"""An op with an axis, on all four backends: `sum_before`, the sum of the elements before each one.

    python examples/custom_axis_op.py

The call form beside the declaration says how specs call it; `{axis}` in a row is the axis from 0 on, whatever the spec counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import dlc
from dlc import ops
from dlc.ir.builder import Builder
from dlc.ir.nodes import Op, Value
from dlc.ops.calls import Arg, form
from dlc.ops.definition import Sample, op


def _sum_before(x: Any, *, axis: int) -> Any:
    return (np.cumsum(x, axis) - x).astype(x.dtype)


def _gradient(
    b: Builder, call: Op, dy: Sequence[Value | None], x: Sequence[Value], y: Sequence[Value]
) -> list[Value | None]:
    """An element goes into all sums behind it: the same op from the other end."""
    if dy[0] is None:
        return [None]
    axis = call.attributes["axis"]
    back = b.op("flip", dy[0], axes=(axis,))
    return [b.op("flip", b.op("sum_before", back, axis=axis), axes=(axis,))]


def _tvm(e: Any, x: Any, axis: int) -> Any:
    from tvm.relax import op as relax

    return relax.subtract(e.emit(relax.cumsum(x, axis)), x)


SUM_BEFORE = op(
    "sum_before(x: [*S], axis: axis) -> [*S]",
    "The sum of the elements before each one along an axis; 0 for the first.",
    _sum_before,
    flops="size(x)",
    vjp=_gradient,
    samples=(Sample(("f32[2, 3]",), {"axis": 0}), Sample(("f32[2, 1, 4]",), {"axis": 2})),
    call=form(Arg("x"), Arg("axis", "axis", -1)),
    rows={
        "torch": "{x}.cumsum({axis}) - {x}",
        "jax": "jnp.cumsum({x}, {axis}) - {x}",
        "onnx": "CumSum(x, axis, exclusive=1)",
        "tvm": _tvm,
    },
)

SPEC = """
model Sums()(x: [B, 3, 4]) -> (middle: [B, 3, 4], last: [B, 3, 4]) {
    return sum_before(x, axis=-2), sum_before(x)
}
"""


def main() -> None:
    ops.define(SUM_BEFORE)  # before a spec that uses it is loaded
    model = dlc.loads(SPEC, name="sums.dl")["Sums"]
    print(model.emit("torch").files["sums.py"])
    print(model.emit("jax").files["sums.py"])
    print(dlc.verify(model, backends=("torch", "jax"), gradients=True).text())
    print(dlc.verify(model, backends=("onnx", "tvm")).text())


if __name__ == "__main__":
    main()
