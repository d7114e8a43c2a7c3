"""What the elaborator's library makes of `attention`, for tests without an elaborator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.ir.builder import Builder
from dlc.ir.nodes import Attr, Function, Program, Value
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


def instantiate(name: str, static: Mapping[str, Attr], types: Sequence[TensorType | None]) -> Program:
    """softmax(q k^T * scale + bias, hidden by mask) v."""
    assert name == "attention"
    assert not static["causal"]
    builder = Builder()
    own = [_own(type) for type in types]
    names = ("q", "k", "v", "mask", "bias")
    values = {
        n: Value(builder.fresh(n), type) for n, type in zip(names, own, strict=True) if type is not None
    }
    k = values["k"]
    last = k.type.rank - 1
    turned = builder.permute(k, (*range(last - 1), last, last - 1))
    scores = builder.mul(builder.matmul(values["q"], turned), static["scale"])  # type: ignore[arg-type]
    if "bias" in values:
        scores = builder.add(scores, values["bias"])
    if "mask" in values:
        scores = builder.where(values["mask"], scores, float("-inf"))
    e = builder.exp(builder.sub(scores, builder.op("max", scores, axis=(last,), keepdims=True)))
    y = builder.matmul(builder.div(e, builder.sum(e, (last,), keepdims=True)), values["v"])
    function = Function(
        name="attention_1", source="attention", kind="fn", inputs=tuple(values.values()),
        outputs=(("y", y.name),), body=tuple(builder.body), static=tuple(static.items()), library=True,
    )  # fmt: skip
    return Program({"attention_1": function}, "attention_1")


def _own(type: TensorType | None) -> TensorType | None:
    """The type in the callee's own names of dims (the caller's, so the tests see a call's dims)."""
    return type and type.with_axes(tuple(axis + Dim.of(0) for axis in type.axes))
