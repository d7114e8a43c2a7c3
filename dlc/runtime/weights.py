"""Weights: seeded initial values, files of tensors, and filling a program's parameters from them."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Parameter, Program
from dlc.ops.arrays import numpy_dtype

if TYPE_CHECKING:
    from dlc.runtime.weight_map import WeightMap

Array = NDArray[Any]
SHOWN = 8

# safetensors' dtype codes, as NumPy names.
_CODES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


def fail(diagnostic: Diagnostic) -> Any:
    raise SpecError([diagnostic])


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
        values[parameter.path] = np.asarray(value, order="C")
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


# --- files -----------------------------------------------------------------------------------------------------


def read_file(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The tensors of a safetensors or npz file by name. Raises SpecError for anything else; pickles are never read."""
    place = Path(path)
    if not place.is_file():
        reason = "it is a folder" if place.is_dir() else "there is no such file"
        fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason))
    try:
        if place.suffix == ".npz":
            return _read_npz(place)
        if place.suffix == ".safetensors":
            return _read_safetensors(place)
    except (ValueError, OSError, KeyError, SyntaxError) as error:
        fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=str(error)))
    except MemoryError:
        reason = "it says of itself that it is larger than the memory"
        fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason))
    reason = f"a {place.suffix or 'nameless'} file is no safetensors or npz file"
    help = "convert a pickle (.pt, .bin, .pth) with safetensors where it was made"
    return fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason, help=help))  # type: ignore[no-any-return]


def _read_npz(path: Path) -> dict[str, Array]:
    """Raises ValueError for a file that is no archive of arrays of numbers."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no npz archive, or a damaged one")
    try:
        with np.load(path, allow_pickle=False) as archive:
            tensors = {name: archive[name] for name in archive.files}
    except (EOFError, zipfile.BadZipFile, zlib.error, struct.error) as error:
        raise ValueError(f"the archive is damaged ({error})") from error
    except AttributeError as error:  # one array instead of an archive of them
        raise ValueError("it holds a single array without a name") from error
    for name, each in tensors.items():
        if not isinstance(each, np.ndarray) or (
            each.dtype.kind not in "biuf" and each.dtype.name not in _CODES.values()
        ):
            found = each.dtype.name if isinstance(each, np.ndarray) else "no array"
            raise ValueError(f"`{name}` holds no numbers that dlc knows ({found})")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Array]:
    import safetensors

    try:
        read: Any = safetensors.deserialize
        entries = read(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    tensors: dict[str, Array] = {}
    for name, entry in entries:
        code = _CODES.get(entry["dtype"])
        if code is None:
            raise ValueError(f"`{name}` has the dtype {entry['dtype']}, which dlc does not know")
        tensors[name] = np.frombuffer(bytearray(entry["data"]), dtype=_numpy(code)).reshape(entry["shape"])
    return tensors


def _numpy(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found


def write_file(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors (or, by its suffix, npz) file: complete, or not at all."""
    from safetensors.numpy import save

    place = Path(path)
    if place.suffix not in (".safetensors", ".npz"):
        reason = (
            f"weights are written as .safetensors or .npz, not as {place.suffix or 'a file without a suffix'}"
        )
        fail(problems.BAD_OPTION.at(NO_SPAN, message=f"can't write {place}: {reason}"))
    if place.exists() and not place.is_file():
        fail(problems.BAD_OPTION.at(NO_SPAN, message=f"can't write {place}: it is there, and no file"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".dlc-", suffix=place.suffix, dir=place.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            if place.suffix == ".npz":
                save_all: Any = np.savez
                save_all(file, **{name: np.asarray(each) for name, each in tensors.items()})
            else:
                arrays = {name: np.asarray(each, order="C") for name, each in tensors.items()}
                file.write(save(arrays, dict(metadata) if metadata else None))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(
            temporary, 0o666 & ~_umask()
        )  # a temporary file is private; the finished one is as any other
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- filling a program -----------------------------------------------------------------------------------------


def load_weights(
    program: Program, source: str | os.PathLike[str] | Mapping[str, Array], through: WeightMap | None = None
) -> dict[str, Array]:
    """Every parameter and buffer of a program from a file or a mapping, through a `weights` block.

    Raises SpecError, with all names, for parameters that are not filled, tensors that are not used, and shapes that differ."""
    tensors = dict(source) if isinstance(source, Mapping) else read_file(source)
    if through is not None:
        tensors = through.forward(tensors)
    return fill(program.parameters, tensors)


def fill(parameters: Iterable[Parameter], tensors: Mapping[str, Array]) -> dict[str, Array]:
    wanted = {each.path: each for each in parameters}
    found: list[Diagnostic] = []
    missing = [path for path in wanted if path not in tensors and not _counter(path)]
    unused = [name for name in tensors if name not in wanted]
    if missing:
        help = did_you_mean(missing[0], unused)
        found.append(
            problems.WEIGHTS_MISSING.at(NO_SPAN, count=len(missing), names=_names(missing), help=help)
        )
    if unused:
        help = did_you_mean(unused[0], missing)
        found.append(problems.WEIGHTS_UNUSED.at(NO_SPAN, count=len(unused), names=_names(unused), help=help))
    values: dict[str, Array] = {}
    for path, parameter in wanted.items():
        if path not in tensors:
            values[path] = np.zeros((), dtype=np.int64)
            continue
        array = np.asarray(tensors[path])
        if array.shape != parameter.type.shape:
            found.append(_shape_problem(parameter, array))
        values[path] = _as_dtype(array, parameter.type.dtype)
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


def _as_dtype(array: Array, dtype: str) -> Array:
    wanted = np.dtype(np.float32) if dtype == "float" else numpy_dtype(dtype)
    return np.asarray(array.astype(wanted, copy=False), order="C")


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown + (f", … ({len(names) - SHOWN} more)" if len(names) > SHOWN else "")
