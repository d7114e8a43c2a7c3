"""`gradient(y, x)` in bodies: against finite differences, at any order, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.runtime.interpret import run

MODELS = {
    "an energy": """
module Energy(d: int)(x: [B, n]) -> [B] {
    h = x |> linear(d) as first |> layer_norm |> softplus
    for i in range(3) {
        h = h + (h |> linear(d) |> tanh)
    }
    return h |> linear(1) as last |> squeeze(axis=-1)
}

model M(d: int = 8)(x: [B, 2]) -> [B, 2] {
    return -gradient(sum(x |> Energy(d) as energy), x)
}
""",
    "an image": """
model M()(x: [B, 1, 8, 8]) -> [B, 1, 8, 8] {
    h = x |> conv2d(4, 3, stride=2, padding=1) |> leaky_relu(0.2) |> group_norm(2) |> avg_pool(2) |> gelu
    return gradient(sum(h |> flatten |> linear(1)), x)
}
""",
    "a recurrence of open length": """
model M()(x: [B, T, 3]) -> [B, T, 3] {
    out, _, _ = x |> lstm(5)
    return gradient(sum(out * out), x)
}
""",
    "twice": """
model M()(x: [B, 2]) -> [B, 2] {
    g = gradient(sum(x ** 4), x)
    return gradient(sum(g * sin(x)), x)
}
""",
    "by an inner value": """
model M()(x: [B, 4]) -> [B, 4] {
    h = x |> linear(4) as inner
    y = sum(h |> tanh |> linear(1) as outer)
    return gradient(y, h) * h
}
""",
    "beside what it is the gradient of": """
model M()(x: [B, 4]) -> (energy: [B], force: [B, 4]) {
    energy = x |> linear(8) |> silu |> linear(1) |> squeeze(axis=-1)
    return energy, -gradient(sum(energy), x)
}
""",
}


@pytest.mark.parametrize("name", MODELS)
def test_backends_agree(name: str) -> None:
    model = dlc.loads(MODELS[name])["M"]
    for backends, gradients in ((["torch", "jax"], True), (["onnx"], False)):
        report = dlc.verify(model, gradients=gradients, backends=backends)
        assert report.agree, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_tvm_agrees(name: str) -> None:
    report = dlc.verify(dlc.loads(MODELS[name])["M"], backends=["tvm"])
    assert report.agree, str(report)


def test_is_the_slope() -> None:
    """Against differences, in f64."""
    text = """
model Both()(x: [B, 3]) -> (y: [], g: [B, 3]) {
    y = sum((x |> linear(4) as a |> tanh |> linear(2) as b) ** 2)
    return y, gradient(y, x)
}
"""
    model = dlc.loads(text)["Both"]
    weights = model.initial_weights(seed=1)
    x = np.random.default_rng(0).normal(size=(2, 3))

    def at(value: np.ndarray) -> dict[str, np.ndarray]:
        return run(model.program, weights, {"x": value}, precision="f64")

    slope = at(x)["g"]
    for i in np.ndindex(2, 3):
        step = np.zeros((2, 3))
        step[i] = 1e-5
        difference = (at(x + step)["y"] - at(x - step)["y"]) / 2e-5
        assert slope[i] == pytest.approx(float(difference), rel=1e-6)


def test_several_at_once() -> None:
    text = """
model Pair()(x: [B, 3], y: [B, 3]) -> (gx: [B, 3], gy: [B, 3]) {
    z = sum(x * x * y)
    gx, gy = gradient(z, (x, y))
    return gx, gy
}
"""
    model = dlc.loads(text)["Pair"]
    x, y = np.full((1, 3), 2.0, np.float32), np.full((1, 3), 5.0, np.float32)
    found = run(model.program, {}, {"x": x, "y": y})
    assert np.allclose(found["gx"], 20.0) and np.allclose(found["gy"], 4.0)


def test_draws_are_those_of_the_value() -> None:
    """What is dropped from the value is dropped from its gradient."""
    text = """
model Dropped()(x: [B, 64]) -> (y: [B, 64], g: [B, 64]) {
    y = x |> Part() as part
    return y, gradient(sum(y), x)
}

module Part()(x: [B, 64]) -> [B, 64] {
    return where(uniform([B, 64]) < 0.5, x, 0.0)
}
"""
    model = dlc.loads(text)["Dropped"]
    found = run(model.program, {}, {"x": np.full((2, 64), 3.0, np.float32)})
    assert np.array_equal(found["y"] != 0, found["g"] != 0) and 0 < (found["g"] != 0).mean() < 1
