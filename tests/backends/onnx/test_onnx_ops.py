"""Every op's samples through onnxruntime against the reference: shapes known, and shapes left open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from dlc_onnx import BACKEND
from gaps import failing_at_gaps

from dlc import ops
from dlc.backend import EmitOptions
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Program, Value
from dlc.ops import samples
from dlc.ops.definition import OpDef, OpError, Sample
from dlc.runtime.interpret import run
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CASES = [
    pytest.param(definition, sample, id=f"{definition.name}-{i}")
    for definition in ops.all_ops()
    for i, sample in enumerate(definition.samples)
]
RANDOM = {definition.name for definition in ops.all_ops() if definition.random}


def loaded(program: Program, *, precision: str = "f32") -> Any:
    artifact = BACKEND.emit(program, EmitOptions(name="sample", precision=precision))
    runnable = BACKEND.load(artifact, {})
    onnx.checker.check_model(runnable.native, full_check=True)
    return runnable


def inputs_of(definition: OpDef, sample: Sample, floats: str = "") -> dict[str, np.ndarray]:
    values = samples.arrays(definition, sample, floats=floats)
    return {f"x{i}": value for i, value in enumerate(values) if value is not None}


def compare(program: Program, inputs: dict[str, np.ndarray], *, rtol: float = 1e-5) -> None:
    expected = run(program, {}, inputs)
    with failing_at_gaps(BACKEND, program):
        found = loaded(program)(**inputs)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype and found[name].shape == value.shape
            np.testing.assert_allclose(found[name], value, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(("definition", "sample"), CASES)
def test_sample(definition: OpDef, sample: Sample) -> None:
    compare(samples.program(definition, sample), inputs_of(definition, sample))


def open_program(definition: OpDef, sample: Sample) -> Program:
    """The op on operands whose sizes are dims: one dim for each size that occurs. Raises OpError where that can't be proved
    to fit."""
    known = samples.types(samples.arrays(definition, sample))
    types = [None if type is None else TensorType(type.dtype, tuple(map(_open, type.axes))) for type in known]
    operands = [None if type is None else Value(f"x{i}", type) for i, type in enumerate(types)]
    b = Builder()
    results = b.ops(definition.name, *operands, **samples.attributes(definition, sample))
    outputs = tuple((f"y{i}", value.name) for i, value in enumerate(results))
    inputs = tuple(each for each in operands if each is not None)
    return Program(
        {"main": Function("main", definition.name, "model", inputs, outputs, tuple(b.body))}, "main"
    )


def _open(size: Dim) -> Dim:
    constant = size.constant
    assert constant is not None
    return size if constant < 2 else Dim.symbol(f"n{constant}")


def open_cases() -> Iterator[Any]:
    for definition in ops.all_ops():
        for i, sample in enumerate(definition.samples):
            try:
                program = open_program(definition, sample)
            except OpError:
                continue
            if program.main.dims:
                yield pytest.param(program, inputs_of(definition, sample), id=f"{definition.name}-{i}")


@pytest.mark.parametrize(("program", "inputs"), open_cases())
def test_open_sizes(program: Program, inputs: dict[str, np.ndarray]) -> None:
    compare(program, inputs)


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_draws_follow_the_key(name: str) -> None:
    definition = ops.get(name)
    program = samples.program(definition, definition.samples[0])
    expected = run(program, {}, {}, rng=np.random.default_rng(7))
    found = loaded(program)(key=7)
    np.testing.assert_array_equal(found["y0"], expected["y0"])


def test_unsupported_ops_exist() -> None:
    assert all(ops.known(name) for name in BACKEND.gaps)


LOW = [
    pytest.param(definition, definition.samples[0], precision, id=f"{definition.name}-{precision}")
    for definition in ops.all_ops()
    if definition.dtypes in ("float", "number") and not definition.random
    for precision in ("bf16", "f16")
]
# Rounding of the result alone, relative to the largest element.
STEP = {"bf16": 2.0**-7, "f16": 2.0**-9}


@pytest.mark.parametrize(("definition", "sample", "precision"), LOW)
def test_low_precision(definition: OpDef, sample: Sample, precision: str) -> None:
    inputs = inputs_of(definition, sample, precision)
    program = _typed(definition, sample, precision)
    expected = run(program, {}, inputs)
    with failing_at_gaps(BACKEND, program):
        found = loaded(program)(**inputs)
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            wide = value.astype(np.float32)
            bound = STEP[precision] * max(1.0, float(np.abs(wide).max(initial=0.0)))
            np.testing.assert_allclose(found[name].astype(np.float32), wide, rtol=0, atol=bound)


def _typed(definition: OpDef, sample: Sample, floats: str) -> Program:
    types = samples.types(samples.arrays(definition, sample, floats=floats))
    operands = [None if type is None else Value(f"x{i}", type) for i, type in enumerate(types)]
    b = Builder()
    results = b.ops(definition.name, *operands, **samples.attributes(definition, sample))
    outputs = tuple((f"y{i}", value.name) for i, value in enumerate(results))
    inputs = tuple(each for each in operands if each is not None)
    return Program(
        {"main": Function("main", definition.name, "model", inputs, outputs, tuple(b.body))}, "main"
    )
