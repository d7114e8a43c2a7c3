"""No rows, or no positions: what comes out is empty, and of the shape that the spec says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.types.dims import Dim

SPECS = Path(__file__).parents[2] / "specs"
SMALL = {"layers": 1, "d": 16, "heads": 2, "vocab": 20, "context": 16}
CASES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "gpt2": ("language/gpt2.dl", "GPT2", SMALL, "BT"),
    "llama": ("language/llama3_8b.dl", "Llama", {**SMALL, "ff": 32, "kv_heads": 1}, "BT"),
    "transformer": ("language/transformer.dl", "Transformer", {**SMALL, "ff": 32}, "BT"),
    "lenet": ("vision/lenet5.dl", "LeNet5", {}, "B"),
}


def _model(name: str) -> tuple[Any, str]:
    file, model, settings, dims = CASES[name]
    return dlc.load(SPECS / file)[model](**settings), dims


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("name", CASES)
def test_empty_in_empty_out(name: str, backend: str) -> None:
    model, dims = _model(name)
    weights = model.initial_weights(seed=0)
    compiled = model.compile(backend, weights=weights)
    for dim in dims:
        given = _without(model, dim)
        expected = run(model.program, weights, given)
        found = compiled(**given)
        assert {each: value.shape for each, value in found.items()} == {
            each: np.shape(value) for each, value in expected.items()
        }
        assert any(not value.size for value in found.values())


def _without(model: Any, dim: str) -> dict[str, np.ndarray]:
    """Inputs without anything along an axis."""
    given = random_inputs(model.program)
    for value in model.program.main.inputs:
        for axis, size in enumerate(value.type.axes):
            if size == Dim.symbol(dim):
                given[value.name] = np.take(given[value.name], [], axis=axis)
    return given


CHOSEN = "model M()(x: [B, T], t: i64[B], G: dim) -> _ {\n    return max(x, 1), segment_sum(x, t, G)\n}\n"


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
def test_the_greatest_of_nothing_is_refused(backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    compiled = dlc.loads(CHOSEN)["M"].compile(backend)

    def found(rows: int, columns: int, groups: int) -> dict[str, tuple[int, ...]]:
        x, t = np.ones((rows, columns), np.float32), np.zeros(rows, np.int64)
        return {name: value.shape for name, value in compiled(x=x, t=t, G=groups).items()}

    assert found(0, 2, 0) == {"output_0": (0,), "output_1": (0, 2)}
    with pytest.raises(dlc.SpecError, match="T is 0, and `max` of no elements has no value"):
        found(2, 0, 1)
