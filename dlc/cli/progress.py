"""The progress of a run: a bar on a terminal, plain lines elsewhere; both on stderr. Where nobody reads it any
more (a closed terminal or pipe) the run goes on, and can be saved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import typer

from dlc.cli.plot import WIDTH, plot
from dlc.runtime.training import Record, Watch

MARGIN = 16  # of a terminal, beside a plot
MOST = 4096  # points of a curve that are kept


class Progress(Watch):
    """Shows steps and evaluations; `quiet` shows nothing but how to go on after Ctrl-C. With `plots` the losses are drawn as well: on a
    terminal as they come, elsewhere in the end."""

    def __init__(self, quiet: bool = False, *, plots: bool = False) -> None:
        self.quiet = quiet
        self.plots = plots and not quiet
        self.file = sys.stderr  # a bar puts something in its place that tells no encoding
        self.curves: dict[str, list[tuple[int, float]]] = {"loss": [], "held-out loss": []}
        self.bar: Any = None
        self.task: Any = None
        self.steps = 0

    def start(self, name: str, step: int, steps: int) -> None:
        self.steps = steps
        if self.quiet or not sys.stderr.isatty():
            return
        self.bar = _bar(self.drawn)
        self.task = self.bar.add_task(name, total=steps, completed=step, values="")
        self.bar.start()

    def drawn(self, width: int = WIDTH) -> str:
        """The curves so far."""
        found = (plot(name, points, self.file, width) for name, points in self.curves.items())
        return "\n".join(line for lines in found for line in lines) if self.plots else ""

    def _seen(self, name: str, record: Record) -> None:
        points = self.curves[name]
        points.append((record.step, record.loss))
        if len(points) > MOST:
            del points[1:-1:2]

    def step(self, record: Record, *, logged: bool) -> None:
        self._seen("loss", record)
        if self.bar is not None:
            values = f"{record.text()}{_rate(record)}"
            with suppress(OSError):
                self.bar.update(self.task, completed=record.step, values=values)
        elif logged or record.left_out:
            self._line(f"step {record.step}/{self.steps}  {record.text()}{_rate(record)}")

    def evaluation(self, record: Record) -> None:
        self._seen("held-out loss", record)
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
        elif drawn := self.drawn():
            self._line(drawn)

    def interrupted(self, message: str) -> None:
        with suppress(OSError):
            typer.echo(message, err=True)

    def _line(self, text: str) -> None:
        if not self.quiet:
            with suppress(OSError):
                typer.echo(text, err=True)


def _bar(drawn: Callable[[int], str]) -> Any:
    """A bar with what is `drawn` above it: the steps, how many there are in a second, the time that is left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    console = Console(stderr=True, highlight=False)

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(_speed(task.finished_speed or task.speed))

    class Plotted(Bar):
        def get_renderables(self) -> Iterator[Any]:
            if above := drawn(min(WIDTH, console.width - MARGIN)):
                yield Text(above)
            yield self.make_tasks_table(self.tasks)

    text = TextColumn("{task.description}"), TextColumn("{task.fields[values]}")
    columns = (text[0], BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn(), text[1])
    return Plotted(*columns, console=console)


def _speed(each: float | None) -> str:
    if not each:
        return ""
    rate, what = (each, "steps/s") if each >= 1 else (1 / each, "s/step")
    return f"{rate:,.0f} {what}" if rate >= 100 else f"{rate:.3g} {what}"


def _rate(record: Record) -> str:
    text = f"  lr {record.lr:.3g}" if record.lr is not None else ""
    if record.left_out:
        scales = "".join(f"  {name} {each:g}" for name, each in record.scales.items())
        text += f"  left out{scales}"
    return text
