"""A body that is being elaborated, and what all bodies of one program share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NoReturn, Protocol

from dlc.diagnostics import NO_SPAN, Diagnostic, Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.budget import PROGRAM_OPERATIONS, ROW_STEPS, Budget, Exhausted
from dlc.elaborate.base.knowledge import note_axes, note_reads
from dlc.elaborate.base.project import Project, library_index, library_sources
from dlc.elaborate.base.trees import assigned, field_places, label_lines, name_place
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.base.values import Builtin
from dlc.elaborate.reports.origin import Origin, enter
from dlc.elaborate.reports.report import Findings, Report
from dlc.elaborate.state.callee import Bound, Callee, Instantiation
from dlc.elaborate.state.emission import Emission, TakenOver
from dlc.elaborate.state.kept import Initial, Kept, Record
from dlc.elaborate.state.paths import local_paths
from dlc.elaborate.state.scope import Scope
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Op, Param
from dlc.records import dataclass, field
from dlc.syntax import ast
from dlc.types import effort
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

Binding = ast.NameTarget | ast.ParamStmt | ast.Field


class Recursion(Protocol):
    """What lower layers ask of those above them: an expression holds calls, a call runs a body, a body holds expressions. This is
    the one place where elaboration is a circle; everything else only knows what stands below it."""

    def evaluate(self, body: Body, node: ast.Expr) -> Any:
        """The value of an expression. Raises ElabError where it has none, Silent where it depends on an error."""

    def run(self, body: Body, statements: Iterable[ast.Stmt]) -> None:
        """Run statements until one returns."""

    def instantiate(self, caller: Body, callee: Callee, bound: Bound, node: ast.Node) -> Instantiation:
        """The function for a callee with these static values and sizes, elaborated at its first use."""


@dataclass(eq=False, repr=False)
class Vocabulary:
    """The names that the language itself has: looking one up needs no knowledge of ops."""

    builtins: Mapping[str, Builtin]
    initials: Mapping[str, Builtin]
    defined: Callable[[str], Builtin | None]
    """The op of a name that another package defines."""

    def __contains__(self, name: object) -> bool:
        """Whether an op, a layer or a function of the language has this name."""
        return name in self.builtins or name in library_index()


@dataclass(eq=False, repr=False)
class InitRule:
    """An `init` rule with the body it stands in, whose names its expression may use."""

    node: ast.InitRule
    body: Body
    scope: Scope
    used: set[int] = field(default_factory=set)
    made: dict[TensorType, str] = field(default_factory=dict)
    """The functions that compute it, by the type of the parameter."""


class Counting(Builder):
    """A builder whose operations are paid for. Raises Exhausted."""

    def __init__(self, session: Session, report: Report) -> None:
        super().__init__()
        self.session = session
        self.report = report

    def append(self, op: Op) -> None:
        self.session.budget.operations += 1
        self.session.spend(1, op.span, self.report)
        super().append(op)


class Session:
    """What all functions of one program share: the files, the functions made so far, and what is wrong.

    `functions` grows with each instantiation, callees before callers."""

    def __init__(
        self,
        project: Project,
        vocabulary: Vocabulary,
        recursion: Recursion,
        *,
        training: bool = False,
        measure: Callable[[Body, ast.Node, str, Any], Any] | None = None,
        traced: bool = False,
        fixed: frozenset[str] = frozenset(),
        staged: int = 0,
    ) -> None:
        self.project = project
        self.traced = traced  # whether numbers remember the static parameters that they come from
        self.staged = staged  # whether stages of blocks are modules of their own (`bodies/stages.py`)
        self.fixed = fixed  # static parameters of the model that stay plain numbers then
        self.vocabulary = vocabulary
        self.recursion = recursion
        self.training = training
        self.measure = measure  # what `parameters(m)` and the like give; only a test has it
        self.findings = Findings()
        self.functions: dict[str, Function] = {}
        self.rules: dict[str, list[InitRule]] = {}
        self.hosted: dict[str, list[tuple[str, list[InitRule]]]] = {}  # of bodies put into others, by these
        self.concerned: dict[str, bool] = {}  # whether a function reads or writes at computed places
        self.lent: set[str] = set()  # functions that were put into the bodies of those who call them
        self.made: dict[Any, Instantiation] = {}
        self.initials: dict[str, str] = {}
        self.taken_over: dict[tuple[str, str], TakenOver] = {}  # by a function and a parameter of it
        self.helpers: dict[Any, Any] = {}  # fns of static values as terms, None for one that is none
        self.parameter_counts: dict[str, int] = {}  # of functions, with those of their parts
        self.lets: dict[tuple[int, str], Any] = {}
        self.held: dict[int, tuple[Any, frozenset[str]]] = {}  # by a list's identity, the tensors in it
        self.presets: dict[tuple[int, str], Any] = {}
        self.chains: dict[int, int] = {}  # by a let or preset, how many need one another up to it
        self.evaluating: list[ast.Let | ast.Preset] = []
        self.open: list[tuple[Any, str]] = []  # the calls that lead to what is elaborated now
        self.records: list[Record] = []  # what the bodies that are open asked for
        self.outlining: list[
            Definition
        ] = []  # modules whose entries are elaborated for what they declare alone
        self._names: dict[str, int] = {}
        self._paths: dict[str, list[tuple[str, Param]]] = {}
        self.budget = project.budget or Budget()
        effort.taken()  # what others proved in this thread before is not this one's

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """What is wrong, in the order in which it was found."""
        return self.findings.diagnostics

    def spend(self, steps: int, span: Span, report: Report) -> None:
        """Count what is computed while compiling: a static program that runs away ends. Raises Exhausted."""
        self.budget.steps += steps + ROW_STEPS * effort.taken()
        found = self.budget.excess()
        if found is not None:
            self.exhausted(found, span, report)

    def begin(self, span: Span, report: Report) -> None:
        """Count a program: that of a model or a train block takes time however little it computes. Raises Exhausted."""
        self.budget.operations += PROGRAM_OPERATIONS
        self.spend(1, span, report)

    def exhausted(self, found: tuple[str, str, str], span: Span, report: Report) -> NoReturn:
        """End all elaboration: what is too large, how large, and the limit."""
        what, size, limit = found
        diagnostic = report.told(problems.BUDGET, span, {"what": what, "found": size, "limit": limit})
        raise Exhausted([*self.diagnostics, diagnostic], {**library_sources(), **self.project.sources})

    @contextmanager
    def outline(self, definition: Definition) -> Iterator[None]:
        """What is made meanwhile of this module's own computations is for what they declare alone: it is forgotten behind this."""
        made = set(self.made)
        names = {name: n for name, n in self._names.items() if name.startswith(f"{definition.name}_")}
        self.outlining.append(definition)
        try:
            yield
        finally:
            self.outlining.pop()
            for key in [each for each in self.made if each not in made and each[0][0] is definition]:
                function = self.made.pop(key).function
                for table in (self.functions, self.rules, self.hosted):
                    table.pop(function, None)
            self._names = {
                name: names.get(name, 0) if name.startswith(f"{definition.name}_") else n
                for name, n in self._names.items()
            }

    @contextmanager
    def mode(self, *, training: bool) -> Iterator[None]:
        """Functions are made for training or for inference meanwhile."""
        before, self.training = self.training, training
        try:
            yield
        finally:
            self.training = before

    def fixed_in(self, definition: Definition) -> frozenset[str]:
        """The static parameters that are plain numbers in a function: in those of the model itself, its ways in among them."""
        own = not self.open or self.open[0][0][0] is definition
        return self.fixed if own else frozenset()

    def asked(self, part: Kept | Initial | None) -> None:
        """Note that the body that is open depends on this; None for what can't be kept."""
        if self.records:
            self.records[-1].asked(part)

    def minded_mode(self) -> None:
        """Note that the body that is open depends on whether the model trains."""
        if self.records:
            self.records[-1].minds_mode = True

    def unique(self, name: str) -> str:
        """A function name that is not taken: `Block`, `Block_2`, …"""
        count = self._names.get(name, 0) + 1
        self._names[name] = count
        return name if count == 1 else f"{name}_{count}"

    def called(self) -> dict[str, Function]:
        """The functions of a program."""
        return {name: each for name, each in self.functions.items() if name not in self.lent}

    def local_paths(self, function: str) -> list[tuple[str, Param]]:
        """Every parameter below a function, by its path relative to it."""
        return local_paths(self.functions, function, self._paths)

    def parameter_count(self, name: str) -> int:
        """The parameters of a function and of its parts, which may be another session's."""
        if name not in self.parameter_counts:
            function = self.functions[name]
            below = (max(each.count, 1) * self.parameter_count(each.function) for each in function.children)
            self.parameter_counts[name] = len(function.params) + sum(below)
        return self.parameter_counts[name]

    def has_parameters(self, function: str) -> bool:
        found = self.functions[function]
        return bool(found.params or found.children)


