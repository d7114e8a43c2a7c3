"""`dlc verify` of several models: each is compared, whatever became of those before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from dlc.cli import build

NET = """
model Net(d: int = 3)(x: [B, d]) -> [B, d] {
    return x |> linear(d) |> relu
}

model Other(d: int)(x: [B, d]) -> [B, d] {
    return exp(x)
}

preset Wide = Net(d=5)
preset Tiny = Other(d=2)
"""
WRONG = "model Wrong()(x: [B, 4]) -> [B, 5] {\n    return x\n}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text(NET, encoding="utf-8")
    Path("wrong.dl").write_text(WRONG, encoding="utf-8")


def verify(*words: str) -> Result:
    return CliRunner().invoke(build("verify"), ["verify", *words, "--backends", "torch"], prog_name="dlc")


def test_every_model_of_a_file_at_its_smallest() -> None:
    done = verify("net.dl", "--small", "--grad", "--format", "json")
    assert done.exit_code == 0, done.output
    assert [row["model"] for row in json.loads(done.stdout)] == ["Net", "Tiny"]


def test_settings_are_of_all() -> None:
    done = verify("net.dl:Wide", "net.dl:Net", "--set", "d=4")
    assert done.exit_code == 0, done.output
    assert "2 of 2 agree" in done.stdout


@pytest.mark.parametrize("small", [(), ("--small",)])
def test_what_is_wrong_keeps_no_other_from_it(small: tuple[str, ...]) -> None:
    done = verify("wrong.dl", "net.dl:Net", *small)
    assert done.exit_code == 1
    assert "Net: all backends agree" in done.stdout
    assert "1 of 2 agree" in done.stdout
    assert "E0304" in done.stderr
    quiet = verify("wrong.dl", "net.dl:Net", *small, "-q")
    assert quiet.stdout.splitlines() == ["wrong.dl"]
    found = json.loads(verify("wrong.dl", "net.dl:Net", *small, "--format", "json").stdout)
    assert [row["agree"] for row in found] == [False, True]
    assert found[0]["diagnostics"][0]["code"] == "E0304"


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("net.dl", "--small", "--dims", "B=2"), 2, "of one model"),
        (("net.dl", "net.dl", "--weights", "w.npz"), 2, "of one model"),
        (("net.dl:Nut", "--small"), 1, "did you mean `Net`"),
        (("dlc:vision/lenet5:digits", "--small"), 2, "train block"),
    ],
)
def test_wrong_words(words: tuple[str, ...], status: int, text: str) -> None:
    done = verify(*words)
    assert done.exit_code == status, done.output
    assert text in done.output
    assert "internal error" not in done.output
