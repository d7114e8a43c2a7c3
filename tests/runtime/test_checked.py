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
    "ragged": ({"tokens": [[1, 2], [3]], "x": X}, "E0902", "`tokens` is no array"),
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


def kinds_of(a: np.ndarray) -> dict[str, Any]:
    """The same values, as arrays come."""
    aligned = np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    return {
        "fortran": np.asfortranarray(a),
        "negative strides": np.ascontiguousarray(a[..., ::-1])[..., ::-1],
        "every second": np.repeat(a, 2, axis=0)[::2],
        "other bytes": a.astype(a.dtype.newbyteorder()),
        "not aligned": aligned,
        "masked nowhere": np.ma.masked_array(a, mask=np.zeros(a.shape, bool)),
        "a list": a.tolist(),
        **({"wide": a.astype(np.longdouble)} if a.dtype.kind == "f" else {}),
    }


def test_arrays_of_any_layout_are_the_same(network: Any) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    tokens = np.arange(8).reshape(2, 4)
    (expected,) = network(tokens=tokens, x=x).values()
    for name, value in kinds_of(x).items():
        np.testing.assert_array_equal(network(tokens=tokens, x=value)["output"], expected, name)
    for name, value in kinds_of(tokens).items():
        np.testing.assert_array_equal(network(tokens=value, x=x)["output"], expected, name)


NO_NUMBERS = {
    "records": (np.zeros((2, 4), [("a", "i8")]), "not [('a', '<i8')]"),
    "dates": (TOKENS.astype("m8[s]"), "not timedelta64[s]"),
    "masked": (np.ma.masked_array(TOKENS, mask=np.ones((2, 4), bool)), "`tokens` has masked elements"),
    "none": (None, "not object"),
    "beyond 64 bits": (
        np.full((2, 4), 2**63, np.uint64),
        "`tokens` holds 9223372036854775808, and i64 goes from",
    ),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_what_holds_no_numbers_is_refused(network: Any, name: str) -> None:
    value, message = NO_NUMBERS[name]
    with pytest.raises(SpecError) as caught:
        network(tokens=value, x=X)
    assert caught.value.diagnostics[0].code == "E0902"
    assert message in caught.value.diagnostics[0].message


def test_integers_that_the_dtype_does_not_have_are_refused() -> None:
    run = dlc.loads("model Net()(x: i32[B]) -> [B] {\n    return cast(x, float)\n}")["Net"].compile("torch")
    assert run(x=np.array([2**31 - 1]))["output"].shape == (1,)
    with pytest.raises(SpecError, match="`x` holds 2147483648, and i32 goes from -2147483648 to 2147483647"):
        run(x=np.array([1, 2**31]))


def test_inputs_are_given_by_name(network: Any) -> None:
    with pytest.raises(TypeError, match="inputs are given by name: tokens=…, x=…"):
        network(TOKENS, X)


def test_a_key_seeds_what_is_drawn() -> None:
    quiet = dlc.loads("model Net()(x: [B]) -> [B] {\n    return x\n}")["Net"].compile("torch")
    with pytest.raises(SpecError, match="`key` seeds what is drawn, and the model draws nothing"):
        quiet(x=X[0, 0], key=1)
    for backend in ("torch", "jax", "onnx", "tvm"):
        pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
        text = "model Net()(x: [B]) -> [B] {\n    return x + normal_like(x)\n}"
        run = dlc.loads(text)["Net"].compile(backend)
        first, again, other = (run(x=X[0, 0], key=key)["output"] for key in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.allclose(first, other)
        for wrong in (-1, 1.5, "a", True):
            with pytest.raises((TypeError, ValueError), match="`key` must be"):
                run(x=X[0, 0], key=wrong)


ASKING = """
model Net()(x: [B]) -> [B] {
    require all(x > 9.0), "larger, please"
    return x
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
def test_what_data_violates_is_told_once(
    backend: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """In the error: frameworks log it with tracebacks besides."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    net = dlc.loads(ASKING)["Net"].compile(backend)
    with pytest.raises(SpecError, match="larger, please"):
        net(x=np.zeros(3, np.float32))
    assert net(x=np.full(3, 10.0, np.float32))["output"].tolist() == [10.0] * 3
    assert "larger, please" not in capfd.readouterr().err + caplog.text


def test_verify_tells_what_its_inputs_violate() -> None:
    """Inputs are random if none are given: they need not fulfil what a spec asks of its data."""
    model = dlc.loads(ASKING)["Net"]
    with pytest.raises(SpecError) as caught:
        dlc.verify(model, backends=["torch"])
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("E0804", "this does not hold for the given input: larger, please")
    assert dlc.verify(model, backends=["torch"], inputs={"x": np.full(3, 10.0, np.float32)}).agree


MANY = """
model Kinds()(i: i64[B], n: i8[B], m: bool[B], x: [B, 4]) -> [B, 4] {
    return where(m[:, none], take(eye(4), i), x * cast(n, float)[:, none])
}
model Masked()(x: [B], mask: bool[B] = none) -> [B] {
    return x if mask == none else where(mask, x, 0.0)
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_tensors_of_frameworks_are_looked_at_as_arrays_are(backend: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    run = dlc.loads(MANY)["Kinds"].compile(backend)
    right = {
        "i": torch.tensor([1, 2]),
        "n": torch.tensor([3, 4]),
        "m": torch.tensor([True, False]),
        "x": torch.ones(4, 4, requires_grad=True)[:, ::2].T,  # a slope, and elements that are apart
    }
    (y,) = run(**right).values()
    np.testing.assert_array_equal(y, [[0, 1, 0, 0], [4, 4, 4, 4]])
    for name, wrong, message in (
        ("i", torch.tensor([1.5, 2.0]), "`i` must be i64[B], not float32"),
        ("m", torch.tensor([1, 0]), "`m` must be bool[B], not int64"),
        ("n", torch.tensor([300, 0]), "`n` holds 300, and i8 goes from -128 to 127"),
    ):
        with pytest.raises(SpecError, match="E0902") as caught:
            run(**{**right, name: wrong})
        assert message in caught.value.diagnostics[0].message


def test_what_is_optional_is_told_so() -> None:
    pytest.importorskip("torch")
    run = dlc.loads(MANY)["Masked"].compile("torch")
    with pytest.raises(SpecError) as caught:
        run(x=np.ones(2, np.float32), mask=np.ones(2, bool))
    assert 'compile `model.with_inputs("mask")`' in caught.value.diagnostics[0].help