@dataclass(frozen=True, eq=False, repr=False)
class Context:
    """What a body is part of, and how it is elaborated: nothing in it changes while statements run."""

    session: Session
    unit: Unit
    name: str = ""
    kind: str = "static"
    """`module`, `fn`, `train`, `test`; `init` of an initial value, `static` of what stands in no body."""
    training: bool = False
    library: bool = False
    float_dtype: str = "float"
    init_shape: tuple[Dim, ...] | None = None
    definition: Definition | None = None
    statements: tuple[ast.Stmt, ...] = ()
    """The body as it is written."""
    read_later: dict[int, frozenset[str]] = field(default_factory=dict)
    """By a loop's node, the names that something behind it reads."""

    # A body of thousands of lines, each with a fault, is walked once for all of them.

    @cached_property
    def assigning(self) -> dict[str, list[ast.Stmt]]:
        """The statements that bind a name, in their order, those in blocks by the block's statement."""
        found: dict[str, list[ast.Stmt]] = {}
        for statement in self.statements:
            for name in assigned(statement):
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def labelled(self) -> dict[str, int]:
        """The lines of labels that are one word."""
        return label_lines(self.statements)

    def asked_training(self) -> bool:
        """`training`, for what a body becomes."""
        self.session.minded_mode()
        return self.training


