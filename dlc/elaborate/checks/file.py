"""Checking a whole file: every model, preset, module, train block, weights block and test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dlc.diagnostics import Diagnostic, Span, did_you_mean, limited
from dlc.diagnostics import meaning as problems
from dlc.diagnostics.follow import without_consequences
from dlc.elaborate.base import habits
from dlc.elaborate.base.budget import Exhausted
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.project import Project, library_index
from dlc.elaborate.base.spelling import parts
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.base.values import DTYPE_VALUES, PresetRef
from dlc.elaborate.builtins import BUILTINS
from dlc.elaborate.calls.initial import INITIALS
from dlc.elaborate.checks.batches import not_one_batch
from dlc.elaborate.checks.doubts import doubts, highest_error, not_allowed, seen_data, unknown_allowances
from dlc.elaborate.checks.plan import TrainPlan
from dlc.elaborate.checks.signatures import check_signatures
from dlc.elaborate.checks.train import build_plan
from dlc.elaborate.checks.unread import unread
from dlc.elaborate.checks.weights import check_weights
from dlc.elaborate.names.lookup import CONSTANTS, named
from dlc.elaborate.names.static import let
from dlc.elaborate.programs.build import build, built, elaborate_fn, point_of, told_at_preset, told_once
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.reports.report import ElabError, Silent
from dlc.elaborate.state.body import Session, static_body
from dlc.syntax import ast
from dlc.types.dims import Dim

_OPEN = {
    each.code
    for each in (problems.PARAM_DIM, problems.UNDECIDED, problems.FACT_UNPROVED, problems.NOT_STATIC)
}


@deep
def check_unit(project: Project, unit: Unit) -> tuple[Diagnostic, ...]:
    """Every diagnostic of a file and of what it imports, in the order of the text, each once; of very many the first."""
    found: list[Diagnostic] = list(project.diagnostics)
    plans: list[tuple[TrainPlan, ast.Train]] = []
    try:
        with project.one_budget():
            for each in _findings(project, unit, plans):
                found += each
    except Exhausted as error:
        found += error.diagnostics
    found += check_signatures(unit)
    starts = [item.span.line for item in unit.file.items]
    presets = [item.value.span for item in unit.file.items if isinstance(item, ast.Preset)]
    told = without_consequences(told_once(found, presets), unit.path, unit.text, starts)
    doubted = [] if any(each.severity == "error" for each in told) else unread(unit)
    return limited(_ordered([*told, *_warnings(project, unit, plans, doubted)]))


def warnings(
    project: Project, unit: Unit, plans: Sequence[tuple[TrainPlan, ast.Train]]
) -> tuple[Diagnostic, ...]:
    """What is in doubt in these plans and in all that was built of a file so far, in the order of the text, each once."""
    return _ordered([*_warnings(project, unit, plans)])


def _warnings(
    project: Project,
    unit: Unit,
    plans: Sequence[tuple[TrainPlan, ast.Train]],
    doubted: Iterable[Diagnostic] = (),
) -> Iterator[Diagnostic]:
    """What is in doubt in all that could be built, and in the text, but for what comments allow."""
    programs = [*built(project), *(plan.program for plan, _ in plans)]
    found = [*doubts(programs), *doubted]
    for plan, item in plans:
        found += [*seen_data(plan, item), *highest_error(plan, item), *not_one_batch(plan, item)]
    yield from not_allowed(found, project.units.values())
    yield from unknown_allowances(unit)


def _findings(
    project: Project, unit: Unit, plans: list[tuple[TrainPlan, ast.Train]]
) -> Iterator[list[Diagnostic]]:
    """What is wrong with each item, then with what none of them got to; `plans` are told what trains. Raises Exhausted."""
    session = Elaborator(project)
    for item in unit.file.items:
        match item:
            case ast.ModuleDef(is_model=True) | ast.Preset():
                yield _check_entry(project, unit, item)
            case ast.Let():
                _check_let(session, unit, item)
            case ast.Train():
                yield _check_train(project, unit, item, plans)
            case ast.Weights():
                yield [*check_weights(project, unit, item)]
    yield session.diagnostics
    yield _check_unreached(project, unit)


def _check_train(
    project: Project, unit: Unit, item: ast.Train, plans: list[tuple[TrainPlan, ast.Train]]
) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    plan = (
        build_plan(project, unit, item, {}, report=found.append)
        if all(each.default is not None for each in item.static)
        else None
    )
    plans += [(plan, item)] if plan is not None else []
    return found


def _ordered(found: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    seen = {(each.code, each.span): each for each in reversed(found)}
    return tuple(sorted(seen.values(), key=lambda each: (each.span.file, each.span.line, each.span.column)))


def _check_entry(project: Project, unit: Unit, item: ast.ModuleDef | ast.Preset) -> list[Diagnostic]:
    found = list(_without_default(item)) if isinstance(item, ast.ModuleDef) else []
    if found:
        return found
    session = Elaborator(project)
    body = static_body(session, unit)
    try:
        model = named(body, unit, item.name, item.span)
        if isinstance(model, Definition | PresetRef):
            point = point_of(session, model, {}, item.span)
            told: list[Diagnostic] = []
            build(project, point, item.span, report=told.append)
            found += (
                told_at_preset(project, told, model, item)
                if isinstance(model, PresetRef) and isinstance(item, ast.Preset)
                else told
            )
            entries = (
                [each for each in item.body if isinstance(each, ast.Entry)]
                if isinstance(item, ast.ModuleDef)
                else []
            )
            for entry in entries:
                point = point_of(session, model, {}, item.span, entry.name)
                build(project, point, item.span, report=found.append)
    except ElabError as error:
        found.append(error.diagnostic)
    except Silent:
        pass
    return found + session.diagnostics


def _without_default(item: ast.ModuleDef) -> Iterator[Diagnostic]:
    """What a model can't be entered without: its static parameters, and those of its entries, that have no default."""
    ways = [(item.name, item.static)]
    ways += [
        (f"{item.name}.{each.name}", each.static or ()) for each in item.body if isinstance(each, ast.Entry)
    ]
    for name, static in ways:
        for each in static:
            if each.default is None:
                help = f"give it one, `{each.name}: … = …`, or make a `module` of it that a model uses"
                yield problems.NO_DEFAULT.at(each.span, name=each.name, model=name, help=help)


