"""`dlc list`: the specs that ship with dlc."""

from __future__ import annotations

import re
from itertools import takewhile

import typer

from dlc.cli.common import Format, Output, echo_json


def register(app: typer.Typer) -> None:
    @app.command(name="list")
    def list_specs(format: Output = Format.text) -> None:
        """List the specs that ship with dlc."""
        found = shipped()
        if format is Format.json:
            echo_json([{"name": name, "title": title} for name, title in found.items()])
            return
        width = max(map(len, found), default=0)
        for name, title in found.items():
            typer.echo(f"{name.ljust(width)}  {title}")


def shipped() -> dict[str, str]:
    """Name (`language/gpt2`) of every spec, and the first sentence of its comment."""
    from dlc.resources import specs_path

    base = specs_path()
    found = {}
    for file in sorted(base.rglob("*.dl")):
        found[str(file.relative_to(base).with_suffix(""))] = _sentence(file.read_text(encoding="utf-8"))
    return found


def _sentence(text: str) -> str:
    """The first sentence of a file's comment: to a full stop behind which a line ends or a new word begins."""
    lines = takewhile(lambda line: line.startswith("#"), text.split("\n"))
    comment = " ".join(line.lstrip("# ").strip() for line in lines)
    end = re.search(r"\.(?= [A-Z]|$| *$)", comment)
    return comment[: end.end()] if end else comment
