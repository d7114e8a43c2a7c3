"""An op of one's own, and how two backends say it: `snake`, an activation for periodic signals.

    python examples/custom_op.py

Ziyin, Hartwig and Ueda, "Neural networks fail to learn periodic functions" (2020). An `fn` in a spec could say it too, and
would run on every backend; an op is for what the language can't say, or what a backend has in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import dlc
from dlc import ops
from dlc.ir.builder import Builder
from dlc.ir.nodes import Op, Value
from dlc.ops.definition import Sample, op


def _snake(x: Any, *, a: float) -> Any:
    return (x + np.sin(a * x) ** 2 / a).astype(x.dtype)


def _gradient(
    b: Builder, call: Op, dy: Sequence[Value | None], x: Sequence[Value], y: Sequence[Value]
) -> list[Value | None]:
    """The derivative is 1 + sin(2 a x): what the builder `b` appends is the program of the gradient."""
    if dy[0] is None:
        return [None]
    a = float(call.attributes["a"])  # type: ignore[arg-type]
    return [b.mul(dy[0], b.add(b.op("sin", b.mul(x[0], 2 * a)), 1.0))]


SNAKE = op(
    "snake(x: [*S], a: float = 1.0) -> [*S]",
    "x + sin(a x)**2 / a (Ziyin et al., 2020).",
    _snake,
    flops="14 * size(x)",
    vjp=_gradient,
    samples=(Sample(("f32[2, 3]",)), Sample(("f32[4]",), {"a": 3.0})),
    rows={
        "torch": "{x} + torch.sin({x} * {a}).square() / {a}",
        "jax": "{x} + jnp.square(jnp.sin({x} * {a})) / {a}",
    },
)

SPEC = """
model Wave(hidden: int = 32)(t: [B, 1]) -> y: [B, 1] {
    return t |> linear(hidden) as first |> snake(a=2.0) |> linear(1) as last
}
"""


def main() -> None:
    ops.define(SNAKE)  # before a spec that uses it is loaded
    model = dlc.loads(SPEC, name="wave.dl")["Wave"]
    print(model.summary(B=1).flops, "FLOPs")
    print(model.emit("torch").files["wave.py"])
    print(dlc.verify(model, backends=("torch", "jax"), gradients=True).text())


if __name__ == "__main__":
    main()
