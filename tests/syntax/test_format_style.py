"""The formatter: what it writes, and that it changes neither meaning nor its own output."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlc.diagnostics import render_all
from dlc.resources import specs_path
from dlc.syntax import ast
from dlc.syntax.format import format_file
from dlc.syntax.parser import parse

STD = Path(ast.__file__).parent.parent / "std"
SPECS = sorted([*specs_path().rglob("*.dl"), *STD.rglob("*.dl")])


def tidy(text: str) -> str:
    """`text` formatted, having checked that meaning, comments and documentation stay and that it is stable."""
    before = parse(text, "t")
    assert not before.diagnostics, render_all(before.diagnostics, {"t": text})
    once = format_file(before.file, text)
    after = parse(once, "t")
    assert not after.diagnostics, render_all(after.diagnostics, {"t": once})
    assert after.file == before.file
    assert sorted(each[1] for each in after.file.comments) == sorted(each[1] for each in before.file.comments)
    assert format_file(after.file, once) == once
    return once


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_specs_round_trip(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    before, after = parse(text, "t").file, parse(tidy(text), "t").file
    assert [item.doc for item in before.items] == [item.doc for item in after.items]


STYLED = """\
# About the file.

import "a.dl" as a
from "dlc:b/c" import D, E as F
let N = 5_000
let TABLE = [
    [0, 1], [1, 2],
    [2, 3],
]

# Doubles.
fn double(x, n: int = 2) -> y { return n*x }

module MLP(d: int)(x: [B, T, d]) -> [B, T, d] {
    return x |> linear(4*d) as c_fc |> gelu(approximate="tanh") |> linear(d) as c_proj
}

module Attention(d: int, heads: int)(x: [B, T, d]) -> [B, T, d]
    where d % heads == 0
{
    q, k, v = x
        |> linear(3*d) as c_attn |> dropout(0.1)  # all three
        # in one
        |> rearrange("B T (n heads e) -> n B heads T e", n=3)
    if training { x = relu(x) }

    # Two statements below a comment.
    y = (q + k) * v - (-x) ** 2                 # aligned
    z = [a for a in xs if a > 2]                # here too
    if d == 3 {
        x = x
    } else if d == 4 {
        x = y
    } else {
        x = z
    }
    y = concat([
        (x |> conv2d(64, 3, padding=1) as branch1 |> relu |> conv2d(64, 3, padding=1) as branch2),
        x,
    ], axis=1)
    return attention(
        q,  # queries
        k,
        # values
        v,
    )
}

model GPT2(layers: int = 12, d: int = 768, heads: int = 12, vocab: int = 50257, context: int = 1024)
          (tokens: i64[B, T]) -> logits: [B, T, vocab]
    where T <= context, vocab > 0
{
    scan t in x along T backwards with h = zeros([B, d]) { yield y = h }
    entry encode(image: [B, 3, H, W]) -> z: [B, d] {
        return image
    }
    entry sample(steps: int = 50, rate: float = 0.1)(image: [B, 3, H, W]) -> image: [B, 3, H, W] {
        return image
    }
    return x @ wte.weight.T                     # tied
}

preset XL = GPT2(layers=48)

weights hf for GPT2 {
    strip "transformer."
    concat "q", "k" -> "qk" axis=0
}

train t {
    batch (x: [B, 3]) from images("faces", batch=128)
    step critic updates D with adam(lr=2e-4) every 2 {
        minimize x
    }
    settings { steps = 20_000, seed = 1 }
    settings {
        steps = 20_000  # many
        seed = 1
    }
}

