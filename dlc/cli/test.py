"""`dlc test`: the `test` blocks of files."""

from __future__ import annotations

from typing import Annotated

import typer

from dlc.cli.common import Format, Output, Quiet, Root, echo_json, load_spec, reports, show


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def test(
        files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Specs, or folders of specs.")],
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Run the `test` blocks: everything that they require must hold."""
        from dlc.diagnostics import SpecError
        from dlc.runtime.testing import run_tests
        from dlc.spec import all_sources
        from dlc.syntax.source import specs_in

        rows, failed = [], 0
        for file in specs_in(files):
            spec, _ = load_spec(file, root)
            wrong = [each for each in spec.check() if each.severity == "error"]
            if wrong:
                raise SpecError(wrong, all_sources(spec.project))
            for outcome in run_tests(spec.project, spec.unit):
                failed += not outcome.passed
                told = [each.to_json() for each in outcome.diagnostics]
                rows.append(
                    {"file": file, "test": outcome.name, "passed": outcome.passed, "diagnostics": told}
                )
                if format is Format.text and not (quiet and outcome.passed):
                    typer.echo(f"{'ok  ' if outcome.passed else 'FAIL'} {file}: {outcome.name}")
                if format is Format.text and outcome.diagnostics:
                    show(outcome.diagnostics, all_sources(spec.project), format)
        if format is Format.json:
            echo_json(rows)
        elif not quiet:
            typer.echo(f"{len(rows) - failed} passed, {failed} failed")
        if failed:
            raise typer.Exit(1)
