"""Gradients of a model's parameters: what they are, and what the backends that give them say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.autodiff import gradient_name, pullback
from dlc.ir.nodes import Program
from dlc.passes.sizes import at_sizes
from dlc.runtime import promises
from dlc.runtime.compile import emit, find_backend
from dlc.runtime.interpret import bind_dims, run
from dlc.spec import Model

Array = NDArray[Any]


def cotangents(
    program: Program, values: Mapping[str, Array], given: Mapping[str, Array], seed: int
) -> dict[str, Array]:
    """A fixed random weight for every element of every float output: the loss is their sum of products."""
    rng = np.random.default_rng([seed, 1])
    outputs, types = run(program, values, given), program.main.types()
    return {
        name: rng.standard_normal(np.shape(outputs[name])).astype(np.float32)
        for name, value in program.main.outputs
        if types[value].is_float
    }


def meant_gradients(
    program: Program,
    values: Mapping[str, Array],
    given: Mapping[str, Array],
    weights: Mapping[str, Array],
) -> dict[str, Array]:
    """The gradient of sum(output * weight) for every trainable parameter, by path: by the ops' rules, in f64. `weights` are those
    of `cotangents`. Raises NotDifferentiable for an op that has no rule."""
    arrays = [np.asarray(given[value.name]) for value in program.main.inputs]
    derived = pullback(at_sizes(program, bind_dims(program.main, arrays, given)))
    known = {**given, **{gradient_name(name): weight for name, weight in weights.items()}}
    inputs = {value.name: known[value.name] for value in derived.main.inputs}
    return run(derived, values, inputs, precision="f64")


def backend_gradients(
    model: Model,
    name: str,
    values: Mapping[str, Array],
    given: Mapping[str, Array],
    weights: Mapping[str, Array],
    *,
    optimize: int = 1,
    precision: str = "f32",
) -> dict[str, Array]:
    """The same by a backend. Raises SpecError for one that gives none, or does not compute in that precision."""
    backend = find_backend(name, usable=True)
    artifact = emit(model, name, optimize=optimize, precision=precision, read=False)
    found = backend.gradients(artifact, values, given, weights)
    trained = [each.path for each in model.program.parameters if each.trainable]
    return promises.arrays_of(name, found, trained, "gradient of")
