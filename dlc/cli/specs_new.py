"""`dlc new`: start from a spec that ships with dlc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import usage
from dlc.diagnostics import suggestion


def register(app: typer.Typer) -> None:
    @app.command()
    def new(
        name: Annotated[str, typer.Argument(help="The file to write, with or without .dl.")],
        source: Annotated[str, typer.Option("--from", help="A spec of `dlc list`.")],
    ) -> None:
        """Copy a spec that ships with dlc to start from."""
        from dlc.cli.specs import shipped
        from dlc.resources import specs_path

        known = shipped()
        short = {each.rsplit("/", 1)[-1]: each for each in known}
        found = source if source in known else short.get(source)
        if found is None:
            near = suggestion(source, [*known, *short])
            usage(f"there is no spec `{source}`" + (f"; did you mean `{near}`?" if near else "; see `dlc list`"))
        target = Path(name if name.endswith(".dl") else f"{name}.dl")
        if target.exists():
            usage(f"{target} exists already")
        target.write_text((specs_path() / f"{found}.dl").read_text(encoding="utf-8"), encoding="utf-8")
        typer.echo(str(target))
