"""`dlc weights`: initial values, looking into files, and conversion through a `weights` block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from dlc.runtime.configs import Setting


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
    def inspect(
        file: Path,
        model: Annotated[
            str,
            typer.Option(
                "--model",
                metavar="FILE[:NAME]",
                help="Say what the config.json beside the file has other than this model.",
            ),
        ] = "",
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        root: Root = None,
    ) -> None:
        """Names, shapes and dtypes of a file, and what the config.json beside it has other than a model."""
        from dlc.runtime.configs import compared, config_beside
        from dlc.runtime.weights import read_file

        tensors = dict(sorted(read_file(file).items()))
        rows = [{"name": k, "shape": list(v.shape), "dtype": str(v.dtype)} for k, v in tensors.items()]
        config = config_beside(file)
        if model and config is None:
            usage(f"there is no config.json beside {file}")
        found = compared(config, load_model(model, set, root)) if model and config is not None else []
        if format is Format.json:
            echo_json({"tensors": rows, "config": [_row(each) for each in found]} if model else rows)
            return
        width = max((len(name) for name in tensors), default=0)
        for name, value in tensors.items():
            typer.echo(f"{name.ljust(width)}  {value.dtype}{list(value.shape)}")
        if model:
            _tell(found, model)
        elif config is not None:
            typer.echo("a config.json is beside it: --model FILE:NAME says what differs from a model")

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
            result = rules.backward(fill(model.parameters, tensors, keep=True))
        else:
            result = fill(model.parameters, rules.forward(tensors), keep=True)
        write_file(output, result)
        if not quiet:
            typer.echo(f"{output}: {len(result)} tensors")


def _row(each: Setting) -> dict[str, Any]:
    return {
        "name": each.name,
        "value": each.value,
        "ours": each.ours,
        "here": list(each.here),
        "differs": each.differs,
    }


def _tell(found: Sequence[Setting], model: str) -> None:
    different = [each for each in found if each.differs]
    for each in different:
        typer.echo(f"differs: {each.text()}")
    same = [each.name for each in found if each.ours and not each.differs]
    typer.echo(f"config.json and {model}: {len(different)} differ; the same: {', '.join(same) or 'none'}")
    others = [each.name for each in found if not each.ours]
    typer.echo(f"not compared: {', '.join(others) or 'none'}")
