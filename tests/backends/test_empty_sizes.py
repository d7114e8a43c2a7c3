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


def test_sizes_that_may_be_0_may_be_given_so() -> None:
    program = dlc.loads(TEXT)["M"].program
    assert choose_sizes(program, {"T": 0, "N": 1}) == {"T": 0, "N": 1}
    with pytest.raises(dlc.SpecError, match="sizes are 1 or more"):
        choose_sizes(program, {"N": 0})
