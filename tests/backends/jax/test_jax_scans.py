"""Scans are `lax.scan`, of whatever length."""

from __future__ import annotations

import pytest
from scan_cases import CASES, differences

pytest.importorskip("jax")


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_length(name: str) -> None:
    differences(CASES[name], lambda model, weights: model.compile("jax", weights=weights))
