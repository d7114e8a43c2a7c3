"""What random programs (`random_programs.py`) found wrong once, as small as it can be said: on every backend what the references say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_runs import difference

import dlc
from dlc import backend as backends
from dlc.runtime.compile import emit
from dlc.runtime.interpret import CheckFailed, run

NAMES = ("torch", "jax", "onnx", "tvm")
# One model: `N` is 0 and 2, `s` holds nan and infinities.
FOUND = {
    "x - x of nan": "abs(s - s)",
    "x times 0 of nan": "tanh(s * 0.0)",
    "0 over x": "0.0 / x",
    "not less of nan": "not (s + 0.5 < flip(s, 1))",
    "a comparison or its opposite of nan": "(s < flip(s, 1)) or (flip(s, 1) <= s)",
    "equal to itself": "s + 0.5 == s + 0.5",
    "sum of no rows": "sum(abs(e - e))",
    "kl_div of a negative target": 'kl_div(x, x - 0.5, reduction="none")',
    "one_hot of nothing": "one_hot(arange(N), N)",
    "one_hot out of range": "one_hot(i - 1, 2)",
    "bounded by a size": "clamp(i, 0, N)",
    "a diagonal by a size": "tril(x, N - 1)",
    "nothing repeated": "tile(broadcast(x, [0, 2, 3]), [0, 1, 1])",
    "no rows of several": "tile(x, [0, 1])",
    "one element normalised": "x |> instance_norm",
    "contracted over nothing": 'einsum(e, e, "a n i, b n i -> a b")',
    "a constant of nothing": "ones([0, 3], dtype=i64)",
    "taken at no places": "take(x, arange(0) % 1, axis=1)",
    "matrices broadcast to none": "tensor([[1.0, 2.0], [3.0, 4.0]]) @ (zeros([N, 2, 3]) + x)",
    "a sum of no products": "e[0].T @ e",
    "means of no rows": "mean(e[0], -1)",
    "logsumexp of no rows": "logsumexp(e[0], -1)",
    "no rows in steps": "rows",
    "a constant that is 0": "1.0 / tensor([-0.0])",
    "constants, one of them 0": "e / tensor([0.0, 1.0, -0.0])",
    "running sums along nothing": "cumsum(e, axis=1)",
    "running sums of nothing in steps": "running",
    "over a size that may be 0": "x * (1 / N) + x / sqrt(N)",
    "the logarithm of a size that may be 0": "x * log(N)",
    "the root of a size less 1": "x + sqrt(N - 1) + (N - 1) ** 0.5",
    "what Python has no float for": "x + exp(900.0 * N)",
    "a power of a size": "x * 0.0 ** (-1 * N)",
    "attention of no features": "attention(e.T, e.T, e.T)",
    "nothing enlarged": 'resize(e, scale=2, mode="linear")',
    "nothing unfolded": "unfold(e[none], 2, padding=1)",
    "nothing rolled": "roll(zeros([0, 3]), 1, 0)",
    "an even window, padded alike": 'x[none, none] |> conv2d(2, [1, 2], padding="same") as even',
    "infinities above and below a bound": "clamp(s, min=0.5) + clamp(s, max=0.5)",
    "sums of nothing, several": "e[:, none] @ e[:, none].T",
    "the rest of nothing by 0": "(i[:, none] + arange(N)) % N",
    "nothing over 0": "(i[:, none] + arange(N)) // N",
    "nothing of each row": "x[:, :0] |> rms_norm as none_of_each",
    "pools of no channels": "max_pool(e, 2) + avg_pool(e, 2)",
    "logsumexp of infinities": "logsumexp(stack([x[0], x[0] / tensor([0.0, 1.0, -0.0])]), axis=0) + logsumexp(-1.0 / zeros([1]))",
    "windows over nothing": "e.T |> conv1d(2, 2, padding=2) as around",
    "enlarged to no size": 'resize(x[none], size=N, mode="linear") + sum(resize(x[none, none], size=[3, N], mode="bicubic"))',
    "one infinity, enlarged": 'resize(tensor([[[1.0, 2.0, inf, 4.0, -inf]]]), scale=2, mode="linear")',
    "one infinity among windows": 'resize(stack([x, x])[none] / tensor([0.0, 1.0, 2.0]), size=[4, 4], mode="bilinear")',
    "most of the way to infinities": "lerp(x, x / zeros([3]), 0.7)",
    "the greatest and least of three sizes": "full([max(N, 3 - N, 2 * N)], 1.0) * min(N + 1, 3 - N, N)",
    "narrow integers contracted": 'einsum(cast(i, u8) * 50, cast(i, u8), "a,b->")',
    "no steps": "e |> rnn(2) as r",
}
TEXT = """
model M()(x: [2, 3], s: [2, 3], i: i64[3], e: [2, N, 3]) -> ({outputs})
    where 0 <= N
{{
    scan each in x along axis 1 with last = zeros([2, N]) {{
        last = last + each[:, none]
        yield rows = last
        yield running = cumsum(last, axis=0)
    }}
{lines}
}}
"""


def model() -> dlc.Model:
    outputs = ", ".join(f"o{k}: _" for k in range(len(FOUND)))
    lines = [f"    v{k} = {text}" for k, text in enumerate(FOUND.values())]
    lines[-1] = lines[-1].replace(f"v{len(FOUND) - 1} =", f"v{len(FOUND) - 1}, _ =")
    lines.append(f"    return {', '.join(f'v{k}' for k in range(len(FOUND)))}")
    return dlc.loads(TEXT.format(outputs=outputs, lines="\n".join(lines)))["M"]


def given(n: int) -> dict[str, Any]:
    special = [[np.nan, np.inf, 1.0], [-np.inf, np.nan, -0.0]]
    x = np.array([[0.25, 1.0, -2.0], [0.5, 3.0, 1.5]], np.float32)
    return {
        "x": x,
        "s": np.array(special, np.float32),
        "i": np.array([0, 1, 3]),
        "e": np.ones((2, n, 3), np.float32),
    }


@pytest.mark.parametrize(
    ("name", "optimize"), [*((name, 1) for name in NAMES), ("torch", 2), ("jax", 2), ("tvm", 2)]
)
def test_found(name: str, optimize: int) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    made = model()
    weights = made.initial_weights(seed=0)
    runnable = made.compile(name, weights=weights, optimize=optimize)
    for n in (0, 2):
        with np.errstate(all="ignore"):
            expected = run(made.program, weights, given(n))
        found = runnable(**given(n))
        for k, what in enumerate(FOUND):
            told = difference(found[f"o{k}"], expected[f"o{k}"], np.asarray(expected[f"o{k}"], np.float64))
            assert not told, f"{what}: {told}"


TURNS = """
model M()(x: [N, 2]) -> _ {
    for i in range(4) as every { if i % 2 == 1 { x = x |> linear(2) as fc } else { x = relu(x) } }
    y = full([1, 2], 0.5)
    for i in range(3) as h { y = y |> linear(2) as fc |> linear(2) as out }
    x = x + y
    for i in range(4) as "b" { if i % 2 == 1 { param w: [2] = ones as "{i}.w"
        x = x + w } else { x = -x } }
    return x
}
"""


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_turns_of_which_every_second_has_parts(name: str) -> None:
    pytest.importorskip(name)
    made = dlc.loads(TURNS)["M"]
    weights = made.initial_weights(seed=0)
    x = np.array([[1.0, -2.0]], np.float32)
    found = backends.find(name).load(emit(made, name), weights)(x=x)
    np.testing.assert_allclose(found["output"], run(made.program, weights, {"x": x})["output"], rtol=1e-5)


DIVIDED = "model M()(x: i64[B], y: i64[B], u: u8[B]) -> _ {\n    return x // y, x % y, u // u, u % u\n}\n"


@pytest.mark.parametrize("backend", ["onnx", "tvm"])
def test_a_process_outlives_a_division_of_integers(backend: str) -> None:
    """What is compiled is called without dlc's own look at the divisors, too. Processors stop at 0, and at the least number over -1."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    runnable = dlc.loads(DIVIDED)["M"].compile(backend).runnable
    least = np.iinfo(np.int64).min if backend == "tvm" else -8
    x, y = np.array([least, 7, -7, 7]), np.array([-1, 1, 2, -2])
    found = runnable(x=x, y=y, u=np.array([4, 1, 2, 255], np.uint8))
    assert found["output_0"].tolist() == [least if backend == "tvm" else 8, 7, -4, -4]
    assert found["output_1"].tolist() == [0, 0, 1, -1]
    assert found["output_2"].tolist() == [1, 1, 1, 1]
    for wrong in ({"y": y - 1}, {"u": np.zeros(4, np.uint8)}):
        with pytest.raises((CheckFailed, dlc.SpecError), match="must not be 0: integers are divided by it"):
            runnable(**{"x": x, "y": y, "u": np.ones(4, np.uint8), **wrong})


