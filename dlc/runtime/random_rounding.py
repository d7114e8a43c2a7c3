"""What is not a number of its dtype becomes the one below or above it, at random, the nearer one the more likely.

A computation that is done so several times comes out differently where its result is rounding's, and else alike: sums that cancel, which
rounding to the nearest may make 0 by luck, say so (Parker, "Monte Carlo arithmetic", 1997)."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def rounded(array: Array, dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """f64 in a narrower dtype. What it holds exactly stays as it is."""
    nearest = array.astype(dtype)
    is_off = np.isfinite(array) & (nearest.astype(np.float64) != array)
    if not is_off.any():
        return nearest
    # Half a step to either side, and then to the nearest.
    _, exponent = np.frexp(array)
    step = np.ldexp(float(ml_dtypes.finfo(dtype).eps), exponent - 1)
    shaken = (array + (rng.random(array.shape) - 0.5) * step).astype(dtype)
    return np.where(is_off & np.isfinite(shaken.astype(np.float64)), shaken, nearest)
