"""What a data source is: it opens rows, which training takes batches from by index.

The sources that ship are in `dlc.runtime.data`; others are found by the entry-point group `dlc.sources`
and are used in a spec by their entry point's name: `batch (…) from spirals(turns=2, batch=64)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dlc import plugins
from dlc.records import dataclass, field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dlc.types.tensor import TensorType

GROUP = "dlc.sources"
REQUIRED: Any = ...


@dataclass(frozen=True, slots=True)
class Field:
    """What a source gives under one name: a dtype ("f32", "i64", "u8", "bool", …) and the shape of one row.

    `limit` is one more than the largest value of a field of integers, where the source knows it: it is
    checked against the tables that the network looks them up in."""

    dtype: str
    shape: tuple[int, ...]
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a train block asks of a source: the options written there (defaults filled in), the types of the
    batch's fields, for integer fields the size of the smallest table that the network looks them up in, the
    folder that paths are relative to, and the one that they may not leave (None: any). `known` is what the
    rows that are trained on say of themselves, where these are others: held-out data, or what a prediction is
    asked of. `allow_python`: whether code that a spec names may be run."""

    options: Mapping[str, Any]
    fields: Mapping[str, TensorType]
    limits: Mapping[str, int] = field(default_factory=dict)
    folder: Path = Path()
    root: Path | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    allow_python: bool = False

    def path(self, option: str) -> Path:
        """The file that an option names. Raises SourceError if it lies outside the root."""
        written = self.options[option]
        found = inside(self.root, self.folder, written)
        if found is None:
            raise SourceError(f"can't read {written}: {OUTSIDE}", "--root FOLDER names a folder above both")
        return found


OUTSIDE = "it lies outside the project's root (see --root)"


def inside(root: Path | None, folder: Path, written: str) -> Path | None:
    """The path as written from `folder`; None if, with links followed, it leaves the root. The one rule for all that a
    spec reads besides imports."""
    found = folder / written
    return found if root is None or found.resolve().is_relative_to(root.resolve()) else None


class SourceError(Exception):
    """Data that can't be opened: the message says why, `help` what to do, `notes` what else is wrong."""

    def __init__(self, message: str, help: str = "", notes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.help = help
        self.notes = tuple(notes)


class Rows(Protocol):
    """Data that is open: `len` rows, taken by index."""

    @property
    def fields(self) -> Mapping[str, Field]: ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What someone needs to use the trained network, such as a tokenizer's characters; JSON values."""
        ...

    def __len__(self) -> int: ...

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> Mapping[str, NDArray[Any]]:
        """The rows at `index`, stacked, by field. In training `epoch` is (seed, epoch), from which anything
        random is to be drawn, so that a run can be continued exactly; None in evaluation."""
        ...


class Source(Protocol):
    """A plug-in. `options` are its arguments by name with their defaults, `REQUIRED` for one that must be
    given; `batch`, `split`, `seed`, `sample_by` and `order` are there for every source."""

    options: Mapping[str, Any]

    def open(self, request: Request) -> Rows:
        """Raises SourceError for data that can't be opened."""
        ...


def find(name: str) -> Source | None:
    """The source of another package under that name. Raises `dlc.plugins.Unloadable` for one that can't be loaded, or is no source."""
    for entry in plugins.entries(GROUP):
        if entry.name == name:
            source: Source = plugins.load(entry)
            lacking = [each for each in ("options", "open") if not hasattr(source, each)]
            if lacking:
                raise plugins.Unloadable(
                    plugins.refusal(entry, f"is no source: it has no `{'` and no `'.join(lacking)}`")
                )
            return source
    return None


def names() -> tuple[str, ...]:
    """The names of the sources of other packages."""
    return tuple(sorted({entry.name for entry in plugins.entries(GROUP)}))
