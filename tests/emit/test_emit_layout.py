"""The printer of emitted Python: line breaks as the formatter's, parentheses, safe text, names."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlc.emit.layout import layout
from dlc.emit.names import Variables, base, identifier, snake
from dlc.emit.origins import size
from dlc.emit.python import comment, docstring, quoted
from dlc.emit.relaid import laid_out
from dlc.emit.tree import Num, Word, template, text
from dlc.types.dims import parse_dim

LONG, SHORT = "x" * 44, "y" * 30
STATEMENTS = (
    f"def attention(params: Params, {LONG}: Array, *, heads: int, window: int) -> Array:",
    f"def attention(params: Params, {LONG}: Array, {SHORT}: Array, *, heads: int, window: int) -> Array:",
    f"def step({SHORT}: Array, inputs: tuple[Array, Array, Array, Array, Array, {SHORT}, {SHORT}]) -> None:",
    f'{SHORT} = lax.conv(x, params["weight"], (1, 1), ((1, 1), (1, 1)), dimension_numbers=NUMBERS)',
    f'{LONG} = lax.conv(x, params["weight"], (1, 1), ((1, 1), (1, 1)), {SHORT}=NUMBERS, groups=32)',
    f"x = {LONG} + {LONG} * {SHORT}",
    f"x = {LONG} + {LONG}(zzzzzzzzzzzzzzz)",
    f"return {LONG}.reshape({SHORT}, {SHORT}, aaaaaaaaa)",
    f'layers = stack_layers(params["{LONG}"][str(i)] for i in range({SHORT}))',
    f'layers = stack([params["{LONG}"][str(i)] for i in range({SHORT})])',
    f"x, _ = lax.scan(lambda x, layer: ({SHORT}(layer, x, heads=12), None), x, stack({LONG}))",
    f"{LONG} = {LONG}[:, {SHORT}]",
    f"{LONG}, {LONG} = self.{SHORT}(c).unbind()",
    f"return {LONG} + aaaaaaaaa.mean(), {SHORT}.any(dim=-1), {SHORT}.sum(dim=0).argmax(dim=0)",
    f"x = f([{SHORT}, *(layer for _ in range(0, 24, 2) for layer in ({SHORT}(d, 1), {LONG}(d, 2)))])",
    f'params["{LONG}.weight"] = 0.02 * jax.random.normal(next(keys), (50257, 768))',
    f'updates = {{"{SHORT}": {SHORT}, "aaaaaaaaaaaaaaa": bbbbbbbbbbbbbbbbbbb}}',
    f'x = {{"att": math.sqrt({SHORT}) * {SHORT}({SHORT}, aaaaaaaaa, bbbbbbbbb, ccccccccc), "b": {LONG}}}',
    f"x = (({SHORT}, aaaaaaaaaaa), ({SHORT}, bbbbbbbbbb), (1, 2))",
    f"if not ((2 if {SHORT} > 1 else 1) > 1 or {LONG}[0] != {SHORT}):\n    pass",
    f"if not ({LONG} and {SHORT}.is_floating_point() or {LONG}[0] != {SHORT}):\n    pass",
    f"if {LONG} and {SHORT} and {LONG}:\n    pass",
    f"return y + ({LONG} + ({SHORT} + a) + ({SHORT} + ({SHORT} + b) + ({LONG} + ({SHORT} + c))))",
    f"x = {LONG} + (b + c) + ({SHORT} + (d + e) + ({SHORT} + {LONG}))",
    f"{SHORT} = -{SHORT}({LONG} * {SHORT}, axis=-1)",
    f"y = {SHORT}({SHORT}, aaaaaaa, bbbbb).swapaxes(1, 2).reshape(B, T, 256)",
    f"return x.{SHORT}({SHORT}, aaaaaaa, bbbbb).swapaxes(1, 2).reshape(B, T, 256)",
    f"y = x.{SHORT}.{SHORT}({SHORT}, aaaaaaa, bbbbb).swapaxes(1, 2)[0].reshape(B, T, 256)",
    f"return {SHORT}.{SHORT}(bbbbb).swapaxes({SHORT}, aaaaaaa, bbbbb, 1, 2)",
)


def formatted(source: str) -> str:
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "100", "-"]
    return subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout


def test_line_breaks_are_those_of_the_formatter() -> None:
    parts = []
    for statement in STATEMENTS:
        inside = not statement.startswith("def ")
        head, body, block = statement.partition("\n")
        lines = layout(head, int(inside), comment="[B, T]" * (inside and not body))
        lines += [f"    {block}"] if body else []
        parts.append("\n".join(["def f():", *lines] if inside else [*lines, "    pass"]))
    source = "\n\n\n".join(parts) + "\n"
    assert formatted(source) == source


def test_a_long_operand_keeps_its_operator() -> None:
    statement = f"x = f({SHORT}, -({SHORT} / {SHORT}) * a + ({LONG} - -({LONG} / {SHORT})) * {SHORT})"
    assert ast.dump(ast.parse("\n".join(layout(statement)))) == ast.dump(ast.parse(statement))


RENAMED = f"""def f(
    image: Array, {LONG}: Array, b: Array
) -> Array:  # [B, C, H, W] -> [B, C]
    # What it is for, in [brackets].
    y, z = g(image, {LONG})  # [B, C, H, W], [B, C, H, W, 3]
    return y, z
