"""`npz`: an archive of NumPy arrays, one per field, with the rows as first axis. Of a large one that is not
compressed (`numpy.savez`) only the rows that are taken are read: it need not fit into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dlc.diagnostics import did_you_mean
from dlc.ops.npz import NpzFile
from dlc.runtime.data.arrays import ArrayRows, stretch
from dlc.source import Request, SourceError

MAPPED = 1 << 26  # bytes of a file from which on what is not looked at is not read


def _large(archive: NpzFile, name: str) -> NDArray[Any]:
    return archive.mapped(name) if Path(archive.path).stat().st_size > MAPPED else archive[name]


def open_rows(request: Request) -> ArrayRows:
    """The fields that the batch names. Raises SourceError for a file that can't be read (pickles never
    are)."""
    path = request.path("path")
    try:
        archive = NpzFile(path)
        for name in request.fields:
            if name not in archive:
                known = f"it has {', '.join(archive)}"
                raise SourceError(f"{path} has no array `{name}`", did_you_mean(name, archive) or known)
        arrays = {name: _large(archive, name) for name in request.fields}
    except FileNotFoundError:
        raise SourceError(f"can't read {path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"can't read {path}: {error}") from None
    for name, array in arrays.items():
        if not array.ndim:
            raise SourceError(f"`{name}` of {path} is a single value, not rows")
    return stretch(arrays, request.options["start"], request.options["stop"])
