"""`dlc weights`: initial values, looking into files, and conversion through a `weights` block."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import (
    Format,
    Output,
    Quiet,
    Root,
    Seed,
    Sets,
    Target,
    echo_json,
    load_model,
    reports,
    usage,
)


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Initial weights, files of weights, and conversion between names.", no_args_is_help=True
    )
    app.add_typer(group, name="weights")

    @group.command()
    @reports
    def init(
        target: Target,
        output: Annotated[Path, typer.Option("-o", "--output", help="A safetensors or npz file.")],
        seed: Seed = 0,
        set: Sets = [],  # noqa: B006 - typer copies defaults
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Write seeded initial weights: the same for every backend."""
        from dlc.runtime.weights import write_file

        values = load_model(target, set, root).initial_weights(seed)
        write_file(output, values)
        if not quiet:
            typer.echo(f"{output}: {len(values)} tensors")

    @group.command()
    @reports
    def inspect(file: Path, format: Output = Format.text) -> None:
        """Names, shapes and dtypes of a file."""
        from dlc.runtime.weights import read_file

        tensors = dict(sorted(read_file(file).items()))
        rows = [{"name": k, "shape": list(v.shape), "dtype": str(v.dtype)} for k, v in tensors.items()]
        if format is Format.json:
            echo_json(rows)
            return
        width = max((len(name) for name in tensors), default=0)
        for name, value in tensors.items():
            typer.echo(f"{name.ljust(width)}  {value.dtype}{list(value.shape)}")

    @group.command()
    @reports
    def convert(
        target: Target,
        source: Annotated[Path, typer.Argument(help="The file to read.")],
        output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
        through: Annotated[str, typer.Option("--through", help="The `weights` block to go through.")],
        reverse: Annotated[
            bool, typer.Option("--reverse", help="From the model's names to the checkpoint's.")
        ] = False,
        set: Sets = [],  # noqa: B006 - typer copies defaults
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Convert a file of weights through a `weights` block, in either direction."""
        from dlc.runtime.compile import weight_map
        from dlc.runtime.weights import fill, read_file, write_file

        model = load_model(target, set, root)
        rules = weight_map(model, through)
        if rules is None:
            usage("--through names a weights block")
        tensors = read_file(source)
        if reverse:
            result = rules.backward(fill(model.parameters, tensors))
        else:
            result = fill(model.parameters, rules.forward(tensors))
        write_file(output, result)
        if not quiet:
            typer.echo(f"{output}: {len(result)} tensors")
