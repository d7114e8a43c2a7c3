"""Wrong specs: beside each `name.dl` stands in `name.err` what `dlc check name.dl` prints, but for line numbers of the library.

In `warnings` stands what is legal, and doubted.

A file whose name begins with an underscore is a part of another one's example."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dlc.cli import build
from dlc.diagnostics.index import problems

HERE = Path(__file__).parent
SPECS = sorted(path for path in HERE.rglob("*.dl") if not path.name.startswith("_"))
LONGEST_LINE = 300
_LIBRARY_LINE = re.compile(r"(dlc:std/\w+\.dl):\d+")  # lines of the library move


def _check(path: Path, *options: str) -> Result:
    return CliRunner().invoke(build("check"), ["check", path.name, *options])


def _name(path: Path) -> str:
    return str(path.relative_to(HERE))


@pytest.mark.parametrize("path", SPECS, ids=_name)
def test_wrong_spec(path: Path, golden: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    result = _check(path)
    if path.parent.name == "warnings":
        assert result.exit_code == 0
        assert re.fullmatch(r"1 file checked, \d+ warnings?\n", result.stdout), "nothing was found"
    else:
        assert result.exit_code == 1, "nothing wrong was found"
        assert result.stdout == ""
    assert "E0999" not in result.stderr
    golden(path.with_suffix(".err"), _LIBRARY_LINE.sub(r"\1:…", result.stderr))


@pytest.mark.parametrize("path", SPECS, ids=_name)
def test_json_agrees(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON form says the same, and its places lie inside the files."""
    monkeypatch.chdir(path.parent)
    found = json.loads(_check(path, "--format", "json").stdout)
    text = path.with_suffix(".err").read_text(encoding="utf-8")
    assert re.findall(r"^(?:error|warning)\[(\w+)\]", text, re.MULTILINE) == [each["code"] for each in found]
    for each in found:
        lines = Path(each["file"]).read_text(encoding="utf-8").split("\n")
        assert 1 <= each["line"] <= each["end_line"] <= len(lines)
        assert 1 <= each["column"] <= len(lines[each["line"] - 1]) + 1


def _fixed(text: str, fixes: list[dict[str, Any]]) -> str:
    lines = text.split("\n")
    for fix in sorted(fixes, key=lambda each: (each["line"], each["column"]), reverse=True):
        line = lines[fix["line"] - 1]
        lines[fix["line"] - 1] = line[: fix["column"] - 1] + fix["text"] + line[fix["end_column"] - 1 :]
    return "\n".join(lines)


@pytest.mark.parametrize("path", SPECS, ids=_name)
def test_fixes_fix(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposed replacement of a misspelled word makes its problem go away."""
    monkeypatch.chdir(path.parent)
    found = [
        each for each in json.loads(_check(path, "--format", "json").stdout) if each["file"] == path.name
    ]
    fixes = [each["fixes"][0] for each in found if each["fixes"] and each["code"] != "E0001"]
    if not fixes:
        return
    shutil.copytree(path.parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / path.name).write_text(_fixed(path.read_text(encoding="utf-8"), fixes), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    left = json.loads(_check(path, "--format", "json").stdout)
    assert not [each for each in left if each["fixes"] and each["fixes"][0] in fixes]


def test_library_is_told_at_the_user() -> None:
    """No error points into the standard library: it is told at the call that led there."""
    for path in HERE.rglob("*.err"):
        assert "--> dlc:std" not in path.read_text(encoding="utf-8"), path


def test_lines_can_be_read() -> None:
    for path in HERE.rglob("*.err"):
        assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= LONGEST_LINE, path


def test_every_error_file_has_its_spec() -> None:
    assert {path.with_suffix(".dl") for path in HERE.rglob("*.err")} == set(SPECS)


def test_corpus_covers_the_codes() -> None:
    """Every code that a spec's text alone can cause occurs."""
    told = {
        code
        for path in HERE.rglob("*.err")
        for code in re.findall(r"\[([EW]\d{4})\]", path.read_text(encoding="utf-8"))
    }
    shown = {code for code, each in problems().items() if each.wrong}
    assert shown - told == set()
