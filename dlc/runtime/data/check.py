"""What a source gives against what the batch declares, before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dlc.diagnostics import did_you_mean
from dlc.runtime.data.parts import number_of, whole_of
from dlc.source import Field, Rows, SourceError
from dlc.types.dim_solve import bind
from dlc.types.tensor import INTS, TensorType

Sizes = dict[str, int]


def problems(
    source: str,
    rows: Rows,
    given: Mapping[str, Field],
    declared: Mapping[str, TensorType],
    limits: Mapping[str, int],
    batch: int,
) -> Iterator[tuple[str, SourceError, tuple[str, ...]]]:
    """(field, what is wrong, notes with both types) for every declared field that the source does not
    fill. `given` are the fields of the rows."""
    sizes: Sizes = {}
    for name, type in declared.items():
        field = given.get(name)
        if field is None:
            help = did_you_mean(name, given) or f"it has {', '.join(given)}"
            yield name, SourceError(f"`{source}` has no field `{name}`", help), ()
            continue
        shape = (batch, *field.shape)
        notes = (f"declared: {type}", f"found: {TensorType.of(field.dtype, list(shape))}")
        wrong = (
            _dtype(name, field, type) or _shape(name, shape, type, sizes) or _limit(name, field, limits, rows)
        )
        if wrong is not None:
            yield name, wrong, notes


def _dtype(name: str, field: Field, type: TensorType) -> SourceError | None:
    """Floats fill floats of any width; whole numbers whole ones that hold their values; bool only bool."""
    if field.dtype == type.dtype or (_is_float(field.dtype) and type.is_float):
        return None
    if field.dtype in INTS and type.dtype in INTS and _fits(field, type.dtype):
        return None
    help = "declare it as it is and convert it: `cast(…)`"
    return SourceError(f"`{name}` is {field.dtype} in the data, not {type.dtype}", help)


def _is_float(dtype: str) -> bool:
    return TensorType(dtype, ()).is_float


_BITS = {"u8": 8, "i4": 3, "i8": 7, "i16": 15, "i32": 31, "i64": 63}


def _fits(field: Field, dtype: str) -> bool:
    if dtype == "u8" and field.dtype != "u8":
        return False  # which may be negative
    known = field.limit is not None and field.dtype == "u8"
    return _BITS[field.dtype] <= _BITS[dtype] or (known and (field.limit or 0) <= 2 ** _BITS[dtype])


def _shape(name: str, shape: tuple[int, ...], type: TensorType, sizes: Sizes) -> SourceError | None:
    if len(shape) != type.rank:
        axes = f"{len(shape)} axes in the data, {type.rank} as declared"
        return SourceError(f"`{name}` does not fit: {axes}", "sources never reshape; do it in the block")
    for axis, size in zip(type.axes, shape, strict=True):
        bind(axis, size, sizes)
        if not axis.symbols <= sizes.keys() or axis.evaluate(sizes) != size:
            return SourceError(f"`{name}` does not fit: an axis of {size} in the data is declared as {axis}")
    return None


def sizes(given: Mapping[str, Field], declared: Mapping[str, TensorType], batch: int) -> Sizes:
    """The size of every dim of the declared types."""
    found: Sizes = {}
    for name, type in declared.items():
        for axis, size in zip(type.axes, (batch, *given[name].shape), strict=True):
            bind(axis, size, found)
    return found


def _limit(name: str, field: Field, limits: Mapping[str, int], rows: Rows) -> SourceError | None:
    limit = limits.get(name)
    if field.limit is None or limit is None or field.limit <= limit:
        return None
    found = f"`{name}` goes up to {field.limit - 1}"
    help = f"a table of {field.limit} would hold it; it is counted from 0"
    told = f"{found}, and the network looks it up in a table of {limit}"
    return SourceError(told, help, _beyond(whole_of(rows), name, limit))


def _beyond(rows: Rows, name: str, limit: int) -> Iterator[str]:
    """Where that stands which a table of so many has no place for, of rows that lie in memory. Of names of classes any may be the
    wrong one; most often it is the rarest."""
    values = getattr(rows, "arrays", {}).get(name)
    if values is None:
        return
    classes = rows.about.get("classes", {}).get(name)
    if classes is None:
        wrong = np.flatnonzero((values >= limit).reshape(len(values), -1).any(axis=1))
        value = f"{values[wrong[0]].max()}"
    else:
        rarest = np.argmin(np.bincount(values.reshape(-1), minlength=len(classes)))
        wrong = np.flatnonzero(values == rarest)
        value = f"`{classes[rarest]}`, of its {len(classes):,} classes the rarest,"
    column = rows.about.get("columns", {}).get(name, name)
    others = "" if len(wrong) == 1 else f", and in {len(wrong) - 1:,} more"
    yield f"{value} stands in row {number_of(rows, int(wrong[0])) + 1:,}, column `{column}`{others}"
