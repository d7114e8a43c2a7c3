"""What source asks of its arguments, as a person writes it: bounds as one chain, a list's length once, no line too long."""

from pathlib import Path
from typing import Any

import dlc_jax
import pytest

import dlc
from dlc.emit.checks import raised
from dlc.emit.tree import Binary, Num, Word, text

WIDTH = 100
TEXT = """
module Grown(up: int)(x: [B, d]) -> [B, up * d]
    where 1 <= up <= 2
{
    return x |> linear(up * d) as fc
}

model M(d: int = 3, widths: list[int] = [3, 4], up: int = 2)(
    x: [B, d], a_long_name_of_an_input: [B, d], another_long_name_of_an_input: [B, d],
    a_third_long_name_of_an_input: [B, d]
) -> [B, _]
    where len(widths) == 2
{
    x = x + a_long_name_of_an_input + another_long_name_of_an_input + a_third_long_name_of_an_input
    return x |> linear(widths[0]) as fc |> linear(widths[1]) as fc2 |> Grown(up) as grown
}
"""


def source(backend: str) -> str:
    [found] = dlc.loads(TEXT)["M"].emit(backend).files.values()
    return found if isinstance(found, str) else found.decode()


@pytest.mark.parametrize(("backend", "owner"), [("torch", ""), ("jax", "self.")])
def test_checks_of_a_source(backend: str, owner: str) -> None:
    found = source(backend)
    assert f"if not 1 <= {owner}up <= 2:" in found
    assert found.count(f"if len({owner}widths) != 2:") == 1
    assert max(map(len, found.splitlines())) <= WIDTH
    compile(found, "source", "exec")


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        (("<=", Num(1), Word("n")), ("<=", Word("n"), Num(2)), "1 <= n <= 2"),
        ((">=", Word("n"), Num(1)), ("<", Word("n"), Num(2)), "1 <= n < 2"),
        (("<=", Word("n"), Num(2)), ("<=", Num(1), Word("n")), "n <= 2 and 1 <= n"),
        (("<=", Num(1), Word("n")), ("<=", Word("m"), Num(2)), "1 <= n and m <= 2"),
        (("!=", Num(1), Word("n")), ("<=", Word("n"), Num(2)), "1 != n and n <= 2"),
    ],
)
def test_two_bounds_of_one_value_are_a_chain(
    left: tuple[Any, ...], right: tuple[Any, ...], wanted: str
) -> None:
    assert text(Binary("and", Binary(*left), Binary(*right))) == wanted


def test_messages_are_broken_behind_the_commas_that_fit() -> None:
    given = ", ".join(f"{name * 12} is {{self.{name * 12}}}" for name in "abcd")
    lines = raised(f"f(a, b) must hold, but {given} and e is {{g(c, d)}}", 3, with_values=True)
    assert max(map(len, lines)) <= WIDTH
    scope = {"self": type("Self", (), {name * 12: 7 for name in "abcd"}), "g": max, "c": 1, "d": 2}
    with pytest.raises(ValueError, match=r"^f\(a, b\) must hold, but a+ is 7, .* is 7 and e is 2$"):
        exec("if True:\n  if True:\n" + "\n".join(lines), scope)


def test_what_is_copied_into_a_source_fits_its_lines() -> None:
    text = (Path(dlc_jax.__file__).parent / "library.py").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
