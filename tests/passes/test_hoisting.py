"""What all layers compute alike is computed once: what moves, how far, and what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc import backend
from dlc.ir.nodes import Function, Program, walk
from dlc.ir.verify import verify
from dlc.passes.hoisting import Hoisting
from dlc.passes.lower import decompose
from dlc.runtime.compile import lower
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run

ROTARY = """
module Attention(d: int, heads: int)(x: [B, T, d]) -> [B, T, d] where d % heads == 0, d // heads % 2 == 0 {
    q, k, v = x |> linear(3 * d) as qkv |> rearrange("B T (n heads e) -> n B heads T e", n=3)
    return attention(rope(q), rope(k), v, causal=true, window=3) |> rearrange("B heads T e -> B T (heads e)")
}
module Block(d: int, heads: int)(x: [B, T, d]) -> [B, T, d] {
    return x + (x |> layer_norm as norm |> Attention(...) as attn)
}
model Net(d: int = 8, heads: int = 2, layers: int = 3)(x: [B, T, d]) -> [B, T, d] {
    for i in range(layers) as h {
        x = x |> Block(...)
    }
    return x
}
"""


SIZES = {"B": 2, "T": 5, "S": 4}


def lowered(text: str, name: str = "Net", **settings: Any) -> tuple[Program, Program]:
    """The model before and after, as for PyTorch."""
    before = decompose(dlc.loads(text)[name](**settings).optimized(1), backend.find("torch").is_native)
    after = verify(Hoisting().run(before))
    weights = dlc.loads(text)[name](**settings).initial_weights(0)
    inputs = random_inputs(before, {name: size for name, size in SIZES.items() if name in before.main.dims})
    for a, b in zip(run(before, weights, inputs).values(), run(after, weights, inputs).values(), strict=True):
        assert np.array_equal(a, b, equal_nan=True)
    return before, after


def ops(function: Function) -> list[str]:
    return [op.op for op in walk(function.body)]


def test_masks_and_tables_are_made_once_in_front_of_the_loop() -> None:
    _, after = lowered(ROTARY)
    main = after.main
    assert [op.op for op in main.body].count("rope_tables") == 1
    assert [op.op for op in main.body].index("causal_mask") < [op.op for op in main.body].index("loop")
    for name in ("Block", "Attention"):
        assert [value.name for value in after.functions[name].inputs] == ["x", "cos", "sin", "causal_mask"]
        assert not {"rope_tables", "causal_mask", "arange"} & set(ops(after.functions[name]))


def test_sizes_are_those_of_the_caller() -> None:
    text = """
    module Cross()(x: [B, T, d], y: [B, S, d]) -> [B, T, d] { return attention(x, y, y, causal=true, window=2) }
    model Net()(x: [B, T, 4], y: [B, S, 4]) -> [B, T, 4] {
        cross = Cross()
        return cross(cross(x, y), y) + cross(x, x)
    }
    """
    _, after = lowered(text)
    masks = [op.out.type.axes for op in after.main.body if op.op == "causal_mask"]
    assert sorted(map(str, masks)) == sorted(map(str, set(masks))), "each once"
    assert len(masks) == 2


def test_what_runs_once_stays_where_it_is() -> None:
    text = ROTARY.replace(
        "for i in range(layers) as h {\n        x = x |> Block(...)\n    }", "x = x |> Block(...) as h"
    )
    before, after = lowered(text)
    assert after == before


def test_what_is_no_work_stays() -> None:
    text = """
    module Shift()(x: [B, T]) -> [B, T] { return x + cast(arange(T), float) * 2.0 * ones([T]) }
    module Place()(x: [B, T]) -> [B, T] { return x + cast(arange(T), float) }
    model Net()(x: [B, T]) -> [B, T] {
        shift = Shift()
        place = Place()
        return place(place(shift(shift(x))))
    }
    """
    _, after = lowered(text)
    assert len(after.functions["Place"].inputs) == 1
    assert len(after.functions["Shift"].inputs) == 2


def test_parameters_and_draws_are_not_shared() -> None:
    text = """
    module Noise(d: int)(x: [B, d]) -> [B, d] {
        param scale: [d] = ones
        return x + exp(scale) + exp(normal([d]))
    }
    model Net(d: int = 4)(x: [B, d]) -> [B, d] {
        for i in range(3) as h { x = x |> Noise(d) }
        return x
    }
    """
    before = decompose(dlc.loads(text)["Net"].optimized(1), backend.find("torch").is_native)
    assert Hoisting().run(before) == before


@pytest.mark.parametrize("name", ["torch", "jax", "onnx", "tvm"])
def test_every_backend_gets_it_from_level_1_on(name: str) -> None:
    found = backend.find(name)
    program = dlc.loads(ROTARY)["Net"].program
    own = [
        sum(
            "cos" in ops(each) for each in lower(program, found, level).functions.values() if not each.library
        )
        for level in (0, 1)
    ]
    inputs = [len(lower(program, found, level).functions["Block"].inputs) for level in (0, 1)]
    assert inputs[0] == 1 < inputs[1], own


def test_causal_self_attention_needs_no_mask() -> None:
    text = """
    module Attend(causal: bool)(x: [B, T, d], y: [B, S, d]) -> [B, T, d] { return attention(x, y, y, causal=causal) }
    model Self()(x: [B, T, 4], y: [B, S, 4]) -> [B, T, 4] { return Attend(true)(x, x) + Attend(false)(x, y) }
    model Both()(x: [B, T, 4], y: [B, S, 4]) -> [B, T, 4] { return Attend(true)(x, x) + Attend(true)(x, y) }
    """
    spec = dlc.loads(text)
    sources = [str(next(iter(spec[name].emit("torch").files.values()))) for name in ("Self", "Both")]
    assert "is_causal=causal" in sources[0] and "tril" not in sources[0]
    assert "is_causal=True" not in sources[1] and "tril" in sources[1]
