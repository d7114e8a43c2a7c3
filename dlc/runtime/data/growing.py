"""Arrays that grow as a file is read: in memory, and past a limit in a file without a name that the system pages in.

So what does not fit into memory can still be trained on in any order, and a whole file is looked at before the first step."""

from __future__ import annotations

import tempfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dlc.source import SourceError

Array = NDArray[Any]
LIMIT = 1 << 30  # bytes of an array that stay in memory


class Growing:
    """An array to which rows are added; all have the dtype of the first ones."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.parts: list[Array] = []
        self.length = 0
        self.file: IO[bytes] | None = None
        self._first: Array | None = None

    def add(self, rows: Array) -> None:
        """Raises SourceError where they have no room."""
        self._first = rows[:0] if self._first is None else self._first
        self.length += len(rows)
        self.parts.append(rows)
        if self.file is not None or sum(each.nbytes for each in self.parts) > self.limit:
            try:
                self._spill()
            except OSError as error:
                place = tempfile.gettempdir()
                help = "TMPDIR=FOLDER names a folder that has room"
                message = f"the rows don't fit into memory, nor into {place}: {error.strerror or error}"
                raise SourceError(message, help) from None

    def _spill(self) -> None:
        if self.file is None:
            # What maps the file keeps it; it has no name, and is gone with the process.
            self.file = tempfile.TemporaryFile(prefix="dlc-rows-")  # noqa: SIM115
        for each in self.parts:
            self.file.write(np.ascontiguousarray(each).data)
        self.file.flush()
        self.parts = []

    def array(self) -> Array:
        """All rows. Those in a file are read when they are looked at."""
        if self._first is None:
            return np.zeros(0)
        if self.file is None:
            return np.concatenate(self.parts)
        shape = (self.length, *self._first.shape[1:])
        with self.file:
            return np.memmap(self.file, self._first.dtype, "r+", shape=shape)
