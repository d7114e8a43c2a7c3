"""A third backend that writes Python: NumPy, forward only, as functions of nested parameters. It is here to show what such a
backend takes besides `dlc/emit`: tables, forms, and its structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dlc.backend import Artifact, Backend, EmitOptions, Runnable
from dlc.ir.nodes import Op, Program
from dlc_arrays.rows import GAPS

if TYPE_CHECKING:
    import numpy as np


class ArraysBackend(Backend):
    """See `dlc.backend.Backend`."""

    name = "arrays"
    requires = ("numpy",)
    precisions = ("f32", "f64")
    gaps = GAPS

    def is_native(self, op: Op) -> bool:
        from dlc_arrays.emit import is_native

        return is_native(op)

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        from dlc_arrays.emit import emit

        return emit(program, options)

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "cpu") -> Runnable:
        from dlc_arrays.load import load

        return load(artifact, weights)


BACKEND = ArraysBackend()
