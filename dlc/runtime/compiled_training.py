"""Training by compiled steps: gradients and optimizers are in the programs that a backend is given, and it only runs these. So does
the interpreter, whose steps are the meaning of all others.

What is drawn at random is an input of the programs (`dlc/runtime/drawn.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.autodiff.step import Step, narrowed, part_of_step, rest_of_step, sum_path, whole_step
from dlc.backend import Artifact, Backend, Batch, EmitOptions, Workspace
from dlc.elaborate.base.project import Project
from dlc.elaborate.checks.plan import TrainPlan
from dlc.elaborate.programs.update import STATE, STEP, rate_name, update_program
from dlc.ir.nodes import Program
from dlc.passes.dead_code import DeadCode
from dlc.passes.sizes import with_sizes
from dlc.records import dataclass, replace
from dlc.runtime.compile import emitted, lower
from dlc.runtime.interpret import run
from dlc.runtime.weights import initial_weights

Array = NDArray[Any]
LOSS = "loss"
WHOLE, PART, REST, EVALUATION, OUTPUTS = "step", "part", "rest", "evaluate", "outputs"


@dataclass(frozen=True, slots=True)
class Programs:
    """All that a run computes, by name, and the optimizers' paths. Steps over one batch are `whole`; over several they have a part for
    each and a rest."""

    programs: Mapping[str, Step]
    trained: tuple[str, ...]

    @staticmethod
    def of(
        project: Project,
        plan: TrainPlan,
        training: Program,
        evaluation: Program,
        sizes: Mapping[str, int],
        shared: Sequence[str],
        precision: str,
        kept: str,
    ) -> Programs:
        """`training` and `evaluation` are what is computed of a batch, `sizes` those of a batch in training, `shared` the outputs
        that have a share where several batches make a step. The network computes in `precision`, on parameters that
        are `kept` in another. Raises NotDifferentiable."""
        settings = plan.settings
        made = plan.update_rules
        update = update_program(project, plan.program.parameters, made, settings["clip_norm"])
        trained = tuple(path for each in made for path in each.paths)
        training = with_sizes(training, sizes)
        steps = {EVALUATION: Step(narrowed(evaluation, precision, kept), {})}
        if settings["accumulate"] == 1:
            steps[WHOLE] = whole_step(training, update, trained, LOSS, precision, kept)
        else:
            steps[PART] = part_of_step(training, trained, shared, precision, kept)
            steps[REST] = rest_of_step(update, trained, kept)
            steps[OUTPUTS] = Step(_without_updates(narrowed(training, precision, kept)), {})
        return Programs(steps, trained)

    def states(self, seed: int) -> dict[str, Array]:
        """What the optimizers remember at first, and the sums of gradients, by path."""
        found: dict[str, Array] = {}
        for each in self.programs.values():
            own = (p for p in each.program.parameters if p.path.startswith((f"{STATE}.", sum_path(""))))
            found |= initial_weights(replace(each.program, parameters=tuple(own)), seed)
        return found

    def emitted(self, backend: Backend, name: str) -> dict[str, Artifact]:
        """Each program as the backend says it, in files that are called `NAME_PROGRAM`."""
        return {
            key: emitted(
                lower(each.program, backend), backend, EmitOptions(name=f"{name}_{key}", training=True)
            )
            for key, each in self.programs.items()
        }


def _without_updates(program: Program) -> Program:
    """A flat program that changes no buffers."""
    main = program.main
    body = tuple(op for op in main.body if op.op != "update")
    return DeadCode().run(program.with_functions({**program.functions, main.name: replace(main, body=body)}))


class CompiledTrainer:
    """See `dlc.backend.Trainer`: a network in training in a workspace."""

    def __init__(self, programs: Programs, workspace: Workspace, paths: Sequence[str]) -> None:
        self.programs = programs.programs
        self.workspace = workspace
        self.paths = frozenset(paths)

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
    ) -> list[dict[str, Array]]:
        given: dict[str, Any] = {STEP: np.asarray(step + 1, np.int64)}
        given |= {
            rate_name(i): np.asarray(rate, np.float32) for i, rate in enumerate(rates) if rate is not None
        }
        if WHOLE in self.programs:
            (batch,) = batches
            return [self._run(WHOLE, batch, given)]
        parts = {name: np.asarray(each, np.float32) for name, each in shares.items()}
        found = [self._run(PART, batch, parts) for batch in batches]
        self._run(REST, {}, given)
        return found

    def outputs(self, step: int, number: int, batch: Batch) -> dict[str, Array]:
        return self._run(OUTPUTS, batch, {})

    def evaluate(self, number: int, batch: Batch) -> dict[str, Array]:
        return self._run(EVALUATION, batch, {})

    def _run(self, name: str, batch: Batch, further: Mapping[str, Any]) -> dict[str, Array]:
        step = self.programs[name]
        named = {step.names[key]: value for key, value in further.items() if key in step.names}
        wanted = {each.name for each in step.program.main.inputs}
        return self.workspace.run(name, {**{key: batch[key] for key in batch if key in wanted}, **named})

    def weights(self) -> dict[str, Array]:
        return {path: each for path, each in self.workspace.values().items() if path in self.paths}

    def state(self) -> dict[str, Array]:
        held = self.workspace.values()
        return {path: each for path, each in held.items() if path.startswith(f"{STATE}.")}

    def restore(self, weights: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        known = {**self.weights(), **self.state()}
        given = {**weights, **state}
        if given.keys() != known.keys():
            raise ValueError("it holds other parameters than the networks have")
        for path, each in given.items():
            if np.shape(each) != known[path].shape:
                raise ValueError(f"`{path}` has another shape")
        self.workspace.put(given)


class ReferenceWorkspace:
    """The interpreter as a `dlc.backend.Workspace`."""

    def __init__(self, programs: Mapping[str, Program], values: Mapping[str, Array]) -> None:
        self.programs = programs
        self.held = {path: np.array(each) for path, each in values.items()}

    def run(self, program: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        updates: dict[str, Array] = {}
        found = run(self.programs[program], self.held, inputs, updates=updates)
        self.held |= updates
        return found

    def values(self) -> dict[str, Array]:
        return {path: np.array(each) for path, each in self.held.items()}

    def put(self, values: Mapping[str, Array]) -> None:
        self.held |= {path: np.array(each) for path, each in values.items()}
