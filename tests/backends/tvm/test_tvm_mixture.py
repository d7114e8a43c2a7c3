"""Experts on this backend, at every routing, with schedules."""

from __future__ import annotations

import haste
import pytest
from mixture_cases import CASES, differences


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_routing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    differences(CASES[name], lambda model, weights: model.compile("tvm", weights=weights, target=haste.TVM))
    assert "slowly" not in caplog.text
