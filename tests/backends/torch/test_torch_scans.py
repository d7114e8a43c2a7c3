"""Scans are Python loops over the slices of an axis."""

from __future__ import annotations

import pytest
import torch
from scan_cases import CASES, LENGTHS, differences

# PyTorch's own layers refuse sequences of length 0: they are used where a spec does not say that there may be none.
NATIVE = ("rnn", "gru", "lstm", "lstm with a projection")


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_length(name: str) -> None:
    for lengths in (LENGTHS, (5, 1)) if name in NATIVE else (LENGTHS,):
        differences(CASES[name], lambda model, weights: model.compile("torch", weights=weights), lengths)


@pytest.mark.parametrize("name", sorted(CASES.keys() - {*NATIVE, "gru with a mask"}))
def test_modules_in_half_precision_at_every_length(name: str) -> None:
    """States that start as constants are made in the module's precision, and so are results of no steps."""
    case = CASES[name]
    (text,) = case.model.emit("torch").files.values()
    exec(text, scope := {"__name__": "emitted"})
    made = scope["M"]
    module = made().to(torch.bfloat16) if isinstance(made, type) else made
    for length in LENGTHS:
        if length < case.shortest:
            continue
        given = {key: torch.from_numpy(value) for key, value in case.arrays(length).items()}
        half = {key: value.bfloat16() if value.is_floating_point() else value for key, value in given.items()}
        found = module(**half)
        for each in found if isinstance(found, tuple) else (found,):
            assert each.dtype in (torch.bfloat16, torch.int64)
