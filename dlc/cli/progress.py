"""The progress of a run: a bar on a terminal, plain lines elsewhere; both on stderr. Where nobody reads it any
more (a closed terminal or pipe) the run goes on, and can be saved."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import typer

from dlc.runtime.training import Record, Watch


class Progress(Watch):
    """Shows steps and evaluations; `quiet` shows nothing but how to go on after Ctrl-C."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Any = None
        self.task: Any = None
        self.steps = 0

    def start(self, name: str, step: int, steps: int) -> None:
        self.steps = steps
        if self.quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True, highlight=False)
        self.bar = Bar(*columns, TextColumn("{task.fields[values]}"), console=console)
        self.task = self.bar.add_task(name, total=steps, completed=step, values="")
        self.bar.start()

    def step(self, record: Record, *, logged: bool) -> None:
        if self.bar is not None:
            values = f"{record.text()}{_rate(record)}"
            with suppress(OSError):
                self.bar.update(self.task, completed=record.step, values=values)
        elif logged or record.left_out:
            self._line(f"step {record.step}/{self.steps}  {record.text()}{_rate(record)}")

    def evaluation(self, record: Record) -> None:
        text = f"step {record.step}/{self.steps}  evaluation: {record.text()}"
        if self.bar is not None:
            with suppress(OSError):
                self.bar.console.print(text)
        else:
            self._line(text)

    def stop(self) -> None:
        if self.bar is not None:
            with suppress(OSError):
                self.bar.stop()
            self.bar = None

    def interrupted(self, message: str) -> None:
        with suppress(OSError):
            typer.echo(message, err=True)

    def _line(self, text: str) -> None:
        if not self.quiet:
            with suppress(OSError):
                typer.echo(text, err=True)


def _rate(record: Record) -> str:
    text = f"  lr {record.lr:.3g}" if record.lr is not None else ""
    if record.left_out:
        scales = "".join(f"  {name} {each:g}" for name, each in record.scales.items())
        text += f"  left out{scales}"
    return text
