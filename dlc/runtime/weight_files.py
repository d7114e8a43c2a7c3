"""Files of tensors: safetensors, whole or in shards, and npz. What is read is a stranger's; what is written is there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError
from dlc.diagnostics import training as problems
from dlc.ops.arrays import numpy_dtype
from dlc.ops.npz import NpzFile, write_npz
from dlc.writing import STAGING, write

Array = NDArray[Any]
INDEX = ".safetensors.index.json"
SHOWN = 8

# safetensors' dtype codes, as our names.
_CODES = {
    "F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16", "I64": "i64", "I32": "i32",
    "I16": "i16", "I8": "i8", "U8": "u8", "BOOL": "bool", "F8_E4M3": "f8e4m3", "F8_E5M2": "f8e5m2",
}  # fmt: skip


def fail(diagnostic: Diagnostic) -> NoReturn:
    raise SpecError([diagnostic])


def names_of(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown + (f", … ({len(names) - SHOWN} more)" if len(names) > SHOWN else "")


def read_file(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The tensors of a safetensors or npz file, or of the shards that `model.safetensors.index.json` lists, by name. Raises SpecError
    for anything else; pickles are never read."""
    place = Path(path)
    if not place.is_file():
        _not_there(place)
    try:
        if place.suffix == ".npz":
            return dict(NpzFile(place))
        if place.suffix == ".safetensors":
            return _read_safetensors(place)
        if place.name.endswith(INDEX):
            return _read_shards(place)
    except (ValueError, OSError, KeyError, SyntaxError) as error:
        fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=str(error)))
    except MemoryError:
        reason = "it says of itself that it is larger than the memory"
        fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason))
    reason = f"a {place.suffix or 'nameless'} file is no safetensors or npz file"
    help = "convert a pickle (.pt, .bin, .pth) with safetensors where it was made"
    if place.suffix == ".json":
        help = f"a list of shards is called `NAME{INDEX}`"
    fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason, help=help))


def _not_there(place: Path) -> NoReturn:
    if not place.is_dir():
        fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason="there is no such file"))
    found = sorted(each for each in place.iterdir() if each.name.endswith((INDEX, ".safetensors", ".npz")))
    found.sort(key=lambda each: not each.name.endswith(INDEX))
    help = f"name the file in it: {found[0]}" if found else ""
    fail(problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason="it is a folder", help=help))


def _read_safetensors(path: Path) -> dict[str, Array]:
    import safetensors

    try:
        read: Any = safetensors.deserialize
        entries = read(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    tensors: dict[str, Array] = {}
    for name, entry in sorted(entries, key=itemgetter(0)):  # they come in another order each time
        code = _CODES.get(entry["dtype"])
        if code is None:
            raise ValueError(f"`{name}` has the dtype {entry['dtype']}, which dlc does not know")
        tensors[name] = np.frombuffer(bytearray(entry["data"]), dtype=numpy_dtype(code)).reshape(
            entry["shape"]
        )
    return tensors


def _read_shards(path: Path) -> dict[str, Array]:
    """The tensors that an index lists, each from its shard, and no others. Raises ValueError."""
    shards = _index(path)
    tensors: dict[str, Array] = {}
    for shard in dict.fromkeys(shards.values()):
        place = path.parent / shard
        if not place.is_file():
            raise ValueError(f"its shard {shard} is not beside it")
        found = _read_safetensors(place)
        listed = [name for name, where in shards.items() if where == shard]
        missing = [name for name in listed if name not in found]
        if missing:
            raise ValueError(f"{shard} lacks what the index says it has: {names_of(missing)}")
        unknown = [name for name in found if name not in shards]
        if unknown:
            raise ValueError(f"{shard} holds what the index does not list: {names_of(unknown)}")
        tensors |= {name: found[name] for name in listed}
    return {name: tensors[name] for name in shards}


def _index(path: Path) -> dict[str, str]:
    """The shard of each tensor. A shard is a file beside the index, and nowhere else."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is no index of shards") from None
    shards = written.get("weight_map") if isinstance(written, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise ValueError("it has no `weight_map` that lists tensors and their shards")
    for shard in shards.values():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{json.dumps(shard)[:80]} is no safetensors file beside it")
    return shards


def write_file(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
    *,
    staging: str = STAGING,
) -> None:
    """Write a safetensors (or, by its suffix, npz) file: complete, or not at all. Each tensor keeps its dtype and its name."""
    place = Path(path)
    _check_place(place)
    _check_names(place, tensors)
    place.parent.mkdir(parents=True, exist_ok=True)

    def content(file: IO[bytes]) -> None:
        if place.suffix == ".npz":
            write_npz(file, tensors)
        else:
            file.write(_saved(tensors, metadata))

    write(place, content, staging=staging)


def _check_place(place: Path) -> None:
    if place.suffix not in (".safetensors", ".npz"):
        reason = (
            f"weights are written as .safetensors or .npz, not as {place.suffix or 'a file without a suffix'}"
        )
        fail(problems.BAD_OPTION.at(NO_SPAN, message=f"can't write {place}: {reason}"))
    if place.exists() and not place.is_file():
        fail(problems.BAD_OPTION.at(NO_SPAN, message=f"can't write {place}: it is there, and no file"))


def _check_names(place: Path, tensors: Mapping[str, Array]) -> None:
    """An entry of an archive ends at a zero byte, and safetensors keeps `__metadata__` for itself."""
    for name in _unwritable(place, tensors):
        message = f"can't write {place}: no such file has a tensor called {json.dumps(name)[:80]}"
        fail(problems.BAD_OPTION.at(NO_SPAN, message=message))


def _unwritable(place: Path, tensors: Mapping[str, Array]) -> Iterator[str]:
    if place.suffix == ".npz":
        yield from (name for name in tensors if "\0" in name or len(name.encode()) > 60_000)
    else:
        yield from (name for name in tensors if name == "__metadata__")


def _saved(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None) -> bytes:
    from safetensors.numpy import save

    arrays = {name: np.asarray(each, order="C") for name, each in tensors.items()}
    data: bytes = save(arrays, dict(metadata) if metadata else None)
    return data


__all__ = ["names_of", "read_file", "write_file"]
