"""`evaluate`: a trained block on all of its held-out data: loss, metrics, and of classifiers what they take for what."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc import arguments
from dlc.arguments import takes
from dlc.backend import Runnable
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.runtime.compile import find_backend
from dlc.runtime.data import check
from dlc.runtime.data.batches import Batches
from dlc.runtime.data.memory import Given
from dlc.runtime.reported import number
from dlc.runtime.together import evaluated
from dlc.runtime.trained import CLASSES, Trained
from dlc.runtime.trainers import Trainers
from dlc.runtime.training import lacks_training
from dlc.runtime.training_data import check_measured, open_held_out
from dlc.spec import TRAIN_BLOCK, TrainBlock

Array = NDArray[Any]
MOST = 1000  # classes of which a table is made
SHOWN = 20  # classes that a matrix shows as text


@dataclass(frozen=True)
class Confusion:
    """How often a class (row) was taken for another (column)."""

    counts: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        return _share(np.trace(self.counts), self.counts.sum())

    def rows(self) -> list[dict[str, Any]]:
        """Of each class: how many there are, the share of what was taken for it that is it, of it that was found, and their
        harmonic mean; nan for a share of nothing."""
        found = np.diag(self.counts)
        said, there = self.counts.sum(axis=0), self.counts.sum(axis=1)
        return [
            {
                "class": name,
                "rows": int(there[i]),
                "precision": _share(found[i], said[i]),
                "recall": _share(found[i], there[i]),
                "f1": _share(2 * found[i], said[i] + there[i]),
            }
            for i, name in enumerate(self.names)
        ]

    def text(self) -> str:
        width = max(5, *(len(each) for each in self.names))
        lines = [f"{'class'.ljust(width)}  {'rows':>7}  {'precision':>9}  {'recall':>7}  {'f1':>7}"]
        for row in self.rows():
            shares = f"{row['precision']:>9.4f}  {row['recall']:>7.4f}  {row['f1']:>7.4f}"
            lines.append(f"{row['class'].ljust(width)}  {row['rows']:>7,}  {shares}")
        return "\n".join([*lines, "", *self._matrix()])

    def _matrix(self) -> list[str]:
        if len(self.names) > SHOWN:
            pairs = self._most_confused(10)
            return ["most often taken for another:", *pairs] if pairs else []
        head = [name[:8] for name in self.names]
        cell = max(5, *(len(each) for each in head), len(f"{self.counts.max():,}"))
        width = max(5, *(len(each) for each in self.names))
        lines = ["is \\ said".ljust(width) + "".join(each.rjust(cell + 2) for each in head)]
        for name, row in zip(self.names, self.counts, strict=True):
            lines.append(name.ljust(max(width, 9)) + "".join(f"{each:,}".rjust(cell + 2) for each in row))
        lines[0] = "is \\ said".ljust(max(width, 9)) + lines[0][len("is \\ said".ljust(width)) :]
        return lines

    def _most_confused(self, most: int) -> list[str]:
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        places = [divmod(int(each), len(self.names)) for each in order]
        return [f"{self.names[i]} for {self.names[j]}: {wrong[i, j]:,}" for i, j in places if wrong[i, j]]

    def to_json(self) -> dict[str, Any]:
        rows = [
            {key: number(v) if isinstance(v, float) else v for key, v in row.items()} for row in self.rows()
        ]
        return {"classes": rows, "matrix": self.counts.tolist()}

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write the matrix as a picture. Raises SpecError without matplotlib."""
        from dlc.runtime.plots import matrix

        matrix(self.counts, self.names, Path(path))


def _share(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else float("nan")


@dataclass(frozen=True)
class Evaluation:
    """What a trained block gives on its held-out data; `confusion` of classifiers."""

    name: str
    rows: int
    loss: float
    metrics: Mapping[str, float]
    confusion: Confusion | None

    def to_json(self) -> dict[str, Any]:
        head = {"name": self.name, "rows": self.rows, "loss": number(self.loss)}
        metrics = {name: number(value) for name, value in self.metrics.items()}
        found = {"confusion": self.confusion.to_json()} if self.confusion else {}
        return {**head, "metrics": metrics, **found}

    def text(self) -> str:
        metrics = "".join(f"  {name} {value:.4f}" for name, value in self.metrics.items())
        head = f"{self.name}: {self.rows:,} rows  loss {self.loss:.4f}{metrics}"
        return f"{head}\n\n{self.confusion.text()}" if self.confusion else head


@takes(
    block=TRAIN_BLOCK,
    weights=arguments.path,
    backend=arguments.optional(arguments.BACKEND),
    device=arguments.DEVICE,
)
def evaluate(
    block: TrainBlock,
    *,
    weights: str | os.PathLike[str],
    backend: str | None = None,
    device: str = "cpu",
    held_out: Given | None = None,
) -> Evaluation:
    """A trained block on the data of its `evaluate` statement, or on what is given in its place. `weights` is the folder of a run, or a file of its only network.
    Without a `backend` that of the run computes. Raises SpecError."""
    trained = Trained.of(block, weights)
    name = trained.backend_or(backend)
    found = find_backend(name, usable=True)
    if not found.trains:
        raise lacks_training(found)
    plan = block.plan
    if plan.evaluate is None and held_out is None:
        message = f"the train block `{plan.name}` holds no data out"
        help = "say which: `evaluate from …`; or train on a share, and `evaluate from rest()`"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)])
    batches = open_held_out(block, trained.about, held_out)
    sizes = check.sizes(batches.rows.fields, plan.evaluate_fields or plan.fields, batches.size)
    trainers = Trainers(block, sizes)
    trainer = trainers.of(found, device, _complete(trained))
    values = evaluated(trainer, trainers.held_out, batches.evaluation())
    loss = values.pop("loss")
    check_measured(block, batches, loss)
    return Evaluation(plan.name, len(batches.rows), loss, values, _confusion(trained, batches, name, device))


def _complete(trained: Trained) -> dict[str, Array]:
    """The weights, each where the program wants it. Raises SpecError with what is missing."""
    from dlc.runtime.weights import load_weights

    return load_weights(trained.block.plan.evaluation, trained.weights)


def _confusion(trained: Trained, batches: Batches, backend: str, device: str) -> Confusion | None:
    """Of a classifier, whose labels are no part of what it is given."""
    found = trained.answers
    count = found.scores.type.axes[-1].constant if found.scores.type.rank else None
    if found.kind != CLASSES or found.target is None or count is None or not 1 < count <= MOST:
        return None
    if found.label in trained.inputs:
        return None
    counts = np.zeros((count, count), np.int64)
    runnable = trained.runnable(backend, device, target=True)
    for batch in batches.evaluation():
        _count(counts, runnable, {**batch}, found.ignore, {*trained.inputs, found.label})
    names = trained.classes or []
    return Confusion(counts, tuple(names[i] if i < len(names) else str(i) for i in range(count)))


def _count(
    counts: NDArray[np.int64],
    runnable: Runnable,
    batch: Mapping[str, Array],
    ignore: int | None,
    wanted: set[str],
) -> None:
    given = runnable(**{name: batch[name] for name in wanted})
    target = np.asarray(given["target"]).reshape(-1)
    said = np.asarray(given["scores"]).argmax(axis=-1).reshape(-1)
    kept = np.ones(len(target), bool) if ignore is None else target != ignore
    np.add.at(counts, (target[kept], said[kept]), 1)
