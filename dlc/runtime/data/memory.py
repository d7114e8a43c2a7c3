"""`arrays`: data that a program in Python hands to training, and that stands in for whatever source the block names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import did_you_mean
from dlc.runtime.data.arrays import stretch
from dlc.source import Request, Rows, SourceError

Array = NDArray[Any]
Given = Mapping[str, Any] | Rows
NAME = "arrays"


def open_rows(request: Request) -> NoReturn:
    """What a command has of it: nothing."""
    raise SourceError(
        f"the data of `{NAME}` is given in Python",
        "call `dlc.train(block, data={…}, held_out={…}, …)`, or name a source of files",
    )


def rows_of(name: str, given: Given, wanted: Iterable[str]) -> Rows:
    """The arrays of these names, rows first; rows of a source's own are taken as they are. `name` is what the argument is
    called. Raises SourceError for what is missing, no array, or not of one length."""
    if not isinstance(given, Mapping):
        if hasattr(given, "take") and hasattr(given, "fields"):
            return given
        found = f"not `{type(given).__name__}`"
        raise SourceError(f"`{name}` must be a mapping from the names of fields to arrays, {found}")
    arrays = {}
    for field in wanted:
        if field not in given:
            known = f"it has {', '.join(map(str, given)) or 'none'}"
            raise SourceError(
                f"`{name}` has no array `{field}`", did_you_mean(field, [*map(str, given)]) or known
            )
        arrays[field] = _array(name, field, given[field])
    if not all(map(len, arrays.values())):
        raise SourceError(f"`{name}` has no rows")
    return stretch(arrays, 0, None)


def _array(name: str, field: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SourceError(f"`{field}` of `{name}` is no array: {error}") from None
    if array.dtype.kind not in "biufV" or array.dtype.type is np.void:
        raise SourceError(f"`{field}` of `{name}` holds {array.dtype}, which is no dtype of a tensor")
    if np.ma.is_masked(value):
        raise SourceError(f"`{field}` of `{name}` has masked elements", "fill them: `array.filled(0)`")
    if not array.ndim:
        raise SourceError(f"`{field}` of `{name}` is a single value, not rows")
    own = array.dtype.newbyteorder("=") if array.dtype.kind in "iuf" else array.dtype
    return array.astype(own, copy=False)
