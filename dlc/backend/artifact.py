"""What an emission is asked for, what it gives, and what loading makes of that."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dlc import arguments
from dlc.arguments import takes
from dlc.records import dataclass, field
from dlc.writing import write_all

if TYPE_CHECKING:
    import numpy as np

    from dlc.ir.nodes import Program


Which = Literal["together", "deciding", "each", "switches", "lengths"]


class Family(Protocol):
    """A model for source that is used at other settings too: see `dlc/runtime/family.py`."""

    def programs(self, fixed: frozenset[str] = frozenset()) -> tuple[Program, ...]:
        """The programs of the model, in training and not, with and without optional inputs, by all its entries where the backend
        joins them; its own first. Static parameters that are `fixed` are plain numbers in them, all others remembered
        expressions."""
        ...

    @property
    def walked(self) -> tuple[str, ...]:
        """The lists that loops may go over."""
        ...

    @property
    def stages(self) -> Family | None:
        """The same with modules for the stages of loops in loops; None where there are none."""
        ...

    @property
    def brief(self) -> Family:
        """The same in one mode."""
        ...

    def others(self, fixed: frozenset[str], which: Which) -> Iterable[tuple[tuple[str, ...], Family]]:
        """The model at other settings, with the names of the parameters that were changed; none of those that are `fixed`.
        Numbers and lists are changed all "together" or "each" alone, or those of them that something is decided on, "deciding";
        "switches" are changed alone, "lengths" are those of lists."""
        ...


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """What an emission is asked for.

    `name` names the emitted package or file (a checked identifier, such as `gpt2`); `optimize` is the -O level the
    program was prepared with; `precision` is what `float` means ("f32", "bf16", "f16", "f64"); `target` is for backends
    that compile, one of their own `targets`; `training` asks for what training needs besides (losses, buffer updates);
    `recompute` has layers computed again on the way back (`dlc.passes.recompute`), by a backend that differentiates itself;
    `functions` keeps modules as functions of the file, for formats that have them and are written flat otherwise; `header`
    are lines of a comment for emitted source (digest of the spec, version of dlc). `family` gives the same model in other
    modes and at other settings, to a backend whose source takes static parameters as arguments; None where nobody
    will read it."""

    name: str = "model"
    optimize: int = 1
    precision: str = "f32"
    target: str = ""
    training: bool = False
    functions: bool = False
    recompute: bool = False
    header: tuple[str, ...] = ()
    family: Family | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """Emitted files in memory, by relative path; text as str, binary as bytes. `meta` is what `load` needs besides
    (JSON values only: input and output names, entry class, …)."""

    backend: str
    files: Mapping[str, str | bytes]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Artifact of {self.backend}: {', '.join(self.files)}>"

    @takes(directory=arguments.path)
    def write(self, directory: str | os.PathLike[str]) -> Path:
        """Write all files into `directory`, all or none: they appear under their names only once complete.

        Raises OSError if the directory can't be written."""
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        for name in self.files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
        write_all({target / name: content for name, content in self.files.items()})
        return target


class Runnable(Protocol):
    """A loaded model. Called with its inputs by keyword (NumPy arrays, or anything with DLPack), it gives its outputs
    by name as NumPy arrays. `native` is the backend's own object."""

    @property
    def native(self) -> Any: ...

    def __call__(self, /, **inputs: Any) -> dict[str, np.ndarray]: ...
