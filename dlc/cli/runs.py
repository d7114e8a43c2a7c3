"""`dlc runs`: runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import Format, Output, Quiet, echo_json, reports


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def runs(
        folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with runs in it.")],
        sort: Annotated[
            str, typer.Option("--sort", metavar="NAME", help="A loss, metric or setting; the best first.")
        ] = "",
        html: Annotated[
            Path | None, typer.Option("--html", help="Write a page with curves and all settings.")
        ] = None,
        format: Output = Format.text,
        quiet: Quiet = False,
    ) -> None:
        """Compare runs: results, times, and the settings in which they differ."""
        from dlc.runtime.runs import find, ordered, text
        from dlc.runtime.runs_page import page
        from dlc.writing import write

        found = find(folder)
        found = ordered(found, sort) if sort else found
        if html is not None:
            write(html, page(found, f"Runs in {folder}"))
        if format is Format.json:
            echo_json([each.to_json() for each in found])
        elif not quiet:
            typer.echo(text(found))
