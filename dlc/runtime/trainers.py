"""What trains: a backend's own trainer, one whose steps are compiled, or the interpreter, each of the programs that a train block has
for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from dlc.analysis.measure import flops
from dlc.autodiff import NotDifferentiable
from dlc.autodiff.step import KEPT
from dlc.backend import Artifact, Backend, EmitOptions, Recipe, Setup, Trainer
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.checks.plan import OptimizerRule
from dlc.elaborate.programs.update import Rule, rule_program
from dlc.ir.nodes import Program
from dlc.passes.totals import totals
from dlc.runtime.compile import emitted, lower
from dlc.runtime.compiled_training import EVALUATION, CompiledTrainer, Programs, ReferenceWorkspace
from dlc.runtime.drawn import Drawing, Drawn
from dlc.runtime.schedules import rate
from dlc.runtime.together import Accumulated, Reckoning, Single
from dlc.runtime.training_setup import starting_weights
from dlc.runtime.weights import initial_weights
from dlc.spec import TrainBlock

Array = NDArray[Any]
Weights = Mapping[str, Array] | None


@dataclass(frozen=True)
class Compiled:
    """The steps of a training, emitted: `drawn` has the draws of each, which are inputs of it, `values` what parameters, buffers,
    optimizers and sums begin with, by path."""

    steps: Programs
    drawn: Mapping[str, Drawn]
    artifacts: Mapping[str, Artifact]
    values: Mapping[str, Array]


@dataclass
class Trainers:
    """Trainers of one train block; `sizes` are those of a batch in training. Weights are those to start from, None for the initial
    ones and what the block loads."""

    block: TrainBlock
    sizes: Mapping[str, int]

    def __post_init__(self) -> None:
        self.plan = self.block.plan
        self.settings = self.plan.settings
        self.rules: tuple[tuple[OptimizerRule, tuple[str, ...]], ...] = self.plan.used_rules

    def of(
        self, backend: Backend, device: str = "cpu", weights: Weights = None, *, portable: bool = False
    ) -> Trainer:
        """That of a backend. Draws are the backend's own, or the same everywhere, as the settings say or where they are to be
        `portable`; always so where steps are compiled. Raises SpecError for a device that is not there, and for what has no derivative."""
        own = backend.has("trainer")
        if own and not portable and self.settings["draws"] == "native":
            return backend.trainer(self._setup(backend, device, self.programs, weights))
        training, evaluation = self.drawn
        if own:
            programs = training.program, evaluation.program
            trainer: Trainer = backend.trainer(self._setup(backend, device, programs, weights))
        else:
            made = self.compiled(backend, weights)
            workspace = backend.workspace(made.artifacts, made.values, device)
            trainer = CompiledTrainer(made.steps, workspace, self._paths)
        return Drawing(trainer, training, evaluation, self.settings["seed"])

    def compiled(self, backend: Backend, weights: Weights = None) -> Compiled:
        """What a run of a backend that compiles steps is made of. Raises SpecError."""
        steps = self._steps(backend.name, self.settings["precision"])
        training, evaluation = self.drawn
        drawn = {name: evaluation if name == EVALUATION else training for name in steps.programs}
        return Compiled(steps, drawn, steps.emitted(backend, self.plan.name), self._values(steps, weights))

    def reference(self, precision: str = "f64", kept: str = "f64") -> Trainer:
        """The interpreter's, which computes in a precision and keeps parameters, and what optimizers remember, in another."""
        steps = self._steps("the interpreter", precision, kept)
        programs = {name: each.program for name, each in steps.programs.items()}
        workspace = ReferenceWorkspace(programs, self._values(steps, None))
        return Drawing(CompiledTrainer(steps, workspace, self._paths), *self.drawn, self.settings["seed"])

    @cached_property
    def drawn(self) -> tuple[Drawn, Drawn]:
        """The same as `programs`, with draws as inputs."""
        training, evaluation = self.programs
        return Drawn.of(training), Drawn.of(evaluation)

    @property
    def _paths(self) -> tuple[str, ...]:
        return tuple(each.path for each in self.plan.program.parameters)

    def _values(self, steps: Programs, weights: Weights) -> dict[str, Array]:
        """What parameters, buffers, optimizers and sums begin with, by path."""
        values = starting_weights(self.block) if weights is None else weights
        return {**values, **steps.states(self.settings["seed"])}

    def rates(self, step: int, total: int) -> list[float | None]:
        """Those of a step, from 0, of a run of so many, by rule; None for an optimizer that has one of its own."""
        given = (rule.optimizer.args["lr"] for rule, _ in self.rules)
        return [None if lr is None else rate(lr, step, total) for lr in given]

    @property
    def programs(self) -> tuple[Program, Program]:
        """What is computed of a batch, in training and in evaluation."""
        single = self.settings["accumulate"] == 1
        training = self.plan.program if single else self.reckoning.totals.sums
        return training, self.held_out.totals.sums

    @cached_property
    def reckoning(self) -> Reckoning:
        return Reckoning(totals(self.plan.program, wide=self._is_narrow))

    @cached_property
    def held_out(self) -> Reckoning:
        return Reckoning(totals(self.plan.evaluation, wide=self._is_narrow))

    @cached_property
    def updates(self) -> Single | Accumulated:
        return Single() if self.settings["accumulate"] == 1 else Accumulated(self.reckoning)

    @property
    def _is_narrow(self) -> bool:
        return bool(self.settings["precision"] != "f32")

    def _setup(
        self, backend: Backend, device: str, programs: tuple[Program, Program], weights: Weights
    ) -> Setup:
        plan = self.plan
        return Setup(
            training=self._emitted(programs[0], backend, training=True),
            evaluation=self._emitted(programs[1], backend, training=False),
            parameters=plan.program.parameters,
            weights=starting_weights(self.block) if weights is None else weights,
            recipes=tuple(self._recipe(each, backend) for each in self.plan.update_rules),
            clip_norm=self.settings["clip_norm"],
            seed=self.settings["seed"],
            device=device,
            flops=flops(plan.program, self.sizes).constant,
        )

    def _recipe(self, rule: Rule, backend: Backend) -> Recipe:
        args = dict(rule.args)
        if rule.definition is not None or rule.optimizer not in backend.optimizers:
            program = rule_program(self.block.spec.project, self.plan.program.parameters, rule)
            options = EmitOptions(name=f"optimizer_{rule.optimizer}", training=True)
            artifact = emitted(lower(program, backend), backend, options)
            return Recipe(rule.optimizer, args, rule.paths, artifact, initial_weights(program))
        return Recipe(rule.optimizer, args, rule.paths)

    def _emitted(self, program: Program, backend: Backend, *, training: bool) -> Artifact:
        precision = self.settings["precision"]
        options = EmitOptions(name=f"train_{self.plan.name}", precision=precision, training=training)
        return emitted(lower(program, backend), backend, options)

    def _steps(self, by: str, precision: str, kept: str = KEPT) -> Programs:
        shared: Sequence[str] = () if self.settings["accumulate"] == 1 else self.reckoning.sloped
        project, (training, evaluation) = self.block.spec.project, self.drawn
        programs = training.program, evaluation.program
        try:
            return Programs.of(project, self.plan, *programs, self.sizes, shared, precision, kept)
        except NotDifferentiable as error:
            raise SpecError(
                [problems.UNSUPPORTED.at(error.span, backend=by, op="train", reason=error.message)]
            ) from error
