"""What the training loop needs of a backend that trains: gradients, optimizers and state, on batches that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dlc.backend.artifact import Artifact
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Parameter
from dlc.records import dataclass, field

Array = NDArray[Any]
Batch = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Recipe:
    """An optimizer by name with its arguments (but the rate, which comes with every step), and the paths
    of the parameters that it trains.

    One that the spec writes itself, or that the backend does not list in `optimizers`, comes as a `program`: for each of the paths, by its
    number, `value_0` and `gradient_0` are inputs and the new `value_0` an output; `t`, the number of the step from 1, and `rate` are
    inputs too, where it reads them. What it remembers are its buffers, below `optimizer.PATH`, and begins as `state`. What it draws are
    further inputs: `draws` gives them for the time of an update, from 0."""

    optimizer: str
    args: Mapping[str, Any]
    paths: tuple[str, ...]
    program: Artifact | None = None
    state: Mapping[str, Array] = field(default_factory=dict)
    draws: Callable[[int], Mapping[str, Array]] | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """One update of a turn, by its name: what is computed of a batch, and the optimizers of what it trains. Without any, its program
    computes something, and updates buffers."""

    name: str
    program: Artifact
    recipes: tuple[Recipe, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """What it trains."""
        return tuple(path for recipe in self.recipes for path in recipe.paths)


class LossScale:
    """What the loss of one update is multiplied by while its gradients are taken, where `setup.loss_scale` asks for that. A number stays as it is.
    A dynamic scale follows `_loss_scale` of the library: a step with a gradient that is not finite is left out."""

    START, INTERVAL = 65_536.0, 2_000
    NAMES = ("scale", "in_a_row", "t")

    def __init__(self, setting: float | str) -> None:
        self.is_dynamic = isinstance(setting, str)
        self.scale = self.START if isinstance(setting, str) else float(setting)
        self.in_a_row = 0
        self.t = 0

    @property
    def factor(self) -> float:
        """What gradients are multiplied by."""
        return float(np.float32(1.0) / np.float32(self.scale)) if self.is_dynamic else 1.0 / self.scale

    def counted(self, finite: bool) -> None:
        """Take note of a step, whose gradients were all finite or not."""
        grows = self.in_a_row + 1 == self.INTERVAL
        self.in_a_row = self.in_a_row + 1 if finite and not grows else 0
        self.t += finite
        if not finite or grows:
            self.scale *= 2.0 if finite else 0.5

    def state(self) -> dict[str, Array]:
        """What a checkpoint has of it, by `NAMES`; nothing of a number."""
        values = (np.float32(self.scale), np.int64(self.in_a_row), np.int64(self.t))
        return dict(zip(self.NAMES, map(np.asarray, values), strict=True)) if self.is_dynamic else {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave. Raises ValueError where it is not that."""
        if state.keys() != self.state().keys():
            raise ValueError("it holds no scale of the loss, or another kind of one")
        if self.is_dynamic:
            self.scale, self.in_a_row, self.t = float(state["scale"]), int(state["in_a_row"]), int(state["t"])


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a trainer is made of. `updates` and `evaluation` have emitted programs of the same
    parameters; `weights` are the values to start from, by path. Most often there is one update, whose name is empty.

    Their outputs are numbers of a batch: the loss and the metrics, or sums that these are computed of where several batches count
    as one (`dlc/passes/totals.py`)."""

    updates: tuple[Update, ...]
    evaluation: Artifact
    parameters: tuple[Parameter, ...]
    weights: Mapping[str, Array]
    clip_norm: float | None = None
    loss_scale: float | str | None = None
    """What losses are multiplied by while gradients are taken: a number, or "dynamic"; None where they are not."""
    seed: int = 0
    device: str = "cpu"
    flops: int | None = None  # of one batch, forward; None if it is not known

    @property
    def dtypes(self) -> dict[str, str]:
        """The dtype in which each parameter and buffer is kept: `float` in f32, whatever it is computed
        in."""
        return {
            each.path: "f32" if each.type.dtype == "float" else each.type.dtype for each in self.parameters
        }


class Trainer(Protocol):
    """A network in training. Whatever is random depends on the seed, the step and the place in it alone."""

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
        update: str = "",
    ) -> Sequence[Mapping[str, Array]]:
        """The update of that name for the time `step`, from 0, at one rate per recipe of it, with the gradient of what is minimised: the
        outputs of every batch, each output that has one times its share (of its shape), all added up. Gives the outputs of each
        batch, before the update."""
        ...

    def outputs(self, step: int, number: int, batch: Batch, update: str = "") -> Mapping[str, Array]:
        """The outputs that `step` will give of the batch of that number, with the same draws. Changes nothing."""
        ...

    def evaluate(self, number: int, batch: Batch) -> Mapping[str, Array]:
        """The outputs of one batch, outside of training."""
        ...

    def weights(self) -> dict[str, Array]:
        """Every parameter and buffer by path."""
        ...

    def state(self) -> dict[str, Array]:
        """What the optimizers remember, by names of the backend's own."""
        ...

    def scales(self) -> dict[str, float]:
        """The scale of the loss of each update, by its name, where `setup.loss_scale` is dynamic; asked for only then."""
        ...

    def restore(self, weights: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        """Take up what `weights` and `state` gave. Raises ValueError for names or shapes that do not fit."""
        ...


class Wrapped:
    """A trainer around another one: all but `step` is the other's, unless it is said otherwise."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def outputs(self, step: int, number: int, batch: Batch, update: str = "") -> Mapping[str, Array]:
        return self.trainer.outputs(step, number, batch, update)

    def evaluate(self, number: int, batch: Batch) -> Mapping[str, Array]:
        return self.trainer.evaluate(number, batch)

    def weights(self) -> dict[str, Array]:
        return self.trainer.weights()

    def state(self) -> dict[str, Array]:
        return self.trainer.state()

    def scales(self) -> dict[str, float]:
        return self.trainer.scales()

    def restore(self, weights: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        self.trainer.restore(weights, state)


class Workspace(Protocol):
    """Programs at work on the same parameters and buffers: what one of them updates, all read."""

    def run(self, program: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """The outputs of one of the programs, by name. What it draws are inputs like others."""
        ...

    def values(self) -> dict[str, Array]:
        """Every parameter and buffer by path, as it is now: arrays of the caller's own."""
        ...

    def put(self, values: Mapping[str, Array]) -> None:
        """Other values for these parameters and buffers."""
        ...


def no_device(name: str, reason: str) -> SpecError:
    """What a backend raises where it has no such device."""
    message = f"there is no device `{name}`: {reason}"
    return SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])
