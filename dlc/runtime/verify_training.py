"""Training on several backends at once: the same initial weights, batches and draws, step by step beside the interpreter in f64."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc import arguments
from dlc import backend as installed
from dlc.arguments import takes
from dlc.backend import Backend, Batch, Trainer, Wrapped
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.programs.update import DYNAMIC
from dlc.runtime.compile import find_backend
from dlc.runtime.data.memory import Given
from dlc.runtime.reported import number
from dlc.runtime.trainers import Trainers
from dlc.runtime.training import lacks_training, total_steps
from dlc.runtime.training_data import open_data
from dlc.spec import TRAIN_BLOCK, TrainBlock

Array = NDArray[Any]
Weights = Mapping[str, Array]

TOLERANCE = {"f32": 1e-4, "bf16": 3e-2, "f16": 1e-2}
"""How far a loss or a metric may be off, relative to the reference's, by the precision that the block trains in."""
MOVED = 100.0
"""How much more than that a parameter may be, relative to how far training has moved it: an optimizer that divides by the root of
squared gradients makes much of gradients that are nearly 0."""
ROUNDING = 10.0
"""How often more than the interpreter itself, in the precision of the block, a backend may be off where it is past the tolerance. A
parameter whose gradients are 0 but for rounding, as of a bias before a norm over the batch, goes a way of rounding alone."""
LOST = 0.5
"""The share of the way of an element of a parameter by which the interpreter itself, in the precision of the block, is off where that way
is rounding's: how much further a backend goes on such a way says nothing."""
SHAKEN = 4
"""How many trainings of the interpreter that round at random say what rounding does. One that rounds to the nearest says it badly: gradients that
cancel may be 0 in it, where another order of the same sum leaves a rest, of which adam makes a whole step."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a backend's training went beside the reference's. `loss` and `weights` are the largest relative differences of the losses and
    metrics of all steps, and of the parameters after the last one, each with where it is."""

    backend: str
    loss: float
    loss_at: str
    weights: float
    weights_at: str
    parted: str = ""
    """The first step past the tolerance, and the parameter that was furthest off after the step before it."""
    rounded: tuple[str, ...] = ()
    """The parameters whose way is one of rounding, in the interpreter too: the others are in `weights`."""

    def to_json(self) -> dict[str, Any]:
        numbers = {"loss": number(self.loss), "weights": number(self.weights)}
        places = {"loss_at": self.loss_at, "weights_at": self.weights_at, "parted": self.parted}
        return {"backend": self.backend, **numbers, **places, "rounded": list(self.rounded)}


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What `verify_training` found. `losses` are the reference's, one a step."""

    name: str
    steps: int
    tolerance: float
    losses: tuple[float, ...]
    courses: tuple[Course, ...]

    def __repr__(self) -> str:
        return f"<TrainingReport on {self.name}: {'agree' if self.agree else 'disagree'}>"

    def __str__(self) -> str:
        return self.text()

    @property
    def agree(self) -> bool:
        return bool(self.courses) and all(map(self._is_small, self.courses))

    def _is_small(self, each: Course) -> bool:
        return not each.parted and each.weights <= self.tolerance * MOVED

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "steps": self.steps,
            "agree": self.agree,
            "tolerance": self.tolerance,
            "losses": [number(each) for each in self.losses],
            "courses": [each.to_json() for each in self.courses],
        }

    def text(self) -> str:
        first, last = self.losses[0], self.losses[-1]
        lines = [
            f"{self.name}: loss {first:.4f} to {last:.4f} in {self.steps} steps, by the ops' meaning in f64"
        ]
        for each in self.courses:
            mark = "ok  " if self._is_small(each) else "FAIL"
            loss = f"losses within {each.loss:.2e} ({each.loss_at})"
            weights = f"weights within {each.weights:.2e} of their way ({each.weights_at})"
            lines.append(f"{mark} {each.backend:6} {loss}, {weights}")
            if each.parted:
                lines.append(f"       {each.parted}")
        for path in dict.fromkeys(path for each in self.courses for path in each.rounded):
            lines.append(f"       `{path}` has gradients of rounding alone, and is not compared")
        verdict = "all backends agree" if self.agree else "the backends disagree"
        lines.append(f"{self.name}: {verdict} (tolerance {self.tolerance:g} of a loss)")
        return "\n".join(lines)


