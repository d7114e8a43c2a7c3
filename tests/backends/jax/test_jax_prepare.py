"""From -O2 on an emitted JAX file stands alone: what `init` or `from_flat` give goes through its own `prepare`, after which no weight
is held twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.api import Model
from dlc.runtime.compile import write_artifact
from dlc.runtime.interpret import run

jax = pytest.importorskip("jax")

TEXT = """
module Block(d: int, heads: int)(x: [B, T, d]) -> [B, T, d]
    where d % heads == 0
{
    h = x |> layer_norm as ln
    q = h |> linear(d) as q_proj |> rearrange("B T (heads e) -> B heads T e", heads=heads)
    k = h |> linear(d) as k_proj |> rearrange("B T (heads e) -> B heads T e", heads=heads)
    v = h |> linear(d) as v_proj |> rearrange("B T (heads e) -> B heads T e", heads=heads)
    y = attention(q, k, v, causal=true) |> rearrange("B heads T e -> B T (heads e)")
    return x + (y |> linear(d) as o_proj)
}

model Layers(d: int = 16, heads: int = 4, layers: int = 3)(x: [B, T, d]) -> [B, T, d] {
    for i in range(layers) as h { x = x |> Block(d, heads) }
    return x
}

# `q.weight` is read beside the layer.
model Read(d: int = 6)(x: [B, d]) -> [B, d] {
    q, k = linear(d), linear(d)
    return q(x) * k(x) + x @ q.weight
}

model Norms(c: int = 8)(x: [B, 3, H, W]) -> [B, c, H, W] {
    y = x |> conv2d(c, 3, padding=1, bias=false) as conv |> batch_norm as bn |> relu
    return y |> conv2d(c, 1) as out |> batch_norm as bn2
}
"""
SHAPES = {"Layers": (2, 5, 16), "Read": (3, 6), "Norms": (2, 3, 4, 4)}


def emitted(model: Model, precision: str = "f32") -> dict[str, Any]:
    (text,) = model.emit("jax", optimize=2, precision=precision).files.values()
    scope: dict[str, Any] = {}
    exec(text, scope)
    return scope


def prepared(scope: dict[str, Any], found: Any) -> tuple[Any, ...]:
    """What `apply` takes first, as the file's head says."""
    if isinstance(found, tuple):
        params, state = found
        return scope["prepare"](params, state), state
    return (scope["prepare"](found),)


def weights_of(model: Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        path: value
        if value.dtype.kind != "f"
        else (np.abs(value) + 0.1 * rng.random(value.shape)).astype(value.dtype)
        for path, value in model.initial_weights().items()
    }


@pytest.fixture(scope="module", params=sorted(SHAPES))
def each(request: Any) -> tuple[Model, dict[str, Any], np.ndarray]:
    model = dlc.loads(TEXT)[request.param]
    x = np.random.default_rng(1).standard_normal(SHAPES[request.param]).astype(np.float32)
    return model, emitted(model), x


def test_public_weights_alone_fill_it(each: Any) -> None:
    model, scope, x = each
    weights = weights_of(model)
    held = prepared(scope, scope["from_flat"](weights))
    found = scope["apply"](*held, x)
    (wanted,) = run(model.program, weights, {"x": x}, precision="f64").values()
    np.testing.assert_allclose(found[0] if len(held) == 2 else found, wanted, rtol=1e-4, atol=1e-5)


def test_a_fresh_network_runs(each: Any) -> None:
    _, scope, x = each
    held = prepared(scope, scope["init"](jax.random.key(0)))
    found = scope["apply"](*held, x)
    assert np.isfinite(found[0] if len(held) == 2 else found).all()


def test_nothing_is_held_twice(each: Any) -> None:
    model, scope, _ = each
    public = scope["init"](jax.random.key(0))
    held = prepared(scope, public)[0]
    names = scope["to_flat"](held)
    sizes = sum(value.size for value in names.values())
    if model.program.main.source == "Read":  # the layer's weight is read by itself, and in the joined one
        assert "q.weight" in names and "k.weight" not in names
    else:
        assert sizes <= sum(math.prod(each.type.shape) for each in model.parameters if each.trainable)
        assert not any("q_proj.weight" in name or name.startswith(("conv.", "bn.")) for name in names)
    # The public tree is as it was.
    flat = scope["to_flat"](public[0] if isinstance(public, tuple) else public)
    assert {each.path for each in model.parameters if each.trainable} == set(flat)


def test_what_is_folded_is_rounded_once() -> None:
    model = dlc.loads(TEXT)["Norms"]
    weights = weights_of(model)
    x = np.random.default_rng(1).standard_normal(SHAPES["Norms"]).astype(np.float32)
    compiled = model.compile("jax", weights=weights, optimize=2, precision="bf16")
    folded = compiled.native[0]["conv_folded_weight"]
    assert str(folded.dtype) == "bfloat16"
    scale = weights["bn.weight"].astype(np.float64) / np.sqrt(
        weights["bn.running_var"].astype(np.float64) + 1e-5
    )
    wanted = weights["conv.weight"] * scale[:, None, None, None]
    np.testing.assert_allclose(np.asarray(folded, np.float64), wanted, rtol=2**-8)
    assert compiled(x=x)


def test_weights_beside_the_file_are_the_public_ones(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = dlc.loads(TEXT)["Layers"]
    write_artifact(model, "jax", tmp_path, optimize=2, seed=0)
    (file,) = tmp_path.glob("*.safetensors")
    assert load_file(file).keys() == {each.path for each in model.parameters}
