"""Warnings are told by whatever uses a spec, once and beside what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dlc.cli import build

SPEC = """
model Net(d: int = 10)(x: [B, 64], label: i64[B]) -> loss: [] {
    return cross_entropy(softmax(x |> linear(d)), label)
}

preset Small = Net(d=2)

model Unused()(x: [B, 64]) -> [B, 64] {
    return softmax(softmax(x))
}

train t {
    net = Net()
    batch (x: [B, 64], label: i64[B]) from synthetic(batch=8)
    minimize net(x, label)
    metric worst = max(x)
    optimizer = adam()
    settings { epochs = 1, steps = 2 }
}
"""


@pytest.fixture(autouse=True)
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text(SPEC, encoding="utf-8")


def dlc(*words: str) -> Result:
    done = CliRunner().invoke(build(words[0]), list(words), prog_name="dlc")
    assert done.exit_code == 0, done.output
    return done


def test_check_tells_all() -> None:
    assert dlc("check", "net.dl").stderr.count("warning[W0102]") == 2


def test_run() -> None:
    done = dlc("run", "net.dl:Net", "-b", "torch", "--random", "--dims", "B=2", "--format", "json")
    assert json.loads(done.stdout)["loss"]["shape"] == []
    assert done.stderr.count("warning[W0102]") == 1 and "net.dl:3:12" in done.stderr


def test_compile_two_of_a_file() -> None:
    done = dlc("compile", "net.dl:Net", "net.dl:Small", "-b", "torch", "-o", "out")
    assert done.stdout.split() == ["out/net.py", "out/small.py"]
    assert done.stderr.count("warning[W0102]") == 1


def test_train_at_its_settings() -> None:
    """Doubts that only the settings given here raise are among them. `none` takes a setting back."""
    sets = ("settings.epochs=none", "settings.accumulate=2")
    words = [word for each in sets for word in ("--set", each)]
    done = dlc("train", "net.dl", "-b", "torch", "--out", "run", "--quiet", *words)
    assert done.stderr.count("warning") == 1 and "W0102" in done.stderr
    manifest = json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))
    assert manifest["settings"]["epochs"] is None and manifest["steps"] == 2
    text = Path("net.dl").read_text(encoding="utf-8")
    Path("net.dl").write_text(text.replace("softmax(x |> linear(d))", "x |> batch_norm |> linear(d)"))
    done = dlc("train", "net.dl", "-b", "torch", "--out", "other", "--quiet", *words)
    assert done.stderr.count("warning") == 1 and "W0109" in done.stderr
