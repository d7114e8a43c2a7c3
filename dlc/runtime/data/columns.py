"""Rows of a table as the fields of a batch: numbers, classes by their names, lists of numbers.

A field is filled by the column of its name; a field `features` that no column is called by holds the numbers of several. What the
type of the field says is what its column has to hold. A whole file is read before anything is said: what is wrong in it is told by row
and column, the first places in full and the number of the others."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import did_you_mean
from dlc.ops.arrays import numpy_dtype
from dlc.runtime.data.arrays import ArrayRows
from dlc.runtime.data.growing import Growing
from dlc.runtime.data.tokens import Tokenizer, chosen
from dlc.source import Request, SourceError
from dlc.types.tensor import TensorType, holds

Array = NDArray[Any]
FEATURES = "features"
CHUNK = 8192  # rows that are looked at together
TOLD = 3  # faults that are told in full
ABSENT = frozenset({"", "NA", "N/A", "nan", "NaN", "NAN", "null", "NULL"})
"""How files write a number that is not there."""
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


class Fault(NamedTuple):
    """What is wrong in a row of a table: `row` counts from 0 in its chunk, `column` is empty where all of it is."""

    row: int
    column: str
    reason: str
    help: str = ""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table by column; `lines` are where they stand in the file, where it has lines."""

    columns: Mapping[str, Sequence[Any] | Array]
    length: int
    lines: Sequence[int] = ()
    faults: Sequence[Fault] = ()


class Table(Protocol):
    """A file of rows. `chunks` raises SourceError for what can't be read on."""

    @property
    def path(self) -> Path: ...

    @property
    def names(self) -> Sequence[str]: ...

    def chunks(self, wanted: Sequence[str]) -> Iterator[Chunk]: ...


class Values(NamedTuple):
    """Values of a chunk, and which of them are not there."""

    array: Array
    absent: NDArray[np.bool_]
    faults: list[Fault]


class Reader(Protocol):
    """Reads the columns of one field. `about` is what it found out, for the run's manifest."""

    columns: tuple[str, ...]

    def read(self, chunk: Chunk) -> Values: ...

    def whole(self, array: Array) -> Array:
        """All values, once the last is read."""
        ...

    def classes(self) -> list[str] | None: ...


# --- readers
# ---------------------------------------------------------------------------------------------------


@dataclass
class Numbers:
    """Numbers of a column, or of several side by side."""

    columns: tuple[str, ...]
    type: TensorType

    def read(self, chunk: Chunk) -> Values:
        read = [_floats(chunk.columns[name], name) for name in self.columns]
        absent = np.logical_or.reduce([each.absent for each in read])
        arrays = [each.array for each in read]
        array = arrays[0] if self.type.rank == 1 else np.stack(arrays, axis=1)
        return Values(array, absent, [fault for each in read for fault in each.faults])

    def whole(self, array: Array) -> Array:
        return array.astype(numpy_dtype(self.type.dtype), copy=False)

    def classes(self) -> None:
        return None


