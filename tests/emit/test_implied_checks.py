"""A check that others imply is not written, and what is written refuses all that the spec refuses."""

from __future__ import annotations

import re
import sys
from functools import cache
from types import ModuleType
from typing import Any

import pytest

import dlc

TEXT = """
fn most(x: [B, d], up: int) -> [B, d]
    where up >= 1, up <= 2
{ return x * up }
module Part(out: int, up: int, groups: int)(x: [B, d]) -> [B, out]
    where 1 <= up <= 2, out % groups == 0, groups >= 1, groups > 0, groups < 9, groups <= 8
{
    return most(x |> linear(out) as fc, up)
}
model M(widths: list[int] = [4, 8], up: int = 1, groups: int = 2)(x: [B, 3]) -> [B, _]
    where len(widths) >= 1
{
    for i, width in enumerate(widths) { x = x |> Part(width, up, groups) as "part.{i}" }
    return x |> Part(widths[0], up, groups) as last
}
"""


@cache
def emitted(backend: str) -> tuple[ModuleType, str]:
    (source,) = dlc.loads(TEXT)["M"].emit(backend).files.values()
    module = ModuleType("emitted")
    sys.modules["emitted"] = module
    exec(str(source), module.__dict__)
    return module, str(source)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_each_is_asked_once(backend: str) -> None:
    _, source = emitted(backend)
    asked = [
        each.replace("self.", "")
        for each in re.findall(r"(?<=        if )[^\n]*(?=:\n            raise)", source)
    ]
    wanted = ["not 1 <= up <= 2", "groups < 1", "groups > 8"]
    of_sizes = "out % groups != 0" if backend == "torch" else "not all(each % groups == 0 for each in widths)"
    assert sorted(asked) == sorted([*wanted, "len(widths) < 1", of_sizes])


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize(
    "change",
    [{"up": 0}, {"up": 3}, {"groups": 0}, {"groups": 9}, {"groups": 3}, {"widths": (4, 9)}, {"widths": ()}],
)
def test_the_rest_is_refused(backend: str, change: dict[str, Any]) -> None:
    module, _ = emitted(backend)
    made = module.M if backend == "torch" else module.Config
    made()
    with pytest.raises((ValueError, ZeroDivisionError)):
        made(**change)
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in change.items()}
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in change.items()}
    with pytest.raises(dlc.SpecError):
        assert dlc.loads(TEXT)["M"](**given).program


def test_as_many_is_no_less() -> None:
    """The spec asks for lists of one length; a loop over one that reads the other asks for no fewer."""
    text = """
module Layer(width: int)(x: [B, C]) -> [B, width] { return x |> linear(width) as fc }
model M(widths: list[int] = [4, 8], depths: list[int] = [2, 3])(x: [B, 3]) -> [B, _]
    where len(widths) == len(depths)
{
    for s, depth in enumerate(depths) {
        for i in range(depth) { x = x |> Layer(widths[s]) as "stage{s}.{i}" }
    }
    return x
}
"""
    (source,) = dlc.loads(text)["M"].emit("torch").files.values()
    asked = [each for each in str(source).split("\n") if "if len(widths)" in each]
    assert [each.strip() for each in asked] == ["if len(widths) != len(depths):"]
