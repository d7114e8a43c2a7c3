"""Weights: seeded initial values, files of tensors, and filling a program's parameters from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Parameter, Program
from dlc.ops.arrays import a_byte_each
from dlc.runtime.cast import Unfit, fitted
from dlc.runtime.weight_files import names_of, read_file, write_file

if TYPE_CHECKING:
    from dlc.runtime.weight_map import WeightMap

Array = NDArray[Any]


def initial_weights(program: Program, seed: int = 0, *, precision: str = "f32") -> dict[str, Array]:
    """Every parameter and buffer with its seeded initial value, by path.

    Each path draws from a generator of its own, so that adding a layer changes no other's values and every backend gets the
    same ones."""
    from dlc.runtime.interpret import run_function

    values: dict[str, Array] = {}
    for parameter in program.parameters:
        rng = np.random.default_rng(_seed(seed, parameter.path))
        given = dict(zip(_inputs(program, parameter), map(values.get, parameter.sources), strict=True))
        found = run_function(program, parameter.init, given, rng=rng, precision=precision)
        value = next(iter(found.values()))
        values[parameter.path] = np.asarray(a_byte_each(value), order="C")
    return values


def _inputs(program: Program, parameter: Parameter) -> list[str]:
    """What the function of an initial value calls the parameters that it is computed of."""
    return [value.name for value in program.functions[parameter.init].inputs]


def _seed(seed: int, path: str) -> list[int]:
    digest = hashlib.sha256(path.encode()).digest()
    return [seed, *np.frombuffer(digest[:16], dtype=np.uint32).tolist()]


def generic_weights(program: Program, seed: int = 0) -> dict[str, Array]:
    """The initial values, those that start as a constant disturbed: a branch that starts at zero would hide what is behind it,
    and any two backends would seem to agree."""
    values = initial_weights(program, seed)
    for parameter in program.parameters:
        value = values[parameter.path]
        if not parameter.type.is_float or not value.size or value.min() != value.max():
            continue
        rng = np.random.default_rng([1, *_seed(seed, parameter.path)])
        if parameter.kind == "buffer" and value.min() > 0:  # a running variance stays positive
            noise = rng.uniform(-0.5, 0.5, value.shape) * value
        else:
            noise = rng.standard_normal(value.shape) * (0.1 if value.ndim < 2 else value[0].size ** -0.5)
        values[parameter.path] = (value + noise).astype(value.dtype)
    return values


# --- filling a program -----------------------------------------------------------------------------------------


def load_weights(
    program: Program, source: str | os.PathLike[str] | Mapping[str, Array], through: WeightMap | None = None
) -> dict[str, Array]:
    """Every parameter and buffer of a program from a file or a mapping, through a `weights` block.

    Raises SpecError, with all names, for parameters that are not filled, tensors that are not used, shapes that differ, and numbers that its dtype does not have."""
    tensors = dict(source) if isinstance(source, Mapping) else read_file(source)
    if through is not None:
        tensors = through.forward(tensors)
    return fill(program.parameters, tensors)


def fill(
    parameters: Iterable[Parameter], tensors: Mapping[str, Array], *, keep: bool = False
) -> dict[str, Array]:
    """Every parameter's value, of its own dtype; with `keep`, `float` ones stay of the float dtype that they are given in.

    Raises SpecError as `load_weights`."""
    wanted = {each.path: each for each in parameters}
    found: list[Diagnostic] = []
    missing = [path for path in wanted if path not in tensors and not _counter(path)]
    unused = [name for name in tensors if name not in wanted]
    if missing:
        help = did_you_mean(missing[0], unused)
        found.append(
            problems.WEIGHTS_MISSING.at(NO_SPAN, count=len(missing), names=names_of(missing), help=help)
        )
    if unused:
        help = did_you_mean(unused[0], missing)
        found.append(
            problems.WEIGHTS_UNUSED.at(NO_SPAN, count=len(unused), names=names_of(unused), help=help)
        )
    values: dict[str, Array] = {}
    for path, parameter in wanted.items():
        if path not in tensors:
            values[path] = np.zeros((), dtype=np.int64)
            continue
        array = np.asarray(tensors[path])
        if array.shape != parameter.type.shape:
            found.append(_shape_problem(parameter, array))
            continue
        try:
            values[path] = fitted(array, parameter.type.dtype, keep=keep)
        except Unfit as error:
            needs = "floats" if parameter.type.dtype == "float" else parameter.type.dtype
            found.append(
                problems.WEIGHTS_DTYPE.at(NO_SPAN, path=path, found=error.found, needs=needs, help=error.help)
            )
    if found:
        raise SpecError(found)
    return values


def _counter(path: str) -> bool:
    """Batch norm's count of batches, which checkpoints older than PyTorch 0.4.1 lack and inference does not read."""
    return path.rsplit(".", 1)[-1] == "num_batches_tracked"


def _shape_problem(parameter: Parameter, array: Array) -> Diagnostic:
    expected = list(parameter.type.shape or ())
    help = "transpose it in the `weights` block" if list(array.shape) == expected[::-1] else ""
    found = list(array.shape)
    return problems.WEIGHTS_SHAPE.at(NO_SPAN, path=parameter.path, found=found, expected=expected, help=help)


__all__ = ["fill", "generic_weights", "initial_weights", "load_weights", "read_file", "write_file"]
