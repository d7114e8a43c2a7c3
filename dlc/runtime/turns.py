"""Turns of a training: the updates that a block makes of a batch, in their order, with what is computed before and behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from dlc.backend import Batch, Trainer, Wrapped
from dlc.elaborate.checks.plan import OptimizerRule, TrainPlan, TrainStep
from dlc.elaborate.programs.update import DYNAMIC
from dlc.ir.nodes import Program, sizes_in, walk
from dlc.passes.phases import AFTER, LOSS, Phase, apart, phases
from dlc.passes.sizes import with_sizes
from dlc.passes.totals import totals
from dlc.records import dataclass
from dlc.runtime.drawn import Drawn
from dlc.runtime.schedules import rate
from dlc.runtime.together import Accumulated, Reckoning, Single

Array = NDArray[Any]
Rates = list[float | None]


@dataclass(frozen=True, slots=True)
class Planned:
    """One of the programs of a turn. `program` is what is computed of a batch where batches count for themselves; `step` is None for what is computed
    before and behind the updates."""

    name: str
    program: Program
    step: TrainStep | None
    rules: tuple[tuple[OptimizerRule, tuple[str, ...]], ...] = ()
    gives: tuple[tuple[str, str], ...] = ()
    """Outputs, and the inputs of the others that they are."""
    draws: frozenset[str] = frozenset()
    """The inputs that are drawn anew in each of its turns."""
    reckoning: Reckoning | None = None
    """How several batches make one, where they do."""
    drawn: Program | None = None
    """What is computed of each batch with draws as inputs, where that is another program."""

    @property
    def of_batch(self) -> Program:
        """What is computed of each batch."""
        if self.drawn is not None:
            return self.drawn
        return self.program if self.reckoning is None else self.reckoning.totals.sums

    @property
    def trained(self) -> tuple[str, ...]:
        return tuple(path for _, paths in self.rules for path in paths)

    @property
    def updates(self) -> Single | Accumulated:
        return Single() if self.reckoning is None else Accumulated(self.reckoning)

    def rates(self, count: int, total: int) -> Rates:
        """Those of an update, from 0, of so many; None for an optimizer that has one of its own."""
        given = (rule.optimizer.args["lr"] for rule, _ in self.rules)
        return [None if lr is None else rate(lr, count, total) for lr in given]


class Turns:
    """The turns of a block. Where one has several programs, what is drawn is an input of them, the same of all."""

    def __init__(self, plan: TrainPlan, sizes: Mapping[str, int], *, by_itself: bool = True) -> None:
        self.plan = plan
        self.by_itself = by_itself  # whether what is computed at the end is a program of its own parameters
        self.sizes = sizes
        self.drawn = None if plan.is_single else Drawn.of(plan.program)
        self.is_several = plan.settings["accumulate"] > 1

    @cached_property
    def planned(self) -> tuple[Planned, ...]:
        if self.drawn is None:
            (step,) = self.plan.steps
            return (self._planned(Phase(step.name, self.plan.program), step),)
        steps = {each.name: each for each in self.plan.steps}
        return tuple(self._planned(each, steps.get(each.name)) for each in self.phases)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What a turn of several programs is cut into."""
        assert self.drawn is not None
        cut = phases(self.drawn.program, self.plan.parts, self.plan.behind)
        return tuple(apart(each) if each.name == AFTER and self.by_itself else each for each in cut)

    def _planned(self, phase: Phase, step: TrainStep | None) -> Planned:
        program = phase.program
        if lost := {name: self.sizes[name] for name in _untold(program) if name in self.sizes}:
            program = with_sizes(program, lost)
        if step is None:
            return Planned(phase.name, program, None, gives=phase.gives)
        narrow = self.plan.settings["precision"] != "f32"
        reckoning = Reckoning(totals(program, wide=narrow)) if self.is_several else None
        draws = self._drawn_in(phase, step)
        return Planned(step.name, program, step, self.plan.rules(step), draws=draws, reckoning=reckoning)

    def _drawn_in(self, phase: Phase, step: TrainStep) -> frozenset[str]:
        """The draws of a step by itself: those that the block makes outside of it are the same in all of its turns."""
        if self.drawn is None or step.turns == 1:
            return frozenset()
        made = {value.name for op in self.plan.program.main.body for value in op.outputs}
        own = {each.input.name for each in self.drawn.draws}
        read: dict[str, set[bool]] = {}
        for op in phase.program.main.body:
            for name in op.inputs:
                if name in own:
                    read.setdefault(name, set()).add(all(each.name in phase.own for each in op.outputs))
        outside = made - set(step_values(self.plan.program, step))
        return frozenset(name for name, where in read.items() if where == {True} and name not in outside)

    def is_empty(self, batches: Sequence[Batch]) -> bool:
        """Whether what the loss is divided by is 0 in these batches, as far as their data tells."""
        return self.drawn is None and Reckoning(totals(self.plan.program)).is_empty(batches)

    # --- a turn

    def turn(
        self, trainer: Trainer, step: int, batches: Sequence[Batch], total: int
    ) -> tuple[dict[str, float], Rates]:
        """What the turn `step`, from 0, of so many gives: the loss, the sum where there are several, and the metrics; and the rates of
        the first update."""
        if self.plan.is_single:
            (only,) = self.planned
            rates = only.rates(step, total)
            return only.updates.step(trainer, step, batches, rates), rates
        values: dict[str, float] = {}
        first: Rates | None = None
        is_scaled, left_out = self.plan.loss_scale == DYNAMIC, False
        given = [self._completed(batch, (step, number)) for number, batch in enumerate(batches)]
        for each in self.planned:
            if each.step is None:
                if each.name == AFTER and left_out:
                    continue
                values |= self._computed(each, trainer, step, given)
                continue
            if (step + 1) % each.step.every:
                continue
            for turn in range(each.step.turns):
                count = (step + 1) // each.step.every * each.step.turns - each.step.turns + turn
                rates = each.rates(count, max(1, total // each.step.every) * each.step.turns)
                first = rates if first is None else first
                anew = [self._again(each, batch, step, number, turn) for number, batch in enumerate(given)]
                before = trainer.scales() if is_scaled else {}
                found = each.updates.step(_Named(trainer, each.name), count, anew, rates)
                left_out |= is_scaled and trainer.scales()[each.name] < before[each.name]
                found = {**found, each.step.loss: found[LOSS]}
                values |= {name: value for name, value in found.items() if name != LOSS or not each.name}
        losses = [values[each.loss] for each in self.plan.steps if each.loss in values]
        return {LOSS: sum(losses), **values}, first or [None]

    def _completed(self, batch: Batch, place: tuple[int, ...]) -> dict[str, Any]:
        if self.drawn is None:
            return dict(batch)
        return dict(self.drawn.completed(batch, (self.plan.settings["seed"], *place)))

    def _again(self, planned: Planned, batch: Batch, step: int, number: int, turn: int) -> Batch:
        """The batch with draws of its own for a further turn of a step."""
        if turn == 0 or not planned.draws or self.drawn is None:
            return batch
        place = (self.plan.settings["seed"], step, number, turn)
        return {**batch, **self.drawn.drawn(batch, place, planned.draws)}

    def _computed(
        self, planned: Planned, trainer: Trainer, step: int, given: list[dict[str, Any]]
    ) -> dict[str, float]:
        """Run what is no update; what it gives is put beside the fields of its batch."""
        batches = given[:1] if planned.name == AFTER else given
        gives = dict(planned.gives)
        sums: dict[str, float] = {}
        for batch, outputs in zip(batches, trainer.step(step, batches, {}, [], planned.name), strict=True):
            for name, value in outputs.items() if planned.name != AFTER else ():
                if name in gives:
                    batch[gives[name]] = value
                else:
                    sums[name] = sums.get(name, 0.0) + float(value) / len(batches)
        return sums


def _untold(program: Program) -> set[str]:
    """The sizes that a program computes with and no input of it carries."""
    return computed_with(program) - {symbol for value in program.main.inputs for symbol in value.type.symbols}


def computed_with(program: Program) -> set[str]:
    """The sizes that a program computes with."""
    main = program.main
    named = {symbol for type in main.types().values() for symbol in type.symbols}
    for op in walk(main.body):
        attrs = (*(value for _, value in op.attrs), *(dim for _, dim in op.dims))
        named |= {symbol for size in sizes_in(attrs) for symbol in size.symbols}
    return named


def step_values(program: Program, step: TrainStep) -> list[str]:
    """The values that a step computes by itself."""
    names = [value.name for op in program.main.body for value in op.outputs]
    if step.between is None:
        return names
    begin, end = step.between
    return names[names.index(begin) : names.index(end)]


class _Named(Wrapped):
    """A trainer that makes one of its updates."""

    def __init__(self, trainer: Trainer, update: str) -> None:
        super().__init__(trainer)
        self.update = update

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
        update: str = "",
    ) -> Sequence[Mapping[str, Array]]:
        return self.trainer.step(step, batches, shares, rates, self.update)

    def outputs(self, step: int, number: int, batch: Batch, update: str = "") -> Mapping[str, Array]:
        return self.trainer.outputs(step, number, batch, self.update)
