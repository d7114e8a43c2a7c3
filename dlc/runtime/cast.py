"""Numbers of a file as a parameter holds them: rounded where it is a narrower float, else exactly or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.ops.arrays import a_byte_each, dtype_name, numpy_dtype

Array = NDArray[Any]
_FLOATS = ("f64", "f32", "f16", "bf16")
_QUANTISED = ("f8e4m3", "f8e5m2", "i4", "i8", "u8")


class Unfit(Exception):
    """Numbers that a dtype does not have: what they are, and what helps."""

    def __init__(self, found: str, help: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.help = help


def fitted(array: Array, dtype: str, *, keep: bool = False) -> Array:
    """The array in the dtype of a parameter: f32 for `float`, or the float dtype that it has where it is to `keep` it; i8 for i4.
    Raises Unfit."""
    try:
        given = dtype_name(array.dtype)
    except KeyError:
        given = array.dtype.name
    target = given if keep and dtype == "float" and given in _FLOATS else dtype
    wanted = numpy_dtype(target)
    if array.dtype == wanted:
        return np.asarray(a_byte_each(array), order="C")
    floats = target in ("float", *_FLOATS)
    found = _rounded(array, given, wanted) if floats else _exact(array, given, wanted)
    return np.asarray(a_byte_each(found), order="C")


def _rounded(array: Array, given: str, wanted: np.dtype[Any]) -> Array:
    if given not in _FLOATS:
        help = ""
        if given in _QUANTISED:
            help = "these are quantised: multiply them by their scale where they were made, and save floats"
        raise Unfit(given, help)
    with np.errstate(over="ignore", invalid="ignore"):
        found = array.astype(wanted)
        lost = np.isfinite(array) & ~np.isfinite(found)
    if lost.any():
        raise Unfit(f"{given} with {array[lost].flat[0]}, more than {wanted.name} has,")
    return found


def _exact(array: Array, given: str, wanted: np.dtype[Any]) -> Array:
    """Integers, bools and 8-bit floats: what comes back has to be what went in."""
    with np.errstate(all="ignore"):
        found = array.astype(wanted)
        same = (found.astype(array.dtype) == array) & (np.sign(_wide(found)) == np.sign(_wide(array)))
    if not same.all():
        raise Unfit(f"{given} with {array[~same].flat[0]}")
    return found


def _wide(array: Array) -> Array:
    """As NumPy's own numbers, of which there are signs: a cast that wraps around comes back, with the other sign."""
    return array if array.dtype.kind in "iuf" else array.astype(np.float64)
