"""A static parameter that is a function is an argument: in PyTorch what makes such a layer (`nn.ReLU`), in JAX the function itself."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from dlc_jax import rows as jax_rows
from dlc_torch import rows as torch_rows
from torch import nn

import dlc
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

jax = pytest.importorskip("jax")
jnp, lax = jax.numpy, jax.lax

SPEC = """
fn sharp(x: [*S]) -> [*S] { return x * sigmoid(1.5 * x) }

module FF(hidden: int, act: fn = gelu)(x: [B, d]) -> [B, d] {
    return x |> linear(hidden) as up |> act |> linear(d) as down
}

model M(d: int = 6, n: int = 2, act: fn = silu, last: fn = sharp)(x: [B, d]) -> [B, d] {
    for i in range(n) as h { x = x + act(x |> FF(2 * d) as a) |> FF(d, act=act) as b }
    return last(act(x) * 2.0) |> FF(3, act=tanh) as end
}

model Chain(widths: list[int] = [5, 4], act: fn = relu)(x: [B, 6]) -> [B, 3] {
    for i, width in enumerate(widths) { x = x |> linear(width) as "layers.{i}" |> act }
    return x |> linear(3) as head
}

# What is done depends on which function it is, and a function is given another argument besides: no source says that.
model Bound(act: fn = leaky_relu)(x: [B, 6]) -> [B, 6] { return x |> linear(6) as fc |> act(slope=0.3) }
"""
# Of those that are finite everywhere.
NAMES = sorted({*torch_rows.CALLABLES.names} & {*jax_rows.CALLABLES.names})


def source(name: str, backend: str) -> str:
    (text,) = dlc.loads(SPEC)[name].emit(backend).files.values()
    return str(text)


def emitted(name: str, backend: str) -> ModuleType:
    module = ModuleType("emitted")
    sys.modules["emitted"] = module  # dataclasses look their types up there
    exec(source(name, backend), module.__dict__)
    return module


def expected(name: str, act: str, x: Any) -> tuple[Any, Any]:
    program = dlc.loads(f"{SPEC}\npreset P = {name}(act={act})\n")["P"].program
    weights = generic_weights(program)
    (found,) = run(program, weights, {"x": x}, precision="f64").values()
    return weights, found


@pytest.fixture(scope="module", params=["M", "Chain"])
def sources(request: pytest.FixtureRequest) -> tuple[str, ModuleType, ModuleType]:
    return request.param, emitted(request.param, "torch"), emitted(request.param, "jax")


@pytest.mark.parametrize("act", NAMES)
def test_any_function_of_the_library(sources: tuple[str, ModuleType, ModuleType], act: str) -> None:
    name, in_torch, in_jax = sources
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    weights, wanted = expected(name, act, x)
    makes = eval(torch_rows.CALLABLES.names[act], {"nn": nn})
    network = getattr(in_torch, name)(act=makes)
    network.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach(), wanted, rtol=1e-4, atol=1e-5)
    function = eval(jax_rows.CALLABLES.names[act], {"jax": jax, "jnp": jnp, "lax": lax, "partial": partial})
    config = in_jax.Config(act=function)
    apply = jax.jit(in_jax.apply, static_argnames="config")
    found = apply(in_jax.from_flat(weights, config), x, config=config)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_defaults_are_the_specs() -> None:
    made, other = source("M", "torch"), source("M", "jax")
    assert "act: Callable[[], nn.Module] = nn.SiLU" in made
    assert "act: Callable[[], nn.Module] = nn.GELU" in made
    assert "self.a = FF(d, 2 * d)" in made and "FF(d, 3, act=nn.Tanh)" in made
    assert "act: Callable[[Array], Array] = jax.nn.silu" in other


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_what_the_source_has_no_name_for_is_written_out(backend: str) -> None:
    text = source("M", backend)
    assert "def sharp(" in text and "last" not in text.replace("at last", "")
    assert "Callable[[" not in source("Bound", backend)