test "sizes" {
    require parameters(GPT2()) == 124_439_808, "got {parameters(GPT2())}"
}
"""


def test_the_style_is_stable() -> None:
    assert tidy(STYLED) == STYLED


CASES = [
    ("let x=1+2*3\n", "let x = 1 + 2*3\n"),
    ("let x = 4*d + 2 ** 3 // a//b\n", "let x = 4*d + 2 ** 3 // a//b\n"),
    ("let x = ((a)) + (b * c) + ((d + e))\n", "let x = a + (b * c) + (d + e)\n"),
    ("let x = not(a)and - ( b )\n", "let x = not a and -b\n"),
    ("let x = (a, b)\nlet y = (a,)\nlet z = f((a, b))\n", "let x = a, b\nlet y = (a,)\nlet z = f((a, b))\n"),
    ("let x = (a |> f) |> g\n", "let x = a |> f |> g\n"),
    ("let x = f((a |> b))+g((a |> b), 3)\n", "let x = f(a |> b) + g((a |> b), 3)\n"),
    ("let x = (f(a) as b).T\n", "let x = (f(a) as b).T\n"),
    ("let x = (a if b else c) if d else e\n", "let x = (a if b else c) if d else e\n"),
    ("let x = (a < b) < c\n", "let x = (a < b) < c\n"),
    ("let x = (-a) ** -b\n", "let x = (-a) ** -b\n"),
    ("let x = a[ : , 1 : 2,... ,: : 3]\n", "let x = a[:, 1:2, ..., ::3]\n"),
    ("let x = a . b ( c = d , ... )\n", "let x = a.b(c=d, ...)\n"),
    ("let x = 0x1F + 1e-3 + 1_0\n", "let x = 0x1F + 1e-3 + 1_0\n"),
    ('let x = "a\\n{"\n', 'let x = "a\\n{"\n'),
    ("let a = 1\n\n\n\nlet b = 2\n", "let a = 1\n\nlet b = 2\n"),
    (
        "fn f(x)->y{return x}\nfn g(x)->y{return x\n}\n",
        "fn f(x) -> y { return x }\n\nfn g(x) -> y {\n    return x\n}\n",
    ),
    ("fn f(x) -> y where x > 1, { }\n", "fn f(x) -> y\n    where x > 1\n{ }\n"),
    ('test "a # {" {\n    require a == "}", "#"  # {\n}\n', None),
    ('fn f(x) -> y {\n    if x == "}" {\n        # a\n    } else {\n        y = x  # }\n    }\n}\n', None),
    ("# a\n\n\n# b\nlet a = 1 # c\n# d\n", "# a\n\n# b\nlet a = 1  # c\n# d\n"),
    ("fn f(x) -> y { # a\n# b\n\n# c\n}\n# d\n", "fn f(x) -> y {  # a\n    # b\n\n    # c\n}\n\n# d\n"),
    ("let x = f(a, # one\n    b)\n", "let x = f(\n    a,  # one\n    b,\n)\n"),
    ("let x = a + # why\n    b\n", "let x = a  # why\n    + b\n"),
    (
        "train t { settings { a = 1\n b = 2, c = 3 } }\n",
        "train t {\n    settings {\n        a = 1\n        b = 2\n        c = 3\n    }\n}\n",
    ),
    (
        "fn f(x) -> y {\nif a { # one\n} else { # two\ny = x }\n}\n",
        "fn f(x) -> y {\n    if a {  # one\n    } else {  # two\n        y = x\n    }\n}\n",
    ),
    (
        "module A()(x: [B]) -> [B] {\n    param w: [d] = (a if b else c) as l\n    x = x |> f\n    |> g\n}\n",
        "module A()(x: [B]) -> [B] {\n    param w: [d] = (a if b else c) as l\n    x = x |> f\n        |> g\n}\n",
    ),
]


@pytest.mark.parametrize(("text", "styled"), CASES)
def test_cases(text: str, styled: str | None) -> None:
    found = tidy(text)
    assert found == (text if styled is None else styled)


LONG = "a_rather_long_name_of_something"

WIDE = [
    f"let x = {' + '.join([LONG] * 6)}\n",
    f"let x = {' |> '.join([LONG] * 6)}\n",
    f"let x = f({', '.join([LONG] * 6)})\n",
    f"let x = f({', '.join(f'{name}={LONG}' for name in 'abcdef')})\n",
    f"let x = [{', '.join([LONG] * 9)}]\n",
    f"let x = {', '.join([LONG] * 6)}\n",
    f"let x = {LONG}({LONG}({LONG}({LONG}(a, b), b), b), b)\n",
    f"let x = {' and '.join([f'not {LONG}'] * 6)}\n",
    f"let x = {LONG} if {LONG} else {LONG} if {LONG} else {LONG}\n",
    f"let x = [{LONG}({LONG}) for {LONG} in {LONG} if {LONG} > 3]\n",
    f"let x = {LONG}[{', '.join([LONG] * 6)}]\n",
    f"let x = 3 * ({' |> '.join([LONG] * 6)})\n",
    f"let x = {' < '.join([LONG] * 6)}\n",
    f'from "a.dl" import {", ".join([LONG] * 6)}\n',
    f"preset P = GPT({LONG}=[{', '.join(['12345'] * 40)}])\n",
    f"module A({', '.join(f'{LONG}{n}: int = 12' for n in range(5))})({LONG}: [B]) -> [B]\n    where B > 1\n{{ }}\n",
    f"fn f({', '.join(f'{LONG}{n}: int = 12' for n in range(5))}) -> ({LONG}: [B], b{LONG}: [B], c{LONG}: [B])\n{{ }}\n",
    f"fn f(x) -> y\n    where {', '.join([f'{LONG} > 1'] * 6)}\n{{ }}\n",
    f"weights w for A {{\n    transpose {', '.join([f'{LONG!r}'] * 6)}\n}}\n".replace("'", '"'),
    f'weights w for A {{\n    concat {", ".join([f"{LONG!r}"] * 6)} -> "b" axis=0\n}}\n'.replace("'", '"'),
    f"train t {{\n    init {', '.join([f'{LONG}.weight'] * 4)} = normal(0.1)\n}}\n",
    f'train t {{\n    require {LONG} == {LONG},  "{LONG} {LONG} {LONG}"\n}}\n',
    f"train t {{\n    scan a in x with {', '.join(f'{name} = {LONG}({LONG})' for name in 'abc')} {{ }}\n}}\n",
    f"train t {{\n    for i in {LONG}({', '.join([LONG] * 4)}) as h {{ }}\n}}\n",
    f"train t {{\n    if {LONG}({', '.join([LONG] * 4)}) {{ }}\n}}\n",
    f"train t {{\n    optimizer {LONG}, {LONG} = adamw({LONG}={LONG})\n}}\n",
]


@pytest.mark.parametrize("text", WIDE)
def test_long_lines_are_broken(text: str) -> None:
    found = tidy(text)
    assert max(map(len, found.split("\n"))) <= 110 or " < " in found, found


def test_format_of_a_tree_without_text() -> None:
    text = "fn f(x) -> y { return 4*x + 5_000 }\n"
    assert format_file(parse(text, "t").file, "").split() == [
        "fn",
        "f(x)",
        "->",
        "y",
        "{",
        "return",
        "4",
        "*",
        "x",
        "+",
        "5000",
        "}",
    ]


def test_a_long_head_of_a_train_block_has_several_lines() -> None:
    fields = ", ".join(f"setting_{i}: int = {i}" for i in range(8))
    text = f"train t({fields}) {{\n    settings {{ steps = 1 }}\n}}\n"
    found = tidy(text)
    assert max(map(len, found.splitlines())) <= 120 and "\n{\n" in found
    assert tidy(found) == found
    short = "train t(a: int = 1) {\n    settings { steps = 1 }\n}\n"
    assert tidy(short) == short
