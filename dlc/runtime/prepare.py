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
    """The weights that the program reads, and every prepared tensor besides, by path. A layer that a pass put in the place of
    others has the place of theirs: what only it was prepared of is left out.

    What is of the working precision is computed in f64 and gets the dtype of its first source. Raises
    KeyError for a source without a value."""
    expanded = list(Paths(program.functions).expand(program.entry))
    waiting = [(prefix, param) for prefix, param in expanded if param.kind == "prepared" and param.init]
    made: dict[str, Array] = {}
    while waiting:
        known = {**made, **weights}
        ready = [item for item in waiting if all(path in known for path in _sources(*item))]
        if not ready:
            missing = sorted({path for item in waiting for path in _sources(*item)} - known.keys())
            raise KeyError(f"no value is given for {', '.join(missing)}")
        for prefix, param in ready:
            sources = [known[path] for path in _sources(prefix, param)]
            made[prefixed(prefix, param.name)] = _computed(program, param, sources)
        waiting = [(prefix, param) for prefix, param in waiting if prefixed(prefix, param.name) not in made]
    held = {prefixed(prefix, param.name) for prefix, param in expanded}
    gone = {each.path for each in program.parameters} - held
    return {**{path: array for path, array in weights.items() if path not in gone}, **made}


def _sources(prefix: str, param: Param) -> list[str]:
    return [prefixed(prefix, source) for source in param.sources]


def _computed(program: Program, param: Param, sources: list[Array]) -> Array:
    function = program.functions[param.init]
    inputs = {value.name: array for value, array in zip(function.inputs, sources, strict=True)}
    outputs = run_function(program, param.init, inputs, precision="f64")
    array = next(iter(outputs.values()))
    return array.astype(np.asarray(sources[0]).dtype) if param.type.dtype == "float" else array
