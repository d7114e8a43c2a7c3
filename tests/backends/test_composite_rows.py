"""Each row of a composite against the composite's body, with arguments that are not the defaults: one network of them all, so
that each backend compiles once. What has functions instead of rows (layers, attention, …) is tested by backend."""

from __future__ import annotations

from typing import Any

import dlc_jax.rows
import dlc_onnx.rows
import dlc_torch.rows
import numpy as np
import pytest

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference

INPUTS = (
    "x: [2, 4, 6], image: [1, 8, 3, 3], a: [3, 5], b: [3, 5], v: [5], w: [7], index: i64[3, 5], ids: i64[3]"
)
TABLES = (dlc_torch.rows.COMPOSITES, dlc_jax.rows.COMPOSITES, dlc_onnx.rows.COMPOSITES)
# How each is called; those of a plain `x` go without.
CALLS: dict[str, str] = {
    "leaky_relu": "leaky_relu(x, slope=0.2)",
    "elu": "elu(x, alpha=0.7)",
    "celu": "celu(x, alpha=0.7)",
    "glu": "glu(x, axis=1)",
    "softmax": "softmax(x, axis=1)",
    "log_softmax": "log_softmax(x, axis=0)",
    "logsumexp": "logsumexp(x, [0, 2], keepdims=true)",
    "mean": "mean(x, [0, 1])",
    "var": "var(x, 1, keepdims=true, correction=1)",
    "lerp": "lerp(a, b, 0.3)",
    "outer": "outer(v, w)",
    "tril": "tril(x, diagonal=1)",
    "triu": "triu(x, diagonal=-1)",
    "normalize": "normalize(x, axis=1, eps=0.5)",
    "embedding": "embedding(9, 4)(index)",
    "pixel_shuffle": "pixel_shuffle(image, 2)",
    "local_response_norm": "local_response_norm(image, size=3, alpha=0.5, beta=0.6, k=2.0)",
    "bce_with_logits": 'bce_with_logits(a, b, reduction="sum")',
    "mse": 'mse(a, b, reduction="none")',
    "l1": 'l1(a, b, reduction="sum")',
    "smooth_l1": "smooth_l1(a, b, beta=0.7)",
    "huber": "huber(a, b, delta=0.7)",
    "kl_div": 'kl_div(a, abs(b), reduction="sum")',
    "grid_sample": 'grid_sample(image, reshape(x[:, :, :4], [1, 4, 4, 2]), mode="nearest", padding_mode="border")',
    "segment_sum": "segment_sum(a, ids, 4)",
    "segment_max": "segment_max(a, ids, 4)",
    "segment_min": "segment_min(a, ids, 4)",
}
NAMES = sorted({name for table in TABLES for name in table})


def network() -> dlc.Model:
    lines = [f"    y{i} = {CALLS.get(name, f'{name}(x)')}" for i, name in enumerate(NAMES)]
    outputs = ", ".join(f"y{i}: any[*R{i}]" for i in range(len(NAMES)))
    results = ", ".join(f"y{i}" for i in range(len(NAMES)))
    body = "\n".join([*lines, f"    return {results}"])
    model: dlc.Model = dlc.loads(f"model All()({INPUTS}) -> ({outputs}) {{\n{body}\n}}\n")["All"]
    return model


def test_calls_are_of_rows() -> None:
    assert CALLS.keys() <= {*NAMES}


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_rows_compute_what_the_bodies_say(backend: str) -> None:
    model: Any = network()
    weights = model.initial_weights(0)
    given = random_inputs(model.program, {}) | {
        "ids": np.array([0, 2, 2]),
        "index": np.arange(15).reshape(3, 5) % 9,
    }
    expected = run(model.program, weights, given, precision="f64")
    found = model.compile(backend, weights=weights)(**given)
    wrong = {
        name: difference(found[f"y{i}"], expected[f"y{i}"])[1]
        for i, name in enumerate(NAMES)
        if difference(found[f"y{i}"], expected[f"y{i}"])[1] >= 1e-5
    }
    assert not wrong
