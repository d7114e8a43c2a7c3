"""`dlc list`: the specs that ship with dlc."""

from __future__ import annotations

import re

import typer

from dlc.cli.common import Format, Output, echo_json
from dlc.resources import specs_path


def register(app: typer.Typer) -> None:
    @app.command(name="list")
    def list_specs(format: Output = Format.text) -> None:
        """List the specs that ship with dlc, and which of them have a train block."""
        found = shipped()
        if format is Format.json:
            rows = [{"name": name, "title": title, "train": trains(name)} for name, title in found.items()]
            echo_json(rows)
            return
        width = max(map(len, found), default=0)
        for name, title in found.items():
            blocks = trains(name)
            typer.echo(
                f"{name.ljust(width)}  {title}" + (f" (trains: {', '.join(blocks)})" if blocks else "")
            )


def trains(name: str) -> list[str]:
    """The train blocks of a spec that ships."""
    text = (specs_path() / f"{name}.dl").read_text(encoding="utf-8")
    return re.findall(r"^train (\w+)", text, re.MULTILINE)


def shipped() -> dict[str, str]:
    """Name (`language/gpt2`) and first comment line of every spec."""
    base = specs_path()
    found = {}
    for file in sorted(base.rglob("*.dl")):
        first = file.read_text(encoding="utf-8").split("\n", 1)[0]
        found[str(file.relative_to(base).with_suffix(""))] = first.lstrip("# ").strip()
    return found
