"""The documentation of every problem: its wrong spec has that problem and its right one has none."""

from __future__ import annotations

import re
import string
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dlc.cli import build
from dlc.diagnostics import Diagnostic, Problem, SpecError, catalogue, meaning, training, warnings
from dlc.diagnostics.index import problems
from dlc.elaborate.base.project import Project
from dlc.elaborate.checks.file import check_unit

ROOT = Path(__file__).resolve().parents[2]
PROBLEMS = list(problems().values())
SHOWN = [each for each in PROBLEMS if each.wrong]
# What no spec can show: it lies in files, data, the machine, or the command.
NEED_MORE_THAN_A_SPEC = {
    "E0006", "E0007", "E0008", "E0009", "E0010", "E0109", "E0114", "E0116", "E0601", "E0602", "E0603", "E0604", "E0607", "E0710", "E0716", "E0717", "E0721",
    "E0801", "E0802", "E0803", "E0804", "E0806", "E0901", "E0902", "E0903", "E0904", "E0905", "E0999",
}  # fmt: skip


def _check(text: str, folder: Path) -> tuple[Diagnostic, ...]:
    project = Project(folder)
    try:
        return check_unit(project, project.loads(text, "spec.dl"))
    except SpecError as error:
        return error.diagnostics


@pytest.mark.parametrize("problem", SHOWN, ids=lambda each: each.code)
def test_wrong_has_the_problem(problem: Problem, tmp_path: Path) -> None:
    assert [each.code for each in _check(problem.wrong, tmp_path)] == [problem.code]


@pytest.mark.parametrize("problem", SHOWN, ids=lambda each: each.code)
def test_right_has_none(problem: Problem, tmp_path: Path) -> None:
    assert problem.right
    assert [each.message for each in _check(problem.right, tmp_path)] == []


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda each: each.code)
def test_texts(problem: Problem) -> None:
    assert problem.title and not problem.title.endswith(".")
    assert problem.explanation.endswith((".", "`"))
    assert bool(problem.wrong) == bool(problem.right)
    assert problem.wrong or problem.code in NEED_MORE_THAN_A_SPEC
    list(string.Formatter().parse(problem.message))


DECLARED = [
    (name, value)
    for module in (catalogue, meaning, training, warnings)
    for name, value in vars(module).items()
    if isinstance(value, Problem)
]


def test_codes_are_declared_once() -> None:
    codes = [each.code for _, each in DECLARED]
    assert sorted(codes) == sorted(set(codes))


def test_every_problem_is_told_by_something() -> None:
    sources = [
        path.read_text("utf-8") for folder in ("dlc", "backends") for path in (ROOT / folder).rglob("*.py")
    ]
    words = Counter(re.findall(r"\w+", "\n".join(sources)))
    assert [name for name, _ in DECLARED if words[name] < 2] == []


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda each: each.code)
def test_explain(problem: Problem) -> None:
    result = CliRunner().invoke(build("explain"), ["explain", problem.code])
    assert result.exit_code == 0
    assert problem.explanation in result.stdout
    assert all(line in result.stdout for line in problem.wrong.splitlines())
