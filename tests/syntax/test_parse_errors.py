"""What is said about wrong text, where, and what is kept of the rest."""

from __future__ import annotations

import pytest

from dlc.diagnostics import Diagnostic, render_all
from dlc.syntax import ast
from dlc.syntax.parser import parse, parse_expression


def wrong(text: str) -> tuple[Diagnostic, ...]:
    return parse(text, "t").diagnostics


def only(text: str) -> Diagnostic:
    found = wrong(text)
    assert len(found) == 1, render_all(found, {"t": text})
    return found[0]


def in_module(text: str) -> str:
    return f"module A(d: int)(x: [B, d]) -> [B, d] {{\n{text}\n}}\n"


ITEMS = [
    ("def f(x):\n    return x\n", "1:1", "found `def`", "`fn name"),
    ("class A:\n    pass\n", "1:1", "found `class`", "`module Name"),
    ("modul A()(x: [B]) -> [B] { }\n", "1:1", "expected an item", "did you mean `module`?"),
    ("x = 3\n", "1:1", "expected an item", "`let x = …`"),
    ("}\n", "1:1", "`}` closes nothing", "closed too early"),
    ("let x = )\n", "1:9", "expected an expression after `=`", ""),
    ("let x = \n", "1:8", "found the end of the text", ""),
    ("let x = True\n", "1:9", "`True` is no value", "write `true`"),
    ("let x = f(None)\n", "1:11", "`None` is no value", "write `none`"),
    ("let x = 'a'\n", "1:9", "double quotes", '`"a"`'),
    ("let x = 1.\n", "1:9", "digits on both sides", ""),
    ("let x = .5\n", "1:9", "digits on both sides", ""),
    ("let x = 007\n", "1:9", "does not begin with 0", ""),
    ("let x = 3x\n", "1:9", "`3x` is neither", ""),
    ("let x = 1__0\n", "1:9", "`1__0` is neither", ""),
    ("let x = a && b\n", "1:11", "`&&` is no operator", "`and`"),
    ("let x = a === b\n", "1:11", "`===` is no operator", "`==`"),
    ("let x = [f(a) for a in b for c in d]\n", "1:26", "found `for`", ""),
    ("let x = sum(a for a in b)\n", "1:15", "found `for`", "write a list"),
    ("let x = a |> 3\n", "1:14", "a stage of a pipe", ""),
    ("let x = a |> (b)(c) + 1\n", "1:21", "found `+`", ""),
    ("let x = f(a) as b as c\n", "1:22", "has a label already", ""),
    ("let x = f() as 3x\n", "1:16", "`3x` is no label", "double quotes"),
    ("let in = 3\n", "1:5", "`in` is a reserved word", ""),
    ("let x = f(in=3)\n", "1:11", "`in` is a reserved word", ""),
    ('import "a"\n', "1:11", "expected `as`", ""),
    ('import "a" as b.c\n', "1:15", "plain name", ""),
    ("from x import y\n", "1:6", "expected a string after `from`", ""),
    ("test a { }\n", "1:6", "expected a string", ""),
    ("module A(x: [B]) -> [B] { }\n", "1:18", "expected `(`", "two lists"),
    ("module A()(x: [B]) [B] { }\n", "1:20", "expected `->`", "`-> [B, d]`"),
    ("module A()(x: [B]) { }\n", "1:20", "expected `->`", "`-> [B, d]`"),
    ("module A()(x: [B]) -> [B]\n    return x\n", "2:5", "expected", "braces"),
    ("module A()(x: [B]) -> a: [B], b: [B] { }\n", "1:29", "found `,`", "parentheses"),
    ("module A()(x: [B]) -> [B] where d = 3 { }\n", "1:35", "found `=`", "`==`"),
    ("module A()(x) -> [B] { }\n", "1:12", "`x` needs a type", ""),
    ("module A(d = 3)(x: [B]) -> [B] { }\n", "1:10", "`d` needs a type", ""),
    ("type F = [B]\n", "1:10", "expected `(`", ""),
    ("fn f(x: list[3 + 1]) -> y { }\n", "1:14", "a type is expected", ""),
    ("fn f(x) -> y { param w: [3] }\n", "1:16", "`param` may stand only in a module", ""),
    ('weights hf for A {\n strp "a"\n}\n', "2:2", "expected a rule", "`strip`"),
    ('weights hf for A {\n rename "a" "b"\n}\n', "2:13", "expected `->`", "`->`"),
    ("train t {\n step s updates G { }\n}\n", "2:19", "expected `,` or `with`", ""),
    ("train t {\n return x\n}\n", "2:2", "`return` may stand only", ""),
    ("train t {\n settings { a = 1, b 2 }\n}\n", "2:22", "expected `=` after `b`", ""),
    ("train t {\n step s updates G with a every 1 every 2 { }\n}\n", "2:34", "given already", ""),
    ("let x = (1\n\nlet y = 3\n", "1:9", "`(` is never closed", ""),
]


