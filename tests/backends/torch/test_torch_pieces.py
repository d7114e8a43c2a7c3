"""The pieces of the emitter: names that nn.Module has taken, which numbers become arguments, initial values."""

from __future__ import annotations

import pytest
import torch
from dlc_torch.structure import TAKEN, TAKEN_IN_DICT

import dlc
from dlc.emit.initial import Form, recognise
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function


def test_attributes_that_modules_have_are_known() -> None:
    for kind, known in ((torch.nn.Module, TAKEN), (torch.nn.ModuleDict, TAKEN_IN_DICT)):
        own = {name for name in dir(kind()) if not name.startswith("_")}
        own -= {"smart_apply"}  # transformers adds it to every module, where another test has imported it
        assert own <= known, sorted(own - known)


M = """
model M(d: int = 8, heads: int = 2, layers: int = 4, widths: list[int] = [8, 16])(x: [B, d]) -> [B, _]
    where d % heads == 0
{
    return x |> linear(SIZE) as out
}
"""


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # A number is said by where it comes from, whatever else it equals.
        ("4 * d", "4 * d"),
        ("d // heads", "d // heads"),
        ("8", "8"),
        ("heads * layers", "heads * layers"),
        ("widths[1]", "widths[1]"),
        ("widths[0] + 2", "widths[0] + 2"),
        ("3 * (d + heads)", "3 * (d + heads)"),
    ],
)
def test_numbers_are_expressions_of_the_spec(size: str, expected: str) -> None:
    (text,) = dlc.loads(M.replace("SIZE", size))["M"].emit("torch").files.values()
    assert f"self.out = nn.Linear(d, {expected})" in text


def test_a_number_without_an_expression_is_written_out() -> None:
    """What is rounded has none: then the parameter is no argument, for the source would be wrong at another value."""
    (text,) = dlc.loads(M.replace("SIZE", "int(sqrt(d * 2))"))["M"].emit("torch").files.values()
    assert "self.out = nn.Linear(8, 4)" in text and " d: int" not in text


def initial(op: str, scale: float, shift: float) -> Function:
    b = Builder()
    out = b.add(b.mul(b.op(op, shape=(3, 4)), scale), shift)
    return Function("init", "init", "init", (), (("value", out.name),), tuple(b.body))


def test_initial_values_are_recognised() -> None:
    assert recognise(initial("normal", 0.02, 0.5)) == Form("normal", 0.02, 0.5)
    assert recognise(initial("uniform", 2.0, -1.0)) == Form("uniform", 2.0, -1.0)
    assert recognise(initial("orthogonal", 1.5, 0.0)) == Form("orthogonal", 1.5)
    b = Builder()
    out = b.op("arange", start=0, stop=3, dtype="f32")
    assert recognise(Function("init", "init", "init", (), (("value", out.name),), tuple(b.body))) is None
