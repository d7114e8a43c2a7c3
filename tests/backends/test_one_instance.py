"""One instance called in several ways: at two lengths that are numbers, with an optional input and without. It has the
same parameters each time, and computes what each call asks for."""

from __future__ import annotations

import numpy as np
import pytest
from properties import seeds
from random_instances import text

import dlc
from dlc.runtime.compile import emit, find_backend
from dlc.runtime.interpret import run
from dlc.runtime.weights import initial_weights

ONES = """
model M(d: int = 4)(x: [B, 3, d]) -> (a: [B, 1, _], b: [B, 3, _]) {
    p = Part(d)
    return p(x[:, :1]), p(x)
}
"""
PARTS = {
    "a length of which tensors are made": """
module Part(d: int)(x: [B, T, d]) -> [B, T, d] { return linear(d)(x) + (arange(T) |> embedding(4, d)) }
""",
    "a mask of that length": """
module Part(d: int)(x: [B, T, d]) -> [B, T, T] {
    h = x |> linear(d)
    return (h @ transpose(h, -1, -2)) * tril(ones([T, T]))
}
""",
    "a choice by the length": """
module Part(d: int)(x: [B, T, d]) -> [B, T, d] {
    h = x |> linear(d)
    if T > 1 { h = relu(h) }
    return h
}
""",
    "a part's part": """
module Inner(d: int)(x: [B, T, d]) -> [B, T, d] { return linear(d)(x) * T }
module Part(d: int)(x: [B, T, d]) -> [B, T, d] { return x |> Inner(d) |> relu |> Inner(d) }
""",
    "layers in a loop": """
module Inner(d: int)(x: [B, T, d]) -> [B, T, d] { return linear(d)(x) + mean(x, -2, keepdims=true) * T }
module Part(d: int)(x: [B, T, d]) -> [B, T, d] {
    for i in range(3) as h { x = x |> Inner(d) }
    return x
}
""",
    "a number of turns": """
module Part(d: int)(x: [B, T, d]) -> [B, T, d] {
    layer = linear(d)
    for i in range(T) { x = layer(x) }
    return x
}
""",
}
ABSENT = """
module Part(d: int)(x: [B, T, d], m: [B, T, d] = none) -> [B, T, d] {
    h = x |> linear(d)
    if m != none { h = h * m }
    return h |> linear(d)
}
model M(d: int = 4)(x: [B, 3, d]) -> (a: [B, 3, d], b: [B, 3, d]) {
    p = Part(d)
    return p(x), p(x, x)
}
"""
SPECS = {**{name: part + ONES for name, part in PARTS.items()}, "an input that may be absent": ABSENT}


@pytest.mark.parametrize("case", SPECS)
def test_backends_agree(case: str) -> None:
    found = dlc.verify(dlc.loads(SPECS[case])["M"], gradients=True)
    assert found.agree, str(found)


@pytest.mark.parametrize("case", SPECS)
def test_source_that_is_written_for_readers_does_too(case: str) -> None:
    pytest.importorskip("torch")
    for backend in ("torch", "jax"):
        written_as_meant(dlc.loads(SPECS[case])["M"], backend)


@pytest.mark.draws
@pytest.mark.parametrize("seed", seeds(12))
def test_random_modules(seed: int) -> None:
    pytest.importorskip("torch")
    model = dlc.loads(text(seed))["M"]
    found = dlc.verify(model, backends=("torch", "jax", "onnx"))
    assert found.agree, f"{found}\n{text(seed)}"
    for backend in ("torch", "jax"):
        written_as_meant(model, backend)


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize("seed", seeds(4, 100))
def test_random_modules_on_tvm(seed: int) -> None:
    pytest.importorskip("tvm")
    found = dlc.verify(dlc.loads(text(seed))["M"], backends=("tvm",))
    assert found.agree, f"{found}\n{text(seed)}"


def written_as_meant(model: dlc.Model, backend: str = "torch") -> None:
    """The source for readers, in which the module's functions are one, computes what the spec says."""
    weights = initial_weights(model.program, 0)
    size = model.inputs[0].type.axes[1].constant or 3
    x = np.random.default_rng(0).standard_normal((2, size, 4)).astype("float32")
    artifact = emit(model, backend)
    got = find_backend(backend, usable=True).load(artifact, weights)(x=x)
    for name, meant in run(model.program, weights, {"x": x}).items():
        np.testing.assert_allclose(got[name], meant, rtol=1e-3, atol=1e-4, err_msg=str(artifact.files))
