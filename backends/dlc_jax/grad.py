"""Gradients of emitted programs by JAX's own differentiation, for comparing backends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlc.backend import Artifact
from dlc_jax.load import arrays, call_arguments, module, results, settings, trees

# What runs once is not worth optimizing: compiling takes half the time without. At level 0 XLA computes twice, and rounds in two ways,
# what a maximum is taken of and what is compared with it: then no element is the maximum, and its gradient is nan.
ONCE = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}


def gradients(
    artifact: Artifact,
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, Any],
    cotangents: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The gradient of sum(output * cotangent) over all outputs, by every trainable parameter's path."""
    import jax
    import jax.numpy as jnp

    meta, emitted = artifact.meta, module(artifact)
    with settings(meta):
        params = arrays(meta, weights)
        trained = {path: params[path] for path in meta["trainable"]}
        given, named = call_arguments(meta, inputs, None)

        def total(changed: dict[str, Any]) -> Any:
            held = trees(meta, emitted, params | changed)
            outputs, _ = results(meta, emitted.apply(*held, *given, **named))
            pairs = zip((name for name, _ in meta["outputs"]), outputs, strict=True)
            return sum(jnp.sum(value * cotangents[name]) for name, value in pairs if name in cotangents)

        found = jax.jit(jax.grad(total), compiler_options=ONCE)(trained)
        return {path: np.asarray(value) for path, value in found.items()}
