"""`dlc check`: all diagnostics of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlc.cli.common import Format, Output, Quiet, Root, reports, show

if TYPE_CHECKING:
    from dlc.diagnostics import Diagnostic
    from dlc.elaborate.base.project import Project
    from dlc.elaborate.base.units import Unit


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def check(
        files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Specs, or folders of specs.")],
        types: Annotated[bool, typer.Option("--types", help="Print every binding with its type.")] = False,
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Check specs: everything that is wrong with them. `-` reads one from standard input."""
        from dlc.spec import all_sources
        from dlc.syntax.source import specs_in

        found: list[Diagnostic] = []
        sources: dict[str, str] = {}
        files = specs_in(files)
        for file in files:
            project, diagnostics = _checked(file, root)
            found += diagnostics
            if diagnostics:
                sources.update(all_sources(project))
            if types and not _errors(diagnostics):
                _print_types(file, root, project.units)
        if found or format is Format.json:
            show(found, sources, format)
        if _errors(found):
            raise typer.Exit(1)
        if not quiet and format is Format.text and not types:
            typer.echo(f"{_count(len(files), 'file')} checked, {_result(found)}")


def _errors(found: Iterable[Diagnostic]) -> bool:
    return any(each.severity == "error" for each in found)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _result(warnings: list[Diagnostic]) -> str:
    return _count(len(warnings), "warning") if warnings else "nothing wrong"


def _checked(file: str, root: Path | None) -> tuple[Project, tuple[Diagnostic, ...]]:
    """What is wrong with a file; what a plain question for it has found out stands."""
    from dlc.cli import quick
    from dlc.cli.common import split_target
    from dlc.diagnostics import SpecError
    from dlc.elaborate.base.project import Project
    from dlc.elaborate.checks.file import check_unit

    name = split_target(file)[0]
    if root is None and name in quick.checked:
        return quick.checked[name]
    project = Project(root)
    try:
        unit = project.loads(_given(), STDIN) if name == "-" else project.load(name)
        return project, check_unit(project, unit)
    except SpecError as error:
        return project, error.diagnostics


STDIN = "stdin"


def _given() -> str:
    """What stands on standard input. Raises SpecError."""
    from dlc.syntax.source import decode

    return decode(sys.stdin.buffer.read(), STDIN)


def _print_types(file: str, root: Path | None, units: Mapping[str, Unit]) -> None:
    """Every value of every function of the spec's own, with its type. Standard input, which can be read once, is in `units`."""
    from dlc.api import Model, load, loads
    from dlc.cli.common import split_target
    from dlc.ir.nodes import walk

    name = split_target(file)[0]
    text = next((each.text for each in units.values() if each.path == STDIN), "")
    spec = loads(text, STDIN, root=root) if name == "-" else load(name, root=root)
    for name in spec.models:
        model = spec[name]
        assert isinstance(model, Model)
        for function in model.program.functions.values():
            if function.library or function.kind not in ("model", "module", "fn"):
                continue
            typer.echo(
                f"{function.source} ({function.name})"
                if function.source != function.name
                else function.source
            )
            for value in function.inputs:
                typer.echo(f"    {value.name}: {value.type}")
            for op in walk(function.body):
                for value in op.outputs:
                    typer.echo(
                        f"    {op.span.line}: {value.name}: {value.type}   {op.op}{' as ' + op.path if op.path else ''}"
                    )
