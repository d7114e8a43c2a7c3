"""`dlc format`: specs in the canonical layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import Quiet, reports


def register(app: typer.Typer) -> None:
    @app.command(name="format")
    @reports
    def format_files(
        files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Specs, or folders of specs.")],
        check: Annotated[
            bool, typer.Option("--check", help="Write nothing; exit 1 if a file would change.")
        ] = False,
        quiet: Quiet = False,
    ) -> None:
        """Rewrite specs in the canonical layout."""
        from dlc.diagnostics import SpecError
        from dlc.syntax.format import format_file
        from dlc.syntax.parser import parse
        from dlc.syntax.source import read_source, specs_in
        from dlc.writing import write

        changed = 0
        for file in map(Path, specs_in(map(str, files))):
            text = read_source(file)
            result = parse(text, str(file))
            if result.diagnostics:
                raise SpecError(result.diagnostics, {str(file): text})
            wanted = format_file(result.file, text)
            if wanted == text:
                continue
            changed += 1
            if not quiet:
                typer.echo(f"{'would change' if check else 'changed'} {file}")
            if not check:
                write(file, wanted)
        if check and changed:
            raise typer.Exit(1)
