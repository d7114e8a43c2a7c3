"""`dlc new`: a project to start with, or a spec that ships with dlc."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dlc.cli.common import reports, shipped_spec, usage


class Kind(StrEnum):
    """What the data of a project are."""

    digits = "digits"
    table = "table"
    images = "images"
    text = "text"


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def new(
        name: Annotated[
            str, typer.Argument(help="The folder of a project; with --from a file, with or without .dl.")
        ],
        source: Annotated[str, typer.Option("--from", help="Copy this spec of `dlc list`.")] = "",
        data: Annotated[
            Kind | None, typer.Option("--data", help="What the project's data are; digits need none.")
        ] = None,
    ) -> None:
        """Start a project: a spec with a train block, data, a README; or copy a spec that ships with dlc."""
        if source and data is not None:
            usage("--from copies a spec, --data starts a project: give one of them")
        if source:
            _copied(name, source)
        else:
            _started(Path(name), data or Kind.digits)


def _copied(name: str, source: str) -> None:
    from dlc.writing import write

    found = shipped_spec(source.removeprefix("dlc:").removesuffix(".dl"))
    target = Path(name if name.endswith(".dl") else f"{name}.dl")
    if target.exists():
        usage(f"{target} exists already")
    write(target, found.read_bytes())
    typer.echo(str(target))


def _started(folder: Path, kind: Kind) -> None:
    from dlc.cli.projects import files
    from dlc.writing import write_all

    if not re.fullmatch(r"[A-Za-z]\w*", folder.name):
        usage(f"`{folder.name}` names no project: letters, digits and `_`, a letter first")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        usage(f"{folder} exists already")
    try:
        made = files(kind, folder.name)
    except ImportError:
        usage("the pictures of this project are made with Pillow: pip install 'dlc[data]'")
    for place in {(folder / file).parent for file in made}:
        place.mkdir(parents=True, exist_ok=True)
    write_all({folder / file: content for file, content in made.items()})
    shown = [file for file in made if file.count("/") < 2]
    more = len(made) - len(shown)
    for file in shown:
        typer.echo(str(folder / file))
    if more:
        typer.echo(f"{folder / 'data'}: {more} pictures")
    typer.echo(f"next: cd {folder}, then what README.md says")