def _floats(values: Sequence[Any] | Array, column: str) -> Values:
    """Numbers as f64, nan where none is there."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        array = None
    if array is not None and array.ndim == 1 and np.isfinite(array).all():
        return Values(array, np.zeros(len(array), bool), [])
    read = [_float(each) for each in values]
    faults = [
        Fault(i, column, f"{_shown(values[i])} is no number") for i, each in enumerate(read) if each is None
    ]
    found = np.array([math.nan if each is None else each for each in read])
    absent = np.array([each is not None and math.isnan(each) for each in read])
    return Values(found, absent, faults)


def _float(value: Any) -> float | None:
    """A number, nan where none is there, None where there is something else."""
    if value is None or (isinstance(value, str) and value.strip() in ABSENT):
        return math.nan
    if not isinstance(value, str | int | float | np.number) and not hasattr(value, "__float__"):
        return None
    try:
        found = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if math.isinf(found) else found


@dataclass
class Labels:
    """Whole numbers, or names of classes, which are numbered in their order; which of the two, the first value says.

    Names that are known keep their numbers: those of the training data, or those `listed` in the spec, where the column is not of
    whole numbers none of which is among them."""

    columns: tuple[str, ...]
    type: TensorType
    known: Sequence[str] | None
    listed: Sequence[str] | None = None
    numbers: dict[str, int] = field(init=False)
    is_named: bool | None = None

    def __post_init__(self) -> None:
        self._name(self.known)

    def _name(self, known: Sequence[str] | None) -> None:
        self.known = known
        self.numbers = {name: i for i, name in enumerate(known or ())}
        self.is_named = True if known is not None else None

    def read(self, chunk: Chunk) -> Values:
        (column,) = self.columns
        values = chunk.columns[column]
        if self.is_named is None:
            self._decide([each for each in values if not _is_absent(each)])
        return self._named(values, column) if self.is_named else self._whole(values, column)

    def _decide(self, values: Sequence[Any]) -> None:
        """Whether the column has names, by values of it."""
        if not values:
            return
        # Where numbers begin with one that is not there, the others say that they are numbers.
        first = next((each for each in values if not _is_missing(each)), values[0])
        if self.listed is None:
            self.is_named = _whole(first) is None
        elif any(
            str(each) in self.listed or (_whole(each) is None and not _is_missing(each)) for each in values
        ):
            self._name(self.listed)
        else:
            self.is_named = False

    def _whole(self, values: Sequence[Any] | Array, column: str) -> Values:
        if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and _has_room(values, self.type):
            return Values(values.astype(np.int64), np.zeros(len(values), bool), [])
        absent = np.array([_is_missing(each) for each in values], dtype=bool)
        read = [0 if gone else _whole(each) for each, gone in zip(values, absent, strict=True)]
        faults = [
            Fault(i, column, f"{_shown(values[i])} is no whole number that {self.type.dtype} holds")
            for i, each in enumerate(read)
            if each is None or not holds(self.type.dtype, each)
        ]
        return Values(np.array([each or 0 for each in read], dtype=np.int64), absent, faults)

    def _named(self, values: Sequence[Any] | Array, column: str) -> Values:
        found, faults = np.zeros(len(values), np.int64), []
        absent = np.zeros(len(values), dtype=bool)
        for i, value in enumerate(values):
            if value is None or value == "":
                absent[i] = True
                continue
            name = str(value)
            if self.known is None:
                found[i] = self.numbers.setdefault(name, len(self.numbers))
            elif name in self.numbers:
                found[i] = self.numbers[name]
            else:
                help = did_you_mean(name, self.known) or f"classes are {_listed(self.known)}"
                faults.append(Fault(i, column, f"{_shown(value)} is none of the classes", help))
        return Values(found, absent, faults)

    def whole(self, array: Array) -> Array:
        if not self.is_named or self.known is not None:
            return _narrowed(array, self.type)
        rank = np.zeros(max(1, len(self.numbers)), np.int64)
        for i, name in enumerate(self.classes() or ()):
            rank[self.numbers[name]] = i
        for start in range(0, len(array), CHUNK):
            array[start : start + CHUNK] = rank[array[start : start + CHUNK]]
        return _narrowed(array, self.type)

    def classes(self) -> list[str] | None:
        if not self.is_named:
            return None
        return list(self.known) if self.known is not None else sorted(self.numbers)


def _whole(value: Any) -> int | None:
    """A whole number, to its last digit also where f64 has not all of them; None for something else, and for what i64 has no place for."""
    try:
        found = int(value) if isinstance(value, int | np.integer) else _exact(value)
    except (ValueError, TypeError, ArithmeticError):
        return None
    return found if found is not None and -(2**63) <= found < 2**63 else None


def _exact(value: Any) -> int | None:
    """Of a text, `12`, `12.0` or `1.2e1`, or of a float. Raises ValueError, TypeError and ArithmeticError."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            if not math.isfinite(float(value)):
                return None
            value = Decimal(value.strip())
            if value.adjusted() > 18:
                return None
    return int(value) if value == int(value) else None


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _is_missing(value: Any) -> bool:
    """Whether there is no value where no names of classes are: one may be called `NA`."""
    return _is_absent(value) or (isinstance(value, str) and value.strip() in ABSENT)


