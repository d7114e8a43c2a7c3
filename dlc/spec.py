"""A file as what it holds: its models at settings and its train blocks, as values over elaboration.

Nothing here runs or emits: `dlc.runtime` takes these values, and `dlc.api` adds the methods that do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dlc import arguments
from dlc.arguments import takes
from dlc.diagnostics import NO_SPAN, Diagnostic, Span, SpecError, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.project import Project, library_sources
from dlc.elaborate.base.units import Definition, Unit, entries, own_statics
from dlc.elaborate.base.values import PresetRef
from dlc.elaborate.checks.plan import TrainPlan
from dlc.elaborate.checks.train import build_plan, wrong_overrides
from dlc.elaborate.names.lookup import named
from dlc.elaborate.programs.build import EntryPoint, build, entered, point_of, told_at_preset
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.reports.report import ElabError, Silent
from dlc.elaborate.state.body import static_body
from dlc.ir.nodes import Op, Parameter, Program, Value
from dlc.ir.splice import within
from dlc.records import dataclass, field, replace
from dlc.syntax import ast

if TYPE_CHECKING:
    from dlc.analysis.summary import Summary


def all_sources(project: Project) -> dict[str, str]:
    """The texts that diagnostics may point into, those of the standard library included."""
    return {**library_sources(), **project.sources}


@dataclass(frozen=True)
class Spec:
    """A loaded file: its models, presets, train blocks, weights blocks and tests by name."""

    project: Project
    unit: Unit

    def __repr__(self) -> str:
        return f"<Spec {self.unit.path}: {', '.join(self) or 'no models'}>"

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models and presets, in the order of the file."""
        items = self.unit.file.items
        return tuple(
            item.name for item in items if isinstance(item, ast.ModuleDef | ast.Preset) and _is_entry(item)
        )

    @property
    def trains(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.unit.file.items if isinstance(item, ast.Train))

    def __iter__(self) -> Iterator[str]:
        """The names of its models, presets and train blocks."""
        return iter((*self.models, *self.trains))

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.unit.file.items if isinstance(item, ast.Weights))

    @property
    def digest(self) -> str:
        """SHA-256 of the text of the file and all that it imports, shortened: what emitted source carries."""
        text = "\0".join(self.project.sources[key] for key in sorted(self.project.sources))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @takes(name=arguments.text("the name of a model, preset or train block"))
    def __getitem__(self, name: str) -> Any:
        """The model, preset or train block of that name. Raises SpecError with near misses for any other."""
        head, _, entry = name.partition(".")
        item = self.unit.names.get(head)
        if isinstance(item, ast.Train):
            return TrainBlock(self, item)
        if item is None:
            known = [*self.models, *self.trains]
            self.fail(
                problems.NO_MODEL.at(
                    Span(self.unit.path, 0, 0),
                    message=f"{self.unit.path} has no model, preset or train block `{head}`",
                    help=did_you_mean(head, known) or f"it has {', '.join(known) or 'none'}",
                )
            )
        return self._found(head, item, entry)

    def _found(self, name: str, item: Any, entry: str) -> Model:
        elaborator = Elaborator(self.project)
        body = static_body(elaborator, self.unit)
        found = body.report.guarded(lambda: named(body, self.unit, name, NO_SPAN))
        if elaborator.diagnostics:
            self.fail(*elaborator.diagnostics)
        usable = isinstance(found, PresetRef) or (
            isinstance(found, Definition) and isinstance(found.node, ast.ModuleDef)
        )
        if not usable:
            message = f"`{name}` is no model, preset or train block"
            self.fail(problems.NO_MODEL.at(Span(self.unit.path, 0, 0), message=message))
        definition = found.definition if isinstance(found, PresetRef) else found
        known = entries(definition)
        if entry and entry not in known:
            message = f"`{name}` has no entry `{entry}`"
            help = did_you_mean(entry, known) or f"its entries are {', '.join(known) or 'none'}"
            self.fail(problems.NO_MODEL.at(Span(self.unit.path, 0, 0), message=message, help=help))
        if any(each.default is None for each in own_statics(definition, entry)):
            point = replace(self.point(found, {}), entry=entry)  # what has no default is given by a call
        else:
            point = self.point(found, {}, entry)
        return self.model(name, found, point)

    def model(self, name: str, origin: Any, point: EntryPoint) -> Model:
        """A model of this file as a value; the API's specs give one with the API's methods."""
        return Model(self, name, origin, point)

    def point(
        self, found: Definition | PresetRef, overrides: Mapping[str, Any], entry: str = ""
    ) -> EntryPoint:
        """Where a model or preset begins, or an entry of it, with these static arguments. Raises SpecError for an unknown or wrong
        one."""
        return self._point(lambda session, span: point_of(session, found, overrides, span, entry))

    def entered(self, point: EntryPoint, entry: str, settings: Mapping[str, Any]) -> EntryPoint:
        """The same model by an entry, whose own list has these settings. Raises SpecError."""
        return self._point(lambda session, span: entered(session, point, entry, settings, span))

    def _point(self, made: Callable[[Elaborator, Span], EntryPoint]) -> EntryPoint:
        elaborator = Elaborator(self.project)
        try:
            return made(elaborator, Span(self.unit.path, 0, 0))
        except ElabError as error:
            self.fail(*elaborator.diagnostics, error.diagnostic)
        except Silent:
            self.fail(*elaborator.diagnostics)
        raise AssertionError

    def fail(self, *diagnostics: Diagnostic) -> None:
        raise SpecError(diagnostics, all_sources(self.project))

    def check(self) -> tuple[Diagnostic, ...]:
        """All that is wrong with the file: every model, preset, train block and test block."""
        from dlc.elaborate.checks.file import check_unit

        return check_unit(self.project, self.unit)

    def warnings(self, *blocks: TrainBlock) -> tuple[Diagnostic, ...]:
        """What is legal and almost surely a mistake in what was asked of the file so far, and in train blocks at their settings.
        Raises SpecError for a block that is in error."""
        from dlc.elaborate.checks.file import warnings

        for each in blocks:
            TRAIN_BLOCK("blocks", each)
        plans = [(each.plan, each.node) for each in blocks]
        return warnings(self.project, self.unit, plans)


