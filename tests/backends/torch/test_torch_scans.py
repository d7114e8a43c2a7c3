"""Scans are Python loops over the slices of an axis."""

from __future__ import annotations

import pytest
from scan_cases import CASES, LENGTHS, differences

# PyTorch's own layers refuse sequences of length 0.
NATIVE = ("rnn", "gru", "lstm", "lstm with a projection")


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_length(name: str) -> None:
    lengths = (5, 1) if name in NATIVE else LENGTHS
    differences(CASES[name], lambda model, weights: model.compile("torch", weights=weights), lengths)
