"""Curves in the terminal, and what a bar says."""

from __future__ import annotations

import io
import math
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dlc.cli import build
from dlc.cli.plot import plot
from dlc.cli.progress import MOST, Progress
from dlc.runtime.training import Record

LINE = [(step, float(100 - step)) for step in range(1, 101)]
SPEC = """model Net()(x: [B, 4]) -> [B, 2] {
    return x |> linear(2)
}

train t {
    net = Net()
    batch (x: [B, 4]) from synthetic(batch=8)
    evaluate from synthetic(batch=8, count=32, seed=1)
    minimize mean(square(net(x)))
    optimizer = sgd(lr=0.1)
    settings { steps = 20, eval_every = 5 }
}
"""


def file(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def test_a_falling_line() -> None:
    found = plot("loss", LINE, file("ascii"), width=10)
    rows = [f"{' ' * i}*" for i in range(10)]
    ends = ["99", *["  "] * 8, " 0"]
    assert found[1:-1] == [f"{end} |{row}" for end, row in zip(ends, rows, strict=True)]
    assert (found[0], found[-1]) == ("    loss", "    1      100")


def test_braille_has_eight_dots_to_a_character() -> None:
    found = plot("loss", LINE, file("utf-8"), width=10)
    rows = [
        "⠱⡀",
        " ⠱⡀",
        "  ⠱⡀",
        "   ⠱⡀",
        "    ⠱⡀",
        "     ⢣",
        "      ⢣",
        "       ⢣",
        "        ⢣",
        "         ⢣",
    ]
    assert [each.partition("│")[2] for each in found[1:-1]] == rows


@pytest.mark.parametrize("points", [[], [(1, 2.0)], [(1, math.nan), (2, 1.0), (3, math.inf)]])
def test_nothing_is_drawn_of_less_than_two_numbers(points: list[tuple[int, float]]) -> None:
    assert plot("loss", points, file("utf-8")) == []


def test_a_constant_is_a_line() -> None:
    found = plot("loss", [(1, 2.0), (9, 2.0)], file("ascii"), width=4)
    assert found[1] == "2 |****" and all("*" not in each for each in found[2:])


def test_a_long_curve_is_thinned(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(plots=True)
    for step in range(1, 10 * MOST):
        progress.step(Record("train", step, 0, 1.0 / step, {}, 1.0), logged=False)
    kept = progress.curves["loss"]
    assert len(kept) <= MOST and kept[0][0] == 1 and kept[-1][0] == 10 * MOST - 1
    progress.stop()
    assert "40,959" in capsys.readouterr().err


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plots") / "s.dl"
    path.write_text(SPEC, encoding="utf-8")
    return path


def test_runs(spec: Path) -> None:
    words = [str(spec), "-b", "torch", "--out", str(spec.parent / "run")]
    done = CliRunner().invoke(build("train"), ["train", *words, "--plot", "--set", "settings.log=1"])
    assert done.exit_code == 0 and "│" in done.output and "held-out loss" in done.output, done.output
    shown = CliRunner().invoke(build("runs"), ["runs", str(spec.parent), "--plot"]).output
    assert "run: loss\n" in shown and "run: held-out loss\n" in shown
    assert "│" not in CliRunner().invoke(build("runs"), ["runs", str(spec.parent)]).output


def test_a_bar_on_a_terminal(spec: Path) -> None:
    """With the rate, the time that is left, the loss, and the curve above it."""
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "dlc", "train", str(spec), "-b", "torch", "--plot"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "PYTHONUTF8": "1"}
    run = subprocess.Popen(
        [*words, "--out", str(spec.parent / "shown")], stderr=follower, stdout=follower, env=environment
    )
    os.close(follower)
    said = b""
    with os.fdopen(leader, "rb", buffering=0) as read:
        try:
            while part := read.read(4096):
                said += part
        except OSError:  # the terminal is closed with its last writer
            pass
    assert run.wait() == 0
    text = said.decode()
    assert re.search(r"20/20 [\d.,]+ steps/s \d:\d\d:\d\d loss \d", text) and " │" in text, text[-2000:]
