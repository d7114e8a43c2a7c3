"""Layers whose results nothing reads, such as the last of a tower of which the last but one is read, are made and not applied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dlc
from dlc.runtime.interpret import run

SPEC = """
module Block(d: int)(x: [B, d]) -> [B, d] { return x + (x |> linear(d) as fc |> relu) }

# The last layer by itself.
model Apart(d: int = 4, layers: int = 3)(x: [B, d]) -> [B, d]
    where 2 <= layers
{
    for i in range(layers - 1) as layers { x = x |> Block(d) }
    _ = x |> Block(d) as "layers.{layers - 1}" |> layer_norm as norm
    return x
}

# All layers in one loop.
model Together(d: int = 4, layers: int = 3)(x: [B, d]) -> [B, d] {
    for i in range(layers) as layers {
        if i == layers - 1 { seen = x }
        x = x |> Block(d)
    }
    _ = x |> layer_norm as norm
    return seen
}
"""


@pytest.mark.parametrize("name", ["Apart", "Together"])
def test_they_are_made_and_not_applied(name: str) -> None:
    model = dlc.loads(SPEC)[name]
    scope: dict[str, Any] = {}
    exec(str(*model.emit("torch").files.values()), scope)
    for settings in ({}, {"d": 6}):
        other = model(**settings)
        weights = other.initial_weights()
        network = scope[name](**settings)
        network.load_state_dict({path: torch.from_numpy(each) for path, each in weights.items()})
        x = np.random.default_rng(0).standard_normal((2, other.settings["d"])).astype(np.float32)
        (wanted,) = run(other.program, weights, {"x": x}, precision="f64").values()
        with torch.no_grad():
            np.testing.assert_allclose(network(torch.from_numpy(x)), wanted, rtol=1e-5, atol=1e-6)


def test_a_loop_over_some_of_a_list_says_so() -> None:
    source = str(*dlc.loads(SPEC)["Apart"].emit("torch").files.values())
    assert "def __init__(self, d: int = 4, layers: int = 3)" in source
    assert "for block in self.layers[:-1]:" in source
    assert "self.norm = nn.LayerNorm(d)" in source


def test_jax_makes_them_by_the_words_of_their_calls() -> None:
    source = str(*dlc.loads(SPEC)["Apart"].emit("jax").files.values())
    assert '"norm": init_layer_norm(config.d, dtype)' in source
    assert "init_block(keys[1], d=config.d, dtype=dtype)" in source
