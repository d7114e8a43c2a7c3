"""Entries with static parameters of their own: what they see, and what is told of mistakes."""

from __future__ import annotations

import pytest

import dlc

PART = """
let steps = 7

module Part(d: int)(x: [B, d]) -> [B, d] {
    param w: [steps, d] = ones
    entry go(steps: int, rate: float = 1 / steps)(x: [B, d]) -> [B, d] {
        scan i in range(steps) with y = x { y = y + rate * y * w[0] }
        return y
    }
    return x * w[0]
}

preset P = Part(8)
"""


def test_a_list_counts_on_the_command_line_as_settings() -> None:
    spec = dlc.loads(PART)
    assert spec.check() == ()
    model = spec["P.go"](steps=4)
    assert model.settings == {"d": 8, "steps": 4, "rate": 0.25}
    assert spec["P.go"](d=2, steps=2).program.main.static == (("d", 2), ("steps", 2), ("rate", 0.5))
    with pytest.raises(dlc.SpecError, match=r"`P\.go` needs `steps`"):
        _ = spec["P.go"].program


def test_the_main_computation_does_not_see_it() -> None:
    """`steps` there is the file's."""
    (param,) = dlc.loads(PART)["P.go"](steps=4).parameters
    assert str(param.type) == "[7, 8]"


@pytest.mark.parametrize(
    ("line", "code", "message", "help"),
    [
        ("part.go(x)", "E0112", "`Part.go` takes its static arguments first", "write `part.go(…)(x)`"),
        ("part.go()(x)", "E0103", "`Part.go` needs `steps`", ""),
        ("x |> part.go", "E0103", "`Part.go` needs `steps`", ""),
        ("part.go(2.5)(x)", "E0201", "`steps` of `Part.go` must be an int", ""),
        ("part.go(stps=2)(x)", "E0102", "`Part.go` has no argument `stps`", "did you mean `steps`?"),
        ("part.go(d=2)(x)", "E0102", "`Part.go` has no argument `d`", "`d` is a parameter of `Part` itself"),
        ("Part(d, steps=3)(x)", "E0102", "`Part` has no argument `steps`", "of the entry `go`: `Part.go`"),
        ("x + part.go(3)", "E0203", "the entry `Part.go`", "apply it: `part.go(…)(x)`"),
    ],
)
def test_wrong_calls(line: str, code: str, message: str, help: str) -> None:
    text = f"{PART}\nmodel M(d: int = 8)(x: [B, d]) -> [B, d] {{\n    part = Part(d)\n    return {line}\n}}\n"
    (found,) = dlc.loads(text).check()
    assert found.code == code and message in found.message and help in found.help


@pytest.mark.parametrize(
    ("entry", "code", "message"),
    [
        ("e(d: int = 3)(x: [B, d])", "E0107", "`d` is defined twice among the parameters of `M`"),
        ("e(x: int = 3)(x: [B, d])", "E0107", "`x` is defined twice among the parameters of `M.e`"),
        ("e(k: number = 3)(x: [B, d])", "E0310", "there is no static type `number`"),
        ("e(k: module = linear(4))(x: [B, d])", "E0310", "an entry takes no module"),
        ("e(k: int)(x: [B, d])", "E0120", "`k` of the model `M.e` has no default"),
    ],
)
def test_wrong_lists(entry: str, code: str, message: str) -> None:
    text = f"model M(d: int = 8)(x: [B, d]) -> [B, d] {{\n    entry {entry} -> [B, d] {{ return x }}\n    return x\n}}\n"
    found = dlc.loads(text).check()
    assert [each.code for each in found] == [code] and message in found[0].message


def test_it_makes_no_parameters() -> None:
    text = """
model M(d: int = 8)(x: [B, d]) -> [B, d] {
    w = linear(d)
    entry e(k: int = 2)(x: [B, d]) -> [B, d] {
        for i in range(k) as h { x = x |> linear(d) |> tanh }
        return w(x)
    }
    entry f(k: float = 2)(x: [B, d]) -> [B, d] {
        param scale: [d] = ones
        return x * scale * k
    }
    return w(x)
}
"""
    found = dlc.loads(text).check()
    assert [each.code for each in found] == ["E0118", "E0118"]
    assert "the entry `e`, which has a static list, makes none" in found[0].message


def test_an_entry_with_its_arguments_is_a_value() -> None:
    text = f"""{PART}
model M(d: int = 8)(x: [B, d]) -> [B, d] {{
    part = Part(d)
    twice = part.go(2, rate=0.5)
    return twice(twice(x)) + part(x)
}}
"""
    spec = dlc.loads(text)
    assert spec.check() == ()
    assert [each.name for each in spec["M"].program.functions.values() if each.entry == "go"] == ["Part_go"]
