"""Turns of a loop that read other values of those around it: tables and masks that are made once, for every so manieth layer others."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import torch

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

BLOCK = """
module Block(heads: int, base: float, window: int = none)(x: [B, T, d]) -> [B, T, d] {
    q, k, v = x |> linear(3 * d) as qkv |> rearrange("B T (n heads e) -> n B heads T e", n=3)
    freqs = base ** (-arange(0, d // heads, 2, dtype=f32) / (d // heads))
    y = attention(rope(q, freqs=freqs), rope(k, freqs=freqs), v, causal=true, window=window)
    return x + (y |> rearrange("B heads T e -> B T (heads e)") |> linear(d) as out)
}
"""
EVERY = """
model M(layers: int = 5, every: int = 3, d: int = 16, heads: int = 2, window: int = 2, base: float = 100.0)
       (x: [B, T, d]) -> [B, T, d]
    where d % heads == 0, d // heads % 2 == 0
{
    for i in range(layers) as h {
        if (i + 1) % every == 0 { x = x |> Block(heads, 10.0 * base) } else { x = x |> Block(heads, base, window) }
    }
    return x
}
"""
GIVEN = """
model M(layers: int = 6, d: int = 16, heads: int = 2, window: int = 2)(x: [B, T, d]) -> [B, T, d]
    where d % heads == 0, d // heads % 2 == 0
{
    for i in range(layers) as h { x = x |> Block(heads, 100.0, window=none if i % 2 == 0 else window) }
    return x
}
"""
THREE = """
model M(layers: int = 7, dense: int = 2, every: int = 3, d: int = 16, heads: int = 2)(x: [B, T, d]) -> [B, T, d]
    where d % heads == 0, d // heads % 2 == 0
{
    for i in range(layers) as h {
        if i < dense and i != 0 {
            x = x |> Block(heads, 10.0, 1)
        } else if i % every == 0 {
            x = x |> Block(heads, 100.0, 2)
        } else {
            x = x |> Block(heads, 1000.0, 3)
        }
    }
    return x
}
"""
CASES = [
    (EVERY, {}),
    (EVERY, {"layers": 12, "every": 2, "d": 24, "window": 3}),
    (EVERY, {"layers": 7, "every": 7, "heads": 4}),
    (EVERY, {"layers": 1}),
    (EVERY, {"layers": 3, "every": 1, "base": 30.0}),
    (GIVEN, {"layers": 7, "window": 3}),
    (GIVEN, {"layers": 12, "d": 8}),
    (THREE, {}),
]


def emitted(text: str, backend: str) -> ModuleType:
    (source,) = dlc.loads(BLOCK + text)["M"].emit(backend).files.values()
    module = ModuleType("emitted")
    sys.modules["emitted"] = module  # dataclasses look their types up there
    exec(str(source), module.__dict__)
    module.source = str(source)  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="module", params=["torch", "jax"])
def sources(request: pytest.FixtureRequest) -> tuple[str, dict[str, ModuleType]]:
    return request.param, {text: emitted(text, request.param) for text in (EVERY, GIVEN, THREE)}


def outputs(backend: str, module: Any, change: dict[str, Any], weights: Any, x: Any) -> Any:
    if backend == "torch":
        network = module.M(**change)
        network.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
        return network(torch.from_numpy(x)).detach().numpy()
    config = module.Config(**change)
    return jax.jit(partial(module.apply, config=config))(module.from_flat(weights, config), x)


@pytest.mark.parametrize(("text", "change"), CASES)
def test_each_turn_takes_its_own(
    sources: tuple[str, dict[str, ModuleType]], text: str, change: dict[str, Any]
) -> None:
    backend, made = sources
    model = dlc.loads(BLOCK + text)["M"](**change)
    weights, inputs = generic_weights(model.program), random_inputs(model.program, {"B": 2, "T": 6})
    (expected,) = run(model.program, weights, inputs, precision="f64").values()
    found = outputs(backend, made[text], change, weights, inputs["x"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_it_is_one_loop(sources: tuple[str, dict[str, ModuleType]]) -> None:
    backend, made = sources
    every, given = (made[text].source for text in (EVERY, GIVEN))  # type: ignore[attr-defined]
    if backend == "torch":
        assert "for i, block in enumerate(self.h):" in every and "if (i + 1) % self.every == 0:" in every
    else:
        assert "jnp.where((i + 1) % config.every == 0, cos_2, cos)" in every
        assert "jnp.where(i % 2 == 0, mask, mask_2)" in given and "jnp.arange(config.layers)" in given
