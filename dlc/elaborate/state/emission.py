"""What a body makes: operations, parameters, parts, and what it returns."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import Span
from dlc.ir.builder import Builder
from dlc.ir.nodes import Child, Param, Value
from dlc.records import dataclass, field
from dlc.types.facts import Facts, Relation


@dataclass(frozen=True)
class TakenOver:
    """What a parameter is in the module that a body applies in its own place: rules for initial values speak of it there."""

    kind: str
    name: str
    is_stacked: bool
    """Whether there is one for each of many copies, along a first axis."""


@dataclass(eq=False, repr=False)
class Emission:
    """The function of the IR that a body becomes, so far."""

    builder: Builder
    params: dict[str, Param] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    where: list[Relation] = field(default_factory=list)  # facts of the header, and what the library found out
    inputs: list[Value] = field(default_factory=list)
    buffers: dict[str, str] = field(default_factory=dict)  # paths by name
    declared: dict[str, str] = field(default_factory=dict)  # paths of parameters by name
    starts: dict[str, str] = field(
        default_factory=dict
    )  # paths of parameters by the value that first reads them
    unnamed: dict[str, int] = field(default_factory=dict)  # how many parts without a name there are of a kind
    taken: dict[str, Any] = field(default_factory=dict)  # paths of parameters and whose they are
    taken_over: dict[str, TakenOver] = field(
        default_factory=dict
    )  # parameters of modules that are applied here
    rules: list[Any] = field(default_factory=list)  # `init` rules
    copies: list[Any] = field(default_factory=list)  # instances that are copies of others, in a train block
    hosted: list[tuple[str, list[Any]]] = field(
        default_factory=list
    )  # those of bodies that were put into this one, by the path that their own parts lie below
    named: set[str] = field(default_factory=set)  # IR values that carry a name of the text
    returned: Any = None
    has_returned: bool = False
    result_spans: list[Span] = field(default_factory=list)  # where each result is made
    decisions: list[Any] = field(default_factory=list)  # what was decided on static values
    turn_decisions: list[Any] = field(default_factory=list)  # the same, on the variable of a loop as well
    yields: dict[str, Any] | None = None  # what a turn of the innermost scan hands out, by name
    claimed: bool = False  # while a condition is read, which does not hold where it divides by 0
    dead: bool = False  # in the branch of `if training` that is not taken

    @property
    def facts(self) -> Facts:
        return self.builder.facts

    @facts.setter
    def facts(self, facts: Facts) -> None:
        self.builder.facts = facts
