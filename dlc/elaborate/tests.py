"""Running `test` blocks: every `require` in them must hold."""

from __future__ import annotations

from collections.abc import Iterator

from dlc.diagnostics import Diagnostic
from dlc.elaborate.depth import deep
from dlc.elaborate.elaborator import Elaborator
from dlc.elaborate.project import Project, Unit
from dlc.elaborate.values import Definition
from dlc.records import dataclass
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
    from dlc.elaborate.statements import run_body

    elaborator = Elaborator(project)
    frame = elaborator.static_frame(unit)
    frame.kind, frame.name = "test", item.name.value
    frame.definition = Definition(item.name.value, ast.FnDef(item.name.value, (), (), (), item.body), unit)
    run_body(frame, item.body)
    found = [*elaborator.diagnostics]
    if not found and frame.builder.body:
        from dlc.runtime.checks import run_checks

        found += run_checks(elaborator, frame)
    return Outcome(item.name.value, not found, tuple(found))
