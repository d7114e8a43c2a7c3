"""Indices that depend on data: every backend says the same of one that is outside, before it computes anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from haste import TVM

import dlc
from dlc.backend import find
from dlc.diagnostics import SpecError
from dlc.passes.guards import guarded
from dlc.runtime.compile import emit, lower
from dlc.runtime.indices import IndexCheck
from dlc.runtime.inputs import index_rooms
from dlc.runtime.interpret import CheckFailed, run
from dlc.runtime.prepare import prepare

X = np.arange(6, dtype=np.float32).reshape(2, 3)
SPECS: dict[str, tuple[str, dict[str, Any], str]] = {
    "sum": (
        "model M()(t: i64[B]) -> [B, 2] {\n    return embedding(10, 2)(t + 1)\n}\n",
        {"t": np.array([9])},
        "`embedding` reads at index 10 of an axis of size 10: indices are 0 to 9",
    ),
    "label": (
        "model M()(x: [B, C], label: i64[B]) -> [] {\n    return cross_entropy(x, label)\n}\n",
        {"x": X, "label": np.array([0, -100])},
        "`cross_entropy` reads at index -100 of an axis of size 3: indices are 0 to 2",
    ),
    "ignored": (
        "model M()(x: [B, C], label: i64[B]) -> [] {\n    return cross_entropy(x, label, ignore=-1)\n}\n",
        {"x": X, "label": np.array([-1, 3])},
        "`cross_entropy` reads at index 3",
    ),
    "update": (
        "model M()(x: [B, 3], at: i64[]) -> [B, 3] {\n    return update_slice(x, x[:, :2], at * 2, axis=1)\n}\n",
        {"x": X, "at": np.array(1)},
        "`update_slice` writes at index 2 of an axis of size 3: indices are 0 to 1",
    ),
    "loop": (
        "module L(k: int)(x: [B, 4], t: i64[B]) -> [B, 4] {\n    return x + embedding(4, 4)(t + k)\n}\n"
        "model M()(x: [B, 4], t: i64[B]) -> [B, 4] {\n    for i in range(3) as h {\n        x = L(i)(x, t)\n    }\n"
        "    return x\n}\n",
        {"x": np.zeros((1, 4), np.float32), "t": np.array([2])},
        "`embedding` reads at index 4 of an axis of size 4",
    ),
    "scan": (
        "model M()(x: [B, T], start: i64[B]) -> [B, T] {\n    scan xt in x with at = start {\n"
        "        at = at + 1\n        yield y = xt * take(tensor([1.0, 2.0, 3.0]), at)\n    }\n    return y\n}\n",
        {"x": X, "start": np.array([0, 0])},
        "`take` reads at index 3 of an axis of size 3",
    ),
    "divided": (
        "fn share(t: i64[B], n: i64[B]) -> i64[B] {\n    return t // n\n}\n"
        "model M()(t: i64[B], n: i64[B]) -> i64[B] {\n    return share(t, n - 1)\n}\n",
        {"t": np.array([3, 4]), "n": np.array([2, 1])},
        "`//` divides integers by 0",
    ),
    "rest": (
        "model M()(t: i64[B], n: i64[B]) -> i64[B] {\n    return t % n\n}\n",
        {"t": np.array([3, 4]), "n": np.array([2, 0])},
        "`%` divides integers by 0",
    ),
    "power": (
        "model M()(t: i64[B], n: i64[B]) -> i64[B] {\n    return t ** n\n}\n",
        {"t": np.array([3, 4]), "n": np.array([2, -1])},
        "`**` raises integers to a negative power",
    ),
}  # fmt: skip


def test_nothing_may_be_divided_by_0() -> None:
    """The rest by a size of what has no elements then."""
    model = dlc.loads("model M()(t: i64[N, 2]) -> _\n    where 0 <= N\n{\n    return t % N\n}\n")["M"]
    IndexCheck(model.program)({"t": np.zeros((0, 2), np.int64)})


def test_divisors_that_are_not_0_are_not_looked_at() -> None:
    text = "model M()(t: i64[N], n: i64[N]) -> _ {\n    return t % 3, t // N, t % maximum(n, 1), t // -2, t ** 2\n}\n"
    assert IndexCheck(dlc.loads(text)["M"].program).trimmed is None


@pytest.mark.parametrize("name", SPECS)
def test_outside_is_told(name: str) -> None:
    text, inputs, message = SPECS[name]
    model = dlc.loads(text)["M"]
    with pytest.raises(SpecError) as caught:
        IndexCheck(model.program, model.initial_weights())(inputs)
    (found,) = caught.value.diagnostics
    assert found.code == "E0710"
    assert message in found.message
    assert found.span.file == "spec.dl"


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
def test_every_backend_says_it(backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    text, inputs, message = SPECS["sum"]
    network = dlc.loads(text)["M"].compile(backend)
    with pytest.raises(SpecError) as caught:
        network(**inputs)
    assert caught.value.diagnostics[0].code == "E0710"
    assert message in caught.value.diagnostics[0].message
    assert network(t=np.array([8]))["output"].shape == (1, 2)


def test_verify_says_it() -> None:
    text, inputs, message = SPECS["label"]
    with pytest.raises(SpecError) as caught:
        dlc.verify(dlc.loads(text)["M"], backends=("jax",), inputs=inputs)
    assert message in caught.value.diagnostics[0].message


INSIDE = {
    "positions": "(x: [B, T]) -> [B, T, 4]\n    where T <= 8\n{\n    return embedding(8, 4)(arange(T)) + x[..., none]",
    "clamped": "(x: [B, T], t: i64[B]) -> [B, B]\n{\n    return take(x, minimum(maximum(t, 0), T - 1), axis=1)[:, :B]",
    "rest": "(x: [B, T], t: i64[N]) -> [B, N]\n{\n    return take(x, t % T, axis=1)",
    "places": "(x: [B, T], y: [B, T]) -> [B]\n{\n    return squeeze(take_along(x, argmax(y, -1)[:, none], axis=1), -1)",
    "sorted": "(x: [B, T]) -> [B, T]\n{\n    return take_along(x, argsort(x), axis=1)",
    "grid": "(x: [H * W], y: [H, W]) -> [H, W]\n{\n    return take(x, arange(H)[:, none] * W + arange(W)) + y",
    "apart": "(x: [2 * T - 1], y: [T]) -> [T, T]\n{\n    return take(x, arange(T)[:, none] - arange(T) + T - 1) + y",
    "counted": "(x: [B, T + 1], m: bool[B, T]) -> [B, B]\n{\n    return take(x, sum(m, axis=1), axis=1)",
    "halves": "(x: [B, T], y: [N]) -> [B, N]\n    where N <= 2 * T\n{\n    return take(x, arange(N) // 2, axis=1) + y",
}


@pytest.mark.parametrize("name", INSIDE)
def test_inside_is_proved(name: str) -> None:
    program = dlc.loads(f"model M(){INSIDE[name]}\n}}\n")["M"].program
    assert IndexCheck(program).trimmed is None


def test_only_what_indices_hang_on_is_computed() -> None:
    text = (
        "model M()(x: [B, 4], t: i64[B]) -> [B, 4] {\n    y = x |> linear(4) |> linear(4)\n"
        "    return y + embedding(9, 4)(t + 1)\n}\n"
    )
    trimmed = IndexCheck(dlc.loads(text)["M"].program, {}).trimmed
    assert trimmed is not None
    ran = {op.op for name in trimmed.reachable() for op in trimmed.functions[name].body}
    assert ran == {"const", "add", "embedding", "inside"}


def test_draws_are_not_drawn_again() -> None:
    text = "model M()(x: [B, T]) -> [B, 2] {\n    return take(x, randint([2], 0, 3), axis=1)\n}\n"
    assert IndexCheck(dlc.loads(text)["M"].program, {}).trimmed is None


@pytest.mark.parametrize("functions", [False, True])
@pytest.mark.parametrize("name", [name for name in SPECS if name != "label"])
def test_onnx_models_say_it_themselves(name: str, functions: bool) -> None:
    """What their limits of inputs can't: of places that are computed."""
    pytest.importorskip("onnxruntime")
    outside(name, "onnx", functions=functions)


