"""Which programs run with integers of 64 bits."""

from __future__ import annotations

import pytest
from dlc_jax.integers import needs_x64

import dlc

WIDE = {
    "cast(x, i64) * 3": True,
    "minimum(cast(x, i64), 7) * 3": True,  # no bound below
    "maximum(cast(x, i64), 0) * 3": True,
    "-minimum(cast(x, i64), 7) * 3": True,
    "maximum(minimum(cast(x, i64), 7), cast(x, i64)) * 3": True,
    "minimum(maximum(cast(x, i64), 0), cast(x, i64)) * 3": True,
    "maximum(minimum(cast(x, i64), 7), 0) * 3": False,
    "minimum(maximum(cast(x, i64) + 1, 0), n - 1) * n + arange(n)": False,
    "(maximum(minimum(cast(x, i64), 7), 0) + 1) * 3": False,
    "cast(x, i64) + 3": False,
    "arange(n) * 3": False,
}


@pytest.mark.parametrize("call", WIDE)
def test_what_is_bounded_at_both_ends_needs_no_more_than_32_bits(call: str) -> None:
    text = f"model Net()(x: [B, n]) -> y: i64[*R] {{\n    return {call}\n}}\n"
    assert needs_x64(dlc.loads(text)["Net"].program) is WIDE[call]
