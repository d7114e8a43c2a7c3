"""`spectral_norm` and `weight_norm` are PyTorch's, by their names, their numbers and their buffers, in training and not, and of any
layer with a weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dlc_jax.load import module as jax_module
from torch import nn
from torch.nn.utils import spectral_norm
from torch.nn.utils.parametrizations import weight_norm

import dlc
from dlc.runtime.compile import emit, find_backend
from dlc.runtime.interpret import run
from dlc.spec import Model

IMAGE = (2, 3, 5, 4)
LAYERS = {
    "linear(6)": (nn.Linear(4, 6), IMAGE),
    "linear(6, bias=false), iterations=3": (nn.Linear(4, 6, bias=False), IMAGE),
    "conv2d(6, 3, stride=2, padding=1)": (nn.Conv2d(3, 6, 3, stride=2, padding=1), IMAGE),
    "conv_transpose2d(6, 3, groups=3, bias=false)": (
        nn.ConvTranspose2d(3, 6, 3, groups=3, bias=False),
        IMAGE,
    ),
    "embedding(7, 3)": (nn.Embedding(7, 3), (2, 5)),
}


def model_of(layer: str, shape: tuple[int, ...], norm: str = "spectral_norm") -> Model:
    kind = "i64[2, 5]" if shape == (2, 5) else f"[B, {', '.join(map(str, shape[1:]))}]"
    return dlc.loads(f"model M()(x: {kind}) -> _ {{\n    return x |> {norm}({layer}) as part\n}}\n")["M"]


def input_of(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 7, shape) if shape == (2, 5) else rng.normal(size=shape).astype(np.float32)


def state_of(layer: nn.Module) -> dict[str, np.ndarray]:
    return {f"part.{name}": each.numpy().copy() for name, each in layer.state_dict().items()}


@pytest.mark.parametrize("written", LAYERS)
def test_pytorchs(written: str) -> None:
    """Two steps in training, and then one that is not."""
    layer, shape = LAYERS[written]
    theirs = spectral_norm(layer, n_power_iterations=3 if "iterations" in written else 1)
    model, x = model_of(written, shape), input_of(shape)
    state = state_of(theirs)
    assert {path: each.shape for path, each in state.items()} == {
        path: each.shape for path, each in model.initial_weights(seed=0).items()
    }
    for _ in range(2):
        updates: dict[str, np.ndarray] = {}
        (found,) = run(model.training_program, state, {"x": x}, updates=updates).values()
        wanted = theirs.train()(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        state |= updates
        for path, each in state_of(theirs).items():
            np.testing.assert_allclose(state[path], each, rtol=1e-4, atol=1e-6, err_msg=path)
    (found,) = run(model.program, state, {"x": x}).values()
    wanted = theirs.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


EVERYWHERE = """
module Scaled()(x: [B, d]) -> [B, 4] {
    param weight: [4, d] = normal
    return x @ weight.T |> layer_norm as norm
}

model M(d: int = 6)(x: [B, 3, 5, 5], label: i64[B]) -> y: [B, 4] {
    init conv2d.weight = orthogonal
    x = x |> spectral_norm(conv2d(d, 3)) as conv |> relu |> flatten
    y = x |> spectral_norm(Scaled()) as scaled
    return y + (label |> spectral_norm(embedding(7, 4), iterations=2) as table)
}
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return dlc.loads(EVERYWHERE)["M"]


def test_paths_and_initial_values(model: Model) -> None:
    """What is trained lies right below the label, and rules see the layer."""
    found = model.initial_weights(seed=0)
    conv = ["conv.weight_orig", "conv.weight_u", "conv.weight_v", "conv.bias"]
    scaled = [
        f"scaled.{each}" for each in ("weight_orig", "weight_u", "weight_v", "norm.weight", "norm.bias")
    ]
    assert [*found] == [*conv, *scaled, "table.weight_orig", "table.weight_u", "table.weight_v"]
    weight = found["conv.weight_orig"].reshape(6, -1)
    np.testing.assert_allclose(weight @ weight.T, np.eye(6), atol=1e-5)
    assert np.linalg.norm(found["conv.weight_v"]) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def trained(model: Model) -> dict[str, np.ndarray]:
    """After a few steps of power iteration."""
    state, given = model.initial_weights(seed=0), inputs()
    for _ in range(5):
        run(model.training_program, state, given, updates=state)
    return state


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"x": rng.normal(size=(2, 3, 5, 5)).astype(np.float32), "label": np.array([3, 0])}


