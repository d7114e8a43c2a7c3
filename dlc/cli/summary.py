"""`dlc summary`: module tree, parameters, FLOPs, bytes."""

from __future__ import annotations

from typing import Annotated

import typer

from dlc.analysis.summary_text import DEPTH, summary_text
from dlc.cli.common import (
    Dims,
    Format,
    Output,
    Present,
    Quiet,
    Root,
    Sets,
    Target,
    echo_json,
    load_model,
    reports,
    sizes,
)


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def summary(
        target: Target,
        present: Present = "",
        set: Sets = [],  # noqa: B006 - typer copies defaults
        dims: Dims = "",
        depth: Annotated[int, typer.Option("--depth", help="How deep the tree goes.")] = DEPTH,
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Show a model's tree with output shapes, parameters, FLOPs and bytes. Nothing is allocated."""
        model = load_model(target, set, root, present)
        found = model.summary(**sizes(dims))
        if format is Format.json:
            echo_json(found.to_json())
            return
        typer.echo(summary_text(found, depth, quiet=quiet))
