"""Which networks know of other rows of their batch."""

from __future__ import annotations

import pytest

import dlc
from dlc.ir.mixing import mixing
from dlc.ir.nodes import Program

ALONE = (
    "x |> linear(8) |> layer_norm |> gelu",
    "x |> linear(8) |> dropout(0.1)",
    "x - mean(x, -1, keepdims=true)",
    "attention(seq, seq, seq, causal=true)",
    "gru(4)(seq)[0]",
    "cumsum(x, axis=1)",
    "flip(x, 1)",
    "concat([x, x * 2.0], axis=0)[: B]",
    "reshape(seq, [B * T, 4]) |> linear(3)",
    "take(zeros([9, 3]), label)",
    "cross_entropy(x, label, reduction=\"none\")",
    "top_k(x, 2)[0]",
    "x |> layers(false)",
)  # fmt: skip
MIXED = {
    "x |> batch_norm": "batch_norm",
    "x - mean(x, 0)": "sub",
    "x / float(B)": "div",
    "softmax(x, 0)": "softmax",
    "x @ x.T": "matmul",
    "contrastive(x, x)": "contrastive",
    "cumsum(x, axis=0)": "cumsum",
    "flip(x, 0)": "flip",
    "x[1:]": "slice",
    "roll(x, 1, axis=0)": "slice",
    "argsort(x, axis=0)": "argsort",
    "take(x, label, axis=0)": "take",
    "x[:, none, 0] - x[none, :, 0]": "sub",
    "x |> layers(true)": "batch_norm",
}


def program(expression: str) -> Program:
    text = f"""
module layers(by_batch: bool)(x: [B, d]) -> [B, d] {{
    for i in range(3) as h {{
        x = x + ((batch_norm()(x) if by_batch else layer_norm()(x)) |> linear(d) as fc)
    }}
    return x
}}

model Net()(x: [B, 4], seq: [B, T, 4], label: i64[B]) -> _
    where 1 <= B
{{
    return {expression}
}}
"""
    return dlc.loads(text)["Net"].training_program


@pytest.mark.parametrize("expression", ALONE)
def test_rows_that_stand_alone(expression: str) -> None:
    found = program(expression)
    assert mixing(found, frozenset("B"), found.main.outputs[0][0]) is None


@pytest.mark.parametrize(("expression", "name"), MIXED.items())
def test_rows_that_know_of_others(expression: str, name: str) -> None:
    found = program(expression)
    op = mixing(found, frozenset("B"), found.main.outputs[0][0])
    assert op is not None and op.op == name
