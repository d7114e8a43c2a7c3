"""Every spec at small settings: the model through onnxruntime against the interpreter, at every level, and its form."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference
from tests.reference.cases import CASES, Case
from tests.reference.small import generic, model_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@cache
def prepared(name: str) -> tuple[Any, ...]:
    """The model of a case, weights, inputs, and what the interpreter makes of them in f64."""
    case = next(case for case in CASES if case.name == name)
    model = model_of(case)
    weights, inputs = generic(model.initial_weights(0)), random_inputs(model.program, case.dims)
    return model, weights, inputs, run(model.program, weights, inputs, precision="f64")


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    "optimize", [pytest.param(0, marks=pytest.mark.slow), 2]
)  # tests/reference has what is between
def test_spec(case: Case, optimize: int) -> None:
    model, weights, inputs, expected = prepared(case.name)
    runnable = model.compile("onnx", weights=weights, optimize=optimize)
    onnx.checker.check_model(runnable.native, full_check=True)
    found = runnable(**inputs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert difference(found[name], value)[1] < 1e-5
