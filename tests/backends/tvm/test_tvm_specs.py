"""Specs at small settings, compiled at every level, against the interpreter; one library at several sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference
from tests.reference.cases import CASES, Case

pytest.importorskip("tvm")

SPECS = Path(__file__).parents[3] / "specs"
BY_NAME = {case.name: case for case in CASES}
QUICK = ("mlp", "lenet5", "vit", "transformer_padded", "gpt2", "llama3", "t5")
LEVELS = (0, 1, 2)

# Two or more settings of the open sizes for one library.
SIZES = {
    "mlp": ({"B": 1}, {"B": 5}),
    "lenet5": ({"B": 1}, {"B": 3}),
    "gpt2": ({"B": 2, "T": 5}, {"B": 1, "T": 32}, {"B": 3, "T": 1}),
    "transformer_padded": ({"B": 2, "S": 4, "T": 9}, {"B": 1, "S": 17, "T": 3}),
    "resnet_basic": ({"B": 2, "H": 33, "W": 40}, {"B": 1, "H": 64, "W": 64}),
}


def model_of(case: Case) -> Any:
    model = dlc.load(SPECS / case.spec)[case.model](**case.settings)
    optional = [name for name in case.inputs if name not in {value.name for value in model.inputs}]
    return model.with_inputs(*optional) if optional else model


def generic(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights without the zeros and ones of initial values, which hide faults."""
    rng = np.random.default_rng(0)
    return {path: _generic(path, value, rng) for path, value in weights.items()}


def _generic(path: str, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if value.dtype.kind != "f":
        return value
    if path.endswith("running_var"):
        return (value * rng.uniform(0.5, 1.5, value.shape)).astype(value.dtype)
    return (value + 0.05 * rng.standard_normal(value.shape)).astype(value.dtype)


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], bound: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert difference(found[name], value)[1] < bound, name


def cases() -> list[Any]:
    return [
        pytest.param(case, id=str(case), marks=[] if str(case) in QUICK else [pytest.mark.slow])
        for case in CASES
    ]


@pytest.mark.parametrize("optimize", LEVELS)
@pytest.mark.parametrize("case", cases())
def test_spec(case: Case, optimize: int) -> None:
    model = model_of(case)
    weights = generic(model.initial_weights(0))
    inputs = random_inputs(model.program)
    expected = run(model.program, weights, inputs, precision="f64")
    compare(model.compile("tvm", weights=weights, optimize=optimize)(**inputs), expected)


@pytest.mark.parametrize("optimize", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SIZES)
def test_one_library_for_all_sizes(name: str, optimize: int) -> None:
    model = model_of(BY_NAME[name])
    weights = generic(model.initial_weights(0))
    runnable = model.compile("tvm", weights=weights, optimize=optimize)
    for sizes in SIZES[name]:
        inputs = random_inputs(model.program, sizes)
        compare(runnable(**inputs), run(model.program, weights, inputs, precision="f64"))


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 0.1), ("f16", 0.01), ("f64", 1e-12)])
@pytest.mark.parametrize("name", ["gpt2", "lenet5"])
def test_precision(name: str, precision: str, bound: float) -> None:
    model = model_of(BY_NAME[name])
    weights = generic(model.initial_weights(0))
    inputs = random_inputs(model.program)
    found = model.compile("tvm", weights=weights, precision=precision, optimize=1)(**inputs)
    expected = run(model.program, weights, inputs, precision="f64")
    assert {str(value.dtype) for value in found.values()} == {
        {"bf16": "bfloat16", "f16": "float16", "f64": "float64"}[precision]
    }
    compare(found, expected, bound)
