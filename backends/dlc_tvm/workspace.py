"""Libraries at work on the same tensors: what one of them updates, the next call of any takes in its place, without a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.backend import Artifact
from dlc_tvm.arrays import from_tensor
from dlc_tvm.load import TvmRunnable, opened, type_of, weight

Array = NDArray[Any]


class TvmWorkspace:
    """See `dlc.backend.Workspace`."""

    def __init__(self, programs: Mapping[str, Artifact], values: Mapping[str, Array], device: str) -> None:
        self.programs = {
            name: TvmRunnable(each.meta, opened(each, device), [], device) for name, each in programs.items()
        }
        self.types = {
            path: type_of(json) for each in programs.values() for path, json in each.meta["parameters"]
        }
        self.device = device
        self.others = {path: np.array(each) for path, each in values.items() if path not in self.types}
        self.held = {path: weight(path, type, values, device) for path, type in self.types.items()}

    def run(self, program: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        runnable = self.programs[program]
        weights = [self.held[path] for path, _ in runnable.meta["parameters"]]
        outputs, updates = runnable.computed(dict(inputs), weights)
        self.held.update(updates)
        return outputs

    def values(self) -> dict[str, Array]:
        held = {path: np.array(from_tensor(each, self.types[path].dtype)) for path, each in self.held.items()}
        return {**self.others, **held}

    def put(self, values: Mapping[str, Array]) -> None:
        for path, value in values.items():
            if path in self.held:
                self.held[path] = weight(path, self.types[path], {path: np.array(value)}, self.device)
            else:
                self.others[path] = np.array(value)
