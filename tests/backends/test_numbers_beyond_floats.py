"""Numbers that a float has not, such as the -1e9 of a mask in f16: infinite there on every backend, themselves in wider ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dlc
from dlc.ops.arrays import numpy_dtype
from dlc.runtime.interpret import run

SPEC = """
model M()(x: [B, 4]) -> (a: [B, 4], b: [B, 4], c: [B, 6], d: [B, 4], e: [B, 4]) {
    a = where(x > 0.0, x, -1e9)
    b = softmax(where(x > 1.0, full([B, 4], -1e9), x))
    c = pad(x, -1, 1, 1, value=7e4)
    d = clamp(x, -1e9, 1e9)
    return a, b, c, d, x * 0.0 + full([B, 4], 65_510.0)
}
"""
X = np.array([[0.5, -1.0, 2.0, 0.0]], np.float32)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_in_f16(backend: str) -> None:
    found = dlc.loads(SPEC)["M"].compile(backend, precision="f16")(x=X.astype(np.float16))
    np.testing.assert_array_equal(found["a"], [[0.5, -np.inf, 2.0, -np.inf]])
    assert found["b"][0, 2] == 0.0 and np.isfinite(found["b"]).all()
    np.testing.assert_array_equal(found["c"][0, [0, 5]], [np.inf, np.inf])
    np.testing.assert_array_equal(found["d"], X)
    np.testing.assert_array_equal(found["e"], np.full((1, 4), 65_504.0))


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_in_f32(backend: str) -> None:
    found = dlc.loads(SPEC)["M"].compile(backend)(x=X)
    np.testing.assert_array_equal(found["a"], np.array([[0.5, -1e9, 2.0, -1e9]], np.float32))
    np.testing.assert_array_equal(found["e"], np.full((1, 4), 65_510.0, np.float32))


def test_a_function_of_f32_in_f16() -> None:
    (source,) = (
        text for name, text in dlc.loads(SPEC)["M"].emit("torch").files.items() if name.endswith(".py")
    )
    module: dict[str, Any] = {}
    exec(source, module)
    for half, far in ((False, 1e9), (True, np.inf)):
        x = torch.tensor(X).half() if half else torch.tensor(X)
        found = module["M"](x)
        np.testing.assert_array_equal(found.a, np.array([[0.5, -far, 2.0, -far]], np.float32))
        np.testing.assert_array_equal(found.c[0, [0, 5]], [np.inf if half else 7e4] * 2)
        np.testing.assert_array_equal(found.d, X)


BEYOND = """
model M()(x: [B]) -> (a: [B], b: [B], c: [B + 2], d: [B], e: [B], f: [B]) {
    return clamp(x, -1e60, 1e60), full([B], 1e39) * x, pad(x, 0, 1, 1, value=-1e60), where(x > 0.0, x, -1e39), maximum(x, -1e60),
        full([B], 3.4028235e38) * 0.5
}
"""


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_beyond_f32(backend: str, precision: str) -> None:
    """What f32 and bf16 have not is infinite there, too."""
    model = dlc.loads(BEYOND)["M"]
    x = np.array([1.0, -2.0, np.inf], np.float32).astype(numpy_dtype(precision))
    found = model.compile(backend, precision=precision)(x=x)
    with np.errstate(all="ignore"):
        expected = run(model.program, {}, {"x": x}, precision=precision)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    np.testing.assert_array_equal(
        expected["c"], np.array([-np.inf, 1.0, -2.0, np.inf, -np.inf]).astype(x.dtype)
    )