@dataclass
class Flags:
    """True and false, in the words for them."""

    columns: tuple[str, ...]

    def read(self, chunk: Chunk) -> Values:
        (column,) = self.columns
        values = chunk.columns[column]
        words = [str(each).strip().lower() for each in values]
        absent = np.array([_is_missing(each) for each in values], dtype=bool)
        faults = [
            Fault(i, column, f"{_shown(values[i])} is neither true nor false")
            for i, word in enumerate(words)
            if not absent[i] and word not in _TRUE | _FALSE
        ]
        return Values(np.array([word in _TRUE for word in words], dtype=bool), absent, faults)

    def whole(self, array: Array) -> Array:
        return array

    def classes(self) -> None:
        return None


@dataclass
class Lists:
    """Lists of numbers, of one shape in all rows."""

    columns: tuple[str, ...]
    type: TensorType
    shape: tuple[int, ...] | None = None

    def read(self, chunk: Chunk) -> Values:
        (column,) = self.columns
        values = chunk.columns[column]
        absent = np.array([each is None for each in values], dtype=bool)
        dtype = np.dtype(np.float32 if self.type.is_float else np.int64)
        rows, faults = [], []
        for i, value in enumerate(values):
            row = None if absent[i] else _array(value, dtype, self.type)
            if row is not None and self.shape is None:
                self.shape = row.shape
            if row is None and not absent[i]:
                what = "numbers" if self.type.is_float else f"whole numbers that {self.type.dtype} holds"
                faults.append(Fault(i, column, f"{_shown(value)} is no list of {what}"))
            elif row is not None and row.shape != self.shape:
                told = f"it has the shape {list(row.shape)}, rows before it have {list(self.shape or ())}"
                faults.append(Fault(i, column, told))
            rows.append(row)
        blank = np.zeros(self.shape or (), dtype)
        good = [each if each is not None and each.shape == blank.shape else blank for each in rows]
        return Values(np.stack(good) if good else blank[None][:0], absent, faults)

    def whole(self, array: Array) -> Array:
        return array if self.type.is_float else _narrowed(array, self.type)

    def classes(self) -> None:
        return None


@dataclass
class Texts:
    """Texts as so many tokens: what is longer is cut off, what is shorter is filled up."""

    columns: tuple[str, ...]
    length: int
    tokenizer: Tokenizer

    def read(self, chunk: Chunk) -> Values:
        (column,) = self.columns
        values = chunk.columns[column]
        found = np.full((len(values), self.length), self.tokenizer.padding, np.int64)
        faults = []
        for i, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                faults.append(Fault(i, column, f"{_shown(value)} is no text"))
            elif value:
                tokens = self.tokenizer.encode(value)[: self.length]
                found[i, : len(tokens)] = tokens
        return Values(found, np.array([_is_absent(each) for each in values], dtype=bool), faults)

    def whole(self, array: Array) -> Array:
        return array

    def classes(self) -> None:
        return None


def _has_room(values: Array, type: TensorType) -> bool:
    """Whether a type has all of these whole numbers."""
    return not values.size or all(holds(type.dtype, int(each)) for each in (values.min(), values.max()))


def _narrowed(array: Array, type: TensorType) -> Array:
    """In the dtype that the batch declares, if that has all values."""
    return array.astype(numpy_dtype(type.dtype), copy=False) if _has_room(array, type) else array


