"""Class weights in `cross_entropy`: PyTorch's normalisation, with ignored labels and smoothing, on every backend, and in a step over
several batches."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import dlc

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 6, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, (2, 6))
SOME = np.where(RNG.random((2, 6)) < 0.3, -1, LABELS)
WEIGHT = RNG.random(5).astype(np.float32)
CASES = [*product(("mean", "sum", "none"), (None, -1), (0.0, 0.1))]


def model(reduction: str, ignore: int | None, smoothing: float) -> Any:
    args = f'reduction="{reduction}", smoothing={smoothing}' + (
        "" if ignore is None else f", ignore={ignore}"
    )
    type = "[B, 6]" if reduction == "none" else "[]"
    return dlc.loads(
        f"model M()(x: [B, 6, 5], t: i64[B, 6], w: [5]) -> y: {type} {{\n"
        f"    return cross_entropy(x, t, {args}, weight=w)\n}}\n"
    )["M"]


@pytest.mark.parametrize(("reduction", "ignore", "smoothing"), CASES)
def test_as_in_pytorch(reduction: str, ignore: int | None, smoothing: float) -> None:
    labels = LABELS if ignore is None else SOME
    wanted = F.cross_entropy(
        torch.tensor(X).permute(0, 2, 1), torch.tensor(labels), torch.tensor(WEIGHT),
        ignore_index=-1, label_smoothing=smoothing, reduction=reduction,
    )  # fmt: skip
    for backend in ("torch", "jax", "onnx"):
        found = model(reduction, ignore, smoothing).compile(backend)(x=X, t=labels, w=WEIGHT)["y"]
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5, err_msg=backend)


@pytest.mark.parametrize("ignore", [None, -1])
def test_gradients(ignore: int | None) -> None:
    inputs = {"x": X, "t": LABELS if ignore is None else SOME, "w": WEIGHT}
    text = """
model M()(x: [B, 6, 5], t: i64[B, 6], w: [5]) -> y: [] {
    return cross_entropy(x |> linear(5), t, weight=w, ARGS smoothing=0.1)
}
""".replace("ARGS", "" if ignore is None else f"ignore={ignore},")
    report = dlc.verify(dlc.loads(text)["M"], backends=("torch", "jax"), inputs=inputs, gradients=True)
    assert report.agree, report.text()


def test_pytorch_is_told_natively() -> None:
    source = next(iter(model("mean", None, 0.0).emit("torch").files.values()))
    assert "F.cross_entropy(x.flatten(0, -2), t.flatten(), weight=w" in str(source)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_several_batches_count_as_one(backend: str, tmp_path: Any) -> None:
    """The mean is over the weights of all rows that a step accumulates."""
    text = """
model Net()(x: [B, 4]) -> [B, 3] {
    return x |> linear(3)
}
train t {
    net = Net()
    batch (x: [B, 4], label: i64[B]) from arrays(batch=SIZE)
    minimize cross_entropy(net(x), label, weight=tensor([1.0, 5.0, 0.2]))
    optimizer = sgd(lr=0.5)
    settings { steps = 4, log = 1, accumulate = COUNT }
}
"""
    data = {"x": RNG.normal(size=(32, 4)), "label": RNG.integers(0, 3, 32)}
    losses = []
    for size, count in ((8, 1), (2, 4)):
        block = dlc.loads(text.replace("SIZE", str(size)).replace("COUNT", str(count)))["t"]
        losses.append(dlc.train(block, backend=backend, out=tmp_path / str(size), data=data).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
