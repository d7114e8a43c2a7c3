"""A backend in fifty lines: the artifact is the program as JSON, and the NumPy references of the ops run it.

It says no composite itself, so `emit` gets nothing but primitive ops, calls of the spec's own functions, and repeats. Where it
would have something faster to say, `is_native` would answer yes for that op.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlc.backend import Artifact, EmitOptions, Runnable
from dlc.ir.nodes import Op, Program
from dlc.ir.schema import from_json, to_json

if TYPE_CHECKING:
    import numpy as np

# What this backend can't do, with the reason: `dlc ops` shows it.
UNSUPPORTED: Mapping[str, str] = {}


@dataclass(frozen=True)
class NumpyModel:
    """A loaded model; `native` is the program."""

    native: Program
    weights: Mapping[str, np.ndarray]
    precision: str

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]:
        from dlc.runtime.interpret import run

        return run(self.native, self.weights, inputs, precision=self.precision)


class NumpyBackend:
    """See `dlc.backend.Backend`."""

    name = "numpy"
    requires = ("numpy",)

    def is_native(self, op: Op) -> bool:
        from dlc import ops

        return ops.known(op.op)

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        text = json.dumps({"header": list(options.header), **to_json(program)}, indent=1)
        return Artifact(self.name, {f"{options.name}.json": text}, {"precision": options.precision})

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray]) -> Runnable:
        (text,) = artifact.files.values()
        program = json.loads(text)
        program.pop("header")
        return NumpyModel(from_json(program), weights, artifact.meta["precision"])


BACKEND = NumpyBackend()
