"""Gradients of a model's parameters on the backends that differentiate."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlc.ir.nodes import Program
from dlc.runtime.compile import find_backend

if TYPE_CHECKING:
    from dlc.spec import Model

Array = NDArray[Any]

# Backends whose own differentiation is used; each has `gradients` in its `grad` module.
DIFFERENTIATING = ("torch", "jax")


def cotangents(
    program: Program, values: Mapping[str, Array], given: Mapping[str, Array], seed: int
) -> dict[str, Array]:
    """A fixed random weight for every element of every float output: the loss is their sum of products."""
    from dlc.runtime.interpret import run

    rng = np.random.default_rng([seed, 1])
    outputs = run(program, values, given)
    return {
        name: rng.standard_normal(np.shape(value)).astype(np.float32)
        for name, value in outputs.items()
        if np.issubdtype(np.asarray(value).dtype, np.floating)
    }


def backend_gradients(
    model: Model,
    name: str,
    values: Mapping[str, Array],
    given: Mapping[str, Array],
    weights: Mapping[str, Array],
    *,
    optimize: int = 1,
) -> dict[str, Array]:
    """The gradient of sum(output * weight) for every trainable parameter, by path."""
    backend = find_backend(name, usable=True)
    artifact = model.emit(name, optimize=optimize)
    del backend
    module = importlib.import_module(f"dlc_{name}.grad")
    found: dict[str, Array] = module.gradients(artifact, values, given, weights)
    return found
