"""No text makes the parser raise or hang, and the formatter keeps the meaning of every text that parses."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from generate_text import mutated, respaced, sentence, soup
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples, seeds

from dlc.resources import specs_path
from dlc.syntax import ast
from dlc.syntax.format import format_file
from dlc.syntax.parser import parse, parse_expression

QUICK = examples(60, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**32).map(random.Random)
STD = Path(ast.__file__).parent.parent / "std"
SPECS = [
    path.read_text(encoding="utf-8") for path in sorted([*specs_path().rglob("*.dl"), *STD.rglob("*.dl")])
]


def check(text: str) -> bool:
    """Parses `text` and, if nothing is wrong in it, formats it; whether it did."""
    before = parse(text, "t")
    lines = text.count("\n") + 1
    assert all(1 <= each.span.line <= lines for each in before.diagnostics)
    if before.diagnostics:
        return False
    once = format_file(before.file, text)
    after = parse(once, "t")
    assert not after.diagnostics
    assert after.file == before.file
    assert sorted(each[1] for each in after.file.comments) == sorted(each[1] for each in before.file.comments)
    assert format_file(after.file, once) == once
    return True


@QUICK
@given(st.text())
def test_any_text(text: str) -> None:
    check(text)
    parse_expression(text, "t")


@QUICK
@given(SEEDS, st.integers(1, 200))
def test_any_tokens(source: random.Random, length: int) -> None:
    check(soup(source, length))
    check("module A()(x: [B]) -> [B] {\n" + soup(source, length) + "\n}\n")
    parse_expression(soup(source, length), "t")


@QUICK
@given(SEEDS, st.integers(4, 16))
def test_any_sentence(source: random.Random, depth: int) -> None:
    check(sentence(source, depth=depth))


@pytest.mark.draws
def test_most_sentences_are_right() -> None:
    right = [check(sentence(random.Random(seed), depth=10)) for seed in seeds(100)]
    assert sum(right) > len(right) / 2


@pytest.mark.skipif(not SPECS, reason="no specs here")
@QUICK
@given(SEEDS, st.integers(1, 10))
def test_changed_specs(source: random.Random, changes: int) -> None:
    check(mutated(source.choice(SPECS), source, changes))


@pytest.mark.skipif(not SPECS, reason="no specs here")
@QUICK
@given(SEEDS)
def test_cut_specs(source: random.Random) -> None:
    text = source.choice(SPECS)
    start, end = sorted(source.randrange(len(text) + 1) for _ in range(2))
    check(text[:end])
    check(text[start:])


@pytest.mark.skipif(not SPECS, reason="no specs here")
@QUICK
@given(SEEDS)
def test_comments_anywhere(source: random.Random) -> None:
    assert check(respaced(source.choice(SPECS), source))


def test_a_long_text_takes_no_long_time() -> None:
    source = random.Random(0)
    check("".join(chr(source.randrange(1, 0x3000)) for _ in range(100_000)))
    check(soup(source, 20_000))
