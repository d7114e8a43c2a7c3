"""`dlc train`: run a train block."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import (
    AllowPython,
    Backend,
    Device,
    Format,
    Output,
    Quiet,
    Root,
    Sets,
    Target,
    check_device,
    echo_json,
    load_train,
    reports,
    show_warnings,
)


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def train(
        target: Target,
        backend: Backend,
        out: Annotated[Path, typer.Option("--out", help="The folder of the run.")],
        resume: Annotated[
            bool, typer.Option("--resume", help="Continue from the run's last checkpoint.")
        ] = False,
        force: Annotated[
            bool, typer.Option("--force", help="Replace files in the folder that no run wrote.")
        ] = False,
        device: Device = "cpu",
        log: Annotated[
            list[str], typer.Option("--log", metavar="NAME", help="Log to tensorboard or mlflow, too.")
        ] = [],  # noqa: B006 - typer copies defaults
        plot: Annotated[bool, typer.Option("--plot", help="Draw the losses in the terminal.")] = False,
        allow_python: AllowPython = False,
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Train: progress, metrics, checkpoints; Ctrl-C saves, --resume continues exactly."""
        from dlc.cli.progress import Progress
        from dlc.runtime.training import train as run

        check_device(device)
        block = load_train(target, set, root, allow_python)
        show_warnings([block.spec], block)
        watch = Progress(quiet=quiet or format is Format.json, plots=plot)
        result = run(
            block,
            backend=backend,
            out=out,
            resume=resume,
            force=force,
            device=device,
            watch=watch,
            log=log or None,
        )
        if format is Format.json:
            echo_json(result.to_json())
        elif not quiet:
            typer.echo(result.text())