def test_singular_value(model: Model, trained: dict[str, np.ndarray]) -> None:
    """The weight that is used has 1 as its largest singular value."""
    for path in ("conv", "table"):
        weight = trained[f"{path}.weight_orig"]
        matrix = weight.reshape(len(weight), -1)
        found = trained[f"{path}.weight_u"] @ matrix @ trained[f"{path}.weight_v"]
        assert found == pytest.approx(np.linalg.svd(matrix)[1][0], rel=1e-2)


def test_backends(model: Model, trained: dict[str, np.ndarray]) -> None:
    assert dlc.verify(
        model, backends=("torch", "jax"), weights=trained, inputs=inputs(), gradients=True
    ).agree
    assert dlc.verify(model, backends=("onnx",), weights=trained, inputs=inputs()).agree


def test_tvm() -> None:
    model = dlc.loads("model M()(x: [2, 5]) -> _ { return x |> spectral_norm(linear(3)) as fc }")["M"]
    assert dlc.verify(model, backends=("tvm",)).agree


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_training(model: Model, trained: dict[str, np.ndarray], backend: str) -> None:
    """The buffers go on as the definition says."""
    wanted: dict[str, np.ndarray] = {}
    (y,) = run(model.training_program, trained, inputs(), updates=wanted).values()
    artifact = emit(model, backend, optimize=1, precision="f32", target="", training=True)
    if backend == "torch":
        native = find_backend(backend, usable=True).load(artifact, trained).native.train()
        found = native(*map(torch.from_numpy, inputs().values())).detach()
        state = native.state_dict()
    else:
        emitted = jax_module(artifact)
        found, after = emitted.apply(*emitted.from_flat(trained), *inputs().values(), training=True)
        state = emitted.to_flat(after)
    np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-5)
    assert wanted.keys() == {f"{part}.weight_{v}" for part in ("conv", "scaled", "table") for v in "uv"}
    for path, value in wanted.items():
        np.testing.assert_allclose(state[path], value, rtol=1e-4, atol=1e-5, err_msg=path)


def test_emitted_source(model: Model) -> None:
    """PyTorch's own where it has the layer; elsewhere the layer's operations, with the weight that is computed."""
    text = next(iter(model.emit("torch").files.values()))
    assert "self.conv = nn.utils.spectral_norm(nn.Conv2d(3, d, kernel_size=3))" in text
    assert "self.table = nn.utils.spectral_norm(nn.Embedding(7, 4), n_power_iterations=2)" in text
    assert "v = F.normalize(weight_u @ fixed, dim=0, eps=self.eps)" in text
    assert "sigma = (weight_u * (self.weight_orig @ v)).sum()" in text
    assert "x = x @ (self.weight_orig / sigma).T" in text
    text = next(iter(model.emit("jax").files.values()))
    assert 'convolve2d(x, params["weight_orig"] / sigma)' in text


@pytest.mark.parametrize("written", ["conv2d(6, 3, stride=2, padding=1)", "linear(6), axis=1"])
def test_weight_norm(written: str) -> None:
    """PyTorch's, and at first the layer as it is."""
    layer = {"conv2d": nn.Conv2d(3, 6, 3, stride=2, padding=1), "linear": nn.Linear(4, 6)}[
        written.partition("(")[0]
    ]
    model, x = model_of(written, IMAGE, "weight_norm"), input_of(IMAGE)
    begun = model.initial_weights(seed=0)
    assert [*begun] == ["part.weight_v", "part.weight_g", "part.bias"]
    layer.load_state_dict(
        {"weight": torch.from_numpy(begun["part.weight_v"]), "bias": torch.from_numpy(begun["part.bias"])}
    )
    wanted = layer(torch.from_numpy(x)).detach().numpy()
    (found,) = run(model.program, begun, {"x": x}).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)

    theirs = weight_norm(layer, dim=1 if "axis" in written else 0)
    length, direction = (getattr(theirs.parametrizations.weight, f"original{k}") for k in (0, 1))
    with torch.no_grad():
        length.mul_(torch.rand_like(length))
        direction.add_(torch.rand_like(direction))
    names = {"part.weight_g": length, "part.weight_v": direction, "part.bias": theirs.bias}
    weights = {name: each.detach().numpy() for name, each in names.items()}
    wanted = theirs(torch.from_numpy(x)).detach().numpy()
    (found,) = run(model.program, weights, {"x": x}).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert dlc.verify(model, backends=("torch", "jax"), gradients=True).agree
    assert dlc.verify(model, backends=("onnx",)).agree
