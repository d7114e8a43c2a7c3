"""Which programs run with integers of 64 bits."""

from __future__ import annotations

import pytest
from dlc_jax.integers import needs_x64, why_x64

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
    "arange(n) * arange(n)": False,  # of sizes up to 2**15; a call with longer inputs is looked at
    "arange(n) * n * 3": True,
    "arange(n) * 1_000_000": True,
    "2 ** arange(n)": True,
    "arange(n) ** 2": False,
    "arange(n) % 8 * 100_000": True,
    "arange(9) % 8 * 100_000": False,
    "cumsum(arange(n))": False,
    "cumprod(arange(3) + 1)": False,
    "sum(cast(x > 0.0, i64)) * 3": True,
    "tensor([70_000]) * 70_000": True,
    "take(arange(n), cast(x, i64)) * 3": False,  # whatever the places are
    "take(cast(x, i64), arange(n), axis=1) * 3": True,
}


@pytest.mark.parametrize("call", WIDE)
def test_what_is_bounded_at_both_ends_needs_no_more_than_32_bits(call: str) -> None:
    text = f"model Net()(x: [B, n]) -> y: i64[*R] {{\n    return {call}\n}}\n"
    assert needs_x64(dlc.loads(text)["Net"].program) is WIDE[call]


def test_what_is_wide_is_named() -> None:
    text = "model Net()(x: i64[B]) -> y: i64[B] {\n    z = x + 1\n    return z * 3\n}\n"
    assert why_x64(dlc.loads(text)["Net"].program) == (
        "numbers of 64 bits (`mul` in line 3 of spec.dl gives integers that nothing bounds, as `cast(x, i32)` would)"
    )
    text = text.replace("z * 3", "z * cast(cast(x, f64) * 0.5, i64)")
    assert why_x64(dlc.loads(text)["Net"].program).startswith(
        "numbers of 64 bits (`cast` in line 3 of spec.dl gives f64"
    )
    assert not needs_x64(
        dlc.loads(text.split("z * ")[0].replace("x + 1", "cast(cast(x, i32) * 3, i64)") + "z\n}\n")[
            "Net"
        ].program
    )