def _check_let(session: Session, unit: Unit, item: ast.Let) -> None:
    """Compute it in the session of all, which knows those that it needs."""
    with contextlib.suppress(Silent):
        let(session, unit, item)


# --- names of what nothing instantiates ----------------------------------------------------------------------------


def _check_unreached(project: Project, unit: Unit) -> list[Diagnostic]:
    """Modules and fns that no model of the file got to: a module whose static values are known, because all have defaults or a
    statement in error instantiates it, is checked on inputs of any size; the others for unknown names alone."""
    found: list[Diagnostic] = []
    items = [item for item in unit.file.items if isinstance(item, ast.ModuleDef | ast.FnDef)]
    left = {item.name: item for item in items if _unreached(project, unit, item)}
    while ready := next((item for item in left.values() if _static(project, unit, item) is not None), None):
        found += _check_alone(project, unit, ready)
        del left[ready.name]
        left = {name: item for name, item in left.items() if _unreached(project, unit, item)}
    named = [*left.values(), *(item for item in unit.file.items if isinstance(item, ast.Test))]
    return found + [each for item in named for each in _unknown_names(unit, item)]


def _unreached(project: Project, unit: Unit, item: ast.ModuleDef | ast.FnDef) -> bool:
    definition = unit.names.get(item.name)
    return (
        isinstance(definition, Definition) and definition.node is item and definition not in project.reached
    )


