"""Every op against its own definition: nothing here names an op; a new one is tested as soon as it is
defined."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dlc import ops
from dlc.autodiff import gradient, gradient_name
from dlc.ir.nodes import Program
from dlc.ops import samples
from dlc.ops.arrays import dtype_name
from dlc.ops.definition import OpDef, Sample
from dlc.runtime.interpret import run
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

DEFINITIONS = list(ops.all_ops())
CASES = [(each, sample) for each in DEFINITIONS for sample in each.samples]
CASE_IDS = [f"{each.name}-{i}" for each in DEFINITIONS for i in range(len(each.samples))]
DIFFERENTIABLE = [
    pytest.param(each, sample, id=name)
    for (each, sample), name in zip(CASES, CASE_IDS, strict=True)
    if each.differentiable
    and sample.grad
    and any(samples.is_float(array) for array in samples.arrays(each, sample, floats="f64"))
]


def test_definitions_need_no_numpy() -> None:
    code = (
        "import sys, dlc.ops; [each.signature for each in dlc.ops.all_ops()]; print('numpy' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def evaluate(definition: OpDef, arrays: list[Any], attrs: dict[str, Any]) -> tuple[np.ndarray, ...]:
    extra = {"rng": np.random.default_rng(0)} if definition.random else {}
    result = definition.reference(*arrays, **attrs, **extra)
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: each.name)
def test_is_fully_declared(definition: OpDef) -> None:
    assert definition.doc.endswith(".")
    assert callable(definition.reference)
    assert len(definition.samples) >= 2
    assert definition.vjp is not None or not definition.differentiable
    assert definition.signature.outputs


@pytest.mark.parametrize(("definition", "sample"), CASES, ids=CASE_IDS)
def test_types_agree_with_the_reference(definition: OpDef, sample: Sample) -> None:
    arrays, attrs = samples.arrays(definition, sample), samples.attributes(definition, sample)
    types = definition.result_types(Facts(), samples.types(arrays), attrs)
    results = [np.asarray(each) for each in evaluate(definition, arrays, attrs)]
    assert [TensorType.of(dtype_name(each.dtype), each.shape) for each in results] == list(types)


@pytest.mark.parametrize(("definition", "sample"), CASES, ids=CASE_IDS)
def test_interpreter_runs_the_reference(definition: OpDef, sample: Sample) -> None:
    arrays, attrs = samples.arrays(definition, sample), samples.attributes(definition, sample)
    inputs = {f"x{i}": each for i, each in enumerate(arrays) if each is not None}
    found = run(samples.program(definition, sample), {}, inputs, rng=np.random.default_rng(0))
    for expected, result in zip(evaluate(definition, arrays, attrs), found.values(), strict=True):
        np.testing.assert_array_equal(result, expected)


def finite_difference(
    program: Program, inputs: dict[str, np.ndarray], name: str, step: float = 1e-5
) -> np.ndarray:
    """d loss / d input `name` by central differences, one element at a time."""
    result = np.zeros(inputs[name].shape)
    for place in np.ndindex(result.shape):
        losses = []
        for sign in (1, -1):
            moved = inputs[name].copy()
            moved[place] += sign * step
            losses.append(run(program, {}, {**inputs, name: moved})["loss"])
        result[place] = (losses[0] - losses[1]) / (2 * step)
    return result


@pytest.mark.parametrize(("definition", "sample"), DIFFERENTIABLE)
def test_derivative_agrees_with_finite_differences(definition: OpDef, sample: Sample) -> None:
    arrays = samples.arrays(definition, sample, floats="f64")
    wrt = [f"x{i}" for i, each in enumerate(arrays) if samples.is_float(each)]
    program = samples.loss_program(definition, sample, floats="f64")
    rng = np.random.default_rng(1)
    inputs = {f"x{i}": each for i, each in enumerate(arrays) if each is not None}
    for value in program.main.inputs[len(inputs) :]:
        inputs[value.name] = rng.uniform(0.5, 1.5, value.type.shape)
    found = run(gradient(program, wrt), {}, inputs)
    for name in wrt:
        expected = finite_difference(program, inputs, name)
        assert found[gradient_name(name)].dtype == np.float64
        np.testing.assert_allclose(found[gradient_name(name)], expected, rtol=2e-5, atol=2e-5, err_msg=name)