@dataclass(eq=False, repr=False)
class Body:
    """One body being elaborated. `scope` is what names mean at the statement that runs now."""

    context: Context
    scope: Scope
    emission: Emission
    report: Report

    def bind(self, name: str, value: Any, target: Binding | None = None, *, turns: bool = False) -> None:
        """Let a name mean a value from here on. `target` is what binds it in the text; `turns` where a loop does."""
        place = None
        if target is not None and not self.context.library:
            place = name_place(target)
            self.context.session.project.knowledge.bound(place, name, value, self.report.place)
        self.scope = self.scope.bind(name, value, place, turns=turns)

    def bind_header(self, values: Mapping[str, Any], fields: Sequence[ast.Field]) -> None:
        """Bind the parameters of a header, which stand in its text."""
        places = {} if self.context.library else field_places(fields)
        for name, place in places.items():
            if name in values:
                self.context.session.project.knowledge.bound(place, name, values[name], self.report.place)
        note_reads(self.context.session.project.knowledge, (each.default for each in fields), places)
        written = {each.name: each.type for each in fields if each.name and each.type is not None}
        self.scope = self.scope.bind_all(values, places, written)

    def note_types(self, types: Iterable[ast.TypeExpr | None]) -> None:
        """Note the names in the axes of types that stand at this place of the body."""
        if not self.context.library:
            places = dict(self.scope.places)
            note_axes(self.context.session.project.knowledge, types, places, self.report.place)
            self.scope = self.scope.changed(places=places)

    def evaluate(self, node: ast.Expr) -> Any:
        return self.context.session.recursion.evaluate(self, node)

    def run(self, statements: Iterable[ast.Stmt]) -> None:
        self.context.session.recursion.run(self, statements)

    def instantiate(self, callee: Callee, bound: Bound, node: ast.Node) -> Instantiation:
        return self.context.session.recursion.instantiate(self, callee, bound, node)

    def origin_of(self, name: str, span: Span, args: Mapping[str, Span], dims: Mapping[str, Dim]) -> Origin:
        """Where errors are told of a function of the library that this body calls, with arguments written at `args`."""
        return enter(self.report.origin, Origin(name, span, self.report.chain, dict(args), dict(dims)))


def static_body(
    session: Session,
    unit: Unit,
    *,
    library: bool = False,
    kind: str = "static",
    name: str = "",
    statements: tuple[ast.Stmt, ...] = (),
) -> Body:
    """A body for expressions that stand in none: defaults, `let`, presets; and those of train and test blocks."""
    context = Context(session, unit, name, kind, session.training, library, statements=statements)
    report = Report(session.findings, session.vocabulary, requires=kind == "train")
    return Body(context, Scope(), Emission(Counting(session, report)), report)


def header_body(caller: Body, callee: Definition, span: Span, args: Mapping[str, Span]) -> Body:
    """A body for expressions of a callee's header. Where the callee is the library's, errors in them are told at the call."""
    inner = static_body(caller.context.session, callee.unit, library=callee.library)
    inner.report.place = callee.node.span
    inner.report.chain, inner.report.calls = caller.report.chain, caller.report.calls
    if callee.library:
        inner.report.origin = caller.origin_of(callee.name, span, args, {})
    return inner


__all__ = [
    "NO_SPAN",
    "Body",
    "Context",
    "InitRule",
    "Recursion",
    "Session",
    "Vocabulary",
    "header_body",
    "static_body",
]
