"""What the training loop needs of a backend that trains: gradients, optimizers and state, on batches that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from dlc.backend.artifact import Artifact
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Parameter
from dlc.records import dataclass

Array = NDArray[Any]
Batch = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Recipe:
    """An optimizer by name with its arguments (but the rate, which comes with every step), and the paths
    of the parameters that it trains."""

    optimizer: str
    args: Mapping[str, Any]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a trainer is made of. `training` and `evaluation` are emitted programs of the same
    parameters whose outputs are the loss and the metrics; `weights` are the values to start from, by path."""

    training: Artifact
    evaluation: Artifact
    parameters: tuple[Parameter, ...]
    weights: Mapping[str, Array]
    recipes: tuple[Recipe, ...]
    clip_norm: float | None = None
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

    def step(self, step: int, batches: Sequence[Batch], rates: Sequence[float | None]) -> dict[str, float]:
        """One update with the mean gradient of the batches, at one rate per recipe. Gives the loss and the
        metrics before it, as means over the batches."""
        ...

    def evaluate(self, number: int, batch: Batch) -> dict[str, float]:
        """The loss and the metrics of one batch, outside of training."""
        ...

    def weights(self) -> dict[str, Array]:
        """Every parameter and buffer by path."""
        ...

    def state(self) -> dict[str, Array]:
        """What the optimizers remember, by names of the backend's own."""
        ...

    def restore(self, weights: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        """Take up what `weights` and `state` gave. Raises ValueError for names or shapes that do not fit."""
        ...


def no_device(name: str, reason: str) -> SpecError:
    """What a backend raises where it has no such device."""
    message = f"there is no device `{name}`: {reason}"
    return SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])
