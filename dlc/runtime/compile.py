"""From a model to a runnable: passes, lowering to what a backend says natively, emission, weights, loading."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlc import backend as backends
from dlc.backend import Artifact, Backend, EmitOptions, Runnable, no_device
from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.garbage import uncollected
from dlc.ir.nodes import Op, Program
from dlc.once import remembering
from dlc.ops.gaps import refuse_gaps
from dlc.records import replace
from dlc.runtime import promises
from dlc.runtime.family import ModelFamily
from dlc.version import __version__

if TYPE_CHECKING:
    import numpy as np

    from dlc.runtime.weight_map import WeightMap
    from dlc.spec import Model

PRECISIONS = ("f32", "bf16", "f16", "f64")


def find_backend(name: str, *, usable: bool = False) -> Backend:
    """The backend of that name. Raises SpecError if there is none, or if what it needs is missing: all of it where it must
    be `usable`, else what it needs to emit."""
    try:
        backend = backends.find(name)
    except KeyError:
        help = did_you_mean(name, backends.names()) or f"backends are {', '.join(backends.names())}"
        raise _not_there(name, "there is none of that name", help) from None
    reason = backend.absence(emitting=not usable)
    if reason:
        raise _not_there(name, reason, backend.installation and f"install it: {backend.installation}")
    return backend


def _not_there(name: str, reason: str, help: str) -> SpecError:
    return SpecError([problems.NO_BACKEND.at(NO_SPAN, name=name, reason=reason, help=help)])


def installed() -> tuple[str, ...]:
    """The backends that can run here."""
    return tuple(each.name for each in backends.every() if not each.absence())


def lower(program: Program, backend: Backend, optimize: int = 1, precision: str = "") -> Program:
    """The program after the passes of a level, library composites that the backend does not say natively decomposed and
    loops unrolled; from level 1 on, what all layers compute alike is computed once; of a model, whose `precision` is
    told, with tables in f32. Raises SpecError for loops that can't be unrolled."""
    from dlc.passes.lower import decompose, loops_left
    from dlc.passes.pipeline import finish
    from dlc.passes.stored import with_stored
    from dlc.passes.wide_constants import NARROW, with_wide_constants
    from dlc.spec import optimized

    passed = optimized(program, optimize, as_layers=backend.fuses_layers)
    if precision in NARROW or (backend.any_precision and precision == "f32"):
        passed = with_wide_constants(passed)
    lowered = with_stored(decompose(passed, backend.is_native, backend.filled))
    # One loop of the spec may have become several, in the turns of one around it.
    left = {loop.span: loop for loop in loops_left(lowered, backend.is_native)}
    if left:
        raise SpecError([_unsaid(backend, loop) for loop in left.values()])
    return finish(lowered, optimize)


def _unsaid(backend: Backend, loop: Op) -> Diagnostic:
    reason = f"its count, {loop.attr('count')}, is known only when the network runs"
    return problems.UNSUPPORTED.at(loop.span, backend=backend.name, op=loop.op, reason=reason)


def emitted(program: Program, backend: Backend, options: EmitOptions) -> Artifact:
    """A lowered program as the backend says it. Raises SpecError for options that it does not take, and for what it
    declares to lack."""
    from dlc.passes.held_numbers import within_floats

    check_options(backend, options.precision, options.target)
    refuse_gaps(backend.name, backend.gaps, program, options.precision)
    program = within_floats(program, options.precision)
    with promises.rows_told(backend.name, program):
        return promises.artifact_of(backend.name, backend.emit(program, options))


def check_options(backend: Backend, precision: str, target: str) -> None:
    if precision not in PRECISIONS:
        raise _bad(f"there is no precision `{precision}`: it is one of {', '.join(PRECISIONS)}")
    if precision not in backend.precisions:
        raise backend.lacks(
            f"does not compute in {precision}", f"its precisions are {', '.join(backend.precisions)}"
        )
    if target and not backend.targets:
        raise backend.lacks(f"compiles for no target, and `{target}` is asked for")
    if target and target.split()[0] not in backend.targets:
        raise _bad(f"there is no target `{target}`: {backend.name} compiles for {', '.join(backend.targets)}")


def check_device(backend: Backend, device: str) -> None:
    """Raises SpecError for a kind of device that the backend does not compute on: `cuda` of `cuda:1`."""
    kind = device.partition(":")[0]
    if kind not in backend.devices:
        raise no_device(device, f"{backend.name} computes on {', '.join(backend.devices)}")


def others(what: str, able: Sequence[Backend]) -> str:
    """The help of a diagnostic about what a backend lacks: those that have it."""
    return f"those that {what}: {', '.join(each.name for each in able)}" if able else ""


