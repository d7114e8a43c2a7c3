"""Sizes that are 0, and divisors that are: what NumPy gives, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.runtime.inputs import choose_sizes
from dlc.runtime.interpret import run

TEXT = """
model M()(x: [N, 2], e: [N, T]) -> ([0, 2], [N, 2], [N, 2], [N], [N], [N, 0], [N * N, 0], [N])
    where 0 <= T
{
    empty = x[:0]
    for i in range(3) { empty = concat([empty, empty], axis=0) }
    y = x
    for i in range(3) { y = y * 2.0 }
    return empty, y, x / 0.0, var(x[:, :1], axis=1, correction=1), mean(e, axis=1),
        reshape(empty, [N, 0]), tile(x, [N, 0]), mean(x[:, :0], axis=1)
}
"""
X = np.array([[1.0, 0.0], [-1.0, 2.0]], np.float32)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_as_numpy(backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    model = dlc.loads(TEXT)["M"]
    given = {"x": X, "e": np.zeros((2, 0), np.float32)}
    with np.errstate(all="ignore"):
        expected = run(model.program, {}, given)
    found = model.compile(backend)(**given)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


VARIANCES = """
model M()(x: [N, T]) -> (a: [N], b: [N], c: [N], d: [N, 1])
    where 0 <= T
{
    return var(x, 1, correction=1), std(x, 1, correction=1), var(x, 1), var(x, 1, correction=3, keepdims=true)
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_variances_of_too_few(backend: str) -> None:
    """What is left after the correction is 0 at least: nan of nothing, else infinite."""
    model = dlc.loads(VARIANCES)["M"]
    run_it = model.compile(backend)
    for size in (0, 1, 2, 4):
        x = np.arange(2 * size, dtype=np.float32).reshape(2, size)
        with np.errstate(all="ignore"):
            wanted = x.var(1, ddof=1), x.std(1, ddof=1), x.var(1), x.var(1, ddof=3, keepdims=True)
        for (name, found), value in zip(run_it(x=x).items(), wanted, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-5, err_msg=f"{name} of {size}")
        np.testing.assert_allclose(run(model.program, {}, {"x": x})["d"], wanted[3], rtol=1e-5)


def test_sizes_that_may_be_0_may_be_given_so() -> None:
    program = dlc.loads(TEXT)["M"].program
    assert choose_sizes(program, {"T": 0, "N": 1}) == {"T": 0, "N": 1}
    with pytest.raises(dlc.SpecError, match="N >= 1"):
        choose_sizes(program, {"N": 0})


EMPTY_BATCHES = """
model M()(x: [B, 5, 4], image: [B, 3, 8, 8], q: [B, 2, N, 4]) -> (_, _, _, _, _, _)
    where 0 <= B, 0 <= N
{
    turned = x.T
    return turned |> linear(3), turned @ ones([5, 2]), (turned * 2.0) @ ones([5, 2]),
        adaptive_avg_pool(image, 2), attention(q, image[:, :2, :, :4], image[:, :2, :, 4:]),
        resize(image, scale=2) |> conv2d(2, 3) |> batch_norm |> max_pool(2)
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
@pytest.mark.parametrize(("rows", "queries"), [(0, 3), (2, 0), (2, 3)])
def test_layers_of_an_empty_batch(backend: str, rows: int, queries: int) -> None:
    """onnxruntime's own nodes for attention, and for a product with what is transposed before, take none to be empty."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    model = dlc.loads(EMPTY_BATCHES)["M"]
    rng = np.random.default_rng(0)
    shapes = {"x": (rows, 5, 4), "image": (rows, 3, 8, 8), "q": (rows, 2, queries, 4)}
    given = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    expected = run(model.program, model.initial_weights(0), given)
    found = model.compile(backend, seed=0)(**given)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_convolution_wants_channels() -> None:
    with pytest.raises(dlc.SpecError, match="`conv1d` needs `i >= 1`"):
        dlc.loads("model M()(x: [B, 0, 4]) -> _ {\n    return x |> conv1d(3, 1)\n}\n")["M"].summary()


def test_gradients_of_norms_over_nothing() -> None:
    """PyTorch's own group norm has nan for those of its weight, where nothing is summed up."""
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    text = "model M()(x: [B, 4, T]) -> _\n    where 0 <= T\n{\n    return x |> group_norm(2) as norm\n}\n"
    model = dlc.loads(text)["M"]
    for length in (0, 3):
        dims = {"B": 2, "T": length}
        assert dlc.verify(model, backends=("torch", "jax"), gradients=True, dims=dims).agree
