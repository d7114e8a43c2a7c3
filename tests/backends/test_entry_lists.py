"""Entries with static parameters of their own: `self.sample(steps=20)(x)`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from dlc_jax.load import module

import dlc
from dlc.runtime.interpret import run

SPEC = dlc.load(Path(__file__).parent / "entry_lists.dl")
X = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


@cache
def by_torch_scope(model: str) -> dict[str, Any]:
    (text,) = SPEC[model].emit("torch").files.values()
    scope: dict[str, Any] = {"__name__": "emitted"}
    exec(str(text), scope)
    return scope


@cache
def by_jax_module(name: str) -> ModuleType:
    return module(SPEC[name].emit("jax"))


@cache
def weights(name: str) -> Mapping[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {
        each.path: rng.normal(size=[int(str(axis)) for axis in each.type.axes]).astype(np.float32)
        for each in SPEC[name].parameters
    }


def expected(name: str, **settings: Any) -> np.ndarray:
    (found,) = run(SPEC[name](**settings).program, weights(name.partition(".")[0]), {"x": X}).values()
    return np.asarray(found)


def by_torch(name: str, **settings: Any) -> np.ndarray:
    model, _, entry = name.partition(".")
    network = by_torch_scope(model)[model]()
    network.load_state_dict({path: torch.tensor(value) for path, value in weights(model).items()})
    return np.asarray(getattr(network, entry or "forward")(torch.tensor(X), **settings).detach())


def by_jax(name: str, **settings: Any) -> np.ndarray:
    file = by_jax_module(name)
    params = file.from_flat(dict(weights(name.partition(".")[0])))
    apply = jax.jit(file.apply, static_argnames=tuple(settings))
    return np.asarray(apply(params, jnp.asarray(X), **settings))


CASES = [
    ("Flow", {}),
    ("Flow.sample", {}),
    ("Flow.sample", {"steps": 6}),
    ("Flow.sample", {"rate": 0.125, "clip": 0.75}),
    ("Flow.twice", {}),
    ("Flow.twice", {"steps": 1}),
    ("Flow.again", {"times": 3}),
    ("Uses", {}),
    ("Lists", {}),
    ("Lists.lists", {"wide": True}),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_emitted_source_takes_them(name: str, settings: dict[str, Any]) -> None:
    wanted = expected(name, **settings)
    np.testing.assert_allclose(by_torch(name, **settings), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_jax(name, **settings), wanted, rtol=1e-5, atol=1e-6)


def test_backends_agree() -> None:
    model = SPEC["Flow.sample"](steps=4)
    assert dlc.verify(model, backends=("torch", "jax", "onnx", "tvm")).agree
    assert dlc.verify(model, backends=("torch", "jax"), gradients=True).agree


FEW_SIZES = """
model M(heads: int = 6, d: int = 18)(x: [B, d]) -> [B, d]
    where d % heads == 0, d == 18
{
    entry many(steps: int = 5)(x: [B, d]) -> [B, d] {
        for i in range(steps) { x = self(x) }
        return x
    }
    return x |> linear(d) as fc |> tanh
}
"""


def test_beside_sizes_that_the_spec_does_not_accept_all_changed() -> None:
    (text,) = dlc.loads(FEW_SIZES)["M"].emit("torch").files.values()
    assert "def many(self, x: Tensor, steps: int = 5) -> Tensor:" in str(text)
