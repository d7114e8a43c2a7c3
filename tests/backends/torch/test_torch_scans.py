"""Scans are Python loops over the slices of an axis."""

from __future__ import annotations

import pytest
from scan_cases import CASES, differences


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_length(name: str) -> None:
    differences(CASES[name], lambda model, weights: model.compile("torch", weights=weights))
