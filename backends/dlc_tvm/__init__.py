"""The TVM backend: a Relax module compiled into a shared library that runs with TVM's runtime alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlc.backend import Artifact, Backend, EmitOptions, Runnable, Workspace
from dlc.ir.nodes import Op, Program
from dlc_tvm.names import GAPS, is_native


class TvmBackend(Backend):
    """See `dlc.backend.Backend`. Emitting and loading import tvm; importing this does not."""

    name = "tvm"
    requires = ("tvm", "tvm_ffi")
    emission_requires = requires
    distributions = ("apache-tvm", "apache-tvm-ffi")
    install = "pip install 'dlc[tvm]'"
    order = 3
    devices = ("cpu", "cuda")
    precisions = ("f32", "bf16", "f16", "f64")
    targets = ("llvm", "cuda")
    gaps = GAPS

    def is_native(self, op: Op) -> bool:
        return is_native(op)

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        from dlc_tvm.emit import emit

        return emit(program, options)

    def load(self, artifact: Artifact, weights: Mapping[str, Any], device: str = "cpu") -> Runnable:
        from dlc_tvm.load import load

        return load(artifact, weights, device=device)

    def workspace(
        self, programs: Mapping[str, Artifact], values: Mapping[str, Any], device: str = "cpu"
    ) -> Workspace:
        from dlc_tvm.workspace import TvmWorkspace

        return TvmWorkspace(programs, values, device)


BACKEND = TvmBackend()
