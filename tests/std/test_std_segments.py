"""The segments' functions against PyTorch's scatter_reduce, empty segments and ties included; and on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dlc
from dlc.runtime.interpret import run

IDS = np.array([2, 0, 0, 4, 2, 2, 0])  # segments 1, 3 and 5 are empty
HOW = {"sum": "sum", "mean": "mean", "max": "amax", "min": "amin"}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 1, 2)])
def test_against_pytorch(how: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x[1] = x[2] = 2.5
    axes = ", ".join(["E", *map(str, shape[1:])])
    text = f"model Net()(x: [{axes}], ids: i64[E], node: [N]) -> y: [*R] {{\n    return segment_{how}(x, ids, N)\n}}\n"
    found = run(dlc.loads(text)["Net"].program, {}, {"x": x, "ids": IDS, "node": np.zeros(6, np.float32)})[
        "y"
    ]
    start = {"max": -torch.inf, "min": torch.inf}.get(how, 0.0)
    places = torch.from_numpy(IDS).reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
    empty = torch.full((6, *shape[1:]), start)
    wanted = empty.scatter_reduce(
        0, places, torch.from_numpy(x), HOW[how], include_self=how in ("sum", "max", "min")
    )
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6)


EVERYWHERE = """
model Net(k: int = 3)(x: [N, d], y: [E, 4], z: [M]) -> _ {
    ids = arange(E) * 7 % 3
    a = segment_sum(y, ids, N + 3)
    b = segment_mean(y, ids, k + 2)
    c = segment_softmax(y, ids, k)
    e = segment_max(round(y), ids, k + 1)
    f = segment_min(z, zeros([M], dtype=i64), N)
    g = segment_sum(ids, ids, 4)
    return a, b, c, e, f, g
}
"""


def test_backends() -> None:
    model = dlc.loads(EVERYWHERE)["Net"]
    assert dlc.verify(model, backends=("onnx",)).agree
    smooth = dlc.loads(EVERYWHERE.replace("b, c, e, f, g", "b, c, segment_max(y, ids, 3)"))["Net"]
    assert dlc.verify(smooth, backends=("torch", "jax"), gradients=True).agree
    single = dlc.loads(
        "model Net()(x: [E, 2], ids: i64[E]) -> _ {\n    return segment_softmax(x, ids, 9)\n}\n"
    )["Net"]
    assert dlc.verify(single, backends=("tvm",)).agree


def test_words_of_the_backends() -> None:
    model = dlc.loads(EVERYWHERE)["Net"]
    torchs, jaxs = (next(iter(model.emit(name).files.values())) for name in ("torch", "jax"))
    assert "y.new_zeros(N + 3, 4).index_add(0, ids, y)" in torchs
    assert "jax.ops.segment_sum(y, ids, N + 3)" in jaxs
