"""Every op's samples as emitted JAX code against the reference: shapes known, and shapes left open."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dlc_jax import BACKEND
from gaps import declared, failing_at_gaps

from dlc import ops
from dlc.backend import EmitOptions
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Program, Value
from dlc.ops import samples
from dlc.ops.definition import OpDef, OpError, Sample
from dlc.runtime.interpret import run
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

jax = pytest.importorskip("jax")

DEFINITIONS = [definition for definition in ops.all_ops() if not definition.random]
CASES = [
    pytest.param(definition, sample, id=f"{definition.name}-{i}")
    for definition in DEFINITIONS
    for i, sample in enumerate(definition.samples)
]


def inputs_of(definition: OpDef, sample: Sample, floats: str = "") -> dict[str, np.ndarray]:
    values = samples.arrays(definition, sample, floats=floats)
    return {f"x{i}": value for i, value in enumerate(values) if value is not None}


def compare(program: Program, inputs: dict[str, np.ndarray]) -> None:
    expected = run(program, {}, inputs)
    with failing_at_gaps(BACKEND, program):
        found = BACKEND.load(BACKEND.emit(program, EmitOptions(name="sample")), {})(**inputs)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            assert found[name].shape == value.shape
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("definition", "sample"), CASES)
def test_sample(definition: OpDef, sample: Sample) -> None:
    compare(samples.program(definition, sample), inputs_of(definition, sample))


def open_program(definition: OpDef, sample: Sample) -> Program:
    """The op on operands whose sizes are dims: one dim for each size that occurs. Raises OpError where that
    can't be proved to fit."""
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
    for definition in DEFINITIONS:
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


@pytest.mark.parametrize(
    "definition", [each for each in ops.all_ops() if each.random], ids=lambda each: each.name
)
def test_draws(definition: OpDef) -> None:
    for sample in definition.samples:
        program = samples.program(definition, sample)
        runnable: Any = BACKEND.load(BACKEND.emit(program, EmitOptions()), {})
        first, again, other = (runnable(key=key)["y0"] for key in (1, 1, 2))
        expected = run(program, {}, {})["y0"]
        assert first.shape == expected.shape
        assert first.dtype == expected.dtype
        np.testing.assert_array_equal(first, again)
        if first.size > 4:
            assert not np.array_equal(first, other)


def test_emitted_samples_are_formatted(tmp_path: Path) -> None:
    for definition in ops.all_ops():
        for i, sample in enumerate(definition.samples):
            program = samples.program(definition, sample)
            if declared(BACKEND, program):
                continue
            source = BACKEND.emit(program, EmitOptions()).files["model.py"]
            assert isinstance(source, str)
            (tmp_path / f"{definition.name}_{i}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length", "100", str(tmp_path)]
    subprocess.run([*ruff, "check", "--select", "E,F,I,B,UP,SIM,RUF", *options], check=True)
    subprocess.run([*ruff, "format", "--diff", *options], check=True)
