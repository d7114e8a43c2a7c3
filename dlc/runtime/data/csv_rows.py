"""`csv`: a text file of rows, whose first line names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlc.runtime.data.arrays import ArrayRows
from dlc.runtime.data.columns import CHUNK, Chunk, Fault, read_rows
from dlc.runtime.data.files import can_t_read, no_utf8
from dlc.source import Request, SourceError

LONGEST = 1 << 24  # characters of one value


def open_rows(request: Request) -> ArrayRows:
    """The columns of the batch's fields. Raises SourceError with all that is wrong in the file."""
    options = request.options
    return read_rows(CsvTable.open(request.path("path"), options["columns"], options["delimiter"]), request)


@dataclass(frozen=True)
class CsvTable:
    """A file whose columns have these names: its first line's, where it `has_header`."""

    path: Path
    names: tuple[str, ...]
    has_header: bool
    delimiter: str

    @staticmethod
    def open(path: Path, columns: Sequence[str] | None = None, delimiter: str = ",") -> CsvTable:
        """Raises SourceError for a file that can't be read, and for a header that names no columns, or one twice."""
        if columns is not None:
            return CsvTable(path, tuple(columns), False, delimiter)
        header = next(_lines(path, delimiter), ((), 0))[0]
        names = tuple(each.strip() for each in header)
        if not names:
            raise SourceError(f"{path} is empty", "its first line names the columns")
        twice = next((each for i, each in enumerate(names) if each in names[:i]), None)
        if twice is not None:
            raise SourceError(f"{path}, line 1: two columns are called `{twice}`")
        if "" in names:
            column = names.index("") + 1
            help = "name it, or say what a file without a header has: `columns=[…]`"
            raise SourceError(f"{path}, line 1: column {column} has no name", help)
        return CsvTable(path, names, True, delimiter)

    def chunks(self, wanted: Sequence[str]) -> Iterator[Chunk]:
        places = [(name, self.names.index(name)) for name in wanted]
        rows: list[Sequence[str]] = []
        lines: list[int] = []
        for i, (row, line) in enumerate(_lines(self.path, self.delimiter)):
            if i or not self.has_header:
                rows.append(row)
                lines.append(line)
            if len(rows) == CHUNK:
                yield self._chunk(rows, lines, places)
                rows, lines = [], []
        if rows:
            yield self._chunk(rows, lines, places)

    def _chunk(self, rows: list[Sequence[str]], lines: list[int], places: Sequence[tuple[str, int]]) -> Chunk:
        width = len(self.names)
        faults = [
            Fault(i, "", f"it has {len(row)} values, and there are {width} columns")
            for i, row in enumerate(rows)
            if len(row) != width
        ]
        if faults:  # zeros in their place, so that this alone is told of them
            blank = ["0"] * width
            rows = [row if len(row) == width else blank for row in rows]
        columns = [*zip(*rows, strict=True)]
        return Chunk({name: columns[i] for name, i in places}, len(rows), lines, faults)


def _lines(path: Path, delimiter: str) -> Iterator[tuple[Sequence[str], int]]:
    """Each row that is no empty line, and the line on which it begins. Raises SourceError."""
    before = csv.field_size_limit(LONGEST)
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row in reader:
                if row:
                    yield row, line
                line = reader.line_num + 1
    except OSError as error:
        raise can_t_read(path, error) from None
    except UnicodeDecodeError:
        raise no_utf8(path) from None
    except csv.Error as error:
        raise SourceError(
            f"{path}, line {line:,}: {error}", "quotes that are opened must be closed"
        ) from None
    finally:
        csv.field_size_limit(before)
