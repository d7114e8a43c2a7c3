"""`dlc compile`: write a backend's artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlc.cli.common import (
    AllowPython,
    Format,
    Optimize,
    Output,
    Precision,
    Present,
    Quiet,
    Root,
    Seed,
    Sets,
    TargetName,
    Through,
    WeightsFile,
    echo_json,
    load_model,
    reports,
    settings,
    show_warnings,
    train_block,
    usage,
)

if TYPE_CHECKING:
    from dlc.spec import Model, TrainBlock


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def compile(
        targets: Annotated[list[str], typer.Argument(metavar="FILE[:NAME]…")],
        backend: Annotated[
            str,
            typer.Option(
                "--backend",
                "-b",
                help="Its name; `dlc doctor` lists them. Of `torch,jax` each gets a folder.",
            ),
        ],
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
        allow_python: AllowPython = False,
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Compile models for backends and write their files, with weights beside them where they are given."""
        from dlc.runtime.compile import find_backend, write_artifact

        backends = [find_backend(name.strip()).name for name in backend.split(",")]
        block = train_block(targets, root, allow_python)
        if block is not None:
            _for_models(
                {
                    "--precision": precision != "f32",
                    "--seed": seed != 0,
                    "-O": optimize != 1,
                    "--target": bool(emit_target),
                    "--weights": weights is not None,
                    "--through": through is not None,
                    "--init": init,
                    "--training": training,
                    "--functions": functions,
                    "--single-file": single_file,
                    "--with": bool(present),
                }
            )
            _training(block(**settings(set)), backends, output, format, force=force, quiet=quiet)
            return
        models = [load_model(target, set, root, present) for target in targets]
        _apart(models, one=weights is not None or init)
        written = [
            path
            for name in backends
            for model in models
            for path in write_artifact(
                model,
                name,
                output / name if len(backends) > 1 else output,
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
        ]
        show_warnings(model.spec for model in models)
        _told(written, format, quiet=quiet)


def _for_models(given: Mapping[str, bool]) -> None:
    """What a train block would pass over in silence is refused."""
    name = next((name for name, is_given in given.items() if is_given), "")
    if name in ("--precision", "--seed"):
        setting = name.removeprefix("--")
        usage(f"`{name}` is for models; of a train block it is a setting: `--set settings.{setting}=…`")
    if name:
        usage(f"`{name}` is for models: a train block says itself how it is trained")


def _training(
    block: TrainBlock, backends: Sequence[str], output: Path, format: Format, *, force: bool, quiet: bool
) -> None:
    """A script, of backends that write some; the compiled steps of others."""
    from dlc.runtime.compile import find_backend
    from dlc.runtime.scripts import write_script
    from dlc.runtime.write_steps import write_steps

    several = len(backends) > 1
    written: list[Path] = []
    for name in backends:
        write = write_script if find_backend(name).has("script") else write_steps
        written += write(block, name, output / name if several else output, force=force)
    _told(written, format, quiet=quiet)


def _told(written: Sequence[Path], format: Format, *, quiet: bool) -> None:
    if format is Format.json:
        echo_json([str(path) for path in written])
    elif not quiet:
        for path in written:
            typer.echo(str(path))


def _apart(models: Sequence[Model], *, one: bool) -> None:
    """Several models have files of their own, which are named for them; weights are one's."""
    names = [model.name for model in models]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        usage(f"two of these models are called {twice}, and so would their files be: compile them one by one")
    if one and len(models) > 1:
        usage("weights are those of one model: compile them one by one")
