"""Shares of a source's rows, for every source: `split` keeps some, `rest` is the others.

The order in which rows are shared out is shuffled by `seed` (none: that of the data), so that a file that is sorted by class has all
classes in both parts. Rows that overlap, as windows of a text do, are parted where they stand (`share`), whatever the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.source import Field, Rows, SourceError

Array = NDArray[Any]
_TOGETHER = 1024  # rows that are taken at once


@dataclass(frozen=True)
class Part:
    """The rows of these numbers, in their order."""

    rows: Rows
    numbers: NDArray[np.int64]

    @property
    def fields(self) -> Mapping[str, Field]:
        return self.rows.fields

    @property
    def about(self) -> Mapping[str, Any]:
        return self.rows.about

    @property
    def arrays(self) -> Mapping[str, Array]:
        """What the digest of the data is made of."""
        return {**getattr(self.rows, "arrays", {}), "its rows": self.numbers}

    @property
    def is_read_late(self) -> bool:
        return bool(getattr(self.rows, "is_read_late", False))

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> Mapping[str, Array]:
        return self.rows.take(self.numbers[index], epoch)


def part(rows: Rows, split: Any, seed: int | None, *, rest: bool = False) -> Rows:
    """The share of the rows that `split` says, or with `rest` what it leaves. Raises SourceError where that is nothing."""
    low, high = (0.0, float(split)) if isinstance(split, int | float) else map(float, split)
    count = len(rows)
    if hasattr(rows, "share"):
        return _stretch(rows, low, high, rest)
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    start, stop = round(low * count), round(high * count)
    taken = np.concatenate([order[:start], order[stop:]]) if rest else order[start:stop]
    if not len(taken):
        left = "leaves none" if rest else "keeps none"
        raise SourceError(f"no rows are left: there are {count:,}, and `split` {left}")
    return Part(rows, taken)


def _stretch(rows: Any, low: float, high: float, rest: bool) -> Rows:
    if rest and low > 0.0 and high < 1.0:
        help = "share out its beginning or its end: `split=0.8`, `split=(0.2, 1.0)`"
        raise SourceError("what a share in the middle leaves of a text is two texts", help)
    if rest:
        low, high = (high, 1.0) if low == 0.0 else (0.0, low)
    found: Rows = rows.share(low, high)
    return found


def whole_of(rows: Rows) -> Rows:
    """What a share of rows is of."""
    return whole_of(rows.rows) if isinstance(rows, Part) else rows


def number_of(rows: Rows, row: int) -> int:
    """Which row of the source a row of a share is: of a file, those that it left out are counted."""
    if isinstance(rows, Part):
        return number_of(rows.rows, int(rows.numbers[row]))
    places = getattr(rows, "places", None)
    return row if places is None else int(places[row])


def values_of(rows: Rows, field: str) -> Array:
    """A field of all rows, without what else a row has where the rows say it."""
    if isinstance(rows, Part):
        return values_of(rows.rows, field)[rows.numbers]
    held: Mapping[str, Array] = getattr(rows, "arrays", {})
    if field in held and len(held[field]) == len(rows):
        return held[field]
    starts = range(0, len(rows), _TOGETHER)
    index = (np.arange(start, min(start + _TOGETHER, len(rows))) for start in starts)
    return np.concatenate([rows.take(each, None)[field] for each in index])


def chances(rows: Rows, field: str) -> NDArray[np.float64]:
    """How likely each row is drawn: in proportion to a field of floats; by one of integers or flags so that all its values come
    equally often. Raises SourceError for a field that says nothing of the kind."""
    values = values_of(rows, field)
    if values.ndim != 1:
        raise SourceError(f"rows can't be drawn by `{field}`, which is no single value")
    if values.dtype.kind in "iub":
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        found = 1.0 / counts[place]
    else:
        found = values.astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(found) | (found < 0))
        if len(wrong):
            raise SourceError(
                f"rows can't be drawn by `{field}`: it is {values[wrong[0]]} in row {wrong[0] + 1:,}"
            )
    if not found.sum():
        raise SourceError(f"rows can't be drawn by `{field}`, which is 0 in all of them")
    shares: NDArray[np.float64] = found / found.sum()
    return shares
