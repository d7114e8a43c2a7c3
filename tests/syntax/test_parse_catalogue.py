"""The examples of the syntax problems: the wrong text has the problem, the right one has none."""

from __future__ import annotations

import pytest

from dlc.diagnostics import Problem, catalogue
from dlc.syntax.parser import parse

PROBLEMS = [
    each for each in vars(catalogue).values() if isinstance(each, Problem) and each.code.startswith("E00")
]


@pytest.mark.parametrize(
    "problem", [each for each in PROBLEMS if each.wrong], ids=lambda problem: problem.code
)
def test_examples(problem: Problem) -> None:
    assert problem.code in {each.code for each in parse(problem.wrong, "t").diagnostics}
    assert not parse(problem.right, "t").diagnostics
