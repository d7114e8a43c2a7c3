"""Several batches as one: sums over their rows are added up, and only then what the spec computes of them is computed.

So a mean over the held-out data is a mean over its rows however they are cut into batches, and a step over accumulated batches is the
step of the one batch that they make together."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.autodiff.reverse import gradient
from dlc.backend import Batch, Trainer
from dlc.ir.needed import live, only
from dlc.ir.nodes import Program, walk
from dlc.ir.paths import gradient_name
from dlc.passes.base import is_acting_or_random
from dlc.passes.dead_code import DeadCode
from dlc.passes.totals import SUM, Totals
from dlc.records import dataclass, field, replace
from dlc.runtime.interpret import run
from dlc.types.dim_solve import bind

Array = NDArray[Any]
Outputs = Mapping[str, Array]
Rates = Sequence[float | None]
LOSS = "loss"


class Reckoning:
    """What is computed of the outputs of several batches: by the interpreter, in f64."""

    def __init__(self, totals: Totals) -> None:
        self.totals = totals

    def add(self, added: Added, batch: Batch, outputs: Outputs) -> None:
        """A batch and outputs of it, beside those that were added before."""
        main = self.totals.sums.main
        sizes: dict[str, int] = {}
        for each in main.inputs:
            for axis, size in zip(each.type.axes, batch[each.name].shape, strict=True):
                bind(axis, size, sizes)
        rows = next((len(batch[each.name]) for each in main.inputs if each.type.rank), 1)
        added.add(outputs, sizes, self.totals.rows, rows)

    def numbers(self, added: Added) -> dict[str, float]:
        """The loss and the metrics of all batches that were added."""
        return {name: float(value) for name, value in self._run(self.totals.rest, added).items()}

    def shares(self, added: Added) -> dict[str, Array]:
        """How much of the loss of all batches an output of one is, by output: the loss has the gradient of all of them, each times its
        share, added up. Of a mean it is one over the number of what is averaged. `added` has the outputs that are `needed`."""
        found = self._run(self._slopes, added)
        parts = {name: 1 if self.totals.how[name] == SUM else added.batches for name in found}
        return {name: np.asarray(each / parts[name]) for name, each in found.items()}

    @property
    def sloped(self) -> tuple[str, ...]:
        """The outputs of a batch that the loss has a share of."""
        return tuple(name for name, _ in self._slopes.main.outputs)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The outputs of a batch that the shares hang on: most often numbers of labels, or none."""
        return tuple(each.name for each in self._slopes.main.inputs)

    @cached_property
    def counts(self) -> Program | None:
        """What is `needed` as a program of its own, where it is computed of data alone: not of parameters, and of no draw."""
        found = _only(self.totals.sums, self.needed)
        return found if _is_of_data(found) else None

    def is_empty(self, batches: Iterable[Batch]) -> bool:
        """Whether what the loss is divided by is 0 in these batches, as far as their data tells."""
        if not self.needed or self.counts is None:
            return False
        added = Added()
        for batch in batches:
            self.add(added, batch, self.counted(self.counts, batch))
        return not all(np.all(added.sums[name]) for name in self.needed)

    @staticmethod
    def counted(counts: Program, batch: Batch) -> Outputs:
        return run(counts, {}, {each.name: batch[each.name] for each in counts.main.inputs})

    @cached_property
    def _slopes(self) -> Program:
        """The derivatives of the loss by the outputs of a batch, which are its inputs as far as these depend on them."""
        rest = _only(self.totals.rest, (LOSS,))
        read = live(rest.main)
        names = [each.name for each in rest.main.inputs if each.type.is_float and each.name in read]
        # What hangs on data alone has no gradient: a loss that is divided by a sum of weights is as plain as a mean.
        names = [name for name in names if not _is_of_data(_only(self.totals.sums, (name,)))] or names
        derived = gradient(rest, names, of=LOSS)
        values = dict(derived.main.outputs)
        outputs = tuple((name, values[gradient_name(name)]) for name in names)
        sloped = replace(derived.main, outputs=outputs)
        cleaned = DeadCode().run(derived.with_functions({**derived.functions, sloped.name: sloped}))
        read = live(cleaned.main)
        inputs = tuple(each for each in sloped.inputs if each.name in read)
        main = replace(cleaned.main, inputs=inputs)
        return cleaned.with_functions({**cleaned.functions, main.name: main})

    def _run(self, program: Program, added: Added) -> dict[str, Array]:
        how = self.totals.how
        values = {each.name: added.value(each.name, how[each.name]) for each in program.main.inputs}
        with np.errstate(all="ignore"):
            sizes = {name: added.sizes[name] for name in program.main.given_sizes}
            return run(program, {}, {**values, **sizes}, precision="f64")


