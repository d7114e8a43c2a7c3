"""Layers of the library that have a parameter or not by what a static parameter says: at either setting the emitted source is the
spec's network, and it takes the other as well."""

from __future__ import annotations

import sys
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

SPECS = {
    "model": "model M(on: bool = true)(x: [B, 8]) -> [B, 4] { return x |> linear(4, bias=on) as fc }",
    "others beside it": """
module MLP(d: int, on: bool)(x: [B, d]) -> [B, d] { return x |> linear(2 * d, bias=on) as up |> relu |> linear(d) as down }
model M(d: int = 8, on: bool = true)(x: [B, d]) -> [B, d] {
    init linear.bias = zeros
    return x |> MLP(d, on) as mlp |> linear(d, bias=false) as out
}
""",
    "in layers": """
module Layer(d: int, on: bool)(x: [B, d]) -> [B, d] { return x + (x |> linear(d, bias=on) as fc |> tanh) }
model M(d: int = 8, layers: int = 3, on: bool = true)(x: [B, d]) -> [B, d] {
    for i in range(layers) as h { x = x |> Layer(d, on) }
    return x
}
""",
    "convolution": """
model M(on: bool = true, c: int = 4)(x: [B, 3, 6, 6]) -> [B, c, 6, 6] {
    return x |> conv2d(c, 3, padding=1, bias=on) as a |> relu |> conv2d(c, 1) as b
}
""",
    "norm": """
model M(on: bool = true, d: int = 8)(x: [B, d]) -> [B, d] {
    return x |> layer_norm(affine=on) as a |> linear(d) as fc |> layer_norm as b
}
""",
}


def emitted(text: str, backend: str, on: bool) -> ModuleType:
    (source,) = dlc.loads(text)["M"](on=on).emit(backend).files.values()
    module = ModuleType("emitted")
    sys.modules["emitted"] = module  # dataclasses look their types up there
    exec(str(source), module.__dict__)
    return module


def of_torch(module: Any, change: dict[str, Any], weights: dict[str, Any], x: Any) -> tuple[set[str], Any]:
    network = module.M(**change)
    found = set(network.state_dict())
    network.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
    return found, network(torch.from_numpy(x)).detach().numpy()


def of_jax(module: Any, change: dict[str, Any], weights: dict[str, Any], x: Any) -> tuple[set[str], Any]:
    config = module.Config(**change)
    begun = jax.eval_shape(lambda key: module.to_flat(module.init(key, config)), jax.random.key(0))
    return set(begun), module.apply(module.from_flat(weights, config), x, config=config)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("written", [True, False])
def test_on_and_off(name: str, backend: str, written: bool) -> None:
    module = emitted(SPECS[name], backend, written)
    for change in ({}, {"on": True}, {"on": False}):
        model = dlc.loads(SPECS[name])["M"](**{"on": written, **change})
        weights, inputs = generic_weights(model.program), random_inputs(model.program, {"B": 2})
        (expected,) = run(model.program, weights, inputs, precision="f64").values()
        paths, found = (of_torch if backend == "torch" else of_jax)(module, change, weights, inputs["x"])
        assert paths == weights.keys()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
