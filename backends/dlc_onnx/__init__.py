"""The ONNX backend: a program as one model file, flat or with its modules kept as functions, run by onnxruntime.

`onnx` is imported by `emit`, `onnxruntime` by `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dlc.backend import Backend
from dlc_onnx.rows import GAPS

if TYPE_CHECKING:
    import numpy as np

    from dlc.backend import Artifact, EmitOptions, Runnable, Workspace
    from dlc.ir.nodes import Op, Program


class OnnxBackend(Backend):
    """See `dlc.backend.Backend`."""

    name = "onnx"
    requires = ("onnx", "onnxruntime")
    emission_requires = ("onnx",)
    install = "pip install 'dlc[onnx]'"
    order = 2
    devices = ("cpu", "cuda")
    precisions = ("f32", "bf16", "f16", "f64")
    targets = ("cpu", "cuda")  # for cuda bf16 stays bf16
    gaps = GAPS
    keeps_functions = True

    def is_native(self, op: Op) -> bool:
        from dlc_onnx.emit import is_native

        return is_native(op)

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        from dlc_onnx.emit import emit

        return emit(program, options)

    def with_weights(
        self, artifact: Artifact, weights: Mapping[str, np.ndarray], *, single_file: bool = False
    ) -> Artifact:
        """The model with its parameters as initializers, their values in a safetensors file beside it, or in it."""
        from dlc_onnx.weights import with_weights

        return with_weights(artifact, weights, single_file=single_file)

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "cpu") -> Runnable:
        from dlc_onnx.load import load

        return load(artifact, weights, device=device)

    def workspace(
        self, programs: Mapping[str, Artifact], values: Mapping[str, np.ndarray], device: str = "cpu"
    ) -> Workspace:
        from dlc_onnx.workspace import OnnxWorkspace

        return OnnxWorkspace(programs, values, device)


BACKEND = OnnxBackend()