class Single:
    """Steps over one batch each, whose loss is that of the step."""

    def step(self, trainer: Trainer, step: int, batches: Sequence[Batch], rates: Rates) -> dict[str, float]:
        (outputs,) = trainer.step(step, batches, {LOSS: np.ones((), np.float32)}, rates)
        return {name: float(value) for name, value in outputs.items()}


class Accumulated:
    """Steps over batches as if they were one."""

    def __init__(self, reckoning: Reckoning) -> None:
        self.reckoning = reckoning

    def step(self, trainer: Trainer, step: int, batches: Sequence[Batch], rates: Rates) -> dict[str, float]:
        before = Added()
        for number, batch in enumerate(batches):
            self.reckoning.add(before, batch, self._counted(trainer, step, number, batch))
        outputs = trainer.step(step, batches, self.reckoning.shares(before), rates)
        after = Added()
        for batch, each in zip(batches, outputs, strict=True):
            self.reckoning.add(after, batch, each)
        return self.reckoning.numbers(after)

    def _counted(self, trainer: Trainer, step: int, number: int, batch: Batch) -> Outputs:
        """What the shares hang on has to be known of all batches before the first gradient."""
        if not self.reckoning.needed:
            return {}
        counts = self.reckoning.counts
        if counts is None:
            return trainer.outputs(step, number, batch)
        return self.reckoning.counted(counts, batch)


def evaluated(trainer: Trainer, reckoning: Reckoning, batches: Iterable[Batch]) -> dict[str, float]:
    """The loss and the metrics of all batches."""
    added = Added()
    for number, batch in enumerate(batches):
        reckoning.add(added, batch, trainer.evaluate(number, batch))
    return reckoning.numbers(added)


@dataclass(slots=True)
class Added:
    """Outputs of batches and their sizes, added up. What is no sum counts as often as its batch has rows."""

    batches: int = 0
    rows: int = 0
    sums: dict[str, Array] = field(default_factory=dict)
    weighted: dict[str, Array] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def add(self, outputs: Outputs, sizes: Mapping[str, int], adding: Container[str], rows: int) -> None:
        """`sizes` are those of a batch of `rows`; these of them are added up, the others are the same in all batches."""
        self.batches += 1
        self.rows += rows
        for name, value in outputs.items():
            wide = np.asarray(value)
            wide = wide.astype(np.int64 if wide.dtype.kind in "iub" else np.float64)
            self.sums[name] = self.sums.get(name, 0) + wide
            self.weighted[name] = self.weighted.get(name, 0) + wide * rows
        for name, size in sizes.items():
            self.sizes[name] = size + (self.sizes.get(name, 0) if name in adding else 0)

    def value(self, name: str, how: str) -> Array:
        return np.asarray(self.sums[name] if how == SUM else self.weighted[name] / self.rows)


def _only(program: Program, names: Iterable[str]) -> Program:
    """What these outputs are computed of, and nothing else."""
    main, wanted = program.main, set(names)
    small = only(main, [value for name, value in main.outputs if name in wanted])
    return program.with_functions({**program.functions, main.name: replace(small, params=(), children=())})


def _is_of_data(program: Program) -> bool:
    """Whether a program depends on its inputs alone, and changes nothing."""
    ran = (op for name in program.reachable() for op in walk(program.functions[name].body))
    return not any(op.op == "param" or is_acting_or_random(op) for op in ran)
