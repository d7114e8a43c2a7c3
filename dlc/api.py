"""The Python API: reading specs, and the models of a spec with all that one does to them.

`dlc.spec` holds the values, `dlc.runtime` the functions that take them; here both have the names that users know.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlc import arguments
from dlc import spec as values
from dlc.arguments import takes
from dlc.diagnostics import SpecError
from dlc.elaborate.base.project import Project
from dlc.elaborate.base.units import Unit
from dlc.elaborate.programs.build import EntryPoint
from dlc.spec import TrainBlock

if TYPE_CHECKING:
    import numpy as np

    from dlc.backend import Artifact, Runnable

__all__ = ["Model", "Spec", "TrainBlock", "load", "loads"]


@takes(path=arguments.path, root=arguments.optional(arguments.path), allow_python=arguments.flag)
def load(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    allow_python: bool = False,
) -> Spec:
    """Read a spec and what it imports. Raises SpecError with every diagnostic of its text and imports.

    `root` is the folder that imports may not leave; by default the file's own. With `allow_python` the functions that
    its train blocks name as their data, `python("file.py:function")`, may be called."""
    project = Project(Path(root) if root is not None else None, allow_python=allow_python)
    unit = project.load(Path(path))
    return _spec(project, unit)


@takes(
    text=arguments.text("the text of a spec"),
    name=arguments.path,
    root=arguments.optional(arguments.path),
    allow_python=arguments.flag,
)
def loads(
    text: str,
    name: str = "spec.dl",
    *,
    root: str | os.PathLike[str] | None = None,
    allow_python: bool = False,
) -> Spec:
    """The same for a text in memory; `name` is what diagnostics call it."""
    project = Project(Path(root) if root is not None else None, allow_python=allow_python)
    unit = project.loads(text, os.fspath(name))
    return _spec(project, unit)


def _spec(project: Project, unit: Unit) -> Spec:
    if project.diagnostics:
        raise SpecError(project.diagnostics, project.sources)
    return Spec(project, unit)


class Spec(values.Spec):
    """A loaded file: its models, presets, train blocks, weights blocks and tests by name."""

    def model(self, name: str, origin: Any, point: EntryPoint) -> Model:
        return Model(self, name, origin, point)


class Model(values.Model):
    """A model at settings. Call it to change them: `model(layers=2)`. Immutable; checked when its program is asked for."""

    # The runtime is imported when it is used: a program that only checks and summarises needs no NumPy.

    @takes(
        backend=arguments.BACKEND,
        optimize=arguments.natural,
        precision=arguments.PRECISION,
        target=arguments.TARGET,
        training=arguments.flag,
        functions=arguments.flag,
    )
    def emit(
        self,
        backend: str,
        *,
        optimize: int = 1,
        precision: str = "f32",
        target: str = "",
        training: bool = False,
        functions: bool = False,
    ) -> Artifact:
        """The model as files of a backend, in memory. `functions` keeps its modules as functions of an ONNX file, which
        is flat otherwise. Raises SpecError for an unknown backend or an op that it lacks."""
        from dlc.runtime.compile import emit

        return emit(
            self,
            backend,
            optimize=optimize,
            precision=precision,
            target=target,
            training=training,
            functions=functions,
        )

    @takes(
        backend=arguments.BACKEND,
        weights=arguments.WEIGHTS,
        through=arguments.THROUGH,
        seed=arguments.natural,
        optimize=arguments.natural,
        precision=arguments.PRECISION,
        target=arguments.TARGET,
        device=arguments.DEVICE,
    )
    def compile(
        self,
        backend: str,
        *,
        weights: str | os.PathLike[str] | Mapping[str, np.ndarray] | None = None,
        through: str | None = None,
        seed: int = 0,
        optimize: int = 1,
        precision: str = "f32",
        target: str = "",
        device: str = "cpu",
    ) -> Runnable:
        """The model ready to run: NumPy in, NumPy out. `weights` is a file or {path: array}, read through the `weights` block
        named by `through`; without it the seeded initial values are used."""
        from dlc.runtime.compile import compile_model

        return compile_model(
            self,
            backend,
            weights=weights,
            through=through,
            seed=seed,
            optimize=optimize,
            precision=precision,
            target=target,
            device=device,
        )

    @takes(seed=arguments.natural)
    def initial_weights(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Seeded initial values of every parameter and buffer: the same for every backend."""
        from dlc.runtime.weights import initial_weights

        return initial_weights(self.program, seed)
