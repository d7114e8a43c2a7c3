"""0 times nan, or times an infinite number, is nan where the 0 is that of a mask, too: XLA takes a product with a cast bool for a choice."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.runtime.interpret import run

SPEC = """
fn mask(x: [n]) -> [n] { return cast(x > 0.0, float) }

model M()(x: [4], y: [4], place: i64[]) -> (a: [4], b: [4, 4], c: [4], d: [4], e: [4], f: [2, 2], g: [4], h: [4]) {
    square = reshape(y, [2, 2])
    weighed = sum(cast(x > 0.0, float) * y)
    return cast(x > 0.0, float) * y, eye(4) * y, einsum(cast(x > 0.0, float), y, "a, a -> a"),
        mask(x) * y, cast(one_hot(place, 4), float) * y, gradient(sum(max(square, 1)), square),
        reshape(-cast(x > 0.0, float), [4]) * y, gradient(weighed, y)
}
"""
X = np.array([1.0, -1.0, 1.0, -1.0], np.float32)
Y = np.array([np.inf, np.inf, np.nan, np.nan], np.float32)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", pytest.param("tvm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("optimize", [0, 2])
def test_a_product_with_a_mask(backend: str, optimize: int) -> None:
    """What the spec says of nan and infinite numbers, at all levels."""
    model = dlc.loads(SPEC)["M"]
    given = {"x": X, "y": Y, "place": np.array(1)}
    expected = run(model.program, {}, given)
    np.testing.assert_array_equal(expected["a"], [np.inf, np.nan, np.nan, np.nan])
    found = model.compile(backend, optimize=optimize)(**given)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_casts_that_nothing_multiplies_are_casts() -> None:
    (text,) = (
        dlc.loads("model M()(x: [B], y: [B]) -> [] { return mean(cast(x > y, float)) }\n")["M"]
        .emit("jax")
        .files.values()
    )
    assert "indicator" not in str(text) and ".astype(x.dtype)" in str(text)
