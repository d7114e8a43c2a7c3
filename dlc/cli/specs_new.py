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
        found = shipped_spec(source.removeprefix("dlc:").removesuffix(".dl"))
        target = Path(name if name.endswith(".dl") else f"{name}.dl")
        if target.exists():
            usage(f"{target} exists already")
        target.write_text(found.read_text(encoding="utf-8"), encoding="utf-8")
        typer.echo(str(target))
