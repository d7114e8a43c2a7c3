"""Powers by numbers of which some libraries make roots: those of IEEE 754 on every backend, and their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc.runtime.interpret import run

SPEC = """
model M()(x: [B], n: []) -> (a: [B], b: [B], c: [B], d: [B], e: [B], f: [B], g: [B]) {
    return x ** 0.5, x ** -0.5, x ** 1.5, x ** n, gradient(sum(x ** 0.5), x), gradient(sum(x ** 1.5), x), gradient(sum(x ** n), x)
}
"""
X = np.array([-np.inf, -0.0, 0.0, np.inf, 4.0, -2.0, np.nan], np.float32)
ROOTS = np.array([np.inf, 0.0, 0.0, np.inf, 2.0, np.nan, np.nan], np.float32)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_of_infinity_and_zeros(backend: str) -> None:
    model = dlc.loads(SPEC)["M"]
    given = {"x": X, "n": np.float32(0.5)}
    expected = run(model.program, {}, given)
    np.testing.assert_array_equal(expected["a"], ROOTS)
    np.testing.assert_array_equal(expected["b"][:5], [0.0, np.inf, np.inf, 0.0, 0.5])
    found = model.compile(backend)(**given)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


def test_the_derivative_of_what_is_trained() -> None:
    """PyTorch's own, of emitted source."""
    torch = pytest.importorskip("torch")
    (source,) = (
        dlc.loads("model M()(x: [B]) -> ([B], [B]) { return x ** 0.5, x ** 1.5 }\n")["M"]
        .emit("torch")
        .files.values()
    )
    module: dict[str, Any] = {}
    exec(str(source), module)
    x = torch.tensor(X, requires_grad=True)
    for y, wanted in zip(
        module["M"](x), ([0.0, np.inf, np.inf, 0.0, 0.25], [np.inf, 0.0, 0.0, np.inf, 3.0]), strict=True
    ):
        (found,) = torch.autograd.grad(y.sum(), x)
        np.testing.assert_allclose(found.numpy()[:5], wanted)