def test_functions_in_scans() -> None:
    """Calls inside the graphs of nodes have the names of functions as well."""
    pytest.importorskip("onnxruntime")
    made = dlc.loads("model M()(x: [B, T, 2]) -> _ {\n    y, _ = x |> gru(2) as r\n    return y\n}\n")["M"]
    weights = made.initial_weights(seed=0)
    x = np.ones((1, 2, 2), np.float32)
    found = backends.find("onnx").load(emit(made, "onnx", functions=True), weights)(x=x)
    np.testing.assert_allclose(found["output"], run(made.program, weights, {"x": x})["output"], rtol=1e-5)


def test_a_variable_hides_no_function() -> None:
    """`top_k` is a function of the emitted file, and what the spec calls a value."""
    pytest.importorskip("jax")
    text = "model M()(x: [N, 3]) -> (_, _) {\n    top_k, _ = top_k(x, 2)\n    y, _ = top_k(-x, 1)\n    return top_k, y\n}\n"
    x = np.array([[-0.0, 0.0, -1.0]], np.float32)
    found = dlc.loads(text)["M"].compile("jax")(x=x)
    np.testing.assert_array_equal(found["output_0"], [[0.0, 0.0]])
    np.testing.assert_array_equal(found["output_1"], [[1.0]])


def test_a_quotient_of_floats_has_a_derivative() -> None:
    """It is 0; PyTorch has none of its own."""
    pytest.importorskip("torch")
    made = dlc.loads("model M()(x: [2]) -> _ {\n    param w: [2] = ones\n    return x // w + w\n}\n")["M"]
    given, ones = {"x": np.array([2.5, -1.5], np.float32)}, {"output": np.ones(2, np.float32)}
    found = backends.find("torch").gradients(emit(made, "torch"), {"w": np.ones(2, np.float32)}, given, ones)
    np.testing.assert_array_equal(found["w"], [1.0, 1.0])


