"""Specs at small settings, with weights and inputs, for tests of the backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from dlc_jax import BACKEND

import dlc
from dlc.api import Model
from dlc.backend import Artifact, EmitOptions
from dlc.ir.nodes import Program
from dlc.runtime.compile import lower
from dlc.runtime.interpret import run_function

SPECS = Path(__file__).parents[3] / "specs"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """A model of a file at settings; `dims` are the sizes of its inputs' open axes, 2 where nothing is said."""

    file: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.model

    def load(self) -> Model:
        return dlc.load(SPECS / self.file)[self.model](**self.settings)


TRANSFORMER = {"layers": 3, "d": 32, "heads": 4, "vocab": 50}
CASES = (
    Case("language/gpt2.dl", "GPT2", {**TRANSFORMER, "context": 16}, {"T": 7}),
    Case("language/bert.dl", "BERT", TRANSFORMER),
    Case("language/t5_small.dl", "T5", TRANSFORMER, {"S": 5, "T": 3}),
    Case("language/llama3_8b.dl", "Llama", {**TRANSFORMER, "kv_heads": 2, "ff": 48}, {"T": 5}),
    Case("language/transformer.dl", "Transformer", TRANSFORMER),
    Case("vision/lenet5.dl", "LeNet5"),
    Case("vision/lenet5_1998.dl", "LeNet5_1998"),
    Case(
        "vision/resnet.dl",
        "ResNet",
        {"depths": [1, 4], "widths": [8, 8], "stem": 8, "classes": 5},
        {"H": 16, "W": 32},
    ),
    Case("vision/vit.dl", "ViT", {"layers": 2, "d": 32, "heads": 4, "size": 32}),
)


@cache
def program_of(case: Case, level: int = 1, training: bool = False) -> Program:
    """The program as the backend gets it."""
    model = case.load()
    return lower(model.training_program if training else model.program, BACKEND, level)


def emitted(case: Case, level: int = 1, training: bool = False) -> Artifact:
    name = case.model.lower()
    header = (f"{case.model} of {Path(case.file).name}, written by a test.",)
    return BACKEND.emit(program_of(case, level, training), EmitOptions(name=name, header=header))


def weights_of(program: Program, seed: int = 0) -> Arrays:
    """Initial values, disturbed so that no parameter is 0 or 1 everywhere."""
    rng = np.random.default_rng(seed)
    initial = {
        name: next(iter(run_function(program, name, rng=rng).values()))
        for name in dict.fromkeys(each.init for each in program.parameters)
    }
    weights: Arrays = {}
    for each in program.parameters:
        value = initial[each.init]
        noise = 0.05 * np.abs(rng.standard_normal(value.shape))
        weights[each.path] = (value + noise).astype(value.dtype) if value.dtype.kind == "f" else value
    return weights


def inputs_of(program: Program, dims: Mapping[str, int], seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    inputs: Arrays = {}
    for value in program.main.inputs:
        sizes = {symbol: dims.get(symbol, 2) for symbol in value.type.symbols}
        shape = tuple(axis.evaluate(sizes) for axis in value.type.axes)
        whole = value.type.dtype.startswith("i")
        inputs[value.name] = (
            rng.integers(0, 10, shape) if whole else rng.standard_normal(shape).astype(np.float32)
        )
    return inputs
