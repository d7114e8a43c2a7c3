"""What a backend is: it turns a program into files, and files with weights into something that runs.

Backends are found by the entry-point group `dlc.backends`; the four that ship use exactly what a third party's would.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    import numpy as np

    from dlc.ir.nodes import Op, Program

GROUP = "dlc.backends"


def no_variants(names: tuple[str, ...]) -> Program | None:
    return None


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """What an emission is asked for.

    `name` names the emitted package or file (a checked identifier, such as `gpt2`); `optimize` is the -O level the
    program was prepared with; `precision` is what `float` means ("f32", "bf16", "f16", "f64"); `target` is for backends
    that compile ("llvm", "cuda"); `training` asks for what training needs besides (losses, buffer updates); `functions` keeps modules as functions of the
    file, for formats that have them and are written flat otherwise; `header`
    are lines of a comment for emitted source (digest of the spec, version of dlc). `vary` gives the same model
    with other values of the static parameters named, or None, to a backend whose source takes static parameters as
    arguments: which number stands for which parameter is seen from what changes."""

    name: str = "model"
    optimize: int = 1
    precision: str = "f32"
    target: str = ""
    training: bool = False
    functions: bool = False
    header: tuple[str, ...] = ()
    vary: Callable[[tuple[str, ...]], Program | None] = no_variants


@dataclass(frozen=True, slots=True)
class Artifact:
    """Emitted files in memory, by relative path; text as str, binary as bytes. `meta` is what `load` needs besides
    (JSON values only: input and output names, entry class, …)."""

    backend: str
    files: Mapping[str, str | bytes]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def write(self, directory: str | os.PathLike[str]) -> Path:
        """Write all files into `directory`, all or none: they appear under their names only once complete.

        Raises OSError if the directory can't be written."""
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".dlc-", dir=target))
        try:
            for name, content in self.files.items():
                path = staging / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            for name in self.files:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, target / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return target


class Runnable(Protocol):
    """A loaded model. Called with its inputs by keyword (NumPy arrays, or anything with DLPack), it gives its outputs
    by name as NumPy arrays. `native` is the backend's own object."""

    @property
    def native(self) -> Any: ...

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]: ...


class Backend(Protocol):
    """A plug-in. Importing its module must not import its framework; `emit` and `load` may."""

    name: str
    requires: tuple[str, ...]  # distributions that must be installed, e.g. ("torch",)

    def is_native(self, op: Op) -> bool:
        """Whether this backend says the op itself; library composites that it does not are decomposed before `emit`. A
        `loop` that it does not say (`dlc.ir.loops.Loop.of(op)` has its parts) is unrolled, or, over a size, refused."""
        ...

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        """The program as files, in memory. `program` has gone through the passes and holds native ops, calls of the
        spec's own functions, and native loops."""
        ...

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray]) -> Runnable:
        """Something that runs: `weights` holds every parameter and buffer by its path (prepared ones included)."""
        ...


def _entries() -> EntryPoints:
    # Reading what is installed costs more than checking a spec: only when it is asked for.
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def find(name: str) -> Backend:
    """The backend of that name. Raises KeyError if none is installed under it."""
    for entry in _entries():
        if entry.name == name:
            backend: Backend = entry.load()
            return backend
    raise KeyError(name)


def names() -> tuple[str, ...]:
    """The names of the backends that are found, in a fixed order: the four of this project, then others."""
    found = {entry.name for entry in _entries()}
    known = [name for name in ("torch", "jax", "onnx", "tvm") if name in found]
    return (*known, *sorted(found - set(known)))
