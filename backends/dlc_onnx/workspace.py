"""Models at work on the same values: what one of them updates, the next run of any takes in its place, without a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlc.backend import Artifact
from dlc.ops.arrays import numpy_dtype
from dlc_onnx.load import OnnxRunnable, numpy_of, ort_value, session_of
from dlc_onnx.rows import DTYPES
from dlc_onnx.weights import parsed

Array = np.ndarray


class OnnxWorkspace:
    """See `dlc.backend.Workspace`. Parameters are inputs of the graphs."""

    def __init__(self, programs: Mapping[str, Artifact], values: Mapping[str, Array], device: str) -> None:
        self.programs = {
            name: OnnxRunnable(session_of(each, {}, device), each, {}) for name, each in programs.items()
        }
        self.dtypes = {path: dtype for each in programs.values() for path, dtype in _dtypes(each).items()}
        self.held: dict[str, Any] = {}
        self.put(values)

    def run(self, program: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        runnable = self.programs[program]
        parameters = {name: self.held[path] for path, name in runnable.meta["parameters"]}
        outputs, updates = runnable.computed(dict(inputs), parameters)
        self.held.update(updates)
        return outputs

    def values(self) -> dict[str, Array]:
        return {path: np.array(numpy_of(each)) for path, each in self.held.items()}

    def put(self, values: Mapping[str, Array]) -> None:
        for path, value in values.items():
            dtype = numpy_dtype(self.dtypes[path]) if path in self.dtypes else np.asarray(value).dtype
            self.held[path] = ort_value(np.require(np.array(value, dtype), requirements="C"))


def _dtypes(artifact: Artifact) -> dict[str, str]:
    """The dtypes of a model's parameters, by path."""
    _, model = parsed(artifact)
    declared = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
    return {path: DTYPES[declared[name]] for path, name in artifact.meta["parameters"]}
