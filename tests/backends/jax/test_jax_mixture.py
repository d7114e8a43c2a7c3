"""Experts on this backend, at every routing: tiles of rows, each by the expert that owns it, are the steps of a scan."""

from __future__ import annotations

import pytest
from mixture_cases import CASES, differences

pytest.importorskip("jax")


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_routing(name: str) -> None:
    differences(CASES[name], lambda model, weights: model.compile("jax", weights=weights))
