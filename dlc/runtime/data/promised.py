"""Rows of another package's source, held to what they say of themselves: what they break is told as theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dlc import plugins
from dlc.source import GROUP, Field, Rows

MEMBERS = ("fields", "about", "take", "__len__")


@dataclass(frozen=True)
class Promised:
    """Rows whose `take` is checked. Raises SpecError (E0904) where it gives something else than `fields` says."""

    source: str
    rows: Rows

    def __post_init__(self) -> None:
        lacking = [each for each in MEMBERS if not hasattr(self.rows, each)]
        if lacking:
            self._fail(f"`open` gives {type(self.rows).__name__}, which has no `{lacking[0]}`")
        for name, each in self.fields.items():
            if not isinstance(each, Field):
                self._fail(f"its field `{name}` is {type(each).__name__}, and no `dlc.source.Field`")

    @property
    def fields(self) -> Mapping[str, Field]:
        return self.rows.fields

    @property
    def about(self) -> Mapping[str, Any]:
        return self.rows.about

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """All that they hold in memory, where they say so: what the digest of the data is made of."""
        return getattr(self.rows, "arrays", {})

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> Mapping[str, NDArray[Any]]:
        taken = self.rows.take(index, epoch)
        for name, field in self.fields.items():
            found = taken.get(name) if isinstance(taken, Mapping) else None
            shape = (len(index), *field.shape)
            if not isinstance(found, np.ndarray) or found.shape != shape:
                told = f"shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
                self._fail(
                    f"`take` gives `{name}` as {told}, where its fields promise an array of shape {shape}"
                )
        return taken

    def _fail(self, reason: str) -> NoReturn:
        raise plugins.failed(GROUP, self.source, reason)
