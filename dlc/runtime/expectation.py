"""The outputs of a published model, and how far a spec's are from them.

Each element is measured by its own size, or by that of all (their root mean square) where it is smaller. The largest element alone is
no measure: the activations of trained networks have outliers, beside which a wrong `eps` is rounding."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Program
from dlc.ops.arrays import dtype_name
from dlc.runtime.weight_files import read_file

Array = NDArray[Any]


def read(
    program: Program,
    expect: str | os.PathLike[str] | Mapping[str, Array],
    weights: object,
    inputs: Mapping[str, Array],
) -> dict[str, Array]:
    """What is expected, by output. Raises SpecError for names that are no output, and where weights or inputs are left to chance."""
    wanted = dict(expect) if isinstance(expect, Mapping) else read_file(expect)
    found = list(_wrong(program, wanted))
    if weights is None:
        found.append(_bad("outputs are expected of certain weights", "give them: --weights FILE"))
    missing = [name for name in program.main.input_names if name not in inputs]
    if missing:
        help = f"give what the published model was given: --input {missing[0]}=FILE.npy"
        found.append(_bad(f"outputs are expected for certain inputs, and `{missing[0]}` is missing", help))
    arrays = {name: np.asarray(each) for name, each in wanted.items()}
    found += [
        _bad(f"what is expected of `{name}` holds {each.dtype}, no numbers")
        for name, each in arrays.items()
        if each.dtype.kind not in "biufV" or each.dtype.type is np.void
    ]
    if found:
        raise SpecError(found)
    return arrays


def _wrong(program: Program, wanted: Mapping[str, Array]) -> list[Diagnostic]:
    outputs = [name for name, _ in program.main.outputs]
    if not wanted:
        return [_bad("the file of what is expected holds nothing")]
    return [
        _bad(
            f"what is expected has `{name}`, which is no output",
            did_you_mean(name, outputs) or f"outputs are {', '.join(outputs)}",
        )
        for name in wanted
        if name not in outputs
    ]


def _bad(message: str, help: str = "") -> Diagnostic:
    return problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)


def precision_of(array: Array) -> str:
    """The float dtype that values were rounded to; f32 of all others."""
    try:
        name = dtype_name(array.dtype)
    except KeyError:
        return "f32"
    return name if name in ("f64", "f16", "bf16") else "f32"


def compared(found: Array, expected: Array) -> tuple[float, float, str]:
    """The largest absolute difference, the largest relative one, and where that is."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        shapes = f"the shape is {list(found.shape)}, expected is {list(expected.shape)}"
        return float("inf"), float("inf"), shapes
    if not expected.size:
        return 0.0, 0.0, "no elements"
    gap = gaps(found, expected)
    relative = gap / _scale(expected.astype(np.float64))
    if are_whole(found, expected):
        relative = np.where(gap, np.maximum(relative, 1.0), 0.0)
    at = np.unravel_index(int(np.argmax(relative)), expected.shape)
    place = "[" + ", ".join(str(int(i)) for i in at) + "]" if at else "the value"
    mean = float(np.sqrt(np.mean(np.square(gap))))
    where = f"at {place} it is {_told(found[at])}, expected is {_told(expected[at])}; root mean square of all differences {mean:.2e}"
    return float(gap.max()), float(relative[at]), where


def _told(value: Any) -> str:
    return str(int(value)) if are_whole(np.asarray(value)) else f"{float(value):.9g}"


def are_whole(*arrays: Array) -> bool:
    """Whether one of several is of integers or truth values, which are right or wrong, and not about right: a difference counts as all of
    it, however large the numbers are."""
    return any(each.dtype.kind in "iub" for each in arrays)


def gaps(found: Array, expected: Array) -> Array:
    """How far each element is from the other one: 0 where both are the same, nan included, and infinite where only one is nan."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    if are_whole(found, expected):  # f64 has not all of i64
        return np.where(found == expected, 0.0, np.maximum(np.abs(a - b), 1.0))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):  # inf - inf, where both are the same
        found = np.where(same, 0.0, np.abs(a - b))
    return np.where(np.isnan(found), np.inf, found)


def _scale(expected: Array) -> Array:
    size = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    typical = float(np.sqrt(np.mean(np.square(size))))
    scale: Array = np.maximum(size, typical) if typical else np.ones_like(size)
    return scale
