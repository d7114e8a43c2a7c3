"""Batches in a fixed order: which rows a batch holds depends on the seed and its number alone, so that a
run can be continued at any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.runtime.data.parts import number_of
from dlc.source import Rows, SourceError

Array = NDArray[Any]
Batch = Mapping[str, Array]


@dataclass
class Batches:
    """The rows of a source in batches; `names` are the fields that are wanted, `check` refuses a batch. So many
    batches as an update takes `together` are of one pass, if it has them. `refused` makes the error of rows that
    can't be read, after all. With `chances` an epoch draws its rows, each as likely as they say.

    In `streams` the rows of the data are as many stretches as a batch has rows, side by side: what a batch holds in a
    place is what follows, in the data, on what the batch before held there. At the end of its stretch a place goes on with
    the next one's, which is where its own led to; behind the last row comes the first."""

    rows: Rows
    size: int
    seed: int
    names: tuple[str, ...]
    check: Callable[[Batch], None] = lambda batch: None
    together: int = 1
    refused: Callable[[SourceError], Exception] = lambda error: error
    chances: NDArray[np.float64] | None = None
    streams: bool = False
    _order: tuple[int, NDArray[np.int64]] | None = None
    _ahead: dict[int, Future[Batch]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = Lock()
        # Rows that are read from files when they are taken are taken beside the step that comes before theirs.
        self._worker = (
            ThreadPoolExecutor(1, "dlc-rows") if getattr(self.rows, "is_read_late", False) else None
        )

    @property
    def per_epoch(self) -> int:
        """Full batches in one pass, and as many as full updates take: what is left is dropped, as the rows of a short
        last batch are."""
        full = len(self.rows) // self.size
        return full - full % self.together if full >= self.together else full

    def training(self, number: int) -> Batch:
        """The batch of that number, counted from the start of the run; each epoch has an order of its own."""
        if self._worker is None:
            return self._made(number)
        ready = self._ahead.pop(number, None)
        for each in range(number + 1, number + 1 + max(2, self.together)):
            if each not in self._ahead:
                self._ahead[each] = self._worker.submit(self._made, each)
        for each in [each for each in self._ahead if each < number]:
            self._ahead.pop(each).cancel()
        return self._made(number) if ready is None else ready.result()

    def _made(self, number: int) -> Batch:
        return self._wanted(self._taken(self._index(number), (self.seed, number // self.per_epoch)))

    def _index(self, number: int) -> NDArray[np.int64]:
        """The rows of a batch in training."""
        epoch, position = divmod(number, self.per_epoch)
        if self.streams:
            return (np.arange(self.size) + epoch) % self.size * self.per_epoch + position
        return self._epoch_order(epoch)[position * self.size : (position + 1) * self.size]

    def not_finite(self, number: int) -> tuple[str, int] | None:
        """The first field of a batch in training that holds nan or infinity, and the row of the source, from 1."""
        found = _not_finite(self._made(number))
        return found and (found[0], number_of(self.rows, int(self._index(number)[found[1]])) + 1)

    def held_out_not_finite(self) -> tuple[str, int] | None:
        """The same of all rows in order."""
        for i, batch in enumerate(self.evaluation()):
            if found := _not_finite(batch):
                return found[0], number_of(self.rows, i * self.size + found[1]) + 1
        return None

    def evaluation(self) -> Iterator[Batch]:
        """All rows in order, in batches; the last one may be short."""
        for start in range(0, len(self.rows), self.size):
            index = np.arange(start, min(start + self.size, len(self.rows)))
            yield self._wanted(self._taken(index, None))

    def _taken(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> Batch:
        try:
            return self.rows.take(index, epoch)
        except SourceError as error:
            raise self.refused(error) from None

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            count = len(self.rows)
            drawn = (
                rng.permutation(count) if self.chances is None else rng.choice(count, count, p=self.chances)
            )
            self._order = epoch, drawn
        return self._order[1]

    def _wanted(self, batch: Batch) -> Batch:
        wanted = {name: batch[name] for name in self.names}
        self.check(wanted)
        return wanted


def _not_finite(batch: Batch) -> tuple[str, int] | None:
    """The first field that holds nan or infinity, and at which row of the batch."""
    for name, array in batch.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return name, int(np.argmax(~np.isfinite(array).reshape(len(array), -1).all(axis=1)))
    return None
