"""Experts on this backend, at every routing."""

from __future__ import annotations

import pytest
from mixture_cases import CASES, differences


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_routing(name: str) -> None:
    differences(CASES[name], lambda model, weights: model.compile("torch", weights=weights))