def _static(project: Project, unit: Unit, item: ast.ModuleDef | ast.FnDef) -> dict[str, Any] | None:
    """The static values that a module or fn can be checked with; None if there are none, or its inputs leave axes open."""
    if isinstance(item, ast.FnDef):
        fields = [each for each in item.params if isinstance(each.type, ast.NamedTypeExpr)]
        tensors = [each for each in item.params if each not in fields]
        closed = all(each.type is not None and _closed(each) for each in tensors)
        return {} if closed and all(each.default is not None for each in fields) else None
    if item.is_model or not all(map(_closed, item.inputs)):
        return None
    definition = unit.names[item.name]
    known = project.instantiated.get(definition) if isinstance(definition, Definition) else None
    if known is not None and not any(isinstance(value, Dim) for value in known.values()):
        return known
    return {} if all(each.default is not None for each in item.static) else None


def _closed(item: ast.Field) -> bool:
    """Whether an input's type gives every axis a name or a size."""
    axes = item.type.axes if isinstance(item.type, ast.TensorTypeExpr | ast.GroupTypeExpr) else ()
    return not any(isinstance(axis, ast.Star | ast.Wildcard) for axis in axes)


def _check_alone(project: Project, unit: Unit, item: ast.ModuleDef | ast.FnDef) -> list[Diagnostic]:
    session, found = Elaborator(project), list[Diagnostic]()
    definition = unit.names[item.name]
    assert isinstance(definition, Definition) and not isinstance(definition.node, ast.GroupDef)
    try:
        if isinstance(item, ast.FnDef):
            elaborate_fn(session, definition, item.span)
        else:
            point = point_of(session, definition, _static(project, unit, item) or {}, item.span)
            build(project, point, item.span, report=found.append)
    except ElabError as error:
        found.append(error.diagnostic)
    except Silent:
        pass
    found += session.diagnostics
    facts = {part.span for condition in definition.node.where for part in parts(condition)}
    if any(each.span in facts for each in found):
        return []  # with these values it can't be called at all, which the call is told
    return [each for each in found if not _open(each)]


def _open(diagnostic: Diagnostic) -> bool:
    """Whether a problem of a module that nothing uses may be none once a call fixes its sizes."""
    stated = diagnostic.help.startswith(("state ", "if they always are", "an axis of 1"))
    return stated or diagnostic.code in _OPEN


def _unknown_names(unit: Unit, item: ast.ModuleDef | ast.FnDef | ast.Test) -> Iterator[Diagnostic]:
    known = {
        *unit.names,
        *BUILTINS,
        *(each for each in library_index() if not each.startswith("_")),
        *CONSTANTS,
        *DTYPE_VALUES,
        *INITIALS,
        "training",
        "fan_in",
        "fan_out",
        "self",
    }
    bound = set(_bound_names(item))
    for name, span in _read_names((item.body, _conditions(item))):
        if name not in known and name not in bound:
            help = habits.NAMES.get(name) or did_you_mean(name, known | bound)
            yield problems.UNKNOWN_NAME.at(span, name=name, help=help)


def _conditions(item: ast.ModuleDef | ast.FnDef | ast.Test) -> tuple[Any, ...]:
    """What a header says besides names and types: facts and defaults."""
    if isinstance(item, ast.Test):
        return ()
    fields = item.static if isinstance(item, ast.ModuleDef) else item.params
    return (item.where, *(each.default for each in fields))


def _bound_names(node: Any) -> Iterator[str]:
    """Every name that a tree binds somewhere: parameters, dims, targets, parameters declared."""
    stack: list[Any] = [node]
    while stack:
        each = stack.pop()
        match each:
            case ast.NameTarget(id):
                yield id
            case ast.Field(name=name) if name:
                yield name
            case ast.ParamStmt(name=name) | ast.Entry(name=name):
                yield name
            case ast.TensorTypeExpr(axes=axes) | ast.GroupTypeExpr(axes=axes):
                for name, _ in _read_names(axes):
                    yield name
                yield from (axis.name for axis in axes if isinstance(axis, ast.Star))
        stack += ast.children(each)


def _read_names(node: Any) -> Iterator[tuple[str, Span]]:
    stack: list[Any] = [node]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Name):
            yield each.id, each.span
        elif isinstance(each, ast.InitSelector):
            continue
        else:
            stack += ast.children(each)