@pytest.mark.parametrize(
    "name",
    [
        "sum",
        "update",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("ignored", "loop", "scan", "divided", "rest", "power")
        ),
    ],
)
def test_libraries_say_it_themselves(name: str) -> None:
    pytest.importorskip("tvm")
    outside(name, "tvm", target=TVM)


def outside(name: str, backend: str, **options: Any) -> None:
    """An artifact refuses wrong places, and computes with right ones what the reference does."""
    text, inputs, _ = SPECS[name]
    model = dlc.loads(text)["M"]
    weights = model.initial_weights()
    found = find(backend)
    artifact = emit(model, backend, **options)
    network = found.load(
        artifact, weights if found.prepares else prepare(lower(model.program, found, 1), weights)
    )
    with pytest.raises((CheckFailed, SpecError), match="must"):
        network(**inputs)
    fitting = {"n": 2, "start": -1}
    right = {
        key: np.full_like(value, fitting.get(key, 0)) if value.dtype.kind == "i" else value
        for key, value in inputs.items()
    }
    (expected,) = run(model.program, weights, right).values()
    (given,) = network(**right).values()
    np.testing.assert_allclose(given, expected, rtol=1e-5)
    assert any("must" in (each if isinstance(each, str) else each[0]) for each in artifact.meta["requires"])


def test_what_is_proved_or_an_inputs_limit_costs_nothing() -> None:
    texts = {
        "limit": "model M()(t: i64[B]) -> _ {\n    return embedding(10, 2)(concat([t, t[:1]], axis=0))\n}\n",
        "shifted": "model M()(t: i64[B]) -> _ {\n    return embedding(10, 2)(t), embedding(11, 2)(t + 1)\n}\n",
        "the library's own": 'model M()(x: [B, 3, H, W]) -> _ {\n    return resize(x, size=[4, W + 3], mode="bilinear")\n}\n',
        **{name: f"model M(){text}\n}}\n" for name, text in INSIDE.items()},
    }
    for name, text in texts.items():
        program = dlc.loads(text)["M"].program
        assert guarded(program, index_rooms(program)) is program, name