@pytest.mark.parametrize(("text", "place", "message", "help"), ITEMS)
def test_wrong_items(text: str, place: str, message: str, help: str) -> None:
    found = only(text)
    assert str(found.span) == place
    assert message in found.message
    assert help in found.help


STATEMENTS = [
    ("if d == 3:\n    y = x", "2:10", "expected `{`", "braces"),
    ("for i in range(3):\n    y = x", "2:18", "expected `{`", "braces"),
    ("if d = 3 { }", "2:6", "found `=`", "`==`"),
    ("if d { } elif d { }", "2:10", "found `elif`", "`else if`"),
    ("while d { }", "2:7", "found `d`", "`scan`"),
    ("x += 1", "2:3", "`+=` is no operator", "x = x +"),
    ("y = x z = x", "2:7", "expected a new line", "lines of their own"),
    ("y = x return y", "2:7", "expected a new line", "lines of their own"),
    ("y = lambda z: z", "2:12", "found `z`", "`fn`"),
    ("y = x)", "2:6", "`)` closes nothing", ""),
    ("y = f(x]", "2:8", "`(` opened at 2:6 is closed by `]`", "`)`"),
    ("y = f([x)", "2:7", "`[` is never closed", ""),
    ("y = f(x\nz = x", "2:6", "`(` is never closed", ""),
    ("y = [1,, 2]", "2:8", "found `,`", ""),
    ("y = a if b", "3:1", "expected `else`", ""),
    ("let y = 3", "2:1", "`let` stands at the top", "`name = …`"),
    ("return", "3:1", "expected an expression after `return`", ""),
    ("require d = 3", "2:11", "found `=`", "`==`"),
    ("x[0] = 3", "2:1", "only names", "`update_slice`"),
    ("x.y = 3", "2:1", "only names", "`update"),
    ("[a, b] = x", "2:1", "only names", "`a, b = …`"),
    ("yield h = x", "2:1", "`yield` may stand only in a scan", ""),
    ("minimize x", "2:1", "`minimize` may stand only", ""),
    ("scan a in x { return a }", "2:15", "`return` may stand only", "`yield name"),
    ("scan a, b, c in x, y { }", "2:6", "3 name(s) for 2", ""),
    ("if d { entry e(x: [B]) -> [B] { } }", None, "", ""),
    ("param w = zeros", "2:9", "expected `:` after `w`", "`param w: [sizes]"),
    ("buffer b", "2:1", "`b` needs a type", ""),
    ("in = 3", "2:1", "`in` is a reserved word", ""),
    ("for = 3", "2:5", "`for` is a reserved word", ""),
    ('y = f() as "a{"', "2:14", "`{` in this string", "`{{`"),
    ('y = f() as "a{}"', "2:15", "expected an expression", ""),
    ('require d, "{d:.2f}"', "2:15", "found `:`", "no format"),
    ('y = f("a\\qb")', "2:9", "`\\q` is no escape", ""),
    ('y = f("\\u{110000}")', "2:8", "is no escape", ""),
    ("retrun x", "2:8", "expected a new line", "did you mean `return`?"),
]


@pytest.mark.parametrize(("text", "place", "message", "help"), STATEMENTS)
def test_wrong_statements(text: str, place: str | None, message: str, help: str) -> None:
    if place is None:
        assert not wrong(in_module(text))
        return
    found = only(in_module(text))
    assert str(found.span) == place
    assert message in found.message
    assert help in found.help


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("let x = 3 }\n", "E0001"),
        ('let x = "a\n', "E0002"),
        ("let x = 3; let y = 4\n", "E0003"),
        ("let x = $a\n", "E0003"),
        ("let é = 3\n", "E0003"),
        ("let x = 3 − 4\n", "E0003"),
        ("let x = [1\n", "E0004"),
        ("module A()(x: [B]) -> [B] {\n", "E0004"),
        ('let x = "\\q"\n', "E0005"),
        ("let x = " + "(" * 300 + ")" * 300, "E0006"),
    ],
)
def test_codes(text: str, code: str) -> None:
    assert {each.code for each in wrong(text)} == {code}


