"""What a run with compiled steps computes, as programs: a step or its parts for each update of a turn, what stands before and behind them, and the
evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from dlc.autodiff.step import Scale, Step, narrowed, part_of_step, rest_of_step, sum_path, whole_step
from dlc.backend import Artifact, Backend, EmitOptions
from dlc.elaborate.base.project import Project
from dlc.elaborate.checks.plan import TrainPlan
from dlc.elaborate.programs.update import DYNAMIC, STATE, Rule, scale_path, state_path, update_program
from dlc.ir.drawing import drawing_functions
from dlc.ir.nodes import Op, Program
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import inline, resolve_float
from dlc.passes.phases import AFTER, LOSS
from dlc.passes.recompute import Recompute
from dlc.passes.sizes import with_sizes
from dlc.passes.stacked import Stack, of_layers, stacked
from dlc.records import dataclass, field, replace
from dlc.runtime.compile import emitted, lower
from dlc.runtime.drawn import Drawn
from dlc.runtime.turns import Planned
from dlc.runtime.weights import initial_weights

Array = NDArray[Any]
WHOLE, PART, REST, EVALUATION, OUTPUTS = "step", "part", "rest", "evaluate", "outputs"
MANY = 16
"""The number of layers from which on they stay a loop in compiled steps: what is compiled is then the same for any number."""


@dataclass(frozen=True, slots=True)
class Programs:
    """All that a run computes, by name. An update over one batch is `whole`; over several it has a part for each and a rest."""

    programs: Mapping[str, Step]
    optimizers: Mapping[str, Drawn]
    """What optimizers draw in each update."""
    seed: int
    stacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What stands in the programs for those of many layers at once: the paths of these, in their order."""

    @staticmethod
    def of(
        project: Project,
        plan: TrainPlan,
        planned: Sequence[Planned],
        evaluation: Program,
        sizes: Mapping[str, int],
        precision: str,
        kept: str,
        many: int | None = None,
    ) -> Programs:
        """`planned` and `evaluation` are what is computed of a batch, `sizes` those of a batch in training. The network computes in
        `precision`, on parameters that are `kept` in another. As `many` layers or more stay a loop, over parameters that are stacked. Raises
        NotDifferentiable."""
        of_batch = {}
        for each in planned:
            program = with_sizes(each.of_batch, sizes)
            again = plan.recomputes and each.step is not None
            of_batch[each.name] = Recompute().run(program) if again else program
        making = _Making(project, plan, planned, evaluation, of_batch, precision, kept)
        found = None if many is None else making.stacked(many)
        return found or making.made()

    def states(self, seed: int) -> dict[str, Array]:
        """What the optimizers remember at first, and the sums of gradients, by path."""
        found: dict[str, Array] = {}
        for each in self.programs.values():
            own = (p for p in each.program.parameters if p.path.startswith((f"{STATE}.", sum_path(""))))
            found |= initial_weights(replace(each.program, parameters=tuple(own)), seed)
        return found

    def draws_for_optimizers(self) -> bool:
        """Whether optimizers draw, or what they remember begins at random."""
        return any(each.draws for each in self.optimizers.values()) or any(
            drawing_functions(replace(step.program, entry=init))
            for step in self.programs.values()
            for init in {each.init for each in step.program.parameters if each.path in self.stacks}
        )

    def emitted(self, backend: Backend, plan: TrainPlan) -> dict[str, Artifact]:
        """Each program as the backend says it, in files that are called `BLOCK_PROGRAM`."""

        def one(key: str, step: Step) -> Artifact:
            again = plan.recomputes and key != EVALUATION
            options = EmitOptions(name=f"{plan.name}_{key}", training=True, recompute=again)
            return emitted(lower(step.program, backend), backend, options)

        return {key: one(key, step) for key, step in self.programs.items()}


