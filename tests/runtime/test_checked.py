"""Inputs of a loaded model: every backend refuses the same ones, and says which input and which axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError

SPEC = """
model Net(vocab: int = 10)(tokens: i64[B, T], x: [B, T, 4]) -> [B, T, 4]
    where T % 2 == 0
{
    return embedding(vocab, 4)(tokens) + x
}
"""
X = np.zeros((2, 4, 4), np.float32)
TOKENS = np.zeros((2, 4), np.int64)
WRONG = {
    "missing": ({"x": X}, "E0902", "the input `tokens` is missing"),
    "unknown": ({"tokens": TOKENS, "x": X, "tokns": X}, "E0902", "there is no input `tokns`"),
    "axes": ({"tokens": TOKENS, "x": X[0]}, "E0902", "`x` must be [B, T, 4], not [4, 4]: it has 2 axes, not 3"),
    "size": ({"tokens": TOKENS, "x": X[..., :3]}, "E0902", "`x` must be [B, T, 4], not [2, 4, 3]: axis 2 is 3, not 4"),
    "dim": ({"tokens": TOKENS, "x": X[:, :2]}, "E0902", "axis 1 is 2, not 4 (T = 4)"),
    "dtype": ({"tokens": TOKENS.astype(float), "x": X}, "E0902", "`tokens` must be i64[B, T], not float64"),
    "text": ({"tokens": TOKENS, "x": "hello"}, "E0902", "`x` must be [B, T, 4], not <U5"),
    "ragged": ({"tokens": [[1, 2], [3]], "x": X}, "E0902", "an input is no array"),
    "index": ({"tokens": TOKENS + 10, "x": X}, "E0902", "`tokens` holds 10; it indexes a table, from 0 to 9"),
    "negative": ({"tokens": TOKENS - 1, "x": X}, "E0902", "`tokens` holds -1"),
    "fact": ({"tokens": TOKENS[:, :3], "x": X[:, :3]}, "E0804", "T % 2 == 0 (with B = 2, T = 3)"),
}  # fmt: skip


@pytest.fixture(scope="module", params=["torch", "jax", "onnx"])
def network(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip({"onnx": "onnxruntime"}.get(request.param, request.param))
    return dlc.loads(SPEC)["Net"].compile(request.param)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_are_refused(network: Any, name: str) -> None:
    inputs, code, message = WRONG[name]
    with pytest.raises(SpecError) as caught:
        network(**inputs)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert message in found.message


def test_right_inputs_are_taken(network: Any) -> None:
    (y,) = network(tokens=TOKENS.astype(np.int32) + 9, x=X.astype(np.float64)).values()
    assert y.shape == (2, 4, 4)


ASKING = """
model Net()(x: [B]) -> [B] {
    require all(x > 9.0), "larger, please"
    return x
}
"""


def test_verify_tells_what_its_inputs_violate() -> None:
    """Inputs are random if none are given: they need not fulfil what a spec asks of its data."""
    model = dlc.loads(ASKING)["Net"]
    with pytest.raises(SpecError) as caught:
        dlc.verify(model, backends=["torch"])
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("E0804", "this does not hold for the given input: larger, please")
    assert dlc.verify(model, backends=["torch"], inputs={"x": np.full(3, 10.0, np.float32)}).agree
