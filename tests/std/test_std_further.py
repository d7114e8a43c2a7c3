"""`unfold`, `isinf`, `categorical` and `soft_cross_entropy`: against PyTorch, by their statistics, and on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import dlc
from dlc.runtime.interpret import run

WINDOWS = [
    {"kernel": 3},
    {"kernel": 1},
    {"kernel": (2, 3), "stride": (2, 1), "padding": (0, 2)},
    {"kernel": 2, "stride": 3, "dilation": (3, 2), "padding": 1},
    {"kernel": (6, 5)},
]


@pytest.mark.parametrize("given", WINDOWS, ids=str)
def test_unfold_is_pytorchs(given: dict[str, object]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 5)).astype(np.float32)
    written = ", ".join(
        f"{key}={list(value) if isinstance(value, tuple) else value}" for key, value in given.items()
    )
    text = f"model Net()(x: [B, C, H, W]) -> y: [*R] where H >= 6 and W >= 5 {{\n    return unfold(x, {written})\n}}\n"
    found = run(dlc.loads(text)["Net"].program, {}, {"x": x})["y"]
    wanted = F.unfold(
        torch.from_numpy(x),
        **{"kernel_size" if key == "kernel" else key: value for key, value in given.items()},
    )
    np.testing.assert_array_equal(found, wanted.numpy())


def test_unfold_needs_room() -> None:
    found = dlc.loads("model Net()(x: [B, C, 3, 9]) -> _ {\n    return unfold(x, 4)\n}\n").check()
    assert [each.message for each in found] == ["`unfold`: the kernel must fit into the image"]


EVERYWHERE = """
model Net(k: int = 3)(x: [B, 2, H, 6]) -> _ {
    return unfold(x, k, padding=1), unfold(x, [1, 2], stride=[2, 1], dilation=2), isinf(x / round(x))
}
"""


def test_backends() -> None:
    model = dlc.loads(EVERYWHERE)["Net"]
    assert dlc.verify(model, backends=("onnx",)).agree
    smooth = dlc.loads(EVERYWHERE.replace(", isinf(x / round(x))", ""))["Net"]
    assert dlc.verify(smooth, backends=("torch", "jax"), gradients=True).agree
    single = dlc.loads("model Net()(x: [B, 2, 5, 6]) -> _ {\n    return unfold(x, [3, 2], padding=1)\n}\n")[
        "Net"
    ]
    assert dlc.verify(single, backends=("tvm",)).agree
    text = next(iter(model.emit("torch").files.values()))
    assert "F.unfold(x, 3, padding=1)" in text and "F.unfold(x, (1, 2), dilation=2, stride=(2, 1))" in text


def test_isinf_at_the_edges() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -3.0, 3e38], np.float32)
    model = dlc.loads("model Net()(x: [N]) -> y: bool[N] {\n    return isinf(x)\n}\n")["Net"]
    for backend in ("torch", "jax", "onnx", "tvm"):
        np.testing.assert_array_equal(
            model.compile(backend, weights={})(x=x)["y"], np.isinf(x), err_msg=backend
        )


CATEGORICAL = "model Net()(logits: [N, 4]) -> y: i64[N] {\n    return categorical(logits)\n}\n"
SHARES = np.array([0.5, 0.3, 0.2, 0.0])


def assert_shares(found: np.ndarray) -> None:
    assert found.dtype == np.int64
    shares = np.bincount(found, minlength=4) / found.size
    assert shares[3] == 0
    np.testing.assert_allclose(shares, SHARES, atol=6 * 0.5 / np.sqrt(found.size))


def test_categorical_draws_by_softmax() -> None:
    with np.errstate(divide="ignore"):
        logits = np.broadcast_to(np.log(SHARES) + 1.5, (20_000, 4)).astype(np.float32)
    model = dlc.loads(CATEGORICAL)["Net"]
    assert_shares(run(model.program, {}, {"logits": logits}, rng=np.random.default_rng(0))["y"])
    torch.manual_seed(0)
    assert_shares(model.compile("torch", weights={})(logits=logits)["y"])
    assert_shares(model.compile("jax", weights={})(logits=logits, key=0)["y"].astype(np.int64))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 1, 3, 4)], ids=str)
def test_shares_of_classes(shape: tuple[int, ...], reduction: str) -> None:
    """PyTorch's cross-entropy with probabilities, whose classes are the last axis here; of a label it is `cross_entropy`."""
    axes = ", ".join(map(str, shape))
    text = f"""model Net()(x: [{axes}], t: [{axes}]) -> (y: [*R], z: [*R]) {{
    hard = argmax(t, axis=-1)
    return soft_cross_entropy(x, t, reduction="{reduction}"), cross_entropy(x, hard, reduction="{reduction}")
}}
"""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=shape).astype(np.float32), rng.random(shape).astype(np.float32)
    net = dlc.loads(text)["Net"]
    rows = [torch.from_numpy(each).reshape(-1, 4) for each in (x, t)]
    wanted = F.cross_entropy(*rows, reduction=reduction).numpy()
    found = run(net.program, {}, {"x": x, "t": t})["y"]
    np.testing.assert_allclose(found.ravel(), wanted.ravel(), rtol=1e-5)
    labels = np.eye(4, dtype=np.float32)[t.argmax(axis=-1)]
    found = run(net.program, {}, {"x": x, "t": labels})
    np.testing.assert_allclose(found["y"], found["z"], rtol=1e-5)
    assert dlc.verify(net, backends=("torch", "jax"), gradients=True).agree
    if reduction == "mean":
        assert dlc.verify(net, backends=("onnx",)).agree
        assert "F.cross_entropy(x" in str(next(iter(net.emit("torch").files.values())))
