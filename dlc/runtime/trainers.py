"""What trains: a backend's own trainer, one whose steps are compiled, or the interpreter, each of the programs that a train block has
for a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.analysis.measure import flops
from dlc.autodiff import NotDifferentiable
from dlc.autodiff.step import KEPT, Step, narrowed
from dlc.backend import Artifact, Backend, EmitOptions, Recipe, Setup, Trainer, Update
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.programs.update import Rule, rule_program
from dlc.ir.nodes import Program
from dlc.passes.phases import AFTER
from dlc.passes.stored import in_bytes
from dlc.passes.totals import totals
from dlc.records import replace
from dlc.runtime.compile import emitted, lower
from dlc.runtime.compiled_training import CompiledTrainer, ReferenceWorkspace, StackedWorkspace, in_stacks
from dlc.runtime.drawn import Drawing, Drawn
from dlc.runtime.step_programs import EVALUATION, MANY, Programs
from dlc.runtime.together import Reckoning
from dlc.runtime.training_setup import starting_weights
from dlc.runtime.turns import Planned, Turns
from dlc.runtime.weights import initial_weights
from dlc.spec import TrainBlock

Array = NDArray[Any]
Weights = Mapping[str, Array] | None
SAMPLES = "samples"


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
        self.turns = Turns(self.plan, self.sizes)

    def of(
        self, backend: Backend, device: str = "cpu", weights: Weights = None, *, portable: bool = False
    ) -> Trainer:
        """That of a backend. Draws are the backend's own, or the same everywhere, as the settings say or where they are to be
        `portable`; always so where steps are compiled, or a turn has several. Raises SpecError for a device that is not there, and for
        what has no derivative."""
        own = backend.has("trainer")
        if own and self.plan.loss_scale is not None and not backend.scales_losses:
            raise backend.lacks("scales no loss, which training in f16 needs", "train in f32 or bf16")
        if own and not portable and self.settings["draws"] == "native" and self.plan.is_single:
            return backend.trainer(self._setup(backend, device, weights, drawn=False))
        if own:
            return self._drawing(backend.trainer(self._setup(backend, device, weights, drawn=True)))
        made = self.compiled(backend, weights)
        workspace = backend.workspace(made.artifacts, made.values, device)
        if made.steps.stacks:
            workspace = StackedWorkspace(workspace, made.steps.stacks)
        return self._drawing(CompiledTrainer(made.steps, workspace, self._paths))

    def sampler(self, backend: Backend, device: str = "cpu") -> Trainer:
        """What makes the block's samples: a trainer that trains nothing, and takes its weights by `restore`. Draws are the same everywhere."""
        assert self.plan.samples is not None
        drawn, weights = Drawn.of(self.plan.samples), starting_weights(self.block)
        seed, precision = self.settings["seed"], self.settings["precision"]
        if backend.has("trainer"):
            artifact = self._emitted(drawn.program, backend, SAMPLES, training=False)
            parameters = tuple(map(in_bytes, self.plan.program.parameters))
            made = backend.trainer(Setup((), artifact, parameters, weights, seed=seed, device=device))
            return Drawing(made, None, drawn, seed)
        step = Step(narrowed(drawn.program, precision, KEPT), {})
        steps = Programs({EVALUATION: step}, {}, seed)
        options = EmitOptions(name=f"{self.plan.name}_{SAMPLES}", training=True)
        artifacts = {EVALUATION: emitted(lower(step.program, backend), backend, options)}
        workspace = backend.workspace(artifacts, weights, device)
        return Drawing(CompiledTrainer(steps, workspace, self._paths), None, drawn, seed)

    def compiled(self, backend: Backend, weights: Weights = None, *, many: int | None = MANY) -> Compiled:
        """What a run of a backend that compiles steps is made of; as `many` layers or more stay a loop. Raises SpecError."""
        steps = self._steps(backend.name, self.settings["precision"], many=many)
        drawn = {name: self._drawn_by(steps, name) for name in steps.programs}
        return Compiled(steps, drawn, steps.emitted(backend, self.plan), self._values(steps, weights))

    def programs(self) -> dict[str, Program]:
        """What is computed of a batch and in a step, by name, with what is drawn as inputs: the meaning of a run, and what backends that compile
        steps are given. Raises SpecError for what has no derivative."""
        steps = self._steps("the interpreter", self.settings["precision"])
        return {name: each.program for name, each in steps.programs.items()}

    def _drawn_by(self, steps: Programs, name: str) -> Drawn:
        """The draws of a program: those of a batch, and of its optimizers."""
        if name == EVALUATION:
            return self.evaluation
        inputs, names = set(steps.programs[name].program.main.input_names), steps.programs[name].names
        own = (
            replace(draw, input=replace(draw.input, name=names[draw.input.name]))
            for each in steps.optimizers.values()
            for draw in each.draws
            if names.get(draw.input.name) in inputs
        )
        return Drawn(self.training.program, (*self.training.draws, *own))

    def reference(
        self, precision: str = "f64", kept: str = "f64", rounding: np.random.Generator | None = None
    ) -> Trainer:
        """The interpreter's, which computes in a precision and keeps parameters, and what optimizers remember, in another; with `rounding`
        it rounds at random."""
        steps = self._steps("the interpreter", precision, kept)
        programs = {name: each.program for name, each in steps.programs.items()}
        workspace = ReferenceWorkspace(programs, self._values(steps, None), rounding)
        return self._drawing(CompiledTrainer(steps, workspace, self._paths))

    def _drawing(self, trainer: Trainer) -> Drawing:
        training = self.training if self.plan.is_single else None
        return Drawing(trainer, training, self.evaluation, self.settings["seed"])

    @cached_property
    def training(self) -> Drawn:
        """What is computed of a batch in training, with draws as inputs: of several programs, all that they draw."""
        return self.turns.drawn or Drawn.of(self.turns.planned[0].of_batch)

    @cached_property
    def evaluation(self) -> Drawn:
        return Drawn.of(self.held_out.totals.sums)

    @property
    def _paths(self) -> tuple[str, ...]:
        return tuple(each.path for each in self.plan.program.parameters)

    def _values(self, steps: Programs, weights: Weights) -> dict[str, Array]:
        """What parameters, buffers, optimizers and sums begin with, by path; those that stand in stacks, as stacks."""
        values = starting_weights(self.block) if weights is None else weights
        stacks = {path: steps.stacks[path] for path in steps.stacks if values.keys() >= {*steps.stacks[path]}}
        return {**in_stacks(values, stacks), **steps.states(self.settings["seed"])}

    @cached_property
    def held_out(self) -> Reckoning:
        return Reckoning(totals(self.plan.evaluation, wide=self.settings["precision"] != "f32"))

    def _setup(self, backend: Backend, device: str, weights: Weights, *, drawn: bool) -> Setup:
        plan = self.plan
        evaluation = self.evaluation.program if drawn else self.held_out.totals.sums
        return Setup(
            updates=tuple(self._update(each, backend, drawn=drawn) for each in self.turns.planned),
            evaluation=self._emitted(evaluation, backend, training=False),
            parameters=tuple(map(in_bytes, plan.program.parameters)),
            weights=starting_weights(self.block) if weights is None else weights,
            clip_norm=self.settings["clip_norm"],
            loss_scale=plan.loss_scale,
            seed=self.settings["seed"],
            device=device,
            flops=flops(plan.program, self.sizes).constant,
        )

    def _update(self, planned: Planned, backend: Backend, *, drawn: bool) -> Update:
        program = self.training.program if drawn and self.plan.is_single else planned.of_batch
        precision = "f32" if planned.name == AFTER else self.settings["precision"]
        artifact = self._emitted(program, backend, planned.name, precision, training=True)
        recipes = (self._recipe(rule.on(paths), backend, planned.name) for rule, paths in planned.rules)
        return Update(planned.name, artifact, tuple(recipes))

    def _recipe(self, rule: Rule, backend: Backend, update: str) -> Recipe:
        args = dict(rule.args)
        if rule.definition is not None or rule.optimizer not in backend.optimizers:
            drawn = Drawn(*rule_program(self.block.spec.project, self.plan.program.parameters, rule))
            options = EmitOptions(name=f"optimizer_{rule.optimizer}", training=True)
            seed = self.settings["seed"]
            artifact = emitted(lower(drawn.program, backend), backend, options)

            def draws(step: int) -> Mapping[str, Array]:
                return drawn.of_optimizers(seed, step, update)

            state, given = initial_weights(drawn.program), draws if drawn.draws else None
            return Recipe(rule.optimizer, args, rule.paths, artifact, state, given)
        return Recipe(rule.optimizer, args, rule.paths)

    def _emitted(
        self,
        program: Program,
        backend: Backend,
        name: str = "",
        precision: str = "",
        *,
        training: bool,
    ) -> Artifact:
        options = EmitOptions(
            name="_".join(filter(None, ("train", self.plan.name, name))),
            precision=precision or self.settings["precision"],
            training=training,
            recompute=training and self.plan.recomputes,
        )
        return emitted(lower(program, backend), backend, options)

    def _steps(self, by: str, precision: str, kept: str = KEPT, many: int | None = None) -> Programs:
        planned = self.turns.planned
        if self.plan.is_single:
            planned = (replace(planned[0], drawn=self.training.program),)
        project = self.block.spec.project
        try:
            return Programs.of(
                project, self.plan, planned, self.evaluation.program, self.sizes, precision, kept, many
            )
        except NotDifferentiable as error:
            raise SpecError(
                [problems.UNSUPPORTED.at(error.span, backend=by, op="train", reason=error.message)]
            ) from error
