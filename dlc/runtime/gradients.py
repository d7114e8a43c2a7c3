"""Gradients of a model's parameters by the backends that give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.ir.nodes import Program
from dlc.runtime.compile import emit, find_backend
from dlc.runtime.interpret import run
from dlc.spec import Model

Array = NDArray[Any]


def cotangents(
    program: Program, values: Mapping[str, Array], given: Mapping[str, Array], seed: int
) -> dict[str, Array]:
    """A fixed random weight for every element of every float output: the loss is their sum of products."""
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
    """The gradient of sum(output * weight) for every trainable parameter, by path. Raises SpecError for a backend that
    gives none."""
    backend = find_backend(name, usable=True)
    return backend.gradients(emit(model, name, optimize=optimize), values, given, weights)
