"""`dlc new` and `dlc list --train`: what is started trains as it stands, by the commands of its own README."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dlc
from dlc.cli import build
from dlc.cli.projects import PROJECTS


def said(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(build(words[0]), list(words), prog_name="dlc")
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commands(readme: Path) -> list[list[str]]:
    block = re.search(r"```sh\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return [shlex.split(line, comments=True)[1:] for line in block.group(1).splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROJECTS)
def test_the_readme_of_a_project(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command, in its order; trainings shortened."""
    code, text = said("new", "mine", "--data", kind)
    assert code == 0 and "next: cd mine" in text
    monkeypatch.chdir(tmp_path / "mine")
    assert dlc.load("mine.dl").check() == () and dlc.load("mine.dl").warnings() == ()
    for words in commands(Path("README.md")):
        more = ["--set", "settings.steps=3", "--quiet"] if words[0] == "train" else []
        code, text = said(*words, *more)
        assert code == 0, f"{words}: {text}"
    assert Path("runs.html").is_file() and Path("build").is_dir()


def test_projects_are_formatted(tmp_path: Path) -> None:
    for kind in PROJECTS:
        assert said("new", f"p_{kind}", "--data", kind)[0] == 0
        assert said("format", "--check", f"p_{kind}/p_{kind}.dl")[0] == 0
        readme = Path(f"p_{kind}/README.md").read_text(encoding="utf-8")
        assert readme.startswith(f"# p_{kind}\n") and "{" not in readme


def test_the_table_is_learnt(tmp_path: Path) -> None:
    """What stands in the project is no noise: a short training finds it."""
    said("new", "t", "--data", "table")
    block = dlc.load("t/t.dl")["fit"]
    assert dlc.train(block, backend="torch", out="run").metrics["accuracy"] > 0.9


def test_new_keeps_what_is_there(tmp_path: Path) -> None:
    Path("full").mkdir()
    Path("full/a.txt").write_text("mine")
    Path("file").write_text("mine")
    for name, told in (("full", "exists already"), ("file", "exists already"), ("9x", "names no project")):
        code, text = said("new", name)
        assert code == 2 and told in text
    assert [each.name for each in Path("full").iterdir()] == ["a.txt"]
    code, text = said("new", "x", "--from", "lenet5", "--data", "text")
    assert code == 2 and "give one of them" in text
    Path("empty").mkdir()
    assert said("new", "empty")[0] == 0 and Path("empty/empty.dl").is_file()


def test_copies(tmp_path: Path) -> None:
    assert said("new", "net", "--from", "lenet5") == (0, "net.dl\n")
    assert said("new", "net", "--from", "lenet5")[0] == 2


def test_pictures_need_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    code, text = said("new", "x", "--data", "images")
    assert code == 2 and "pip install 'dlc[data]'" in text and not Path("x").exists()


def test_what_trains() -> None:
    code, text = said("list", "--train", "--format", "json")
    rows = json.loads(text)
    listed = json.loads(said("list", "--format", "json")[1])
    assert code == 0
    assert {(row["name"], row["train"]) for row in rows} == {
        (row["name"], block) for row in listed for block in row["train"]
    }
    assert next(row["source"] for row in rows if row["name"] == "vision/lenet5") == "digits(batch=64)"
    assert "dlc:vision/lenet5:digits" in said("list", "--train")[1]