def _array(value: Any, dtype: np.dtype[Any], type: TensorType) -> Array | None:
    try:
        found = np.asarray(value)
    except (ValueError, TypeError):
        return None
    kinds = "iu" if dtype.kind == "i" else "iuf"
    is_good = found.dtype.kind in kinds and found.ndim and np.isfinite(found).all()
    is_good = is_good and (dtype.kind != "i" or _has_room(found, type))
    return found.astype(dtype) if is_good else None


# --- a table
# ---------------------------------------------------------------------------------------------------


def read_rows(table: Table, request: Request) -> ArrayRows:
    """The fields that the batch names. Raises SourceError with all that is wrong in the file."""
    readers = {name: _reader(table, request, name, type) for name, type in request.fields.items()}
    if not readers:
        raise SourceError("the batch has no fields")
    wanted = [*dict.fromkeys(column for each in readers.values() for column in each.columns)]
    arrays, left_out = _arrays(table, readers, wanted, request.options["missing"])
    classes = {name: found for name, each in readers.items() if (found := each.classes()) is not None}
    about: dict[str, Any] = {"classes": classes} if classes else {}
    if FEATURES in readers and FEATURES not in table.names:
        about[FEATURES] = list(readers[FEATURES].columns)
    columns = {name: each.columns[0] for name, each in readers.items() if name not in about}
    if renamed := {name: column for name, column in columns.items() if column != name}:
        about["columns"] = renamed
    for each in readers.values():
        about |= each.tokenizer.about if isinstance(each, Texts) else {}
    return ArrayRows(
        {name: each.whole(arrays[name]) for name, each in readers.items()}, about, left_out=left_out
    )


def _arrays(
    table: Table, readers: Mapping[str, Reader], wanted: Sequence[str], missing: str | float
) -> tuple[dict[str, Array], NDArray[np.int64]]:
    """The values by field, and the numbers of the rows that were left out."""
    found, left_out = {name: Growing() for name in readers}, [np.zeros(0, np.int64)]
    faults, rows = 0, 0
    told: list[tuple[str, str, str]] = []
    for chunk in table.chunks(wanted):
        read = {name: each.read(chunk) for name, each in readers.items()}
        wrong = [*chunk.faults, *(fault for each in read.values() for fault in each.faults)]
        gaps = (name for name, each in readers.items() if missing != "drop" and not _is_filled(each, missing))
        wrong += [fault for name in gaps for fault in _gaps(readers[name], read[name], chunk)]
        faults += len(wrong)
        for fault in sorted(wrong, key=lambda fault: fault.row)[: TOLD - len(told)]:
            told.append((_place(table, chunk, rows, fault), fault.reason, fault.help))
        kept = _kept(read, chunk, missing)
        for name, each in read.items():
            found[name].add(_filled(each, missing)[kept])
        left_out.append(rows + np.flatnonzero(~kept))
        rows += chunk.length
    if told:
        raise _wrong(told, faults)
    arrays = {name: each.array() for name, each in found.items()}
    if not any(map(len, arrays.values())):
        raise SourceError(f"{table.path} has no rows" + (": all of them lack a value" if rows else ""))
    return arrays, np.concatenate(left_out)


def _is_filled(reader: Reader, missing: str | float) -> bool:
    """Whether a number stands in for what is missing: among numbers that it is one of, not among names of classes or lists."""
    if isinstance(missing, str):
        return False
    if isinstance(reader, Labels) and not reader.is_named:
        return float(missing).is_integer() and holds(reader.type.dtype, missing)
    return isinstance(reader, Numbers)


def _gaps(reader: Reader, values: Values, chunk: Chunk) -> Iterator[Fault]:
    """What is missing, by the columns that lack it."""
    for row in map(int, np.flatnonzero(values.absent)):
        for column in reader.columns:
            if len(reader.columns) == 1 or math.isnan(_float(chunk.columns[column][row]) or 0.0):
                help = 'leave such rows out: `missing="drop"`'
                help += "; or put a number there: `missing=0.0`" if _is_filled(reader, 0.0) else ""
                yield Fault(row, column, "the value is missing", help)


