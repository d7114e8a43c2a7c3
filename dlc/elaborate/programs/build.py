"""A model as a whole program: its entry function, and every parameter with its path and initial value."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from dlc.diagnostics import Diagnostic, Span
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.project import Project
from dlc.elaborate.base.units import Definition, own_statics
from dlc.elaborate.base.values import Instance, PresetRef
from dlc.elaborate.calls.arguments import Given, bind_static_arguments
from dlc.elaborate.calls.binding import inner_types
from dlc.elaborate.calls.inputs import free_inputs, with_free_sizes
from dlc.elaborate.calls.resolve import resolve_parameters
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.reports.report import ElabError, Silent
from dlc.elaborate.state.body import Session, static_body
from dlc.elaborate.state.callee import Callee, way_in
from dlc.elaborate.state.scope import Scope
from dlc.ir.nodes import Program
from dlc.records import dataclass, replace
from dlc.syntax import ast


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A model with its static arguments, and the entry asked for ("" for the main computation)."""

    definition: Definition
    static: tuple[tuple[str, Any], ...]
    entry: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.static)


@deep
def build(
    project: Project,
    model: Instance | PresetRef | EntryPoint,
    span: Span,
    *,
    report: Callable[[Diagnostic], None],
    training: bool = False,
    inputs: Iterable[str] = (),
    traced: bool = False,
    fixed: frozenset[str] = frozenset(),
    staged: int = 0,
) -> Program | None:
    """The program of a model at given settings; None if it is in error, which `report` was told.

    `inputs` names optional inputs that are to be there. A `traced` one remembers where its numbers come from, other than those
    of the model's parameters that are `fixed`; a `staged` one has modules for the stages of its loops (`bodies/stages.py`)."""
    static = model.static.items() if isinstance(model, Instance) else model.static
    point = model if isinstance(model, EntryPoint) else EntryPoint(model.definition, tuple(static))
    key = (
        "program",
        point.definition,
        repr(point.static),
        point.entry,
        training,
        tuple(inputs),
        traced,
        fixed,
        staged,
    )
    cache: dict[Any, Any] = project.__dict__.setdefault("programs", {})
    if key not in cache:
        session = Elaborator(project, training=training, traced=traced, fixed=fixed, staged=staged)
        program = _build(session, point, tuple(inputs))
        cache[key] = (program, tuple(session.diagnostics))
    program, diagnostics = cache[key]
    for diagnostic in diagnostics:
        report(diagnostic)
    return None if any(each.severity == "error" for each in diagnostics) else program


def told_at_preset(
    project: Project, found: Iterable[Diagnostic], preset: PresetRef, item: ast.Preset
) -> list[Diagnostic]:
    """The problems of a preset's program, at the preset where its settings make them: what is wrong with the model at its own
    defaults is told where it stands."""
    found = list(found)
    if not found:
        return []
    own: list[Diagnostic] = []
    session = Elaborator(project)
    try:
        build(project, point_of(session, preset.definition, {}, item.span), item.span, report=own.append)
    except (ElabError, Silent):
        return found
    known = {(each.code, each.span) for each in own}
    return [
        each
        if (each.code, each.span) in known
        or (each.span.file == item.span.file and _within(each.span, item.span))
        else _moved(each, item)
        for each in found
    ]


def _within(span: Span, whole: Span) -> bool:
    return whole.line <= span.line <= max(whole.line, whole.end_line)


def _moved(found: Diagnostic, item: ast.Preset) -> Diagnostic:
    """A problem deep in a model, at the preset whose settings make it."""
    return replace(found, span=item.value.span, notes=_notes(found), fixes=())


def _notes(found: Diagnostic) -> tuple[str, ...]:
    return *found.notes, f"at {found.span.file}:{found.span.line}:{found.span.column}"


