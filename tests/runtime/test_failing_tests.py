"""What a test that fails says of it: the line, and both sides."""

from __future__ import annotations

import pytest

import dlc
from dlc.runtime.testing import run_tests

CASES = {
    "sum(tensor([1, 2])) == 4": ["the left side is 3", "the right side is 4"],
    "close(sum(tensor([1.0, 2.0])), 4.0)": ["the left side is 3", "the right side is 4"],
    "max(tensor([1.0, 2.5])) < 2.0": ["the left side is 2.5", "the right side is 2"],
    "all(tensor([1, 2]) >= tensor([0, 3]))": ["the left side is [1, 2]", "the right side is [0, 3]"],
    "any(tensor([1, 2]) > 5) or any(tensor([1, 2]) < 0)": [],
}


@pytest.mark.parametrize("claim", CASES)
def test_both_sides_are_told(claim: str) -> None:
    spec = dlc.loads(f'test "claim" {{\n    require {claim}\n}}\n')
    (outcome,) = run_tests(spec.project, spec.unit)
    (found,) = outcome.diagnostics
    assert not outcome.passed and found.code == "E0903" and found.span.line == 2
    assert list(found.notes) == CASES[claim]
