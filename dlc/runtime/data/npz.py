"""`npz`: an archive of NumPy arrays, one per field, with the rows as first axis. Of a large one that is not
compressed (`numpy.savez`) only the rows that are taken are read: it need not fit into memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import did_you_mean
from dlc.ops.npz import NpzFile
from dlc.runtime.data.arrays import ArrayRows, stretch
from dlc.source import Request, SourceError

MAPPED = 1 << 26  # bytes of a file from which on what is not looked at is not read


@dataclass(frozen=True)
class MappedRows(ArrayRows):
    """Rows of a file that is read when they are taken. One that is written anew meanwhile has other rows; where it has become shorter,
    the system ends whoever looks at what is gone."""

    path: Path = Path()
    handle: IO[bytes] | None = field(default=None, compare=False, repr=False)
    written: tuple[int, int] = (0, 0)

    @staticmethod
    def of(rows: ArrayRows, path: Path) -> MappedRows:
        handle = path.open("rb")  # the file that is mapped, also where another one takes its name
        return MappedRows(rows.arrays, rows.about, path, handle, _state(handle))

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> dict[str, NDArray[Any]]:
        if self.handle is not None and _state(self.handle) != self.written:
            help = "write a new file beside it, and give it the name when it is complete"
            raise SourceError(f"{self.path} was written to while it was trained on", help)
        return super().take(index, epoch)


def _state(handle: IO[bytes]) -> tuple[int, int]:
    """How long a file is, and when it was written to."""
    found = os.fstat(handle.fileno())
    return found.st_size, found.st_mtime_ns


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
        is_mapped = path.stat().st_size > MAPPED
        arrays = {name: archive.mapped(name) if is_mapped else archive[name] for name in request.fields}
    except FileNotFoundError:
        raise SourceError(f"can't read {path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"can't read {path}: {error}") from None
    for name, array in arrays.items():
        if not array.ndim:
            raise SourceError(f"`{name}` of {path} is a single value, not rows")
    rows = stretch(arrays, request.options["start"], request.options["stop"])
    return MappedRows.of(rows, path) if is_mapped else rows
