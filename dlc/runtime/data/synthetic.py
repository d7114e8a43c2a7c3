"""`synthetic`: random rows of the types that the batch declares, to try a network out or to time it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.ops.arrays import numpy_dtype
from dlc.source import Field, Request, SourceError
from dlc.types.tensor import INTS

Array = NDArray[Any]


@dataclass(frozen=True)
class RandomRows:
    """Each row is drawn from a generator of its own, when it is asked for."""

    fields: Mapping[str, Field]
    count: int
    seed: int
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> dict[str, Array]:
        rows = [self._row(int(each)) for each in index]
        return {name: np.stack([row[name] for row in rows]) for name in self.fields}

    def _row(self, index: int) -> dict[str, Array]:
        rng = np.random.default_rng([self.seed, index])
        return {name: _draw(rng, each) for name, each in self.fields.items()}


def _draw(rng: np.random.Generator, field: Field) -> Array:
    dtype = numpy_dtype(field.dtype)
    if field.dtype == "bool":
        return rng.random(field.shape) < 0.5
    if field.dtype in INTS:
        return np.asarray(rng.integers(0, field.limit, field.shape)).astype(dtype)
    return np.asarray(rng.standard_normal(field.shape)).astype(dtype)


def open_rows(request: Request) -> RandomRows:
    """Rows of the declared types: normal numbers, and integers below the tables that they index, else below
    `high`.

    Raises SourceError for a type with a size that is no number."""
    fields: dict[str, Field] = {}
    for name, type in request.fields.items():
        shape = tuple(axis.constant for axis in type.axes[1:])
        if None in shape:
            help = "write numbers for all sizes but the batch's"
            raise SourceError(f"`synthetic` can't know the sizes of `{name}`: {type}", help)
        dtype = "f32" if type.dtype == "float" else type.dtype
        limit = request.limits.get(name, request.options["high"]) if dtype in INTS else None
        fields[name] = Field(dtype, tuple(int(size or 0) for size in shape), limit)
    return RandomRows(fields, request.options["count"], request.options["seed"])
