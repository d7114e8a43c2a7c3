"""`dlc compile`: write a backend's artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import (
    Backend,
    Format,
    Optimize,
    Output,
    Precision,
    Present,
    Quiet,
    Root,
    Seed,
    Sets,
    Target,
    TargetName,
    Through,
    WeightsFile,
    echo_json,
    load_model,
    reports,
)


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def compile(
        target: Target,
        backend: Backend,
        output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write into.")],
        emit_target: TargetName = "",
        precision: Precision = "f32",
        optimize: Optimize = 1,
        weights: WeightsFile = None,
        through: Through = None,
        init: Annotated[bool, typer.Option("--init", help="Write seeded initial weights beside it.")] = False,
        seed: Seed = 0,
        training: Annotated[bool, typer.Option("--training", help="In training mode.")] = False,
        functions: Annotated[
            bool, typer.Option("--functions", help="For onnx: keep modules as functions of the file.")
        ] = False,
        single_file: Annotated[
            bool, typer.Option("--single-file", help="For onnx: weights inside the model, not beside it.")
        ] = False,
        force: Annotated[bool, typer.Option("--force", help="Replace files that dlc did not write.")] = False,
        present: Present = "",
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Compile a model for a backend and write its files, with weights beside them where they are given."""
        from dlc.runtime.compile import write_artifact

        model = load_model(target, set, root, present)
        written = write_artifact(
            model,
            backend,
            output,
            optimize=optimize,
            precision=precision,
            target=emit_target,
            training=training,
            functions=functions,
            single_file=single_file,
            weights=weights,
            through=through,
            seed=seed if init else None,
            force=force,
        )
        if format is Format.json:
            echo_json([str(path) for path in written])
        elif not quiet:
            for path in written:
                typer.echo(str(path))
