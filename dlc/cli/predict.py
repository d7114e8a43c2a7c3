"""`dlc predict`: what a trained network says of pictures, rows and texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlc.cli.common import (
    AllowPython,
    Device,
    Format,
    Output,
    Root,
    Sets,
    Target,
    check_device,
    echo_json,
    load_trained,
    reports,
)

if TYPE_CHECKING:
    from dlc.runtime.predict import Prediction

ONE_LINE = 3  # inputs from which on each is told on a line of its own


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def predict(
        target: Target,
        weights: Annotated[
            Path, typer.Option("--weights", help="The folder of a run, or a file of its only network.")
        ],
        input: Annotated[
            list[str],
            typer.Option("--input", metavar="FILE|TEXT", help="A picture, a table, an array, or a text."),
        ],
        top: Annotated[int, typer.Option("--top", min=1, help="How many classes are shown.")] = 5,
        backend: Annotated[str, typer.Option("--backend", "-b", help="By default that of the run.")] = "",
        device: Device = "cpu",
        allow_python: AllowPython = False,
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        root: Root = None,
    ) -> None:
        """Ask a trained network: the likeliest classes of pictures, rows, texts."""
        from dlc.runtime.predict import predict as ask

        check_device(device)
        block = load_trained(target, set, root, weights, allow_python=allow_python)
        found = ask(block, weights=weights, inputs=input, backend=backend or None, device=device, top=top)
        if format is Format.json:
            echo_json([each.to_json() for each in found])
            return
        for line in _lines(found):
            typer.echo(line)


def _lines(found: Sequence[Prediction]) -> list[str]:
    lines = []
    for each in found:
        said = [f"{guess.name} {guess.probability:.1%}" for guess in each.guesses] or [_values(each)]
        if len(found) >= ONE_LINE or not each.guesses:
            lines.append(f"{_short(each.input)}: {'  '.join(said)}")
            continue
        width = max(len(guess.name) for guess in each.guesses)
        lines.append(_short(each.input))
        lines += [f"  {guess.name.ljust(width)}  {guess.probability:6.1%}" for guess in each.guesses]
    return lines


def _values(each: Prediction) -> str:
    if each.left_out:
        return f"left out: {each.left_out}"
    shown = ", ".join(f"{value:.4g}" for value in each.values[:6])
    more = ", …" if len(each.values) > 6 else ""
    return f"{shown}{more}" if len(each.shape) < 2 else f"{list(each.shape)}  {shown}{more}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"…{line[-59:]}"
