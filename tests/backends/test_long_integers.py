"""Sums, products and powers of integers are exact and wrap, on every backend, as NumPy's: f64, which some compute them in, has 53 bits."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.runtime.interpret import run

SPEC = """
model M()(x: i64[B, 2], y: i32[B, 2], z: i8[2], n: i64[2]) -> (a: i64[B], b: i64[], c: i64[2], d: i64[B], e: i64[2], f: i64[B, 2],
    g: i8[2], h: i64[B, 2], i: i32[B, 1], j: i32[2], k: i64[B, 2], l: i64[])
    where 0 <= B
{
    return sum(x, 1), sum(x), reduce(x, "B c -> c", "sum"), einsum(x, "B c -> B"), prod(x, 0), x ** 5, z ** 8, x ** n, prod(y, 1, keepdims=true),
        sum(y, 0), x ** 0, einsum(x, n, "B c, k -> ")
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", pytest.param("tvm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_long_integers(backend: str, rows: int) -> None:
    model = dlc.loads(SPEC)["M"]
    rng = np.random.default_rng(0)
    given = {
        "x": rng.integers(-(2**62), 2**62, (rows, 2)),
        "y": rng.integers(-(2**31), 2**31, (rows, 2)).astype(np.int32),
        "z": np.array([127, -3], np.int8),
        "n": np.array([3, 40]),
    }
    found = model.compile(backend)(**given)
    for name, value in run(model.program, {}, given).items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)