def told_once(found: Iterable[Diagnostic], presets: Container[Span]) -> list[Diagnostic]:
    """The problems without those that a preset has told already, where it is used."""
    found = list(found)
    told = {(each.code, each.message, each.notes) for each in found if each.span in presets}

    def is_told(each: Diagnostic) -> bool:
        forms = ((each.code, each.message, notes) for notes in (each.notes, _notes(each)))
        return each.span not in presets and any(form in told for form in forms)

    return [each for each in found if not is_told(each)]


def built(project: Project) -> list[Program]:
    """Every program of the project that was built and is not in error."""
    return [program for program, _ in project.__dict__.get("programs", {}).values() if program is not None]


@deep
def point_of(
    session: Session,
    model: Definition | PresetRef,
    overrides: Mapping[str, Any],
    span: Span,
    entry: str = "",
) -> EntryPoint:
    """A model at its defaults, or a preset at its settings, with `overrides`, by its main computation or an entry. Raises ElabError
    for a wrong setting."""
    definition = model.definition if isinstance(model, PresetRef) else model
    node = definition.node
    assert isinstance(node, ast.ModuleDef)
    body = static_body(session, definition.unit, library=definition.library)
    settings = {**(model.given if isinstance(model, PresetRef) else {}), **overrides}
    own = tuple(str(each.name) for each in own_statics(definition, entry))
    given = Given(named={name: (value, span) for name, value in settings.items() if name not in own})
    callee = f"{definition.name}.{entry}" if entry else definition.name
    static, _ = bind_static_arguments(body, definition, node.static, given, span, callee=callee, beside=own)
    further = {name: value for name, value in settings.items() if name in own}
    return entered(session, EntryPoint(definition, tuple(static.items())), entry, further, span)


@deep
def entered(
    session: Session, point: EntryPoint, entry: str, settings: Mapping[str, Any], span: Span
) -> EntryPoint:
    """A model with its static arguments by an entry, whose own list has these settings. Raises ElabError for a wrong one."""
    definition, static = point.definition, point.settings
    own = own_statics(definition, entry)
    if own:
        body = static_body(session, definition.unit, library=definition.library)
        given = Given(named={name: (value, span) for name, value in settings.items()})
        callee = f"{definition.name}.{entry}"
        more, _ = bind_static_arguments(body, definition, own, given, span, callee=callee, around=static)
        static |= more
    return EntryPoint(definition, tuple(static.items()), entry)


def _build(session: Session, point: EntryPoint, inputs: tuple[str, ...]) -> Program | None:
    definition = point.definition
    body = static_body(session, definition.unit, library=definition.library)
    body.scope = Scope(point.settings)
    session.begin(definition.node.span, body.report)
    callee = with_free_sizes(way_in(definition, point.settings, point.entry))
    bound = body.report.guarded(lambda: free_inputs(body, callee, inputs))
    if bound is None:
        return None
    made = body.instantiate(callee, bound, ast.Node())
    if made.broken or not made.function:
        return None
    main = replace(session.functions[made.function], kind="model")
    session.functions[made.function] = main
    parameters = body.report.guarded(lambda: resolve_parameters(session, main.name))
    if parameters is None or any(each.severity == "error" for each in session.diagnostics):
        return None
    return Program(session.called(), main.name, parameters)


@deep
def elaborate_fn(session: Session, definition: Definition, span: Span) -> None:
    """Check an fn that nothing calls, at its defaults and on inputs of any size."""
    node = definition.node
    assert isinstance(node, ast.FnDef)
    body = static_body(session, definition.unit, library=definition.library)
    fields = tuple(each for each in node.params if isinstance(each.type, ast.NamedTypeExpr))
    static, _ = bind_static_arguments(body, definition, fields, Given(), span)
    inputs = tuple(each for each in node.params if each not in fields)
    callee = Callee(definition, static, inputs, node.outputs, node.where, node.body)
    body.scope = Scope(static)
    body.instantiate(callee, free_inputs(body, callee, ()), ast.Node())


__all__ = ["ElabError", "EntryPoint", "Silent", "build", "entered", "inner_types", "point_of"]
