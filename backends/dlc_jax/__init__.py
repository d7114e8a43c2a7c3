"""The JAX backend: a program as one module of pure functions over a flat dict of parameters.

JAX is imported only by `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from dlc.backend import Artifact, EmitOptions, Runnable
    from dlc.ir.nodes import Op, Program


class JaxBackend:
    """See `dlc.backend.Backend`."""

    name = "jax"
    requires = ("jax",)

    def is_native(self, op: Op) -> bool:
        from dlc_jax.emit import is_native

        return is_native(op)

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        from dlc_jax.emit import emit

        return emit(program, options)

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "") -> Runnable:
        from dlc_jax.load import load

        return load(artifact, weights, device)


BACKEND = JaxBackend()
