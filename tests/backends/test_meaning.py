"""One meaning where frameworks have their own: the right values, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc import backend as backends
from dlc.runtime.compile import emit

ATTENTION = """model M()(m: bool[1, 1, 2, 3], b: [1, 1, 2, 3]) -> [1, 1, 2, 4] {{
    param q: [1, 1, 2, 4] = normal
    param k: [1, 1, 3, 4] = normal
    param v: [1, 1, 3, 4] = normal
    return attention(q, k, v, {})
}}
"""
SAME = (
    'model M()(x: [1, 1, 4, 5]) -> [1, 1, 2, 3] {\n    return max_pool(x, 3, stride=2, padding="same")\n}\n'
)
WIDE = "model M()(x: i64[2]) -> (y: i64[2], z: i64[]) {\n    return x * 3 + 5000000000, sum(x)\n}\n"
ZERO_ROW = """model M()(u: [1]) -> (a: [2], b: [2, 3], c: [2], d: [2]) {
    param x: [2, 3] = zeros
    return norm(x, axis=1), normalize(x), std(x, axis=1), cosine_similarity(x, x)
}
"""
NAMES = ("torch", "jax", "onnx", "tvm")
ROW = np.array([[0, 0, 0], [1, 2, 2]], np.float32)


def usable(name: str) -> str:
    pytest.importorskip("onnxruntime" if name == "onnx" else name)
    return name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["mask=m", "bias=b"])
def test_a_query_that_sees_no_key_gets_0(how: str, name: str) -> None:
    model = dlc.loads(ATTENTION.format(how))["M"]
    weights = model.initial_weights(seed=0)
    seen = np.array([[[[1, 0, 1], [0, 0, 0]]]], bool)
    given: dict[str, Any] = {"m": seen, "b": np.where(seen, 0.5, -np.inf).astype(np.float32)}
    found = model.compile(usable(name), weights=weights)(**given)["output"]
    assert np.isfinite(found).all()
    assert found[0, 0, 0].any() and not found[0, 0, 1].any()
    if backends.find(name).has("gradients"):
        ones = {"output": np.ones(found.shape, np.float32)}
        grads = backends.find(name).gradients(emit(model, name), weights, given, ones)
        assert all(np.isfinite(each).all() for each in grads.values())


@pytest.mark.parametrize("name", NAMES)
def test_same_padding_is_tensorflows(name: str) -> None:
    x = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
    found = dlc.loads(SAME)["M"].compile(usable(name))(x=x)["output"]
    np.testing.assert_array_equal(found[0, 0], [[11, 13, 14], [16, 18, 19]])


@pytest.mark.parametrize("name", NAMES)
def test_i64_has_64_bits(name: str) -> None:
    compiled = dlc.loads(WIDE)["M"].compile(usable(name))
    x = np.array([2**31, 2**40])
    found = compiled(x=x)
    assert found["y"].dtype == found["z"].dtype == np.int64
    np.testing.assert_array_equal(found["y"], x * 3 + 5_000_000_000)
    assert found["z"] == x.sum()


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_one_zero_row_spoils_nothing(name: str) -> None:
    model = dlc.loads(ZERO_ROW)["M"]
    ones = {key: np.ones(shape, np.float32) for key, shape in {"a": 2, "b": (2, 3), "c": 2, "d": 2}.items()}
    given = {"u": np.ones(1, np.float32)}
    found = backends.find(usable(name)).gradients(emit(model, name), {"x": ROW}, given, ones)["x"]
    assert np.isfinite(found).all()
    norm = {**dict.fromkeys(ones, np.zeros(1, np.float32)), "a": ones["a"]}
    norm = {key: np.broadcast_to(value, ones[key].shape) for key, value in norm.items()}
    found = backends.find(name).gradients(emit(model, name), {"x": ROW}, given, norm)["x"]
    np.testing.assert_allclose(found[0], 0)


def test_masks_and_biases_keep_their_places() -> None:
    """Calls of one function with a mask here and a bias there: by place, the mask was taken for the bias."""
    spec = (
        "model M()(q: [1, 2, 4], m: bool[1, 2, 2], b: [1, 2, 2]) -> (x: [1, 2, 4], y: [1, 2, 4]) {\n"
        "    return attention(q, q, q, mask=m), attention(q, q, q, bias=b)\n}\n"
    )
    text = dlc.loads(spec)["M"].emit("jax").files["m.py"]
    assert "mask=m" in text and "bias=b" in text
