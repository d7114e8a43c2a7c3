"""Prepared tensors: what passes compute once from a spec's parameters, such as weights with a batch norm
folded in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.ir.nodes import Param, Program
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc.runtime.interpret import run_function

Array = NDArray[Any]


def prepare(program: Program, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights, and every prepared tensor of the program besides, by its path.

    What is of the working precision is computed in f64 and gets the dtype of its first source. Raises
    KeyError for a source without a value."""
    result = dict(weights)
    waiting = [item for item in Paths(program.functions).expand(program.entry) if item[1].kind == "prepared"]
    while waiting:
        ready = [item for item in waiting if all(path in result for path in _sources(*item))]
        if not ready:
            missing = sorted({path for item in waiting for path in _sources(*item)} - result.keys())
            raise KeyError(f"no value is given for {', '.join(missing)}")
        for prefix, param in ready:
            result[prefixed(prefix, param.name)] = _computed(
                program, param, [result[p] for p in _sources(prefix, param)]
            )
        waiting = [(prefix, param) for prefix, param in waiting if prefixed(prefix, param.name) not in result]
    return result


def _sources(prefix: str, param: Param) -> list[str]:
    return [prefixed(prefix, source) for source in param.sources]


def _computed(program: Program, param: Param, sources: list[Array]) -> Array:
    function = program.functions[param.init]
    inputs = {value.name: array for value, array in zip(function.inputs, sources, strict=True)}
    outputs = run_function(program, param.init, inputs, precision="f64")
    array = next(iter(outputs.values()))
    return array.astype(np.asarray(sources[0]).dtype) if param.type.dtype == "float" else array
