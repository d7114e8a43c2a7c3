"""The formatter takes whatever nesting the parser lets through, in time that does not explode."""

from __future__ import annotations

import pytest

from dlc.syntax.format import format_file
from dlc.syntax.lalr import MAX_DEPTH
from dlc.syntax.parser import parse

N = MAX_DEPTH - 2
NAME = "a_name_of_some_length"

DEEP = {
    "calls": "f(" * (N // 2) + "a" + ")" * (N // 2),
    "long calls": f"{NAME}({NAME}, " * (N // 2) + "a" + ")" * (N // 2),
    "keywords": f"{NAME}({NAME}=" * (N // 2) + "a" + ")" * (N // 2),
    "lists": "[" * N + "a" + "]" * N,
    "long lists": f"[{NAME}, " * N + "a" + "]" * N,
    "indices": "a[" * N + "0" + "]" * N,
    "pipes": "a" + f" |> {NAME}" * N,
    "nested pipes": f"a |> {NAME}(" * (N // 3) + "a" + ")" * (N // 3),
    "parentheses": f"{NAME} * ({NAME} + " * (N // 3) + "a" + ")" * (N // 3),
    "sums": f"{NAME} + " * N + "a",
    "negations": "-" * N + "a",
    "choices": f"{NAME} if {NAME} else " * N + "a",
    "attributes": "a" + f".{NAME}" * N,
    "applications": "a" + f"({NAME})" * (N // 2),
    "comprehensions": "[" * (N // 2) + "a" + f" for {NAME} in {NAME}]" * (N // 2),
    "broken": "f(\n" * (N // 2) + "a" + ")" * (N // 2),
    "broken pipes": f"f(a\n |> {NAME}(" * (N // 5) + "a" + "))" * (N // 5),
}


def stable(text: str) -> None:
    before = parse(text, "t")
    assert not before.diagnostics, before.diagnostics[0]
    once = format_file(before.file, text)
    after = parse(once, "t")
    assert after.file == before.file
    assert format_file(after.file, once) == once


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
def test_deep_expressions(text: str) -> None:
    stable(f"let x = {text}\n")


def test_deep_blocks() -> None:
    deep = N // 2 - 2
    stable("fn f(x) -> y {\n" + "if a {\ny = x\n" * deep + "}\n" * deep + "}\n")
    stable("fn f(x) -> y {\n" + "for a in b {\ny = x\n" * deep + "}\n" * deep + "}\n")
    stable("fn f(x) -> y {\nif a { }" + " else if a {\ny = x\n}" * deep + "\n}\n")


def test_many_statements() -> None:
    stable("fn f(x) -> y {\n" + "    x = x + (x |> relu)  # more\n" * 3000 + "}\n")


def test_a_long_table() -> None:
    stable("let x = [" + ", ".join(map(str, range(20_000))) + "]\n")
