"""From a model to a runnable: passes, lowering to what a backend says natively, emission, weights, loading."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlc import __version__
from dlc import backend as backends
from dlc.backend import Artifact, Backend, EmitOptions, Runnable, no_variants
from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Op, Program
from dlc.runtime.variants import Varied

if TYPE_CHECKING:
    import numpy as np

    from dlc.runtime.weight_map import WeightMap
    from dlc.spec import Model

PRECISIONS = ("f32", "bf16", "f16", "f64")


def find_backend(name: str, *, usable: bool = False) -> Backend:
    """The backend of that name. Raises SpecError if there is none, or, if it must be `usable`, its packages are missing."""
    try:
        backend = backends.find(name)
    except KeyError:
        help = did_you_mean(name, backends.names()) or f"backends are {', '.join(backends.names())}"
        raise SpecError(
            [problems.NO_BACKEND.at(NO_SPAN, name=name, reason="there is none of that name", help=help)]
        ) from None
    missing = missing_packages(backend) if usable else []
    if missing:
        reason = f"{', '.join(missing)} can't be imported"
        help = f"install it: pip install 'dlc[{name}]'"
        raise SpecError([problems.NO_BACKEND.at(NO_SPAN, name=name, reason=reason, help=help)])
    return backend


def missing_packages(backend: Backend) -> list[str]:
    """The packages that a backend needs and this environment lacks."""
    return [name for name in backend.requires if importlib.util.find_spec(name) is None]


def installed() -> tuple[str, ...]:
    """The backends that can run here."""
    return tuple(name for name in backends.names() if not missing_packages(backends.find(name)))


def lower(program: Program, backend: Backend, optimize: int = 1) -> Program:
    """The program after the passes of a level, library composites that the backend does not say natively decomposed and
    loops unrolled. Raises SpecError for loops that can't be."""
    from dlc.passes.lower import decompose, loops_left
    from dlc.passes.pipeline import optimize as run

    lowered = decompose(run(program, optimize), backend.is_native)
    # One loop of the spec may have become several, in the turns of one around it.
    left = {loop.span: loop for loop in loops_left(lowered, backend.is_native)}
    if left:
        raise SpecError([_unsaid(backend, loop) for loop in left.values()])
    return lowered


def _unsaid(backend: Backend, loop: Op) -> Diagnostic:
    reason = f"its count, {loop.attr('count')}, is known only when the network runs"
    return problems.UNSUPPORTED.at(loop.span, backend=backend.name, op=loop.op, reason=reason)


def emit(
    model: Model,
    backend_name: str,
    *,
    optimize: int,
    precision: str,
    target: str,
    training: bool,
    functions: bool = False,
) -> Artifact:
    backend = find_backend(backend_name)
    return _emit(model, backend, optimize, precision, target, training, functions=functions)[0]


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
    if precision not in PRECISIONS:
        message = f"there is no precision `{precision}`: it is one of {', '.join(PRECISIONS)}"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])
    if functions and not getattr(backend, "keeps_functions", False):
        message = f"the backend {backend.name} has no choice between a flat form and one of functions"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help="functions are for onnx")])

    def lowered(model: Model) -> Program:
        return lower(model.training_program if training else model.program, backend, optimize)

    program = lowered(model)
    options = EmitOptions(
        name=model.identifier,
        optimize=optimize,
        precision=precision,
        target=target,
        training=training,
        functions=functions,
        header=header(model),
        vary=Varied(model, lowered) if read else no_variants,
    )
    return backend.emit(program, options), program


def header(model: Model) -> tuple[str, ...]:
    """The lines that emitted source begins with: what it was made from, and by what."""
    return (
        f"{model.name} of {Path(model.spec.unit.path).name} (digest {model.spec.digest}), written by dlc {__version__}.",
    )


def weight_map(model: Model, name: str | None) -> WeightMap | None:
    """The `weights` block of that name. Raises SpecError if the file has none."""
    from dlc.runtime.weight_map import WeightMap
    from dlc.syntax import ast

    if name is None:
        return None
    item = model.spec.unit.names.get(name)
    if not isinstance(item, ast.Weights):
        known = model.spec.weights
        help = did_you_mean(name, known) or (f"it has {', '.join(known)}" if known else "it has none")
        message = f"{model.spec.unit.path} has no weights block `{name}`"
        raise SpecError([problems.WEIGHTS_RULE.at(NO_SPAN, message=message, help=help)])
    return WeightMap.of(item)


def model_weights(
    model: Model,
    weights: str | os.PathLike[str] | Mapping[str, np.ndarray] | None,
    through: str | None,
    seed: int,
) -> dict[str, Any]:
    """The value of every parameter and buffer: from a file or mapping, or the seeded initial ones."""
    from dlc.runtime.weights import initial_weights, load_weights

    if weights is None:
        return initial_weights(model.program, seed)
    return load_weights(model.program, weights, weight_map(model, through))


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
    from dlc.runtime.prepare import prepare

    backend = find_backend(backend_name, usable=True)
    values = model_weights(model, weights, through, seed)
    artifact, program = _emit(model, backend, optimize, precision, target, training=False, read=False)
    ready = prepare(program, values)
    if device == "cpu":
        return Checked(backend.load(artifact, ready), model.program)
    load: Any = backend.load
    try:
        runnable: Runnable = load(artifact, ready, device=device)
    except (RuntimeError, AssertionError, OSError) as error:  # what frameworks raise without such a device
        reason = str(error).partition("\n")[0]
        raise SpecError(
            [problems.BAD_OPTION.at(NO_SPAN, message=f"there is no device `{device}`: {reason}")]
        ) from None
    return Checked(runnable, model.program)


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
) -> list[Path]:
    """Write a model's artifact, with its weights beside it as safetensors where a file or a seed is given; in it, where
    it is to be a `single_file`."""
    from dlc.runtime.prepare import prepare
    from dlc.runtime.weights import write_file

    backend = find_backend(backend_name, usable=backend_name in ("onnx", "tvm"))
    holds_weights = getattr(
        backend, "with_weights", None
    )  # for formats that keep them in the artifact, as ONNX does
    given = weights is not None or seed is not None
    if single_file:
        _check_single_file(backend_name, holds_weights is not None, given)
    artifact, program = _emit(model, backend, optimize, precision, target, training, functions=functions)
    values = prepare(program, model_weights(model, weights, through, seed or 0)) if given else {}
    if given and holds_weights is not None:
        options = {"single_file": True} if single_file else {}
        artifact = holds_weights(artifact, values, **options)
    folder = artifact.write(directory)
    written = [folder / name for name in artifact.files]
    if given and holds_weights is None:
        path = folder / f"{model.identifier}.safetensors"
        write_file(path, values)
        written.append(path)
    return written


def _check_single_file(backend_name: str, can: bool, given: bool) -> None:
    """One file needs weights to put in it, and a format that can hold them."""
    if not can:
        message = f"the backend {backend_name} writes no weights into its files: there is no single file"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help="a single file is for onnx")])
    if not given:
        message = "a single file needs weights to put into it"
        raise SpecError(
            [problems.BAD_OPTION.at(NO_SPAN, message=message, help="give --weights FILE, or --init")]
        )