def _kept(read: Mapping[str, Values], chunk: Chunk, missing: str | float) -> NDArray[np.bool_]:
    kept = np.ones(chunk.length, dtype=bool)
    if missing == "drop":
        for each in read.values():
            kept &= ~each.absent
    return kept


def _filled(values: Values, missing: str | float) -> Array:
    if isinstance(missing, str) or not values.absent.any():
        return values.array
    array = values.array.copy()
    array[np.isnan(array) if array.dtype.kind == "f" else values.absent] = missing
    return array


def _place(table: Table, chunk: Chunk, before: int, fault: Fault) -> str:
    line = f" (line {chunk.lines[fault.row]:,})" if chunk.lines else ""
    column = f", column `{fault.column}`" if fault.column else ""
    return f"{table.path}, row {before + fault.row + 1:,}{line}{column}"


def _wrong(told: Sequence[tuple[str, str, str]], count: int) -> SourceError:
    place, reason, help = told[0]
    notes = [f"{each}: {why}" for each, why, _ in told[1:]]
    left = count - len(told)
    notes += [f"and {left:,} more"] if left else []
    return SourceError(f"{place}: {reason}", help, notes)


# --- from fields to columns
# ------------------------------------------------------------------------------------


def _reader(table: Table, request: Request, name: str, type: TensorType) -> Reader:
    if name == FEATURES and name not in table.names:
        return Numbers(_features(table, request), type)
    column = _column(table, name)
    if type.rank == 2 and not type.is_float and request.options["tokenizer"] is not None:
        return Texts((column,), _length(name, type), chosen(request, None))
    if type.rank > 1:
        return Lists((column,), type)
    if type.dtype == "bool":
        return Flags((column,))
    if type.is_float:
        return Numbers((column,), type)
    known = request.known.get("classes", {}).get(name)
    return Labels((column,), type, known, None if known else request.options["classes"])


def _column(table: Table, name: str) -> str:
    """The column of a field: of its name, or the one whose name is no word of the language but reads like it, as `petal length (cm)`
    does like `petal_length_cm`. Raises SourceError."""
    if name in table.names:
        return name
    alike = [each for each in table.names if re.sub(r"\W+", "_", each).strip("_").lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    raise _no_column(table, name)


def _no_column(table: Table, name: str) -> SourceError:
    """With what the file has instead: in a CSV file that may be a line in other delimiters, or a first row."""
    help = did_you_mean(name, table.names) or f"it has {_listed(table.names)}"
    between = [each for each in ";\t|," if len(table.names) == 1 and each in table.names[0]]
    if between:
        help = f"its values are parted otherwise: `delimiter={json.dumps(between[0])}`"
    elif any(map(_is_number, table.names)):
        help += "; where its first line is a row, not names: `columns=[…]` names them"
    return SourceError(f"{table.path} has no column `{name}`", help)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _length(name: str, type: TensorType) -> int:
    size = type.axes[1].constant
    if size is None:
        raise SourceError(
            f"`{name}: {type}` does not say how many tokens of a text it has", "write a number: i64[B, 64]"
        )
    return size


def _features(table: Table, request: Request) -> tuple[str, ...]:
    """The columns whose numbers stand side by side: those that the spec lists, those of the training data, or all that no
    other field is."""
    listed = request.options["features"] or request.known.get(FEATURES)
    taken = {_column(table, each) for each in request.fields if each != FEATURES}
    found = listed or [each for each in table.names if each not in taken]
    for each in found:
        if each not in table.names:
            raise _no_column(table, each)
    if not found:
        raise SourceError(f"{table.path} has no column for `{FEATURES}`")
    return tuple(found)


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown or "none"


def _shown(value: Any) -> str:
    text = str(value)
    return f'"{text if len(text) <= 40 else text[:39] + "…"}"'
