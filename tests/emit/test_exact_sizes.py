"""Divisions that leave nothing, as a function asks, are not written out; others are."""

from __future__ import annotations

import pytest

import dlc
from dlc.emit.exact import simplified
from dlc.types.dims import parse_dim

HEADS = """
module Attend(heads: int)(x: [B, T, d]) -> [B, T, d] where d % heads == 0 {
    q = x |> rearrange("B T (heads e) -> B heads T e") |> relu
    return q |> rearrange("B heads T e -> B T (heads e)") |> linear(d) as out
}
model Net(d: int = 12, heads: int = 3)(x: [B, T, d]) -> [B, T, d] {
    return x |> Attend(heads) as attend
}
"""

KNOWN = {parse_dim("heads"): [parse_dim("d")], parse_dim("8"): [parse_dim("H")]}


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ("heads*(d//heads)", "d"),
        ("3*heads*(d//heads)*e", "3*d*e"),
        ("kv*(d//heads)", "kv*(d//heads)"),
        ("8*((H + 7)//8)", "H"),
        ("16*(H//8) + 1", "2*H + 1"),
        ("4*(H//8)", "4*(H//8)"),
        ("heads*(e//heads)", "heads*(e//heads)"),
    ],
)
def test_a_quotient_times_its_divisor_is_what_was_divided(size: str, wanted: str) -> None:
    assert simplified(parse_dim(size), KNOWN) == parse_dim(wanted)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_source_says_the_width(backend: str) -> None:
    (source,) = dlc.loads(HEADS)["Net"].emit(backend).files.values()
    assert "heads * (d // heads)" not in str(source)
    assert "heads" in str(source)
