"""Divisions that leave nothing, as a function asks, are not written out; others are."""

from __future__ import annotations

import pytest

import dlc
from dlc.emit.exact import simplified
from dlc.types.dims import parse_dim

MIXTRAL = """
from "dlc:language/mixtral_8x7b" import Mixtral
preset Small = Mixtral(layers=2, d=32, heads=4, kv_heads=2, hidden=24, experts=4, vocab=60)
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


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [("torch", "self.o_proj = nn.Linear(d, d, bias=False)"), ("jax", "reshape(B, T, d)")],
)
def test_source_says_the_width(backend: str, wanted: str) -> None:
    (source,) = dlc.loads(MIXTRAL)["Small"].emit(backend).files.values()
    assert wanted in str(source)