"""


@pytest.mark.parametrize("name", ["g_of_sums", "g_" + SHORT, "g_of_what_is_not_so_long"])
def test_lines_of_functions_with_other_names(name: str) -> None:
    """What stands behind a statement is kept where it fits, and never broken."""
    block = RENAMED.replace("g(", f"{name}(").replace("def f(", f"def {name}(").rstrip()
    found = laid_out(block, name)
    assert formatted(f"{found}\n") == f"{found}\n"
    assert ast.dump(ast.parse(found)) == ast.dump(ast.parse(block))
    assert all(len(line) <= 100 for line in found.splitlines())
    assert "# What it is for, in [brackets]." in found and "# [B, C, H, W] -> [B, C]" in found


def test_a_comment_that_does_not_fit_is_left_out() -> None:
    statement = "x = " + "a" * 90
    assert layout(statement, comment="[B, T, 64]") == [statement]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("{a} * {b}", "(p + q) * (-r)"),
        ("{b} ** {a}", "(-r) ** (p + q)"),
        ("f({a}, k={b})", "f(p + q, k=-r)"),
        ("{a}.sum({b})", "(p + q).sum(-r)"),
        ("{a} - {a}", "p + q - (p + q)"),
        ("{n}.real", "(2).real"),
        ("{p}**{n}", "p**2"),
    ],
)
def test_parentheses(row: str, expected: str) -> None:
    slots = {
        "a": template("{p} + {q}", {"p": Word("p"), "q": Word("q")}),
        "b": template("-{r}", {"r": Word("r")}),
    }
    found = text(template(row, {**slots, "n": Num(2), "p": Word("p")}))
    assert found.replace("* -r", "* (-r)") == expected


def test_sizes() -> None:
    assert text(size(parse_dim("2*(H // 2) + 1"))) == "2 * (H // 2) + 1"
    assert text(size(12)) == "12"


@given(st.text())
def test_strings_are_literals(value: str) -> None:
    assert eval(quoted(value)) == value
    assert quoted(value).isascii()


@given(st.text())
def test_documentation_stays_documentation(value: str) -> None:
    source = "\n".join(["def f():", *docstring(value, 4), "    pass", f"# {comment(value)}"])
    function = {}
    exec(compile(source, "<doc>", "exec"), function)
    assert len([name for name in function if not name.startswith("__")]) == 1
    assert len(source.splitlines()) >= 3


@given(st.text(min_size=1))
def test_identifiers_are_names(value: str) -> None:
    import keyword

    assert identifier(value).isidentifier()
    assert not keyword.iskeyword(identifier(value))
    assert snake(value).isidentifier()


def test_names() -> None:
    assert [snake(name) for name in ("MultiHeadAttention", "SwiGLU", "GPT2", "GATv2", "MLP")] == [
        "multi_head_attention", "swi_glu", "gpt2", "gatv2", "mlp",
    ]  # fmt: skip
    assert base("x_2", {"x"}) == "x"
    assert base("conv_2", {"x"}) == "conv_2"
    assert identifier("lambda") == "lambda_"


def test_a_name_is_free_when_its_value_has_been_read() -> None:
    variables = Variables({"x": 2, "x_2": 3, "x_3": 4})
    assert variables.give("x", ["x"], at=0) == "x"
    assert variables.give("x_2", ["x"], at=1) == "x_2"
    assert variables.give("x_3", ["x"], at=2) == "x"
    assert variables.keep("x", at=2) == "x_3"
    assert variables.give("x_4", ["x", "y"], at=9) == "x"
