"""Draws of a training that are the same on every backend: made here, by the references of the ops, and handed to the programs as
inputs.

What is drawn hangs on the seed, the step, the number of the batch in it and the place of the draw in the program, and on nothing
else. So dropout, noise and samples of a run can be compared between backends, and a run that is continued draws what one that was
not stopped would have drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc import ops
from dlc.backend import Batch, Trainer, Wrapped
from dlc.ir.nodes import Program
from dlc.passes.lower import hoist_randomness
from dlc.passes.randomness import Draw
from dlc.records import dataclass, replace
from dlc.runtime.interpret import bind_dims, evaluated

Array = NDArray[Any]
HELD_OUT = 0xE7A1
"""The step that draws of an evaluation belong to."""
OPTIMIZERS = 0x0B71
"""Sets what optimizers draw apart from draws of steps."""
APART = 0xD7A5
"""Sets draws apart from those of initial values."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A program whose draws are further inputs of it."""

    program: Program
    draws: tuple[Draw, ...]

    @staticmethod
    def of(program: Program) -> Drawn:
        return Drawn(*hoist_randomness(program))

    def completed(self, batch: Batch, place: Sequence[int]) -> Batch:
        """The batch with values for the draws, which hang on the place: whole numbers, from 0."""
        if not self.draws:
            return batch
        return {**batch, **self.drawn(batch, place, {each.input.name for each in self.draws})}

    def of_optimizers(self, seed: int, step: int, update: str) -> dict[str, Array]:
        """What optimizers draw for the time `step` of an update: it hangs on these and, for each parameter, on its path, so that another
        order of parameters draws the same."""
        found: dict[str, Array] = {}
        before: Counter[str] = Counter()
        for each in self.draws:
            path = drawing_name(each.path, update)
            rng = np.random.default_rng([APART, seed, OPTIMIZERS, step, *path.encode(), before[path]])
            before[path] += 1
            found[each.input.name] = _drawn(each, {}, rng)
        return found

    def drawn(self, batch: Batch, place: Sequence[int], wanted: Container[str]) -> dict[str, Array]:
        """Values for some of the draws."""
        sizes = self._sizes(batch)
        return {
            each.input.name: _drawn(each, sizes, np.random.default_rng([APART, *place, number]))
            for number, each in enumerate(self.draws)
            if each.input.name in wanted
        }

    def _sizes(self, batch: Batch) -> dict[str, int]:
        main = self.program.main
        names = {each.input.name for each in self.draws}
        fields = tuple(each for each in main.inputs if each.name not in names)
        return bind_dims(
            replace(main, inputs=fields), [np.asarray(batch[each.name]) for each in fields], batch
        )


def drawing_name(path: str, update: str) -> str:
    """What tells the draws of a parameter's optimizer apart: several updates may train it."""
    return f"{update}: {path}" if update else path


def _drawn(draw: Draw, sizes: Mapping[str, int], rng: np.random.Generator) -> Array:
    attrs = {name: evaluated(value, sizes) for name, value in draw.attrs}
    if attrs.get("dtype") == "float":
        attrs["dtype"] = "f32"
    return np.require(ops.get(draw.op).reference(**attrs, rng=rng), requirements="C")


class Drawing(Wrapped):
    """A trainer of programs whose draws are inputs, as one of batches alone; without `training`, turns are given their draws."""

    def __init__(self, trainer: Trainer, training: Drawn | None, evaluation: Drawn, seed: int) -> None:
        super().__init__(trainer)
        self.training = training
        self.evaluation = evaluation
        self.seed = seed

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
        update: str = "",
    ) -> Sequence[Mapping[str, Array]]:
        drawn = [self._training(step, number, batch) for number, batch in enumerate(batches)]
        return self.trainer.step(step, drawn, shares, rates, update)

    def outputs(self, step: int, number: int, batch: Batch, update: str = "") -> Mapping[str, Array]:
        return self.trainer.outputs(step, number, self._training(step, number, batch), update)

    def evaluate(self, number: int, batch: Batch) -> Mapping[str, Array]:
        place = (self.seed, HELD_OUT, number)
        return self.trainer.evaluate(number, self.evaluation.completed(batch, place))

    def _training(self, step: int, number: int, batch: Batch) -> Batch:
        if self.training is None:
            return batch
        return self.training.completed(batch, (self.seed, step, number))