def _bad(message: str) -> SpecError:
    return SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])


def emit(
    model: Model,
    backend_name: str,
    *,
    optimize: int = 1,
    precision: str = "f32",
    target: str = "",
    training: bool = False,
    functions: bool = False,
    read: bool = True,
) -> Artifact:
    """The model as files of a backend, in memory. What nobody will `read`, or make with other arguments, takes less time."""
    backend = find_backend(backend_name)
    return _emit(model, backend, optimize, precision, target, training, functions=functions, read=read)[0]


@uncollected()
@remembering()
def _emit(
    model: Model,
    backend: Backend,
    optimize: int,
    precision: str,
    target: str,
    training: bool,
    *,
    functions: bool = False,
    read: bool = True,
) -> tuple[Artifact, Program]:
    """The artifact and the program it says. What nobody will `read`, or make with other arguments, takes less time."""
    check_options(backend, precision, target)
    if functions and not backend.keeps_functions:
        raise backend.lacks(
            "has no choice between a flat form and one of functions",
            others("have one", [each for each in backends.every() if each.keeps_functions]),
        )

    parametric = read and backend.parametric and model.changed is None
    family = _family(model, backend, optimize, precision, training) if parametric else None
    if family is not None:
        program = family.program(training)
    else:
        program = lower(model.training_program if training else model.program, backend, optimize, precision)
    options = EmitOptions(
        name=model.identifier,
        optimize=optimize,
        precision=precision,
        target=target,
        training=training,
        functions=functions,
        header=header(model),
        family=family,
    )
    return emitted(program, backend, options), program


def _family(model: Model, backend: Backend, optimize: int, precision: str, training: bool) -> ModelFamily:
    # From level 2 on, passes make of a network what is right in one mode only: batch norm folded into convolutions.
    mode = training if optimize > 1 else None
    whole = backend.joins_entries and mode is None
    lowered = partial(lower, backend=backend, optimize=optimize, precision=precision)
    return ModelFamily(model, lowered, mode, whole)


def header(model: Model) -> tuple[str, ...]:
    """The lines that emitted source begins with: what it was made from, and by what."""
    return (
        f"{model.name} of {Path(model.spec.unit.path).name} (digest {model.spec.digest}), written by dlc {__version__}.",
    )


def weight_map(model: Model, name: str | None) -> WeightMap | None:
    """The `weights` block of that name, at the model's settings. Raises SpecError if the file has none."""
    from dlc.runtime.weight_map import WeightMap

    return None if name is None else WeightMap.at(model.spec, name, model.point.settings)


def model_weights(
    model: Model,
    weights: str | os.PathLike[str] | Mapping[str, np.ndarray] | None,
    through: str | None,
    seed: int,
) -> dict[str, Any]:
    """The value of every parameter and buffer: from a file or mapping, or the seeded initial ones."""
    from dlc.runtime.weights import initial_weights, load_weights

    if weights is None:
        if through is not None:
            message = f"weights are read through `{through}`, and none are given"
            raise SpecError(
                [
                    problems.BAD_OPTION.at(
                        NO_SPAN, message=message, help="give them: `weights`, --weights FILE"
                    )
                ]
            )
        return initial_weights(model.program, seed)
    try:
        return load_weights(model.program, weights, weight_map(model, through))
    except SpecError as error:
        found = error
    name = _fitting(model, weights) if through is None else ""
    if not name:
        raise found
    help = f'the block `weights {name}` maps these names: `--through {name}`, or `through="{name}"` in Python'
    raise SpecError([replace(each, help=help) for each in found.diagnostics])


def _fitting(model: Model, weights: str | os.PathLike[str] | Mapping[str, np.ndarray]) -> str:
    """A `weights` block of the file through which these weights would fill the model; "" if there is none."""
    from dlc.runtime.weights import load_weights

    for name in model.spec.weights:
        with contextlib.suppress(SpecError):
            load_weights(model.program, weights, weight_map(model, name))
            return name
    return ""


