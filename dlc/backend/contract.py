"""What a backend is: it turns a program into files, and files with weights into something that runs.

Two methods make one, `emit` and `load`. All else is declared: facts as attributes, further abilities as methods that are
overridden. What a backend does not declare it lacks, and asking for it is a diagnostic that says so.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from dlc import ops
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dlc.backend.artifact import Artifact, EmitOptions, Runnable
    from dlc.backend.script import Script
    from dlc.backend.trainer import Setup, Trainer, Workspace
    from dlc.ir.nodes import Op, Program
    from dlc.ops.gaps import Gap

Weights = Mapping[str, "NDArray[Any]"]
Ability = Literal["gradients", "script", "trainer", "with_weights", "workspace"]
LAST = 100


class Backend(ABC):
    """A plug-in. Importing its module must not import its framework; its methods may.

    The attributes that have a value here need none in a backend; they are the case of one that says no more."""

    name: str
    """What `--backend` calls it."""

    # What it takes to use it.
    requires: tuple[str, ...] = ()
    """The modules that it imports."""
    emission_requires: tuple[str, ...] = ()
    """Those of them that `emit` imports already."""
    distributions: tuple[str, ...] = ()
    """The packages of `requires` as they are installed, where they are called otherwise, and what else it makes use of."""
    install: str = ""
    """The command that installs them, where it is not `pip install` of the distributions."""
    order: int = LAST
    """Its place where backends are listed, and where the first is taken: lower is earlier."""

    # What can be asked of it.
    devices: tuple[str, ...] = ("cpu",)
    """The kinds of device that it computes on."""
    precisions: tuple[str, ...] = ("f32",)
    """What `float` may mean."""
    targets: tuple[str, ...] = ()
    """What it can compile for, the default first. A target may have options behind it."""
    parametric: bool = False
    """Whether its source takes static parameters as arguments: it is given `EmitOptions.family` then."""
    joins_entries: bool = False
    """Whether it makes one class of a model and its entries, whichever is asked for: `EmitOptions.family` has all then."""
    any_precision: bool = False
    """Whether its source for f32 computes in whatever precision it is given parameters and inputs in: tables are said to be f32 then."""
    fuses_layers: bool = False
    """Whether weights that passes prepare are those of layers, in the place of the layers that they are prepared of; else they
    are tensors beside those."""
    prepares: bool = False
    """Whether its files compute by themselves what passes prepare: they are given the spec's own weights."""
    filled: frozenset[str] = frozenset()
    """Composites of the library that `is_native` says, but not where an axis behind the first may be 0: these are decomposed."""
    keeps_functions: bool = False
    """Whether its format can keep modules as functions and is flat otherwise: `EmitOptions.functions` says which."""
    optimizers: frozenset[str] = frozenset()
    """Those of the library that its `trainer` knows by name; of the others it is given the library's module, emitted."""
    scales_losses: bool = False
    """Whether its `trainer` follows `Setup.loss_scale`, which training in f16 needs. Compiled steps scale by themselves."""
    script_optimizers: frozenset[str] = frozenset()
    """Those of the library that its scripts of a training say."""
    gaps: Mapping[str, Gap] = MappingProxyType({})
    """Ops that it can't do, or not in some dtypes. They are refused before `emit`, and `dlc ops` shows them."""

    # --- what every backend does

    @abstractmethod
    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        """The program as files, in memory. `program` has gone through the passes and holds native ops, calls of the
        spec's own functions, and native loops."""

    @abstractmethod
    def load(self, artifact: Artifact, weights: Weights, device: str = "cpu") -> Runnable:
        """Something that runs: `weights` holds every parameter and buffer by its path (prepared ones included).
        `device` is passed where it is not the CPU."""

    def is_native(self, op: Op) -> bool:
        """Whether this backend says the op itself; library composites that it does not are decomposed before `emit`. A
        `loop` that it does not say (`dlc.ir.loops.Loop.of(op)` has its parts) is unrolled, or, over a size, refused."""
        return ops.known(op.op)

    # --- what it may do besides

    def gradients(
        self,
        artifact: Artifact,
        weights: Weights,
        inputs: Mapping[str, Any],
        cotangents: Mapping[str, NDArray[Any]],
    ) -> dict[str, NDArray[Any]]:
        """The gradient of sum(output * cotangent) by each trainable parameter's path."""
        raise self.lacks("gives no gradients")

    def trainer(self, setup: Setup) -> Trainer:
        """A network in training. Raises SpecError for a device that is not there."""
        raise self.lacks("does not train")

    def workspace(self, programs: Mapping[str, Artifact], values: Weights, device: str = "cpu") -> Workspace:
        """Emitted programs at work on the same parameters and buffers, for a backend that compiles the whole step of a training and
        has no `trainer` of its own: gradients and optimizers are in the programs then. Raises SpecError for a device that is not
        there."""
        raise self.lacks("does not train")

    def script(self, script: Script) -> Artifact:
        """A training as source that runs without dlc: model, data, loop, checkpoints. Raises SpecError for what it can't say."""
        raise self.lacks("writes no scripts of a training")

    def with_weights(self, artifact: Artifact, weights: Weights, *, single_file: bool = False) -> Artifact:
        """The artifact with its weights inside, for formats that keep them there; in a `single_file` where asked for."""
        raise self.lacks("keeps weights beside its files, not inside")

    # --- asking it

    def has(self, ability: Ability) -> bool:
        """Whether it overrides the method of that name."""
        return getattr(type(self), ability) is not getattr(Backend, ability)

    @property
    def trains(self) -> bool:
        """Whether `dlc train` can use it: by a trainer of its own, or by compiled steps."""
        return self.has("trainer") or self.has("workspace")

    def lacks(self, what: str, help: str = "") -> SpecError:
        """What is raised where something is asked that it can't do: `what` goes on from its name."""
        return SpecError([problems.LACKS.at(NO_SPAN, name=self.name, what=what, help=help)])

    def absence(self, *, emitting: bool = False) -> str:
        """Why it can't be used here, or can't even emit; empty if it can."""
        wanted = self.emission_requires if emitting else self.requires
        missing = [each for each in wanted if importlib.util.find_spec(each) is None]
        return f"{', '.join(missing)} can't be imported" if missing else ""

    @property
    def packages(self) -> tuple[str, ...]:
        """What is to be installed for it."""
        return self.distributions or self.requires

    @property
    def installation(self) -> str:
        """The command that installs what it needs; empty where nothing is known to be needed."""
        return self.install or (f"pip install {' '.join(self.packages)}" if self.packages else "")
