"""The JAX backend: a program as one module of pure functions over trees of parameters and state.

JAX is imported only by `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlc.backend import Backend
from dlc_jax.rows import GAPS

if TYPE_CHECKING:
    import numpy as np

    from dlc.backend import Artifact, EmitOptions, Runnable, Setup, Trainer
    from dlc.backend.script import Script
    from dlc.ir.nodes import Op, Program


class JaxBackend(Backend):
    """See `dlc.backend.Backend`."""

    name = "jax"
    requires = ("jax",)
    distributions = ("jax", "optax")
    install = "pip install 'dlc[jax]'"
    order = 1
    devices = ("cpu", "cuda", "gpu", "tpu")
    precisions = ("f32", "bf16", "f16", "f64")
    parametric = True
    any_precision = True
    prepares = True
    script_optimizers = frozenset({"sgd", "adam", "adamw", "lion"})
    scales_losses = True
    optimizers = frozenset({"sgd", "adam", "adamw", "lion"})
    filled = frozenset({"resize"})
    gaps = GAPS

    def is_native(self, op: Op) -> bool:
        from dlc_jax.emit import is_native

        return is_native(op)

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        from dlc_jax.emit import emit

        return emit(program, options)

    def script(self, script: Script) -> Artifact:
        from dlc_jax.script import written

        return written(script)

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "") -> Runnable:
        from dlc_jax.load import load

        return load(artifact, weights, device)

    def gradients(
        self,
        artifact: Artifact,
        weights: Mapping[str, np.ndarray],
        inputs: Mapping[str, Any],
        cotangents: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        from dlc_jax.grad import gradients

        return gradients(artifact, weights, inputs, cotangents)

    def trainer(self, setup: Setup) -> Trainer:
        from dlc_jax.train import make

        return make(setup)


BACKEND = JaxBackend()
