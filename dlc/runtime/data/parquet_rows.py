"""`parquet`: a file of columns (Apache Parquet), read a group of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlc.runtime.data.arrays import ArrayRows
from dlc.runtime.data.columns import CHUNK, Chunk, read_rows
from dlc.runtime.data.files import can_t_read, missing_package
from dlc.source import Request, SourceError


def open_rows(request: Request) -> ArrayRows:
    """The columns of the batch's fields. Raises SourceError without pyarrow, and with all that is wrong in the file."""
    return read_rows(ParquetTable.open(request.path("path")), request)


@dataclass(frozen=True)
class ParquetTable:
    path: Path
    names: tuple[str, ...]

    @staticmethod
    def open(path: Path) -> ParquetTable:
        """Raises SourceError for a file that can't be read, and without pyarrow."""
        return ParquetTable(path, tuple(_opened(path).schema_arrow.names))

    def chunks(self, wanted: Sequence[str]) -> Iterator[Chunk]:
        import pyarrow

        row = 0
        try:
            for batch in _opened(self.path).iter_batches(batch_size=CHUNK, columns=[*wanted]):
                columns = {name: _values(batch.column(i)) for i, name in enumerate(wanted)}
                yield Chunk(columns, batch.num_rows)
                row += batch.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise SourceError(f"can't read {self.path} behind row {row:,}: {reason}") from None


def _opened(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise missing_package("`parquet`", "pyarrow") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except OSError as error:
        raise can_t_read(path, error) from None
    except pyarrow.ArrowException as error:
        raise SourceError(f"can't read {path}: {str(error).partition(chr(10))[0]}") from None


def _values(column: Any) -> Any:
    """Numbers as an array, without a Python object for each; all else as Python has it."""
    import pyarrow

    is_plain = pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)
    if is_plain and not column.null_count:
        return column.to_numpy(zero_copy_only=False)
    return column.to_pylist()
