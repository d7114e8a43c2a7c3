"""Where a newline ends a statement, and where a word is a keyword."""

from __future__ import annotations

import pytest

from dlc.diagnostics import render_all
from dlc.syntax import ast
from dlc.syntax.parser import parse
from dlc.syntax.tokens import ITEMS, STATEMENTS, WEIGHT_RULES


def body(text: str, head: str = "module A()(x: [B]) -> [B]") -> tuple[ast.Stmt, ...]:
    result = parse(f"{head} {{\n{text}\n}}\n", "t")
    assert not result.diagnostics, render_all(result.diagnostics, {"t": text})
    (found,) = result.file.items
    assert isinstance(found, ast.ModuleDef | ast.Train)
    return found.body


# --- newlines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "y = x\n|> relu\n|> relu",
        "y = x |>\n    relu",
        "y = x\n\n    # a comment\n\n    + 1",
        "y = x +  # why\n    1",
        "y =\n    x",
        "y = f\n(x)",
        "y = x\n[0]",
        "y = x\n.T",
        "y = x.\nT",
        "y = x\n- 1",
        "y = x\nand x\nor x\nin x",
        "y = not\nx",
        "y = f(\n\nx\n,\ny\n)",
        "y = [\na\nfor a\nin x\nif a\n]",
        "y: [\nB\n] = x",
        "y = f(x)\nas\nfc",
        "y = a if b\nelse c",
        "if a\n{\ny = x\n}\nelse\n{\ny = x\n}",
        "for a\nin x\nas h\n{\n}",
        "a,\nb = x",
        "a\n, b = x",
        'require x,\n"m"',
        "scan a in x\nalong T\nbackwards\nwith h = x\n{ }",
        "entry f(x: [B])\n-> [B]\nwhere B > 1\n{ }",
        "entry f(n: int = 1)\n(x: [B])\n-> [B]\n{ }",
        "return\n(x)",
    ],
)
def test_a_statement_goes_on(text: str) -> None:
    assert len(body(text)) == 1


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("y = x\nz = y", 2),
        ("y = x\n\n\n# c\n\nz = y\n\n", 2),
        ("y = x\nreturn y", 2),
        ("y = x\nif a { }\nfor b in c { }\nreturn y", 4),
        ("y = a\nif b { }", 2),
        ("y = x\n_, z = y", 2),
        ("y = x\nwith = 3\nfrom, along = y\nrepeat: [B] = x", 4),
        ("if a { }\nwhere = 3", 2),
        ('y = none\ny = true\ny = [1]\ny = (1)\ny = 1.5\ny = "a"\nreturn y', 7),
        ("a = x\r\nb = x\r\n", 2),
    ],
)
def test_a_newline_ends_a_statement(text: str, count: int) -> None:
    assert len(body(text)) == count


def test_steps_and_batches_go_on() -> None:
    steps = "step s\nupdates a,\nb\nwith c\nevery 2\nrepeat 3\n{ }"
    text = f'batch (x: [B])\nfrom f(a)\n{steps}\nload a\nfrom "f"\nwith hf\nexcept "b"'
    # `except` is not among the words that continue a line
    result = parse(f"train t {{\n{text}\n}}\n", "t")
    assert [each.span.line for each in result.diagnostics] == [14]
    assert len(body(text.removesuffix('\nexcept "b"'), "train t")) == 3


def test_items_need_no_newline() -> None:
    text = "let a = b let c = d fn f(x) -> y { } fn g(x) -> y { }"
    result = parse(text, "t")
    assert not result.diagnostics
    assert len(result.file.items) == 4


# --- soft keywords -----------------------------------------------------------------------------------------

SOFT = sorted(
    ITEMS
    | STATEMENTS
    | WEIGHT_RULES
    | {"where", "with", "along", "backwards", "updates", "every", "repeat", "frozen", "except"}
)


@pytest.mark.parametrize("word", SOFT)
def test_soft_keywords_are_names(word: str) -> None:
    text = f"""
{word} = 3
{word}, {word} = x
{word}: [B] = {word}
y = {word} + x.{word}({word}={word}, a={word})[{word}]
y = {word}(x)
y = x |> {word} |> {word}({word}) as {word}.{word}
for {word} in {word} as {word} {{ }}
if {word} {{ }}
param {word}: [{word}] = {word}
update {word} = {word}
require {word} > {word}, "{{{word}}}"
scan {word}, y in {word}, x along {word} with {word} = {word} {{ yield {word} = {word} }}
init {word}.{word} = {word}
entry {word}({word}: [{word}]) -> {word}: [{word}] where {word} > 0 {{ }}
return {word}
"""
    assert len(body(text)) == 15


@pytest.mark.parametrize("word", SOFT)
def test_soft_keywords_name_items(word: str) -> None:
    text = f"""
import "a" as {word}
from "a" import {word}, a as {word}
let {word} = {word}
type {word}[*S] = ({word}: [*S])
fn {word}({word}, a: {word}, b: {word}[B]) -> {word}: [{word}] where {word} {{ return {word} }}
module {word}({word}: int = {word})({word}: [{word}]) -> [{word}]
    where {word}, {word} % {word} == 0
{{ return {word} }}
model {word}()({word}: [{word}]) -> ({word}: [B], a: [B] = none) {{ }}
preset {word} = {word}({word}={word})
weights {word} for {word} {{ strip "a" }}
train {word}({word}: int) {{
    {word} = {word}
    batch ({word}: [{word}]) from {word}({word}={word})
    load {word}.{word} from "f" with {word}
    step {word} updates {word}, {word} with {word} every {word} repeat {word} {{ minimize {word} }}
    optimizer {word}, {word}.{word} = {word}
    metric {word} = {word}
    settings {{ {word} = {word}, a = {word} }}
}}
test "{word}" {{ require {word} }}
"""
    result = parse(text, "t")
    assert not result.diagnostics, render_all(result.diagnostics, {"t": text})
    assert len(result.file.items) == 11


@pytest.mark.parametrize(
    "word", ["true", "false", "none", "and", "or", "not", "if", "else", "for", "in", "as", "return"]
)
def test_reserved_words_are_no_names(word: str) -> None:
    assert parse(f"let {word} = 3\n", "t").diagnostics
    assert parse(f"module A()(x: [B]) -> [B] {{\n{word} = 3\n}}\n", "t").diagnostics


def test_examples_of_the_language() -> None:
    text = """
x = text("a", batch=64)
step = 3
weights = softmax(s)
test = test + 1
state, update = f(state)
batch = normal([batch])
"""
    assert len(body(text)) == 6
