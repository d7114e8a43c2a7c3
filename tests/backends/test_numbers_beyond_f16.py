"""Numbers that f16 has not, such as the -1e9 of a mask: infinite in f16 on every backend, themselves in f32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dlc

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
