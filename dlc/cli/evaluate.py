"""`dlc evaluate`: a trained block on its held-out data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import (
    AllowPython,
    Device,
    Format,
    Output,
    Root,
    Sets,
    Target,
    check_device,
    echo_json,
    load_trained,
    reports,
    usage,
)


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def evaluate(
        target: Target,
        weights: Annotated[
            Path, typer.Option("--weights", help="The folder of a run, or a file of its only network.")
        ],
        plot: Annotated[
            Path | None, typer.Option("--plot", help="Write the confusion matrix as a picture (.png).")
        ] = None,
        backend: Annotated[str, typer.Option("--backend", "-b", help="By default that of the run.")] = "",
        device: Device = "cpu",
        allow_python: AllowPython = False,
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        root: Root = None,
    ) -> None:
        """Loss and metrics on all held-out data; per-class table and confusion matrix of classifiers."""
        from dlc.runtime.evaluate import evaluate as look

        check_device(device)
        block = load_trained(target, set, root, weights, allow_python=allow_python)
        found = look(block, weights=weights, backend=backend or None, device=device)
        if plot is not None:
            if found.confusion is None:
                usage("--plot shows what a classifier takes for what, and this block has no classes")
            found.confusion.plot(plot)
        if format is Format.json:
            echo_json(found.to_json())
        else:
            typer.echo(found.text())
