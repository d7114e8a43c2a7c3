"""`dlc verify`: all backends on the same weights and inputs."""

from __future__ import annotations

from typing import Annotated

import typer

from dlc.cli.common import (
    Dims,
    Format,
    Inputs,
    Optimize,
    Output,
    Present,
    Quiet,
    Root,
    Seed,
    Sets,
    Target,
    Through,
    WeightsFile,
    echo_json,
    load_model,
    reports,
    sizes,
    with_arrays,
)


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def verify(
        target: Target,
        backends: Annotated[
            str, typer.Option("--backends", metavar="a,b", help="By default all installed.")
        ] = "",
        grad: Annotated[
            bool, typer.Option("--grad", help="Compare the gradients of every parameter too.")
        ] = False,
        tolerance: Annotated[float, typer.Option("--tolerance", help="Largest relative difference.")] = 1e-5,
        weights: WeightsFile = None,
        through: Through = None,
        input: Inputs = [],  # noqa: B006
        seed: Seed = 0,
        dims: Dims = "",
        optimize: Optimize = 1,
        present: Present = "",
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Run every backend on the same weights and inputs and compare. Exit 1 past the tolerance."""
        from dlc.runtime.verify import verify as compare

        model = load_model(target, set, root, present)
        model, given = with_arrays(model, input)
        report = compare(
            model,
            inputs=given,
            backends=tuple(filter(None, backends.split(","))) or None,
            gradients=grad,
            tolerance=tolerance,
            weights=weights,
            through=through,
            seed=seed,
            dims=sizes(dims),
            optimize=optimize,
        )
        if format is Format.json:
            echo_json(report.to_json())
        elif not quiet or not report.agree:
            typer.echo(report.text())
        if not report.agree:
            raise typer.Exit(1)