def test_fixes_give_the_right_text() -> None:
    for text, right in [
        ("let x = True\n", "let x = true\n"),
        ("let x = 'a\"b'\n", 'let x = "a\\"b"\n'),
        ("let x = 1. + .5\n", "let x = 1.0 + 0.5\n"),
        ("let x = a && (b]\n", "let x = a and (b)\n"),
    ]:
        fixes = [fix for each in wrong(text) for fix in each.fixes]
        for fix in sorted(fixes, key=lambda fix: -fix.span.column):
            text = text[: fix.span.column - 1] + fix.text + text[fix.span.end_column - 1 :]
        assert text == right


def names(text: str) -> list[str]:
    return [getattr(item, "name", "") for item in parse(text, "t").file.items]


def test_good_items_come_out_around_wrong_ones() -> None:
    text = """
let a = 1
let b = = 2
module C()(x: [B]) -> [B] { return x + }
fn d(x -> y { return x }
model E()(x: [B]) -> [B] { return x }
let f = (1
preset G = E()
nonsense
let h = 3
"""
    assert names(text) == ["a", "C", "E", "f", "G", "h"]
    assert len(wrong(text)) == 5


def test_every_wrong_statement_is_reported() -> None:
    text = in_module("y = ]\nz = x\nif a b { y = + }\nreturn ]\nw = x")
    assert [str(each.span) for each in wrong(text)] == ["2:5", "4:6", "4:16", "5:8"]
    (module,) = parse(text, "t").file.items
    assert isinstance(module, ast.ModuleDef)
    assert len(module.body) == 2


def test_a_body_is_read_though_its_header_is_wrong() -> None:
    text = "module A()(x: [B]) {\n    y = =\n    return x\n}\nlet n = 3\n"
    assert [str(each.span) for each in wrong(text)] == ["1:20", "2:9"]
    assert names(text) == ["n"]


def test_what_is_complete_before_an_error_is_kept() -> None:
    (module,) = parse(in_module("y = x z = 3\nreturn y"), "t").file.items
    assert isinstance(module, ast.ModuleDef)
    assert len(module.body) == 2


def test_indentation_tells_which_brace_is_missing() -> None:
    text = "module A()(x: [B]) -> [B] {\n    for i in x {\n        y = x\n    return x\n}\nlet n = 3\n"
    found = only(text)
    assert (found.code, str(found.span)) == ("E0004", "2:16")
    assert names(text) == ["A", "n"]


def test_an_item_at_the_margin_closes_everything() -> None:
    text = "module A()(x: [B]) -> [B] {\n    y = f([x,\n\nmodule B()(x: [B]) -> [B] { return x }\n"
    assert names(text) == ["A", "B"]
    assert [each.code for each in wrong(text)] == ["E0004"] * 3


@pytest.mark.parametrize(
    "bracket", ["(", "[", "{", "-(", "f(", "a[", "[[", "x |> (", "if a {", "not (", '("{', "else if a {"]
)
def test_deep_nesting_is_reported_not_fatal(bracket: str) -> None:
    for text in (bracket * (100_000 if len(bracket) == 1 else 5000), in_module("y = " + bracket * 2000)):
        assert wrong(text)


@pytest.mark.parametrize(
    "text",
    [
        "-" * 5000 + "a",
        "not " * 5000 + "a",
        "a ** " * 5000 + "a",
        "a + " * 5000 + "a",
        "a |> " * 5000 + "a",
        "a" + ".b" * 5000,
        "a" + "(b)" * 5000,
    ],
)
def test_long_operator_chains_are_reported(text: str) -> None:
    assert [each.code for each in parse_expression(text, "t").diagnostics] == ["E0006"]


def test_moderate_nesting_is_fine() -> None:
    for text in ("(" * 150 + "a" + ")" * 150, "a" + " |> f" * 150, "a + " * 150 + "a", "[" * 150 + "]" * 150):
        assert not parse_expression(text, "t").diagnostics
    assert not wrong(in_module("if a { " * 90 + "}" * 90))
    assert not wrong(in_module("\n".join(f"x = x + relu(x)  # {n}" for n in range(3000))))


def test_many_elements_take_linear_time() -> None:
    text = "let x = [" + ", ".join(["1"] * 25_000) + "]\n"
    assert not wrong(text)


def test_expressions_alone() -> None:
    assert parse_expression("", "t").expression is None
    assert parse_expression("a b", "t").expression is None
    found = parse_expression("a + ", "t")
    assert found.expression is None
    assert "expected an expression" in found.diagnostics[0].message
