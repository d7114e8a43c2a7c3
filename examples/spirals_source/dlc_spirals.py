"""A data source for dlc: points on two spirals, told apart by their class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.source import Field, Request, SourceError


class SpiralRows:
    """point: f32[_, 2], label: i64[_]."""

    fields: Mapping[str, Field] = {"point": Field("f32", (2,)), "label": Field("i64", (), limit=2)}
    about: Mapping[str, Any] = {"classes": ["left", "right"]}

    def __init__(self, turns: float, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.labels = np.arange(count) % 2
        radius = rng.random(count)
        angle = 2 * np.pi * turns * radius + np.pi * self.labels
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        self.points = (2 * points + 0.02 * rng.standard_normal((count, 2))).astype(np.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> dict[str, NDArray[Any]]:
        """In training every epoch sees the points a little elsewhere; what is drawn depends on `epoch` alone."""
        points = self.points[index]
        if epoch is not None:
            shifts = np.random.default_rng(epoch).standard_normal((len(self), 2))[index]
            points = points + 0.02 * shifts.astype(np.float32)
        return {"point": points, "label": self.labels[index]}


class Spirals:
    """`spirals(turns=1.0, count=1000, seed=0, batch=64)`."""

    options: Mapping[str, Any] = {"turns": 1.0, "count": 1000, "seed": 0}

    def open(self, request: Request) -> SpiralRows:
        options = request.options
        if options["turns"] <= 0:
            raise SourceError("spirals turn by more than 0", help="turns=1.0")
        return SpiralRows(options["turns"], options["count"], options["seed"])


SPIRALS = Spirals()
