"""A backend of someone else that emits and loads, and declares nothing besides; and two that are broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlc.backend import Artifact, Backend, EmitOptions, Runnable
from dlc.ir.nodes import Program
from dlc.ir.schema import from_json, to_json
from dlc.ops.gaps import Gap
from dlc.runtime.interpret import run


@dataclass(frozen=True)
class SmallModel:
    native: Program
    weights: Mapping[str, np.ndarray]

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]:
        return run(self.native, self.weights, inputs)


class Small(Backend):
    name = "small"

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        return Artifact(self.name, {f"{options.name}.json": json.dumps(to_json(program))})

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "cpu") -> Runnable:
        (text,) = artifact.files.values()
        return SmallModel(from_json(json.loads(text)), weights)


class Smaller(Small):
    """It lacks some ops, a package, and a dtype of one."""

    name = "smaller"
    requires = ("a_package_that_nobody_has",)
    gaps: Mapping[str, Gap] = {
        "exp": Gap("it has no table of it"),
        "sqrt": Gap("too narrow", frozenset({"f32"})),
    }


BACKEND = Small()
SMALLER = Smaller()
NOTHING = object()