def _is_entry(item: ast.Item) -> bool:
    return isinstance(item, ast.Preset) or (isinstance(item, ast.ModuleDef) and item.is_model)


@dataclass(frozen=True)
class Model:
    """A model at settings. Call it to change them: `model(layers=2)`. Immutable; checked when its program is asked for."""

    spec: Spec
    name: str
    origin: Any
    point: EntryPoint
    optional: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Static parameters of its other entries, where they are not at their defaults."""
    changed: Program | None = None
    """A program that was given for the model's own (`with_program`)."""

    def __repr__(self) -> str:
        entry = f".{self.point.entry}" if self.point.entry else ""
        given = ", ".join(f"{name}={value!r}" for name, value in self.overrides.items())
        return f"<Model {self.name}{entry}({given}) of {self.spec.unit.path}>"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __call__(self, /, *values: Any, **settings: Any) -> Self:
        """The model with other static arguments. Raises SpecError for an unknown or wrong one."""
        arguments.by_name(values, self.settings)
        self._unchanged("has no settings any more")
        overrides = {**self.overrides, **arguments.settings(settings)}
        point = self.spec.point(self.origin, overrides, self.point.entry)
        return replace(self, point=point, overrides=overrides)

    @takes(names=arguments.text("the name of an optional input"))
    def with_inputs(self, *names: str) -> Self:
        """The model with the named optional inputs present. Raises SpecError for a name that is no optional input."""
        self._unchanged("has the inputs that it has")
        optional = self.optional_inputs
        for name in names:
            if name not in optional:
                message = f"`{self.name}` has no optional input `{name}`"
                where = Span(self.spec.unit.path, 0, 0)
                self.spec.fail(
                    problems.NO_MODEL.at(where, message=message, help=did_you_mean(name, optional))
                )
        return replace(self, optional=tuple(dict.fromkeys([*self.optional, *names])))

    @takes(program=arguments.instance("a program of the IR (`dlc.ir.nodes.Program`)", Program))
    def with_program(self, program: Program) -> Self:
        """The model with a program of a tool's own making for its own: a pass's result, or one that was read from JSON. It is run,
        compared and compiled as any other; emitted source is for its sizes alone. Raises `dlc.ir.verify.IRError` with every rule
        of the IR that the program breaks."""
        from dlc.ir.verify import IRError, IRProblem, verify

        changed = verify(program)
        main = changed.main
        wrong = "" if main.outputs else "it has no outputs"
        wrong = wrong if main.kind == "model" else f"it is of the kind {main.kind}, and no model"
        if wrong:
            raise IRError([IRProblem(program.entry, wrong, main.span)])
        return replace(self, changed=self._known_library(changed))

    def _known_library(self, program: Program) -> Program:
        """The program in which only those functions are the library's that are so in the model's own: what backends say for a function
        of the library they say by its name, whatever a tool has made of its body."""
        other = {name for name, each in program.functions.items() if each.library}
        for mode in (False, True):
            own = self._build(mode).functions if other else {}
            other = {name for name in other if own.get(name) != program.functions[name]}
        if not other:
            return program

        def called(op: Op) -> Op:
            return within(replace(op, op="call") if op.callee in other else op, called)

        functions = {
            name: replace(
                each, body=tuple(map(called, each.body)), library=each.library and name not in other
            )
            for name, each in program.functions.items()
        }
        return program.with_functions(functions)

    def _unchanged(self, so: str) -> None:
        """Raises SpecError where the program is not that of the spec."""
        if self.changed is not None:
            message = f"the program of `{self.name}` was given by `with_program`, and {so}"
            self.spec.fail(problems.NO_MODEL.at(Span(self.spec.unit.path, 0, 0), message=message))

    @property
    def settings(self) -> dict[str, Any]:
        """The static arguments, defaults included."""
        return self.point.settings

    @cached_property
    def program(self) -> Program:
        """The program for inference. Raises SpecError with every diagnostic."""
        if self.changed is not None:
            return self.changed
        return self._build(training=False)

    @cached_property
    def training_program(self) -> Program:
        """The program in training mode: dropout draws, batch norm uses and updates statistics."""
        if self.changed is not None and self.changed.main.training:
            return self.changed
        self._unchanged("is not in training mode")
        return self._build(training=True)

    def traced_program(
        self, training: bool, inputs: tuple[str, ...], fixed: frozenset[str], *, staged: int = 0
    ) -> Program:
        """The program with numbers that remember the static parameters they come from, for emission of source; `staged` with modules for
        the stages of its loops. Raises SpecError."""
        return self._build(training, inputs, True, fixed, staged)

    @property
    def optional_inputs(self) -> tuple[str, ...]:
        """The inputs that may be left out."""
        definition, entry = self.point.definition, self.point.entry
        node = entries(definition)[entry] if entry else definition.node
        return tuple(str(each.name) for each in node.inputs if each.default is not None)  # type: ignore[union-attr]

    @property
    def others(self) -> tuple[Self, ...]:
        """The same model by its other ways in: the main computation first, then its entries, their own lists at their defaults;
        without those that have no default."""
        names = ("", *entries(self.point.definition))
        points = (self._other(name) for name in names if name != self.point.entry)
        return tuple(replace(self, point=point, optional=()) for point in points if point is not None)

    def _other(self, entry: str) -> EntryPoint | None:
        definition = self.point.definition
        gone = {each.name for each in own_statics(definition, self.point.entry)}
        own = own_statics(definition, entry)
        given = {str(each.name): self.beside[str(each.name)] for each in own if each.name in self.beside}
        if any(each.default is None and each.name not in given for each in own):
            return None
        static = tuple((name, value) for name, value in self.point.static if name not in gone)
        return self.spec.entered(replace(self.point, static=static), entry, given)

    def _build(
        self,
        training: bool,
        inputs: tuple[str, ...] | None = None,
        traced: bool = False,
        fixed: frozenset[str] = frozenset(),
        staged: int = 0,
    ) -> Program:
        self._check_given()
        diagnostics: list[Diagnostic] = []
        program = build(
            self.spec.project,
            self.point,
            NO_SPAN,
            report=diagnostics.append,
            training=training,
            inputs=self.optional if inputs is None else inputs,
            traced=traced,
            fixed=fixed,
            staged=staged,
        )
        if program is None:
            self.spec.fail(*self._told(diagnostics))
        assert program is not None
        return program

    def _told(self, found: list[Diagnostic]) -> list[Diagnostic]:
        """What is wrong with the model, at the preset that it is."""
        item = self.spec.unit.names.get(self.name)
        if not isinstance(self.origin, PresetRef) or not isinstance(item, ast.Preset) or self.overrides:
            return found
        return told_at_preset(self.spec.project, found, self.origin, item)

    def _check_given(self) -> None:
        """Parameters of an entry's own list that have no default have a value. Raises SpecError."""
        own = own_statics(self.point.definition, self.point.entry)
        missing = [str(each.name) for each in own if each.default is None and each.name not in self.settings]
        where = Span(self.spec.unit.path, 0, 0)
        callee = f"{self.name}.{self.point.entry}"
        found = (
            problems.MISSING_ARGUMENT.at(where, callee=callee, name=each, help=f"give it: `--set {each}=…`")
            for each in missing
        )
        if missing:
            self.spec.fail(*found)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """Name and type of each input."""
        return self.program.main.inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """Name and type of each output."""
        main = self.program.main
        return tuple(
            Value(name, type) for (name, _), type in zip(main.outputs, main.output_types, strict=True)
        )

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.program.parameters

    @property
    def identifier(self) -> str:
        """A name for emitted files: the model's, in lower case."""
        return re.sub(r"\W", "_", self.name).lower() or "model"

    def summary(self, /, **dims: int) -> Summary:
        """Module tree, parameters, FLOPs and bytes; sizes that are not given stay symbolic."""
        from dlc.analysis.summary import summarize

        return summarize(self.program, arguments.sizes("dims", dims))

    @takes(optimize=arguments.natural, training=arguments.flag)
    def optimized(self, optimize: int = 1, *, training: bool = False) -> Program:
        """The program after the passes of a level."""
        return optimized(self.training_program if training else self.program, optimize)

    def to_json(self) -> dict[str, Any]:
        """The program in the published JSON form."""
        from dlc.ir.schema import to_json

        return to_json(self.program)


