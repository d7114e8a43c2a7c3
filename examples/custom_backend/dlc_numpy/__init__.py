"""A backend in fifty lines: the artifact is the program as JSON, and the NumPy references of the ops run it.

It emits and loads, and declares what it needs and which precisions it has. It says no composite itself, so `emit` gets nothing
but primitive ops and calls of the spec's own functions: loops are unrolled. Where it would have something faster to say,
`is_native` would answer yes for that op.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlc.backend import Artifact, Backend, EmitOptions, Runnable
from dlc.ir.nodes import Program
from dlc.ir.schema import from_json, to_json

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class NumpyModel:
    """A loaded model; `native` is the program."""

    native: Program
    weights: Mapping[str, np.ndarray]
    precision: str

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]:
        from dlc.runtime.interpret import run

        return run(self.native, self.weights, inputs, precision=self.precision)


class NumpyBackend(Backend):
    """See `dlc.backend.Backend`."""

    name = "numpy"
    requires = ("numpy",)
    precisions = ("f32", "bf16", "f16", "f64")

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        text = json.dumps({"header": list(options.header), **to_json(program)}, indent=1)
        return Artifact(self.name, {f"{options.name}.json": text}, {"precision": options.precision})

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "cpu") -> Runnable:
        (text,) = artifact.files.values()
        program = json.loads(text)
        program.pop("header")
        return NumpyModel(from_json(program), weights, artifact.meta["precision"])


BACKEND = NumpyBackend()
