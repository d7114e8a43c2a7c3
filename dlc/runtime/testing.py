"""Running `test` blocks: every `require` in them must hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dlc.diagnostics import Diagnostic
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.project import Project
from dlc.elaborate.base.units import Unit
from dlc.elaborate.bodies.statements import run_body
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.state.body import static_body
from dlc.runtime.checks import run_checks
from dlc.runtime.measures import measure
from dlc.syntax import ast


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a test."""

    name: str
    passed: bool
    diagnostics: tuple[Diagnostic, ...]


def run_tests(project: Project, unit: Unit) -> Iterator[Outcome]:
    """Every `test` block of a file, one after another. Tensors in a test are computed by the ops' NumPy references."""
    for item in unit.file.items:
        if isinstance(item, ast.Test):
            yield _run(project, unit, item)


@deep
def _run(project: Project, unit: Unit, item: ast.Test) -> Outcome:
    session = Elaborator(project, measure=measure)
    name = item.name.value
    body = static_body(session, unit, kind="test", name=name, statements=item.body)
    run_body(body, item.body)
    found = [*session.diagnostics]
    if not found and body.emission.builder.body:
        found += run_checks(session, body)
    return Outcome(name, not found, tuple(found))
