"""`json`: a list of objects, or one object on each line (`.jsonl`): a row each, whose members are its columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlc.runtime.data.arrays import ArrayRows
from dlc.runtime.data.columns import CHUNK, Chunk, Fault, read_rows
from dlc.runtime.data.files import can_t_read, no_utf8
from dlc.source import Request, SourceError


def open_rows(request: Request) -> ArrayRows:
    """The members of the batch's fields. Raises SourceError with all that is wrong in the file."""
    return read_rows(JsonTable.open(request.path("path")), request)


@dataclass(frozen=True)
class JsonTable:
    """Objects; what the first one has is what all have."""

    path: Path
    names: tuple[str, ...]

    @staticmethod
    def open(path: Path) -> JsonTable:
        """Raises SourceError for a file that can't be read, and for one that is no list of objects."""
        first = next(_objects(path), None)
        if first is None:
            raise SourceError(f"{path} is empty")
        if not isinstance(first[0], Mapping):
            help = 'a row is an object: {"age": 41, "label": "yes"}'
            raise SourceError(f"{path}: its first row is no object", help)
        return JsonTable(path, tuple(first[0]))

    def chunks(self, wanted: Sequence[str]) -> Iterator[Chunk]:
        rows: list[Any] = []
        lines: list[int] = []
        for row, line in _objects(self.path):
            rows.append(row)
            lines += [line] if line else []
            if len(rows) == CHUNK:
                yield _chunk(rows, lines, wanted)
                rows, lines = [], []
        if rows:
            yield _chunk(rows, lines, wanted)


def _chunk(rows: Sequence[Any], lines: Sequence[int], wanted: Sequence[str]) -> Chunk:
    faults = [Fault(i, "", "it is no object") for i, row in enumerate(rows) if not isinstance(row, Mapping)]
    good = [row if isinstance(row, Mapping) else {} for row in rows]
    columns = {name: [row.get(name) for row in good] for name in wanted}
    return Chunk(columns, len(rows), lines, faults)


def _objects(path: Path) -> Iterator[tuple[Any, int]]:
    """Each row and its line; 0 in a list, which has no lines of its own. Raises SourceError."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            start = file.read(64).lstrip()[:1]
            file.seek(0)
            if start == "[":
                yield from ((each, 0) for each in json.load(file))
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parsed(path, line, number), number
    except OSError as error:
        raise can_t_read(path, error) from None
    except UnicodeDecodeError:
        raise no_utf8(path) from None
    except json.JSONDecodeError as error:
        raise SourceError(f"{path}, line {error.lineno:,}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise SourceError(f"{path}: its lists are nested too deeply") from None


def _parsed(path: Path, line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        help = "a row is one line; rows over several lines stand in a list: [{…}, {…}]"
        raise SourceError(f"{path}, line {number:,}, column {error.colno}: {error.msg}", help) from None
