"""The state of elaborating one function: its names, its operations so far, and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any, NoReturn

from dlc.diagnostics import NO_SPAN, Diagnostic, Problem, Span
from dlc.diagnostics.meaning import BUDGET
from dlc.ir.builder import Builder
from dlc.ir.nodes import Child, Param
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.dims import Dim, DimTooLarge
from dlc.types.facts import Facts, Relation

if TYPE_CHECKING:
    from dlc.elaborate.elaborator import Elaborator
    from dlc.elaborate.origin import Origin
    from dlc.elaborate.project import Unit


class ElabError(Exception):
    """A statement can't be elaborated further: its diagnostic is reported, its targets become POISON."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def too_large(error: DimTooLarge) -> str:
    return str(error).removeprefix("a size has ")


class Silent(Exception):
    """A statement depends on one that is in error: nothing more is said."""


@dataclass(slots=True)
class LoopContext:
    """A loop that is being unrolled: the names it binds, the index of the turn, its label."""

    names: frozenset[str]
    index: int
    label: ast.Label | None
    unnamed: Any = None  # the unnamed instance of this turn


@dataclass(slots=True)
class InitRuleClosure:
    """An `init` rule with the names that its expression may use."""

    node: ast.InitRule
    frame: Frame
    env: dict[str, Any]
    used: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Frame:
    """One function being elaborated."""

    elaborator: Elaborator
    unit: Unit
    name: str
    kind: str
    builder: Builder
    env: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, Any] = field(default_factory=dict)
    static: dict[str, Any] = field(default_factory=dict)
    chain: tuple[str, ...] = ()
    where: list[Relation] = field(default_factory=list)
    params: dict[str, Param] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    unnamed: dict[str, int] = field(default_factory=dict)
    loops: list[LoopContext] = field(default_factory=list)
    turning: set[str] = field(default_factory=set)  # names that hold a loop's variable, also behind the loop
    rules: list[InitRuleClosure] = field(default_factory=list)
    outputs: tuple[ast.Field, ...] = ()
    returned: Any = None
    has_returned: bool = False
    training: bool = False
    library: bool = False
    float_dtype: str = "float"
    init_shape: tuple[Dim, ...] | None = None
    dead: bool = False  # in the branch of `if training` that is not taken
    definition: Any = None
    buffers: dict[str, str] = field(default_factory=dict)
    cached: dict[Any, Any] = field(default_factory=dict)
    taken: dict[str, Any] = field(default_factory=dict)
    origin: Origin | None = None  # in the library: the user's call that led there

    @property
    def facts(self) -> Facts:
        return self.builder.facts

    @facts.setter
    def facts(self, facts: Facts) -> None:
        self.builder.facts = facts

    def fail(self, problem: Problem, span: Span, **slots: Any) -> NoReturn:
        raise ElabError(self.told(problem, span, slots))

    def report(self, problem: Problem, span: Span, **slots: Any) -> None:
        self._report(self.told(problem, span, slots))

    def _report(self, diagnostic: Diagnostic) -> None:
        """Of one call of the library only the first problem is told: what else is wrong inside follows from it."""
        if self.origin is None:
            self.elaborator.report(diagnostic)
        elif self.origin.span not in self.elaborator.told_inside:
            self.elaborator.told_inside.add(self.origin.span)
            self.elaborator.report(diagnostic)
        else:
            self.elaborator.failures += 1

    def told(self, problem: Problem, span: Span, slots: dict[str, Any]) -> Diagnostic:
        diagnostic = problem.at(span, chain=self.chain, **slots)
        return diagnostic if self.origin is None else self.origin.tell(diagnostic)

    def guarded(self, work: Callable[[], Any], otherwise: Any = None) -> Any:
        """Do `work`; if it is in error, report that and give `otherwise`."""
        try:
            return work()
        except ElabError as error:
            self._report(error.diagnostic)
        except Silent:
            pass
        except DimTooLarge as error:
            span = self.definition.node.span if self.definition is not None else NO_SPAN
            self.report(BUDGET, span, what="a size of this body", found=too_large(error), limit="2,000 terms")
        return otherwise
