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


# What sizes and constants alone decide, past 32 bits: JAX had nothing to look at, and wrapped.
OF_SIZES = """
model M()(x: [N]) -> (a: i64[N], b: i64[N], c: i64[], d: i64[N], e: i64[N], f: i64[N], g: i64[2], h: i64[N], i: u8[N], j: i64[N])
{
    place = argsort(x)
    return 2 ** arange(N), arange(N) * N * N, sum(arange(N)) * sum(arange(N)), 1_000_000 * place, cumprod(place + 1), 3 ** place,
        tensor([100_000, 200_000]) * tensor([300_000, 5]), (-1) ** place, cast(place, u8) ** cast(place, u8), place ** 70
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_integers_of_sizes(backend: str) -> None:
    model = dlc.loads(OF_SIZES)["M"]
    compiled = model.compile(backend)
    for n in (3, 45, 3_000):
        given = {"x": np.random.default_rng(n).normal(size=n).astype(np.float32)}
        found = compiled(**given)
        for name, value in run(model.program, {}, given).items():
            assert found[name].dtype == value.dtype, name
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_products_of_long_axes_on_jax() -> None:
    """Positions times positions fit into 32 bits up to 46,340: where an input is longer, the call has 64."""
    model = dlc.loads("model M()(x: [N]) -> i64[N] { return arange(N) * arange(N) }\n")["M"]
    compiled = model.compile("jax")
    for n in (5, 50_000):
        found = compiled(x=np.zeros(n, np.float32))["output"]
        np.testing.assert_array_equal(found, np.arange(n) ** 2)
