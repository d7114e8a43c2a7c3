"""What was emitted, at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlc.backend import Artifact
from dlc.emit.file import loaded
from dlc.emit.names import identifier
from dlc.ops.arrays import numpy_dtype
from dlc.records import dataclass


@dataclass
class ArraysModel:
    """A loaded program; `native` is its `apply`."""

    native: Any
    params: Mapping[Any, Any]
    meta: Mapping[str, Any]

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]:
        given = [self._array(inputs[name], dtype) for name, dtype in self.meta["inputs"]]
        sizes = {identifier(name): int(inputs[name]) for name in self.meta["sizes"]}
        found = self.native(self.params, *given, **sizes)
        found = found if isinstance(found, tuple) else (found,)
        outputs = zip(self.meta["outputs"], found, strict=True)
        return {name: self._array(value, dtype) for (name, dtype), value in outputs}

    def _array(self, value: Any, dtype: str) -> np.ndarray:
        return np.asarray(value, numpy_dtype(dtype, self.meta["precision"]))


def load(artifact: Artifact, weights: Mapping[str, np.ndarray]) -> ArraysModel:
    ((name, source),) = artifact.files.items()
    assert isinstance(source, str)
    return ArraysModel(loaded(name, source).apply, nested(weights), artifact.meta)


def nested(weights: Mapping[str, np.ndarray]) -> dict[Any, Any]:
    """Parameters by the labels of their paths; what is numbered has numbers."""
    tree: dict[Any, Any] = {}
    for path, value in weights.items():
        *labels, last = (int(each) if each.isdigit() else each for each in path.split("."))
        place = tree
        for label in labels:
            place = place.setdefault(label, {})
        place[last] = value
    return tree
