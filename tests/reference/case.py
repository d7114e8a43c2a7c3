"""One comparison of a spec with a public network, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BACKENDS = ("torch", "jax", "onnx", "tvm")
QUICK = ("torch", "jax", "onnx")  # tvm compiles for half a minute, and has the same parts in other cases

SHIPPED = Path(__file__).parents[2] / "specs"


@dataclass(frozen=True)
class Case:
    """One comparison at a small size, and the published sizes of the same spec.

    `spec` is relative to `specs/`, or to `specs/` beside this file, where specs lie that do not ship: written from
    the language's reference alone, as its users would. `reference` is a name in `builders.REFERENCES`, which needs `package`.
    `inputs` maps the spec's inputs to the reference's, `outputs` the spec's outputs to the reference's
    (`out`, or the position in a tuple). `weights` names the spec's `weights` block for the reference's names;
    None where the names are the same. `training` says that training mode differs and is worth comparing, with
    `training_outputs` where there are more of them, and a wider `training_tolerance` where batch statistics
    amplify rounding (there the reference itself is that far from float64). `gradients` says that the parameters'
    gradients are compared too. `full` holds (model or preset, its exact number of parameters). `backends` are those
    that run it. `dims` are sizes of inputs where no small ones fulfil the spec's facts.
    """

    name: str
    spec: str
    model: str
    settings: Mapping[str, Any]
    reference: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    weights: str | None = None
    full: Sequence[tuple[str, int]] = ()
    package: str = "torch"
    training: bool = False
    gradients: bool = False
    training_outputs: Mapping[str, str] = field(default_factory=dict)
    training_tolerance: float = 1e-5
    backends: Sequence[str] = BACKENDS
    dims: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """The spec's file."""
        return SHIPPED / self.spec if self.ships else Path(__file__).parent / "specs" / self.spec

    @property
    def ships(self) -> bool:
        """Whether the spec is one of dlc's own."""
        return (SHIPPED / self.spec).exists()
