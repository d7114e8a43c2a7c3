"""What a train block says, as a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlc.diagnostics import NO_SPAN, Span
from dlc.elaborate.base.name_patterns import matches
from dlc.elaborate.base.units import Definition
from dlc.elaborate.programs.update import DYNAMIC, Rule
from dlc.ir.nodes import Parameter, Program
from dlc.passes.phases import Part
from dlc.records import dataclass, field
from dlc.types.tensor import TensorType


@dataclass(frozen=True, slots=True)
class Named:
    """Something chosen by name with arguments: an optimizer, a schedule, a source. A schedule that is an fn of the spec has its
    `function`, from a step, from 0, and how many there are to a rate, and a `digest` of its text."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)
    function: Callable[[int, int], float] | None = field(default=None, compare=False, repr=False)
    digest: str = ""
    definition: Definition | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class OptimizerRule:
    """An optimizer for the parameters that a pattern or kind selects; for all where `selectors` is empty."""

    optimizer: Named
    # ("kind", kind, param) or ("path", pattern, None)
    selectors: tuple[tuple[str, str | None, str | None], ...] = ()
    definition: Definition | None = None
    """The module, where the spec has one of its own."""
    span: Span = field(default=NO_SPAN, compare=False, repr=False)

    def on(self, paths: tuple[str, ...]) -> Rule:
        """The rule as what a step does with the gradients of parameters."""
        name, args = self.optimizer.name, dict(self.optimizer.args)
        rate = args.pop("lr")
        return Rule(name, args, paths, rate is not None, self.definition, self.span)

    def applies(self, parameter: Parameter) -> bool:
        if not self.selectors:
            return True
        local = parameter.path.rsplit(".", 1)[-1]
        return any(
            matches(str(what), parameter.path)
            if how == "path"
            else what == parameter.owner and param in (None, local)
            for how, what, param in self.selectors
        )


@dataclass(frozen=True, slots=True)
class Load:
    """`load TARGET from "file" with MAP except …`: `prefix` is the path that the file's tensors go below."""

    prefix: str
    path: str
    weights: str | None
    excluded: tuple[str, ...]
    span: Span = field(default=NO_SPAN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Network:
    """An instance that the block binds: its parameters' paths begin with `path`."""

    name: str
    definition: Definition
    static: dict[str, Any]
    path: str


@dataclass(frozen=True, slots=True)
class Copy:
    """A network that begins as another one does and is not trained: `frozen(net)`, and `ema(net)`, which follows it by a moving
    average. Both are paths that parameters begin with."""

    path: str
    of: str
    decay: float | None = None


@dataclass(frozen=True, slots=True)
class TrainStep:
    """One of the updates of a turn: `step NAME updates …`, or all that the block minimizes, whose name is empty.

    `loss` and `metrics` are outputs of the plan's program; `updates` the paths below which it trains, all where there is none; `rules` its
    optimizers. It is done in every turn, or in each `every`th of them, `turns` times. `between` are the constants of the program
    that stand before and behind it."""

    name: str
    loss: str
    metrics: tuple[str, ...]
    updates: tuple[str, ...]
    rules: tuple[OptimizerRule, ...]
    every: int = 1
    turns: int = 1
    between: tuple[str, str] | None = None
    span: Span = field(default=NO_SPAN, compare=False, repr=False)

    def has(self, path: str) -> bool:
        return not self.updates or any(path == each or path.startswith(f"{each}.") for each in self.updates)


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """All that training needs to know. `program` computes the loss (output "loss") and the metrics from the
    batch's fields, in training mode; `evaluation` the metrics and the loss outside of it. Parameters' paths
    begin with the network's.

    Of several steps the loss is the sum of theirs, which are outputs under the steps' names. What is computed when they are done
    stands behind the constant `behind`."""

    name: str
    program: Program
    evaluation: Program
    networks: tuple[Network, ...]
    fields: dict[str, TensorType]
    source: Named
    evaluate: Named | None
    evaluate_fields: dict[str, TensorType]
    metrics: tuple[str, ...]
    steps: tuple[TrainStep, ...]
    loads: tuple[Load, ...]
    frozen: tuple[str, ...]
    settings: dict[str, Any]
    file: str
    copies: tuple[Copy, ...] = ()
    behind: str | None = None
    reached: dict[str, frozenset[str]] = field(default_factory=dict)
    """The paths of the parameters that the loss of a step has a gradient by, by the step's name."""
    samples: Program | None = None
    """What is written while it trains, outside of training: pictures and tokens of the batch's fields."""

    @property
    def best(self) -> tuple[str, bool] | None:
        """What the best weights are the best by, and whether high is good; None where the last ones are kept."""
        written = self.settings["best"] or ("loss" if self.settings["patience"] is not None else None)
        if written is None:
            return None
        how, _, name = written.rpartition(" ")
        losses = {"loss", *(each.loss for each in self.steps)}
        return name, how == "max" if how else name not in losses

    @property
    def recomputes(self) -> bool:
        """Whether layers are computed again on the way back, instead of kept."""
        return bool(self.settings["recompute"] == "blocks")

    @property
    def loss_scale(self) -> float | str | None:
        """What losses are multiplied by while gradients are taken: a number, or `DYNAMIC`; None where they are not."""
        if self.settings["precision"] != "f16":
            return None
        given = self.settings["loss_scale"]
        return given if isinstance(given, int | float) else DYNAMIC

    @property
    def is_single(self) -> bool:
        """Whether a turn is one update and nothing else."""
        return len(self.steps) == 1 and not self.steps[0].name and self.behind is None

    @property
    def trained(self) -> frozenset[str]:
        """The paths of all that some step trains."""
        return frozenset().union(*map(self.trained_by, self.steps))

    def is_trained(self, parameter: Parameter, step: TrainStep) -> bool:
        """Whether a step updates a parameter: what its loss has no gradient by stays as it is."""
        return self.is_chosen(parameter, step) and parameter.path in self.reached[step.name]

    def is_chosen(self, parameter: Parameter, step: TrainStep) -> bool:
        """Whether a step would update a parameter that its loss has a gradient by."""
        path = parameter.path
        return (
            parameter.trainable
            and not any(matches(each, path) for each in self.frozen)
            and not any(path.startswith(f"{each.path}.") for each in self.copies)
            and step.has(path)
        )

    def rule(self, step: TrainStep, parameter: Parameter) -> OptimizerRule | None:
        """The optimizer rule of a parameter in a step: the last one that applies; None for one that it does not train."""
        if not self.is_trained(parameter, step):
            return None
        fitting = [rule for rule in step.rules if rule.applies(parameter)]
        return fitting[-1] if fitting else None

    def rules(self, step: TrainStep) -> tuple[tuple[OptimizerRule, tuple[str, ...]], ...]:
        """The rules of a step that train something, in the order of the block, and the paths of what each trains."""
        paths: dict[int, list[str]] = {}
        for parameter in self.program.parameters:
            rule = self.rule(step, parameter)
            if rule is not None:
                paths.setdefault(step.rules.index(rule), []).append(parameter.path)
        return tuple((step.rules[i], tuple(paths[i])) for i in sorted(paths))

    def trained_by(self, step: TrainStep) -> frozenset[str]:
        return frozenset(path for _, paths in self.rules(step) for path in paths)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The steps as what a turn is cut into."""
        return tuple(
            Part(each.name, (each.loss, *each.metrics), self.trained_by(each), each.between, each.turns)
            for each in self.steps
        )

    def update_rules(self, step: TrainStep) -> tuple[Rule, ...]:
        """The same as what a step does with gradients."""
        return tuple(rule.on(paths) for rule, paths in self.rules(step))
