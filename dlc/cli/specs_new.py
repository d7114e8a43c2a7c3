"""`dlc new`: start from a spec that ships with dlc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import reports, shipped_spec, usage


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def new(
        name: Annotated[str, typer.Argument(help="The file to write, with or without .dl.")],
        source: Annotated[str, typer.Option("--from", help="A spec of `dlc list`.")],
    ) -> None:
        """Copy a spec that ships with dlc to start from."""
        from dlc.writing import write

        found = shipped_spec(source.removeprefix("dlc:").removesuffix(".dl"))
        target = Path(name if name.endswith(".dl") else f"{name}.dl")
        if target.exists():
            usage(f"{target} exists already")
        write(target, found.read_bytes())
        typer.echo(str(target))