def _ready(backend: Backend, program: Program, values: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The weights that a backend's files take: with what passes prepare, where the files don't do that themselves."""
    from dlc.runtime.prepare import prepare

    return values if backend.prepares else prepare(program, values)


def _rounded(program: Program, values: Mapping[str, np.ndarray], precision: str) -> Mapping[str, np.ndarray]:
    """The weights as a program of this precision holds them."""
    import numpy as np

    from dlc.ops.arrays import numpy_dtype

    floats = {each.path for each in program.parameters if each.type.dtype in ("float", precision)}
    dtype = numpy_dtype("float", precision)
    with np.errstate(over="ignore"):
        return {path: each.astype(dtype) if path in floats else each for path, each in values.items()}


def compile_model(
    model: Model,
    backend_name: str,
    *,
    weights: str | os.PathLike[str] | Mapping[str, np.ndarray] | None = None,
    through: str | None = None,
    seed: int = 0,
    optimize: int = 1,
    precision: str = "f32",
    target: str = "",
    device: str = "cpu",
) -> Runnable:
    from dlc.runtime.checked import Checked
    from dlc.runtime.indices import IndexCheck
    from dlc.spec import all_sources

    backend = find_backend(backend_name, usable=True)
    check_device(backend, device)
    values = model_weights(model, weights, through, seed)
    artifact, program = _emit(model, backend, optimize, precision, target, training=False, read=False)
    ready = _ready(backend, program, values)
    check = IndexCheck(model.program, values, precision, all_sources(model.spec.project))
    with promises.rows_told(backend.name, program):
        runnable = promises.runnable_of(backend.name, _loaded(backend, artifact, ready, device))
    taken = model.program.main.input_names
    left_out = [name for name in model.optional_inputs if name not in taken]
    return Checked(runnable, model.program, check, backend.name, left_out)


def _loaded(backend: Backend, artifact: Artifact, weights: Mapping[str, np.ndarray], device: str) -> Runnable:
    if device == "cpu":
        return backend.load(artifact, weights)
    try:
        return backend.load(artifact, weights, device=device)
    except (RuntimeError, AssertionError, OSError) as error:  # what frameworks raise without such a device
        raise no_device(device, str(error).partition("\n")[0]) from None


def write_artifact(
    model: Model,
    backend_name: str,
    directory: str | os.PathLike[str],
    *,
    optimize: int = 1,
    precision: str = "f32",
    target: str = "",
    training: bool = False,
    functions: bool = False,
    single_file: bool = False,
    weights: str | os.PathLike[str] | None = None,
    through: str | None = None,
    seed: int | None = None,
    force: bool = True,
) -> list[Path]:
    """Write a model's artifact, with its weights beside it as safetensors where a file or a seed is given; in it, where
    it is to be a `single_file`. Without `force` raises SpecError for files there that dlc did not write."""
    from dlc.runtime.weights import write_file

    backend = find_backend(backend_name)
    given = weights is not None or seed is not None
    if single_file:
        _check_single_file(backend, given)
    artifact, program = _emit(model, backend, optimize, precision, target, training, functions=functions)
    values: Mapping[str, np.ndarray] = {}
    if given:
        values = _ready(backend, program, model_weights(model, weights, through, seed or 0))
        values = _rounded(program, values, precision)
    inside = given and backend.has("with_weights")
    if inside:
        artifact = backend.with_weights(artifact, values, single_file=single_file)
    weights_file = [f"{model.identifier}.safetensors"] if given and not inside else []
    if not force:
        check_own(Path(directory), artifact, weights_file)
    folder = artifact.write(directory)
    written = [folder / name for name in artifact.files]
    if given and not inside:
        path = folder / f"{model.identifier}.safetensors"
        write_file(path, values)
        written.append(path)
    return written


MARK = re.compile(rb"written by dlc|\x12\x03dlc")  # the first lines of source; ONNX's name of the producer


def check_own(folder: Path, artifact: Artifact, weights: Sequence[str]) -> None:
    """Raises SpecError for a file that would be replaced and that dlc did not write. Files without a mark of their own
    (weights, libraries) are dlc's beside a marked one of their name."""
    there = [name for name in (*artifact.files, *weights) if os.path.lexists(folder / name)]
    for name in there:
        beside = Path(name).stem
        siblings = [name] if Path(name).suffix in _MARKED else sorted(f"{beside}{each}" for each in _MARKED)
        if not any(_is_marked(folder / each) for each in siblings):
            message = f"{folder / name} is there, and dlc did not write it"
            help = "take another folder, or --force to replace it"
            raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)])


_MARKED = frozenset({".py", ".onnx", ".relax"})


def _is_marked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return MARK.search(file.read(4096)) is not None
    except OSError:
        return False


def _check_single_file(backend: Backend, given: bool) -> None:
    """One file needs weights to put in it, and a format that can hold them."""
    if not backend.has("with_weights"):
        able = others("have a single file", [each for each in backends.every() if each.has("with_weights")])
        raise backend.lacks("writes no weights into its files: there is no single file", able)
    if not given:
        message = "a single file needs weights to put into it"
        raise SpecError(
            [problems.BAD_OPTION.at(NO_SPAN, message=message, help="give --weights FILE, or --init")]
        )
