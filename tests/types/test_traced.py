"""Numbers that remember their expressions."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dlc.types.dims import Dim
from dlc.types.opaque import moved_size
from dlc.types.terms import called, evaluate, moved, names, rooted, said, term, untraced
from dlc.types.traced import Term, TracedFloat, TracedInt

D, HEADS = rooted("d", 64), rooted("heads", 8)
P = rooted("p", 0.5)
WIDTHS = rooted("widths", [16, 32])


@pytest.mark.parametrize(
    ("value", "number", "expression"),
    [
        (D * 3, 192, "3*d"),
        (3 * D + HEADS, 200, "3*d + heads"),
        (D // HEADS, 8, "d//heads"),
        (D % HEADS, 0, "d % heads"),
        (D - HEADS, 56, "d - heads"),
        (WIDTHS[1] * 2, 64, "2*widths[1]"),
        (Dim.of(D) * Dim.of(2), 128, "2*d"),
    ],
)
def test_arithmetic_is_remembered(value: Any, number: int, expression: str) -> None:
    plain = value.constant if isinstance(value, Dim) else value
    assert plain == number
    assert str(said(Dim.of(plain))) == expression and names(value) <= {"d", "heads", "widths"}
    statics = {"d": 64, "heads": 8, "widths": [16, 32]}
    assert evaluate(term(value), statics) == number
    assert evaluate(term(value), {"d": 65, "heads": 3, "widths": [16, 320]}) != number


def test_floats_are_terms() -> None:
    value = 0.02 / called("sqrt", math.sqrt(2 * D), 2 * D)
    assert isinstance(value, TracedFloat) and value == 0.02 / math.sqrt(128)
    assert evaluate(value.origin, {"d": 32}) == 0.02 / math.sqrt(64)
    assert evaluate((1 - P).origin, {"p": 0.1}) == 0.9


def test_traced_numbers_are_numbers() -> None:
    """They are equal to plain ones, hash like them, and print as them: what does not know of traces sees none."""
    assert D == 64 and hash(D) == hash(64) and str(D) == "64" and {64: "x"}[D] == "x"
    assert type(untraced(D)) is int and type(untraced([P])[0]) is float
    assert list(range(D))[-1] == 63 and isinstance(D, TracedInt)


def test_what_is_lost_is_a_plain_number() -> None:
    assert type(int(P * 3)) is int and not names(int(P * 3))


def test_a_callees_numbers_in_the_callers_words() -> None:
    inside = rooted("out", 256) * 2
    assert evaluate(term(moved(inside, {"out": D * 4})), {"d": 1}) == 8
    assert names(moved(inside, {"out": 256})) == set()


def test_terms_know_what_is_in_them() -> None:
    condition = Term("and", (Term("training"), Term("!=", (Term("param", ("d",)), Term("const", (3,))))))
    assert condition.holds("training") and not condition.holds("turn") and names(condition) == {"d"}


def test_a_size_of_parameters_that_are_terms() -> None:
    """What a caller gives for a parameter may be a number, a parameter of its own, or computed of these."""
    d = Dim.symbol("d")
    assert moved_size(2 * d, {"d": Term("const", (3,))}) == Dim.of(6)
    assert moved_size(2 * d, {"d": Term("dim", (d + 1,))}) == 2 * d + 2
    assert moved_size(2 * d, {"d": Term("param", ("width",))}) == 2 * Dim.symbol("width")
    half = Term("call", ("int", Term("/", (Term("param", ("width",)), Term("const", (2,))))))
    assert moved_size(d, {"d": half}).substitute({"width": 7}) == Dim.of(3)
