"""`dlc list`: the specs that ship with dlc."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Annotated

import typer

from dlc.cli.common import Format, Output, echo_json, reports
from dlc.resources import specs_path


def register(app: typer.Typer) -> None:
    @app.command(name="list")
    @reports
    def list_specs(
        train: Annotated[
            bool, typer.Option("--train", help="Only those with a train block, and what they train on.")
        ] = False,
        format: Output = Format.text,
    ) -> None:
        """List the specs that ship with dlc, and which of them have a train block."""
        found = shipped()
        if train:
            _list_blocks(found, format)
            return
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


def _list_blocks(found: dict[str, str], format: Format) -> None:
    """Each train block by what a command calls it, with its source and how to run it."""
    rows = [
        {"name": name, "train": block, "source": source, "title": title}
        for name, title in found.items()
        for block, source in sources(name).items()
    ]
    if format is Format.json:
        echo_json(rows)
        return
    targets = [f"dlc:{row['name']}:{row['train']}" for row in rows]
    width = max(map(len, targets), default=0)
    for target, row in zip(targets, rows, strict=True):
        typer.echo(f"{target.ljust(width)}  on {row['source']}")
    typer.echo(
        "dlc train TARGET --backend torch --out runs/1; what names a file wants it beside the spec: dlc new NAME --from SPEC"
    )


def sources(name: str) -> dict[str, str]:
    """Of each train block of a spec the source that it names."""
    text = (specs_path() / f"{name}.dl").read_text(encoding="utf-8")
    found = {}
    for part in re.split(r"^train ", text, flags=re.MULTILINE)[1:]:
        block = re.match(r"\w+", part)
        # Up to the parenthesis that closes the source's, which may be some lines further down.
        source = re.search(r"^    batch .*? from (.+?\))(?: *#.*)?$", part, re.MULTILINE | re.DOTALL)
        if block and source:
            found[block.group()] = re.sub(r"(?<=\() |,? ?(?=\)$)", "", " ".join(source.group(1).split()))
    return found


def trains(name: str) -> list[str]:
    """The train blocks of a spec that ships."""
    text = (specs_path() / f"{name}.dl").read_text(encoding="utf-8")
    return re.findall(r"^train (\w+)", text, re.MULTILINE)


def shipped() -> dict[str, str]:
    """Name (`language/gpt2`) of every spec, and the first sentence of its comment."""
    base = specs_path()
    found = {}
    for file in sorted(base.rglob("*.dl")):
        found[str(file.relative_to(base).with_suffix(""))] = _sentence(file.read_text(encoding="utf-8"))
    return found


def _sentence(text: str) -> str:
    """The first sentence of a file's comment: to a full stop behind which a line ends or a new word begins."""
    lines = takewhile(lambda line: line.startswith("#"), text.split("\n"))
    comment = " ".join(line.lstrip("# ").strip() for line in lines)
    end = re.search(r"\.(?=\s+[A-Z]|\s*$)", comment)
    return comment[: end.end()] if end else comment
