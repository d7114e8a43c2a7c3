"""A third Python backend is a folder of tables, forms and its structure: the one beside this file runs networks and all ops' samples
as the interpreter does, and takes what is alike in all of them from `dlc/emit`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dlc_arrays import BACKEND
from gaps import failing_at_gaps

import dlc
from dlc import ops
from dlc.backend import EmitOptions
from dlc.ops import samples
from dlc.ops.definition import OpDef, Sample
from dlc.runtime.compile import emitted, lower
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run

FOLDER = Path(__file__).with_name("dlc_arrays")
SPECS = Path(__file__).parents[2] / "specs"
TEXT = {"layers": 2, "d": 32, "heads": 4, "vocab": 50}
NETWORKS = [
    ("vision/mlp", "MLP", {}, {"B": 2}),
    ("vision/lenet5", "LeNet5", {}, {"B": 2}),
    ("vision/resnet", "ResNet", {"depths": [1, 1, 1, 1], "bottleneck": False, "classes": 10}, {"B": 1}),
    ("language/gpt2", "GPT2", TEXT, {"B": 2, "T": 7}),
    (
        "language/routed_gpt",
        "RoutedGPT",
        {"layers": 3, "d": 16, "hidden": 8, "experts": 4, "vocab": 20},
        {"B": 2, "T": 5},
    ),
    ("language/rnn_lm", "LSTM", {"d": 16, "hidden": 16, "vocab": 20}, {"B": 2, "T": 5}),
]
CASES = [
    pytest.param(definition, sample, id=f"{definition.name}-{i}")
    for definition in ops.all_ops()
    for i, sample in enumerate(definition.samples)
]


@pytest.mark.parametrize(("file", "name", "settings", "dims"), NETWORKS, ids=[each[1] for each in NETWORKS])
def test_networks(file: str, name: str, settings: Mapping[str, Any], dims: Mapping[str, int]) -> None:
    model: Any = dlc.load(SPECS / f"{file}.dl")[name](**settings)
    artifact = emitted(lower(model.program, BACKEND), BACKEND, EmitOptions("network"))
    rng = np.random.default_rng(0)
    weights = {
        path: value + rng.uniform(0.0, 0.1, value.shape).astype(value.dtype)
        for path, value in model.initial_weights(0).items()
    }
    given = random_inputs(model.program, dims)
    found = BACKEND.load(artifact, weights)(**given)
    for key, value in run(model.program, weights, given).items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape)
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize(("definition", "sample"), CASES)
def test_ops(definition: OpDef, sample: Sample) -> None:
    program = samples.program(definition, sample)
    arrays = samples.arrays(definition, sample)
    given = {f"x{i}": array for i, array in enumerate(arrays) if array is not None}
    with failing_at_gaps(BACKEND, program), np.errstate(all="ignore"):
        found = BACKEND.load(BACKEND.emit(program, EmitOptions()), {})(**given)
        for key, value in run(program, {}, given).items():
            assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape)
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)


def test_it_knows_no_other_backend() -> None:
    imports = [
        node.module or ""
        for path in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    ]
    assert {name.split(".")[0] for name in imports if name.startswith("dlc_")} == {"dlc_arrays"}
