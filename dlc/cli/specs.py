"""`dlc list`: the specs that ship with dlc."""

from __future__ import annotations

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
    """Name (`language/gpt2`) and first comment line of every spec."""
    from dlc.resources import specs_path

    base = specs_path()
    found = {}
    for file in sorted(base.rglob("*.dl")):
        first = file.read_text(encoding="utf-8").split("\n", 1)[0]
        found[str(file.relative_to(base).with_suffix(""))] = first.lstrip("# ").strip()
    return found
