"""Rows that lie in memory, and a stretch of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.ops.arrays import dtype_name
from dlc.source import Field, SourceError

Array = NDArray[Any]


@dataclass(frozen=True)
class ArrayRows:
    """Arrays of equal length by field. `left_out` are rows of their file that are not among them, by number and from 0."""

    arrays: Mapping[str, Array]
    about: Mapping[str, Any] = field(default_factory=dict)
    left_out: NDArray[np.int64] | None = field(default=None, kw_only=True)

    @property
    def fields(self) -> dict[str, Field]:
        return {name: _field(name, array) for name, array in self.arrays.items()}

    @cached_property
    def places(self) -> NDArray[np.int64] | None:
        """Which row of its file each one is, where some were left out."""
        if self.left_out is None or not len(self.left_out):
            return None
        return np.delete(np.arange(len(self) + len(self.left_out)), self.left_out)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> dict[str, Array]:
        return {name: array[index] for name, array in self.arrays.items()}


def _field(name: str, array: Array) -> Field:
    whole = np.issubdtype(array.dtype, np.integer)
    limit = int(array.max()) + 1 if whole and array.size else None
    try:
        return Field(dtype_name(array.dtype), array.shape[1:], limit)
    except KeyError:
        raise SourceError(f"`{name}` holds {array.dtype}, which is no dtype of a tensor") from None


def stretch(arrays: Mapping[str, Array], start: int, stop: int | None) -> ArrayRows:
    """The rows from `start` to before `stop` (None: to the end). Raises SourceError where lengths differ or
    nothing is left."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"`{name}` has {count:,} rows" for name, count in lengths.items())
        raise SourceError(f"the fields are of different length: {counts}")
    count = next(iter(lengths.values()), 0)
    if start >= min(count, count if stop is None else stop):
        raise SourceError(f"no rows are left: there are {count:,}, start = {start:,}, stop = {stop}")
    return ArrayRows({name: array[start:stop] for name, array in arrays.items()})
