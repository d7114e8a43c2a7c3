"""Data for training: sources by name, their types checked against the batch's, and batches in a fixed
order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dlc import source as sources
from dlc.plugins import Unloadable
from dlc.runtime.data import (
    csv_rows,
    digits,
    idx,
    images,
    json_rows,
    memory,
    npz,
    own_python,
    parquet_rows,
    synthetic,
    text,
)
from dlc.runtime.data.promised import Promised
from dlc.source import Request, Rows

OPENERS: Mapping[str, Callable[[Request], Rows]] = {
    "digits": digits.open_rows,
    "idx": idx.open_rows,
    "npz": npz.open_rows,
    "csv": csv_rows.open_rows,
    "parquet": parquet_rows.open_rows,
    "json": json_rows.open_rows,
    "images": images.open_rows,
    "text": text.open_rows,
    "synthetic": synthetic.open_rows,
    "python": own_python.open_rows,
    memory.NAME: memory.open_rows,
}


def open_rows(name: str, request: Request) -> Rows:
    """All rows of the source of that name, whatever share of them is wanted. Raises SourceError for data that can't be
    opened."""
    if name in OPENERS:
        return OPENERS[name](request)
    try:
        found = sources.find(name)
    except Unloadable as error:
        raise sources.SourceError(f"the source `{name}` is not available: {error}") from error
    if found is None:
        raise sources.SourceError(f"there is no source `{name}`")
    return Promised(name, found.open(request))