@dataclass(frozen=True)
class TrainBlock:
    """A train block of a spec; call it to set its parameters."""

    spec: Spec
    node: ast.Train
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.overrides.items())
        return f"<TrainBlock {self.name}({given}) of {self.spec.unit.path}>"

    @property
    def name(self) -> str:
        return self.node.name

    def __call__(self, /, *values: Any, **settings: Any) -> TrainBlock:
        """The block with other parameters. Raises SpecError for an unknown or wrong one."""
        arguments.by_name(values, [str(each.name) for each in self.node.static])
        changed = replace(self, overrides={**self.overrides, **arguments.settings(settings)})
        if found := wrong_overrides(self.spec.project, self.spec.unit, self.node, changed.overrides):
            self.spec.fail(*found)
        return changed

    def with_settings(self, /, **settings: Any) -> TrainBlock:
        """The block with other `settings`: `block.with_settings(steps=100)`. Raises SpecError for an unknown or wrong one."""
        return self(**{f"settings.{name}": value for name, value in settings.items()})

    @cached_property
    def plan(self) -> TrainPlan:
        """All that training needs to know. Raises SpecError with every diagnostic."""
        return self._plan(traced=False)

    @cached_property
    def traced_plan(self) -> TrainPlan:
        """The same for source that is to be read: numbers remember where they come from."""
        return self._plan(traced=True)

    def _plan(self, *, traced: bool) -> TrainPlan:
        project, unit, diagnostics = self.spec.project, self.spec.unit, list[Diagnostic]()
        plan = build_plan(
            project, unit, self.node, dict(self.overrides), report=diagnostics.append, traced=traced
        )
        if plan is None:
            self.spec.fail(*diagnostics)
        assert plan is not None
        return plan

    @property
    def folder(self) -> Path:
        """The folder that paths in the block are relative to."""
        return Path(self.spec.unit.path).resolve().parent

    @property
    def root(self) -> Path:
        """The folder that paths in the block may not leave; a spec that ships reads what lies beside it, too."""
        return self.spec.project.root or self.folder


MODEL = arguments.instance('a model, such as `spec["M"]`', Model)
TRAIN_BLOCK = arguments.instance('a train block, such as `spec["fit"]`', TrainBlock)


def optimized(
    program: Program,
    level: int,
    *,
    as_layers: bool = False,
    verify: bool = False,
    after: Callable[[str, Program], None] | None = None,
) -> Program:
    """The program after the passes of a level (`dlc.passes.pipeline.optimize`), which are given the standard library:
    some put a composite of it where they found what it says."""
    from dlc.elaborate.programs.library import instantiate
    from dlc.passes.pipeline import optimize

    return optimize(program, level, library=instantiate, as_layers=as_layers, verify=verify, after=after)
