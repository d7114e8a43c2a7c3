"""Layers with names of their own (`fc0`, `fc1`, …): the source makes as many as a setting says, and the first may be another's kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dlc
from dlc.runtime.interpret import run

TEXT = """
model M(n: int = 6, d: int = 8, layers: int = 4)(x: [B, n]) -> [B, d] {
    for i in range(layers) {
        x = x |> linear(d) as "LABEL" |> relu
    }
    return x
}
"""
X = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)


@pytest.fixture(scope="module", params=["fc{i}", "fc.{i}"])
def emitted(request: pytest.FixtureRequest) -> tuple[Any, str, Any]:
    model = dlc.loads(TEXT.replace("LABEL", request.param))["M"]
    (text,) = model.emit("torch").files.values()
    scope: dict[str, Any] = {}
    exec(text, scope)
    return model, str(text), scope["M"]


@pytest.mark.parametrize("layers", [1, 2, 4, 7])
def test_at_other_counts(emitted: tuple[Any, str, Any], layers: int) -> None:
    spec, _, kind = emitted
    model = spec(layers=layers)
    weights = model.initial_weights()
    module = kind(layers=layers)
    module.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
    (wanted,) = run(model.program, weights, {"x": X}, precision="f64").values()
    np.testing.assert_allclose(module(torch.from_numpy(X)).detach().numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_it_is_a_loop(emitted: tuple[Any, str, Any]) -> None:
    text = emitted[1]
    assert "nn.Linear(n if i == 0 else d, d)" in text and "range(layers)" in text


def test_none_is_refused_where_the_first_is_another(emitted: tuple[Any, str, Any]) -> None:
    with pytest.raises(ValueError, match="layers >= 1 must hold"):
        emitted[2](layers=0)
