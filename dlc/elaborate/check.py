"""Checking a whole file: every model, preset, module, train block, weights block and test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from dlc.diagnostics import Diagnostic, Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.diagnostics.follow import without_consequences
from dlc.elaborate.check_weights import check_weights
from dlc.elaborate.depth import deep
from dlc.elaborate.elaborator import Elaborator
from dlc.elaborate.frame import ElabError, Silent
from dlc.elaborate.names import named
from dlc.elaborate.programs import build, point_of
from dlc.elaborate.project import Project, Unit, library_index
from dlc.elaborate.train import build_plan
from dlc.elaborate.values import Definition, PresetRef
from dlc.syntax import ast

_OPEN = {
    each.code
    for each in (problems.PARAM_DIM, problems.UNDECIDED, problems.FACT_UNPROVED, problems.NOT_STATIC)
}


@deep
def check_unit(project: Project, unit: Unit) -> tuple[Diagnostic, ...]:
    """Every diagnostic of a file and of what it imports, in the order of the text, each once."""
    found: list[Diagnostic] = list(project.diagnostics)
    for item in unit.file.items:
        match item:
            case ast.ModuleDef(is_model=True) | ast.Preset():
                found += _check_entry(project, unit, item)
            case ast.Let():
                found += _check_let(project, unit, item)
            case ast.Train():
                build_plan(project, unit, item, {}, report=found.append) if _has_defaults(item) else None
            case ast.Weights():
                found += check_weights(project, unit, item)
    for item in unit.file.items:
        if isinstance(item, ast.ModuleDef | ast.FnDef):
            definition = unit.names.get(item.name)
            if isinstance(definition, Definition) and definition not in project.reached:
                found += _check_names(project, unit, item)
    starts = [item.span.line for item in unit.file.items]
    return _ordered(without_consequences(found, unit.path, unit.text, starts))


def _ordered(found: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    seen = {(each.code, each.span): each for each in reversed(found)}
    return tuple(sorted(seen.values(), key=lambda each: (each.span.file, each.span.line, each.span.column)))


def _has_defaults(item: ast.Train) -> bool:
    return all(each.default is not None for each in item.static)


def _check_entry(project: Project, unit: Unit, item: ast.ModuleDef | ast.Preset) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    if isinstance(item, ast.ModuleDef):
        for each in item.static:
            if each.default is None:
                found.append(problems.NO_DEFAULT.at(each.span, name=each.name, model=item.name))
    if found:
        return found
    elaborator = Elaborator(project)
    frame = elaborator.static_frame(unit)
    try:
        model = named(frame, unit, item.name, item.span)
        if isinstance(model, Definition | PresetRef):
            point = point_of(elaborator, model, {}, item.span)
            build(project, point, item.span, report=found.append)
            entries = (
                [each for each in item.body if isinstance(each, ast.Entry)]
                if isinstance(item, ast.ModuleDef)
                else []
            )
            for entry in entries:
                from dataclasses import replace

                build(project, replace(point, entry=entry.name), item.span, report=found.append)
    except ElabError as error:
        found.append(error.diagnostic)
    except Silent:
        pass
    return found + elaborator.diagnostics


def _check_let(project: Project, unit: Unit, item: ast.Let) -> list[Diagnostic]:
    elaborator = Elaborator(project)
    with contextlib.suppress(Silent):
        elaborator.let(unit, item)
    return elaborator.diagnostics


# --- names of what nothing instantiates ----------------------------------------------------------------------------


def _check_names(project: Project, unit: Unit, item: ast.ModuleDef | ast.FnDef) -> list[Diagnostic]:
    """Unknown names in a body that no model of the file reaches; with defaults for all, the whole body."""
    elaborator = Elaborator(project)
    if isinstance(item, ast.ModuleDef) and all(each.default is not None for each in item.static):
        definition = unit.names[item.name]
        stars = any(
            isinstance(axis, ast.Star)
            for each in item.inputs
            if isinstance(each.type, ast.TensorTypeExpr)
            for axis in each.type.axes
        )
        if isinstance(definition, Definition) and not stars:
            found: list[Diagnostic] = []
            try:
                point = point_of(elaborator, definition, {}, item.span)
                build(project, point, item.span, report=found.append)
            except ElabError as error:
                found.append(error.diagnostic)
            except Silent:
                pass
            return [each for each in found + elaborator.diagnostics if not _open(each)]
    return list(_unknown_names(unit, item))


def _open(diagnostic: Diagnostic) -> bool:
    """Whether a problem of a module that nothing uses may be none once a call fixes its sizes."""
    stated = diagnostic.help.startswith(("state ", "if they always are"))
    return stated or diagnostic.code in _OPEN


def _unknown_names(unit: Unit, item: ast.ModuleDef | ast.FnDef) -> Iterator[Diagnostic]:
    from dlc.elaborate.builtins import BUILTINS
    from dlc.elaborate.initial import INITIALS
    from dlc.elaborate.names import CONSTANTS
    from dlc.elaborate.values import DTYPE_VALUES

    known = {
        *unit.names,
        *BUILTINS,
        *library_index(),
        *CONSTANTS,
        *DTYPE_VALUES,
        *INITIALS,
        "training",
        "fan_in",
        "fan_out",
        "self",
    }
    bound = set(_bound_names(item))
    for name, span in _read_names(item.body):
        if name not in known and name not in bound:
            yield problems.UNKNOWN_NAME.at(span, name=name, help=did_you_mean(name, known | bound))


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
        if isinstance(each, ast.Node):
            stack += [getattr(each, name) for name in each.__dataclass_fields__ if name != "span"]
        elif isinstance(each, tuple):
            stack += each


def _read_names(node: Any) -> Iterator[tuple[str, Span]]:
    stack: list[Any] = [node]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Name):
            yield each.id, each.span
        elif isinstance(each, ast.InitSelector):
            continue
        elif isinstance(each, ast.Node):
            stack += [getattr(each, name) for name in each.__dataclass_fields__ if name != "span"]
        elif isinstance(each, tuple):
            stack += each