@takes(
    block=TRAIN_BLOCK,
    steps=arguments.count,
    backends=arguments.optional(arguments.names("backends")),
    tolerance=arguments.optional(arguments.positive),
)
def verify_training(
    block: TrainBlock,
    *,
    steps: int = 20,
    backends: Sequence[str] | None = None,
    tolerance: float | None = None,
    data: Given | None = None,
) -> TrainingReport:
    """Train a block on every backend that can for some steps, with draws that are the same everywhere, and compare each step with the
    interpreter's in f64. Nothing is written.

    Raises SpecError if the block or its data is wrong, or a backend can't train it."""
    plan = block.plan
    opened = open_data(block, data, evaluating=False)
    trainers = Trainers(block, opened.sizes)
    settings = plan.settings
    total = total_steps(settings, opened.training.per_epoch)
    count = settings["accumulate"]
    exact = trainers.reference()
    if plan.loss_scale == DYNAMIC:
        exact = _Led(exact, trainers.reference(settings["precision"], "f32"), plan.trained)
    reference = _Following("", exact, trainers)
    found = [
        _Following(each.name, trainers.of(each, portable=True), trainers) for each in _training(backends)
    ]
    limit = TOLERANCE[settings["precision"]] if tolerance is None else tolerance

    def turns(*followed: _Following) -> Iterator[int]:
        for step in range(min(steps, total)):
            batches = [opened.training.training(each) for each in range(step * count, (step + 1) * count)]
            for each in followed:
                each.turn(step, batches, total)
            yield step

    for _ in turns(reference, *found):
        for each in found:
            each.measure(reference)
    noise = None
    if any(each.is_past(reference, limit) for each in found):
        narrow = [
            _Following("", trainers.reference(settings["precision"], "f32", rounding), trainers)
            for rounding in (None, *map(np.random.default_rng, range(SHAKEN)))
        ]
        for _ in turns(*narrow):
            pass
        noise = _Noise(reference, narrow)
    courses = tuple(each.course(reference, noise, limit) for each in found)
    losses = tuple(values["loss"] for values in reference.values)
    return TrainingReport(plan.name, len(losses), limit, losses, courses)


def _training(names: Sequence[str] | None) -> Iterator[Backend]:
    if names is None:
        usable = [each for each in installed.every() if each.trains and not each.absence()]
        if not usable:
            raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message="no backend that trains is installed")])
        yield from usable
        return
    for name in names:
        backend = find_backend(name, usable=True)
        if not backend.trains:
            raise lacks_training(backend)
        yield backend


class _Led(Wrapped):
    """A training that leaves out the steps that another does: that in f64 those which overflow in f16."""

    def __init__(self, trainer: Trainer, leader: Trainer, trained: Collection[str]) -> None:
        super().__init__(trainer)
        self.leader = leader
        self.trained = trained

    def scales(self) -> dict[str, float]:
        return self.leader.scales()

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
        update: str = "",
    ) -> Sequence[Mapping[str, Array]]:
        before = self.leader.scales()
        self.leader.step(step, batches, shares, rates, update)
        is_left_out = update in before and self.leader.scales()[update] < before[update]
        held = (self.weights(), self.state()) if is_left_out else None
        found = self.trainer.step(step, batches, shares, rates, update)
        if held is not None:
            weights, state = held
            kept = {path: each for path, each in weights.items() if path in self.trained}
            self.restore({**self.weights(), **kept}, state)
        return found


