"""Training by compiled steps: gradients and optimizers are in the programs that a backend is given, and it only runs these. So does
the interpreter, whose steps are the meaning of all others.

What is drawn at random is an input of the programs (`dlc/runtime/drawn.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.autodiff.step import Scale, Step, narrowed, part_of_step, rest_of_step, sum_path, whole_step
from dlc.backend import Artifact, Backend, Batch, EmitOptions, Workspace
from dlc.elaborate.base.project import Project
from dlc.elaborate.checks.plan import TrainPlan
from dlc.elaborate.programs.update import DYNAMIC, SCALE, STATE, STEP, rate_name, scale_path, update_program
from dlc.ir.nodes import Op, Program
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import resolve_float
from dlc.passes.phases import AFTER, LOSS
from dlc.passes.recompute import Recompute
from dlc.passes.sizes import with_sizes
from dlc.records import dataclass, replace
from dlc.runtime.compile import emitted, lower
from dlc.runtime.drawn import Drawn
from dlc.runtime.interpret import run
from dlc.runtime.turns import Planned
from dlc.runtime.weights import initial_weights

Array = NDArray[Any]
WHOLE, PART, REST, EVALUATION, OUTPUTS = "step", "part", "rest", "evaluate", "outputs"


@dataclass(frozen=True, slots=True)
class Programs:
    """All that a run computes, by name. An update over one batch is `whole`; over several it has a part for each and a rest."""

    programs: Mapping[str, Step]
    optimizers: Mapping[str, Drawn]
    """What optimizers draw in each update."""
    seed: int

    @staticmethod
    def of(
        project: Project,
        plan: TrainPlan,
        planned: Sequence[Planned],
        evaluation: Program,
        sizes: Mapping[str, int],
        precision: str,
        kept: str,
    ) -> Programs:
        """`planned` and `evaluation` are what is computed of a batch, `sizes` those of a batch in training. The network computes in
        `precision`, on parameters that are `kept` in another. Raises NotDifferentiable."""
        steps = {EVALUATION: Step(narrowed(evaluation, precision, kept), {})}
        drawn: dict[str, Drawn] = {}
        for each in planned:
            program = with_sizes(each.of_batch, sizes)
            if each.name == AFTER:
                steps[AFTER] = Step(resolve_float(program, kept), {})
            elif each.step is None:
                steps[each.name] = Step(narrowed(program, precision, kept), {})
            else:
                state = state_of(each.name)
                update, draws = update_program(
                    project,
                    plan.program.parameters,
                    plan.update_rules(each.step),
                    plan.settings["clip_norm"],
                    state,
                    plan.loss_scale,
                )
                drawn[each.name] = Drawn(update, draws)
                if plan.recomputes:
                    program = Recompute().run(program)
                scale = scale_path(state) if plan.loss_scale == DYNAMIC else plan.loss_scale
                steps |= _update(each, program, update, precision, kept, scale)
        return Programs(steps, drawn, plan.settings["seed"])

    def states(self, seed: int) -> dict[str, Array]:
        """What the optimizers remember at first, and the sums of gradients, by path."""
        found: dict[str, Array] = {}
        for each in self.programs.values():
            own = (p for p in each.program.parameters if p.path.startswith((f"{STATE}.", sum_path(""))))
            found |= initial_weights(replace(each.program, parameters=tuple(own)), seed)
        return found

    def emitted(self, backend: Backend, plan: TrainPlan) -> dict[str, Artifact]:
        """Each program as the backend says it, in files that are called `BLOCK_PROGRAM`."""

        def one(key: str, step: Step) -> Artifact:
            again = plan.recomputes and key != EVALUATION
            options = EmitOptions(name=f"{plan.name}_{key}", training=True, recompute=again)
            return emitted(lower(step.program, backend), backend, options)

        return {key: one(key, step) for key, step in self.programs.items()}


def _update(
    planned: Planned, program: Program, update: Program, precision: str, kept: str, scale: Scale
) -> dict[str, Step]:
    name, trained = planned.name, planned.trained
    if planned.reckoning is None:
        return {program_name(name, WHOLE): whole_step(program, update, trained, LOSS, precision, kept, scale)}
    return {
        program_name(name, PART): part_of_step(
            program, trained, planned.reckoning.sloped, precision, kept, scale, update
        ),
        program_name(name, REST): rest_of_step(update, trained, kept),
        program_name(name, OUTPUTS): Step(_without_updates(narrowed(program, precision, kept)), {}),
    }


def program_name(update: str, what: str) -> str:
    """What a program of an update is called."""
    return update if update and what == WHOLE else "_".join(filter(None, (update, what)))


def state_of(update: str) -> str:
    """Where the optimizers of an update keep what they remember."""
    return ".".join(filter(None, (STATE, update)))


def _without_updates(program: Program) -> Program:
    """A program without calls that changes no buffers."""
    main = program.main
    narrow = replace(main, body=_silent(main.body))
    return DeadCode().run(program.with_functions({**program.functions, main.name: narrow}))


def _silent(body: Iterable[Op]) -> tuple[Op, ...]:
    """The operations without updates, in loops neither."""
    return tuple(
        replace(op, region=replace(op.region, body=_silent(op.region.body))) if op.region else op
        for op in body
        if op.op != "update"
    )


class CompiledTrainer:
    """See `dlc.backend.Trainer`: a network in training in a workspace."""

    def __init__(self, programs: Programs, workspace: Workspace, paths: Sequence[str]) -> None:
        self.made = programs
        self.programs = programs.programs
        self.workspace = workspace
        self.paths = frozenset(paths)
        self.scaled = self._scales(workspace.values())

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
        update: str = "",
    ) -> list[dict[str, Array]]:
        given: dict[str, Any] = {STEP: np.asarray(step + 1, np.int64)}
        given |= {
            rate_name(i): np.asarray(rate, np.float32) for i, rate in enumerate(rates) if rate is not None
        }
        if update in self.made.optimizers:
            given |= self.made.optimizers[update].of_optimizers(self.made.seed, step, update)
        whole, part, rest = (program_name(update, what) for what in (WHOLE, PART, REST))
        if whole in self.programs:
            return [self._scaling(whole, update, batch, given) for batch in batches]
        parts = {name: np.asarray(each, np.float32) for name, each in shares.items()}
        found = [self._run(part, batch, parts) for batch in batches]
        self._scaling(rest, update, {}, given)
        return found

    def _scaling(self, program: str, update: str, batch: Batch, given: Mapping[str, Any]) -> dict[str, Array]:
        """Run what may change the scale of a loss, which is no output of the block's."""
        found = self._run(program, batch, given)
        name = self.programs[program].names.get(SCALE)
        if name is not None:
            self.scaled[update] = float(found.pop(name))
        return found

    def _scales(self, values: Mapping[str, Array]) -> dict[str, float]:
        """The scales of losses that follow the gradients, by update, as a workspace or a checkpoint has them."""
        found = {}
        for path, each in values.items():
            if path.startswith(f"{STATE}.") and path.endswith(scale_path("")):
                found[path[len(STATE) + 1 : -len(scale_path(""))]] = float(each)
        return found

    def outputs(self, step: int, number: int, batch: Batch, update: str = "") -> dict[str, Array]:
        return self._run(program_name(update, OUTPUTS), batch, {})

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

    def scales(self) -> dict[str, float]:
        return dict(self.scaled)

    def restore(self, weights: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        known = {**self.weights(), **self.state()}
        given = {**weights, **state}
        if given.keys() != known.keys():
            raise ValueError("it holds other parameters than the networks have")
        for path, each in given.items():
            if np.shape(each) != known[path].shape:
                raise ValueError(f"`{path}` has another shape")
        self.workspace.put(given)
        self.scaled = self._scales(given)


class ReferenceWorkspace:
    """The interpreter as a `dlc.backend.Workspace`; with `rounding`, one that rounds at random."""

    def __init__(
        self,
        programs: Mapping[str, Program],
        values: Mapping[str, Array],
        rounding: np.random.Generator | None = None,
    ) -> None:
        self.programs = programs
        self.rounding = rounding
        self.held = {path: np.array(each) for path, each in values.items()}

    def run(self, program: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        updates: dict[str, Array] = {}
        with np.errstate(all="ignore"):  # what is not finite is seen in the results
            held = self.held
            found = run(self.programs[program], held, inputs, updates=updates, rounding=self.rounding)
        self.held |= updates
        return found

    def values(self) -> dict[str, Array]:
        return {path: np.array(each) for path, each in self.held.items()}

    def put(self, values: Mapping[str, Array]) -> None:
        self.held |= {path: np.array(each) for path, each in values.items()}
