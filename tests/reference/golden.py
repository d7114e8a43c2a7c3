"""Public networks that no package ships: what they made of small weights and inputs, written down once (`golden/NAME.npz`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Golden:
    """Stands where a `Reference` does. The file holds `weight:PATH`, `input:NAME` and `output:NAME`."""

    name: str

    @cached_property
    def _arrays(self) -> Arrays:
        with np.load(Path(__file__).parent / "golden" / f"{self.name}.npz", allow_pickle=False) as file:
            return dict(file)

    def _of(self, kind: str) -> Arrays:
        return {key[len(kind) :]: each for key, each in self._arrays.items() if key.startswith(kind)}

    def weights(self) -> Arrays:
        return self._of("weight:")

    def arrays(self) -> Arrays:
        return self._of("input:")

    def run(self, *, training: bool = False) -> tuple[Arrays, Arrays]:
        assert not training, "written down outside of training"
        return self._of("output:"), self.weights()
