"""Every spec at small settings: the model through onnxruntime against the interpreter, at every level, and its form."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference
from tests.reference.cases import CASES, Case

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def generic(weights: dict[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights without the zeros and ones of initial values, which hide faults."""
    rng = np.random.default_rng(seed)
    return {path: _generic(path, value, rng) for path, value in weights.items()}


def _generic(path: str, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if value.dtype.kind != "f":
        return value
    if path.endswith("running_var"):
        return (value * rng.uniform(0.5, 1.5, value.shape)).astype(value.dtype)
    return (value + 0.05 * rng.standard_normal(value.shape)).astype(value.dtype)


def model_of(case: Case) -> Any:
    model = dlc.load(case.path)[case.model](**case.settings)
    optional = [name for name in case.inputs if name not in {value.name for value in model.inputs}]
    return model.with_inputs(*optional) if optional else model


@cache
def prepared(name: str) -> tuple[Any, ...]:
    """The model of a case, weights, inputs, and what the interpreter makes of them in f64."""
    model = model_of(next(case for case in CASES if case.name == name))
    weights, inputs = generic(model.initial_weights(0)), random_inputs(model.program)
    return model, weights, inputs, run(model.program, weights, inputs, precision="f64")


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("optimize", [0, 1, 2])
def test_spec(case: Case, optimize: int) -> None:
    model, weights, inputs, expected = prepared(case.name)
    runnable = model.compile("onnx", weights=weights, optimize=optimize)
    onnx.checker.check_model(runnable.native, full_check=True)
    found = runnable(**inputs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert difference(found[name], value)[1] < 1e-5
