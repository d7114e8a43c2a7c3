"""Faults that use of the language has brought up, each on the smallest spec that shows it."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.backend import find
from dlc.diagnostics import SpecError
from dlc.runtime.weights import initial_weights


def loaded(text: str) -> dlc.Model:
    spec = dlc.loads(text)
    assert not spec.check()
    model: dlc.Model = spec["M"]
    return model


def test_parts_of_a_require_are_facts_each() -> None:
    """`a and b` of sizes that only the data can settle."""
    model = loaded("""
model M()(x: [B, T], y: [B, S]) -> _ {
    require T == S and T % 2 == 0
    return reshape(x + y, [B, T // 2, 2])
}
""")
    x, y = np.ones((1, 4), np.float32), np.ones((1, 6), np.float32)
    run = model.compile("torch")
    assert run(x=x, y=x)["output"].shape == (1, 2, 2)
    with pytest.raises(SpecError, match="T == S"):
        run(x=x, y=y)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_data_that_a_require_refuses(backend: str) -> None:
    model = loaded("""
model M()(x: [B, 2]) -> _ {
    require all(x > 0.0), "too small"
    return x
}
""")
    with pytest.raises(SpecError, match=r"E0804.*too small"):
        model.compile(backend)(x=-np.ones((1, 2), np.float32))
    with pytest.raises(SpecError, match=r"E0804.*too small"):
        dlc.verify(model, backends=(backend,), inputs={"x": -np.ones((1, 2), np.float32)})


def test_clamp_takes_integers() -> None:
    model = loaded("model M()(x: i64[B]) -> i64[B] { return clamp(x, 0, 5) + clamp(x, max=2) }")
    found = model.compile("torch")(x=np.array([-3, 4, 9]))["output"]
    np.testing.assert_array_equal(found, [-3, 6, 7])


def test_what_a_scan_carries_may_begin_with_a_pipe() -> None:
    model = loaded("""
model M()(x: [B, 2]) -> _ {
    scan i in range(2) with s = x |> square |> sum(axis=1) { s = s + 1.0 }
    return s
}
""")
    found = model.compile("torch")(x=np.full((1, 2), 2, np.float32))["output"]
    np.testing.assert_array_equal(found, [10])


def test_an_input_may_be_called_key() -> None:
    model = loaded("model M()(key: [B], x: [B]) -> _ { return key + x }")
    one = np.ones(2, np.float32)
    np.testing.assert_array_equal(model.compile("onnx")(key=one, x=one)["output"], [2, 2])


def test_sizes_of_the_caller_in_functions_of_an_onnx_model() -> None:
    """Composites of the library pass them on to others."""
    model = loaded("""
fn means(x: [E, h], ids: i64[E], n: dim) -> [n, h] {
    return segment_mean(x, ids, n) + segment_sum(segment_softmax(x, ids, n), ids, n)
}
model M()(x: [N, 2], ids: i64[N], y: [K]) -> [K, 2] {
    return means(x, ids, K) + means(x, ids, K + 1)[:K]
}
""")
    given = {"x": np.arange(8, dtype=np.float32).reshape(4, 2), "ids": np.array([0, 2, 2, 1])}
    given["y"] = np.zeros(3, np.float32)
    weights = initial_weights(model.program)
    parted = find("onnx").load(model.emit("onnx", functions=True), weights)(**given)["output"]
    np.testing.assert_allclose(parted, model.compile("torch")(**given)["output"], rtol=1e-6)


def test_one_call_gives_a_size_and_another_a_number() -> None:
    """The two are passed in different ways, so they are two functions in what is emitted."""
    model = loaded("""
module Places(n: int, d: int)(x: [N, d]) -> [n, d] {
    return sum(x |> linear(d) as fc, axis=0) + sin(arange(n, dtype=float))[:, none]
}
model M(d: int = 4)(x: [N, d]) -> [N, d] {
    return x + (x |> Places(N, d) as a) + sum(x |> Places(6, d) as b, axis=0)
}
""")
    for backend in ("torch", "jax"):
        assert model.emit(backend).files
    assert dlc.verify(model, backends=("torch", "jax"), gradients=True).agree