@dataclass(frozen=True, slots=True)
class _Making:
    """The programs in the making; see `Programs.of`. `stacks` are those that they have."""

    project: Project
    plan: TrainPlan
    planned: Sequence[Planned]
    evaluation: Program
    of_batch: Mapping[str, Program]
    """What is computed of each batch, by the name of the update."""
    precision: str
    kept: str
    stacks: tuple[Stack, ...] = ()

    def stacked(self, many: int) -> Programs | None:
        """The programs with stacks for so many layers and more, if there are any. Optimizers that draw do so for each parameter by itself: then there are
        none."""
        evaluation = inline(self.evaluation, lambda op: False)
        flat = {name: inline(each, lambda op: False) for name, each in self.of_batch.items()}
        apart = [frozenset(paths) for each in self.planned for _, paths in each.rules]
        stacks = of_layers((evaluation, *flat.values()), apart, many)
        if not stacks:
            return None
        flat = {name: stacked(each, stacks) for name, each in flat.items()}
        made = replace(self, evaluation=stacked(evaluation, stacks), of_batch=flat, stacks=stacks).made()
        return None if made.draws_for_optimizers() else made

    def made(self) -> Programs:
        steps = {EVALUATION: Step(narrowed(self.evaluation, self.precision, self.kept), {})}
        drawn: dict[str, Drawn] = {}
        plan = self.plan
        for each in self.planned:
            program = self.of_batch[each.name]
            if each.name == AFTER:
                steps[AFTER] = Step(resolve_float(program, self.kept), {})
            elif each.step is None:
                steps[each.name] = Step(narrowed(program, self.precision, self.kept), {})
            else:
                rules = [self._on_stacks(rule) for rule in plan.update_rules(each.step)]
                drawn[each.name] = self._update(each, rules)
                steps |= self._steps(each, rules, program, drawn[each.name].program)
        stacks = dict(self._members(each.program for each in steps.values()))
        return Programs(steps, drawn, self.plan.settings["seed"], stacks)

    def _update(self, planned: Planned, rules: Sequence[Rule]) -> Drawn:
        trained = {path for rule in rules for path in rule.paths}
        update, draws = update_program(
            self.project,
            self.plan.program.parameters,
            rules,
            self.plan.settings["clip_norm"],
            state_of(planned.name),
            self.plan.loss_scale,
            [each for each in self.stacks if each.path in trained],
        )
        return Drawn(update, draws)

    def _on_stacks(self, rule: Rule) -> Rule:
        places = {member: each.path for each in self.stacks for member in each.members}
        return replace(rule, paths=tuple(dict.fromkeys(places.get(path, path) for path in rule.paths)))

    def _steps(
        self, planned: Planned, rules: Sequence[Rule], program: Program, update: Program
    ) -> dict[str, Step]:
        precision, kept = self.precision, self.kept
        trained = [path for rule in rules for path in rule.paths]
        scale: Scale = self.plan.loss_scale
        if scale == DYNAMIC:
            scale = scale_path(state_of(planned.name))
        names = {what: program_name(planned.name, what) for what in (WHOLE, PART, REST, OUTPUTS)}
        if planned.reckoning is None:
            return {names[WHOLE]: whole_step(program, update, trained, LOSS, precision, kept, scale)}
        sloped = planned.reckoning.sloped
        return {
            names[PART]: part_of_step(program, trained, sloped, precision, kept, scale, update),
            names[REST]: rest_of_step(update, trained, kept),
            names[OUTPUTS]: Step(_without_updates(narrowed(program, precision, kept)), {}),
        }

    def _members(self, programs: Iterable[Program]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """All that is stacked in the programs, by path, with the paths of its members: parameters, sums of their gradients, and what optimizers
        remember."""
        paths = {each.path for program in programs for each in program.parameters}
        for stack in self.stacks:
            states = {state_path("", state_of(each.name)) for each in self.planned}
            for prefix in ("", sum_path(""), *states):
                whole = f"{prefix}{stack.path}"
                for path in paths:
                    if path == whole or path.startswith(f"{whole}."):
                        rest = path[len(whole) :]
                        yield path, tuple(f"{prefix}{member}{rest}" for member in stack.members)


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