def test_initial_values_of_a_layer_that_is_written_out() -> None:
    """JAX has no transposed convolution of one axis: nothing there has the words of the library's module."""
    pytest.importorskip("jax")
    made = dlc.loads(
        "model M(k: int = 2)(x: [N, 3, 2]) -> _ {\n    return x |> conv_transpose1d(k, k) as up\n}\n"
    )["M"]
    weights = made.initial_weights(seed=0)
    x = np.ones((1, 3, 2), np.float32)
    found = made.compile("jax", weights=weights)(x=x)
    np.testing.assert_allclose(found["output"], run(made.program, weights, {"x": x})["output"], rtol=1e-5)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("backend", NAMES)
def test_constants_that_are_equal_in_number_only(backend: str, level: int) -> None:
    """Of 0, false and 0.0, and 0.0 and -0.0, one is not the other."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    outputs = "arange(1), isnan(arange(1, dtype=float)), tensor([0.0]), tensor([-0.0]), y |> linear(2)"
    text = f"model M()(y: [N, 3]) -> (_, _, _, _, _) {{\n    return {outputs}\n}}\n"
    found = dlc.loads(text)["M"].compile(backend, optimize=level)(y=np.ones((1, 3), np.float32))
    kinds = [found[f"output_{i}"].dtype.kind for i in range(4)]
    assert kinds == ["i", "b", "f", "f"]
    assert [bool(np.signbit(found[f"output_{i}"][0])) for i in (2, 3)] == [False, True]


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("backend", NAMES)
def test_zeros_keep_their_sign(backend: str, level: int) -> None:
    """What is filled with -0.0 was filled with 0.0, and a constant of both was taken for one that changes nothing."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    outputs = "x / full([2], -0.0), full([2], -0.0), x + tensor([-0.0, 0.0]), pad(x, 0, 1, 0, value=-0.0)"
    made = dlc.loads(f"model M()(x: [2]) -> (_, _, _, _) {{\n    return {outputs}\n}}\n")["M"]
    given = {"x": np.array([1.0, -0.0], np.float32)}
    with np.errstate(all="ignore"):
        expected = run(made.program, {}, given)
    found = made.compile(backend, optimize=level)(**given)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(
            np.signbit(found[name])[~np.isnan(array)], np.signbit(array)[~np.isnan(array)]
        )
