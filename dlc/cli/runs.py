"""`dlc runs`: runs beside each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlc.cli.common import Format, Output, Quiet, echo_json, reports

if TYPE_CHECKING:
    from dlc.runtime.runs import Run


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
        plot: Annotated[
            bool, typer.Option("--plot", help="Draw the losses of each run in the terminal.")
        ] = False,
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
            typer.echo("\n".join([text(found), *(_drawn(found) if plot else ())]))


def _drawn(found: Sequence[Run]) -> Iterator[str]:
    """The curves of the losses, run by run."""
    from dlc.cli.plot import plot as drawn

    for run in found:
        for name in ("loss", "held-out loss"):
            lines = drawn(f"{run.name}: {name}", run.curves.get(name, ()), sys.stdout)
            yield from ["", *lines] if lines else []