class _Following:
    """One training: what each step gave, and how far its parameters were off after it."""

    def __init__(self, name: str, trainer: Trainer, trainers: Trainers) -> None:
        self.name = name
        self.trainer = trainer
        self.trainers = trainers
        self.trained = sorted(trainers.plan.trained)
        self.start = trainer.weights()
        self.values: list[dict[str, float]] = []
        self.offs: list[dict[str, float]] = []

    def turn(self, step: int, batches: Sequence[Batch], total: int) -> None:
        values, _ = self.trainers.turns.turn(self.trainer, step, batches, total)
        self.values.append(values)

    def measure(self, reference: _Following) -> None:
        """How far each parameter's values are off now, as a share of how far they have gone."""
        mine, meant = self.trainer.weights(), reference.trainer.weights()
        begun = reference.start
        self.offs.append(
            {path: _share(mine[path] - meant[path], meant[path] - begun[path]) for path in self.trained}
        )

    def is_past(self, reference: _Following, limit: float) -> bool:
        worst = max((off for _, _, off in self._off(reference)), default=0.0)
        return worst > limit or _worst(self.offs[-1])[0] > limit * MOVED

    def _off(self, reference: _Following) -> Iterator[tuple[int, str, float]]:
        """How far each loss and metric is off, by step and name."""
        for step, (mine, meant) in enumerate(zip(self.values, reference.values, strict=True)):
            yield from ((step, name, _difference(mine[name], meant[name])) for name in meant)

    def course(self, reference: _Following, noise: _Noise | None, limit: float) -> Course:
        """`noise` is what rounding does to this training, where that is wanted."""
        found = list(self._off(reference))
        allowed = [max(limit, noise.of_value(step, name) if noise else 0.0) for step, name, _ in found]
        (step, name, worst), _ = max(zip(found, allowed, strict=True), key=lambda each: each[0][2] / each[1])
        first = next((each for each, most in zip(found, allowed, strict=True) if each[2] > most), None)
        offs, own, lost = self.offs[-1], dict[str, float](), set[str]()
        if noise is not None:
            past = [path for path, off in offs.items() if not off <= limit * MOVED]
            mine, meant = self.trainer.weights(), reference.trainer.weights()
            for path in past:
                way, off = meant[path] - reference.start[path], noise.of_parameter(path)
                steady = _steady(off, way)
                offs = {**offs, path: _share((mine[path] - meant[path])[steady], way[steady])}
                own[path] = _share(off[steady], way[steady])
                lost |= {path} if not steady.any() else set()
        rounded = tuple(
            path
            for path, off in offs.items()
            if path in lost or (off > limit * MOVED and off <= ROUNDING * own.get(path, 0.0))
        )
        weights, path = _worst({path: off for path, off in offs.items() if path not in rounded})
        parted = "" if first is None else self._parted(*first, reference)
        return Course(self.name, worst, f"{name} of step {step + 1}", weights, path, parted, rounded)

    def _parted(self, step: int, name: str, off: float, reference: _Following) -> str:
        values = f"{name} {self.values[step][name]:.6g}, not {reference.values[step][name]:.6g}"
        before = ""
        if step:
            weights, path = _worst(self.offs[step - 1])
            before = f"; after the step before, `{path}` was off by {weights:.2e} of its way"
        return f"they part first at step {step + 1}: {values}{before}"


class _Noise:
    """How far trainings of the interpreter in the precision of the block are off its training in f64."""

    def __init__(self, reference: _Following, narrow: Sequence[_Following]) -> None:
        self.meant = reference.trainer.weights()
        self.found = [each.trainer.weights() for each in narrow]
        self.values: dict[tuple[int, str], float] = {}
        so_far: dict[str, float] = {}
        for each in zip(*(each._off(reference) for each in narrow), strict=True):
            step, name, _ = each[0]
            so_far[name] = max(so_far.get(name, 0.0), *(off for _, _, off in each))
            self.values[step, name] = so_far[name]

    def of_value(self, step: int, name: str) -> float:
        """How far a loss or a metric may be off that was rounded in another way, by what rounding did to it up to that step."""
        return ROUNDING * self.values[step, name]

    def of_parameter(self, path: str) -> Array:
        """How far each element of a parameter is off at the end, at most."""
        offs: list[Array] = [np.abs(each[path] - self.meant[path]) for each in self.found]
        return np.max(offs, axis=0)  # type: ignore[no-any-return]


def _steady(noise: Array, way: Array) -> Array:
    """The elements of a parameter that go a way of their own, and not one of rounding alone."""
    found: Array = (np.abs(noise) < LOST * np.abs(way)) | ((noise == 0) & (way == 0))
    return found


def _worst(offs: Mapping[str, float]) -> tuple[float, str]:
    """The largest of these, and whose it is; nan is larger than any."""
    path = max(offs, key=lambda each: (math.isnan(offs[each]), offs[each]), default="")
    return offs.get(path, 0.0), path


def _difference(found: float, meant: float) -> float:
    if found == meant or (math.isnan(found) and math.isnan(meant)):
        return 0.0
    off = abs(found - meant) / max(abs(meant), 1e-3)
    return off if math.isfinite(off) else math.inf


def _share(off: Array, way: Array) -> float:
    size, gone = float(np.linalg.norm(off.astype(np.float64))), float(np.linalg.norm(way.astype(np.float64)))
    return size / gone if gone else size
