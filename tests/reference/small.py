"""A case's model at its small size, and weights for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import dlc

if TYPE_CHECKING:
    from reference.cases import Case


def model_of(case: Case) -> Any:
    model = dlc.load(case.path)[case.model](**case.settings)
    optional = [name for name in case.inputs if name not in model.program.main.input_names]
    return model.with_inputs(*optional) if optional else model


def generic(weights: dict[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights without the zeros and ones of initial values, which hide faults."""
    rng = np.random.default_rng(seed)
    return {path: _generic(path, value, rng) for path, value in weights.items()}


def _generic(path: str, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if value.dtype.kind != "f":
        return value
    if path.endswith("running_var"):
        return (value * rng.uniform(0.5, 1.5, value.shape)).astype(value.dtype)
    return (value + 0.05 * rng.standard_normal(value.shape)).astype(value.dtype)
