"""What a train block says, as a plan."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import NO_SPAN, Span
from dlc.elaborate.base.name_patterns import matches
from dlc.elaborate.base.units import Definition
from dlc.elaborate.programs.update import Rule
from dlc.ir.nodes import Parameter, Program
from dlc.records import dataclass, field
from dlc.types.tensor import TensorType


@dataclass(frozen=True, slots=True)
class Named:
    """Something chosen by name with arguments: an optimizer, a schedule, a source."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class Network:
    """An instance that the block binds: its parameters' paths begin with `path`."""

    name: str
    definition: Definition
    static: dict[str, Any]
    path: str


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """All that training needs to know. `program` computes the loss (output "loss") and the metrics from the
    batch's fields, in training mode; `evaluation` the metrics and the loss outside of it. Parameters' paths
    begin with the network's."""

    name: str
    program: Program
    evaluation: Program
    networks: tuple[Network, ...]
    fields: dict[str, TensorType]
    source: Named
    evaluate: Named | None
    evaluate_fields: dict[str, TensorType]
    metrics: tuple[str, ...]
    rules: tuple[OptimizerRule, ...]
    loads: tuple[Load, ...]
    frozen: tuple[str, ...]
    settings: dict[str, Any]
    file: str

    def is_trained(self, parameter: Parameter) -> bool:
        return parameter.trainable and not any(matches(each, parameter.path) for each in self.frozen)

    def rule(self, parameter: Parameter) -> OptimizerRule | None:
        """The optimizer rule of a parameter: the last one that applies; None for a fixed one."""
        if not self.is_trained(parameter):
            return None
        fitting = [rule for rule in self.rules if rule.applies(parameter)]
        return fitting[-1] if fitting else None

    @property
    def used_rules(self) -> tuple[tuple[OptimizerRule, tuple[str, ...]], ...]:
        """The rules that train something, in the order of the block, and the paths of what each trains."""
        paths: dict[int, list[str]] = {}
        for parameter in self.program.parameters:
            rule = self.rule(parameter)
            if rule is not None:
                paths.setdefault(self.rules.index(rule), []).append(parameter.path)
        return tuple((self.rules[i], tuple(paths[i])) for i in sorted(paths))

    @property
    def update_rules(self) -> tuple[Rule, ...]:
        """The same as what a step does with gradients."""
        return tuple(rule.on(paths) for rule, paths in self.used_rules)
