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
        # Rounding and comprehensions keep their expressions.
        ("int(sqrt(d * 2))", "int(math.sqrt(d * 2))"),
        ("sum([i for i in range(heads)])", "sum(i for i in range(heads))"),
    ],
)
def test_numbers_are_expressions_of_the_spec(size: str, expected: str) -> None:
    (text,) = dlc.loads(M.replace("SIZE", size))["M"].emit("torch").files.values()
    assert f"self.out = nn.Linear(d, {expected})" in text


CHANGING = """
model M(d: int = 8, layers: int = 2)(x: [B, d]) -> [B, _] {
    for i in range(layers) as h { x = x |> linear(d * (i + 2)) }
    return x |> linear(4) as out
}
"""


def test_what_the_source_cannot_say_is_written_out() -> None:
    """Layers that each have sizes of their own are, where no expression has them all: then their number is no argument, for the source
    would be wrong at another."""
    (text,) = dlc.loads(CHANGING)["M"].emit("torch").files.values()
    assert "nn.ModuleList(nn.Linear(d * i + d, d * (i + 2)) for i in range(layers))" in text
    (text,) = dlc.loads(CHANGING.replace("d * (i + 2)", "d * (3 + i % 2)"))["M"].emit("torch").files.values()
    assert "self.h = nn.Sequential(nn.Linear(d, 3 * d), nn.Linear(3 * d, 4 * d))" in text
    assert "layers" not in text and " d: int" in text


CHECKED = """
module Inner(d: int, layers: int = 2, rate: float = 0.5)(x: [B, d]) -> [B, d]
    where layers >= 1, rate < d
{
    for i in range(layers) as h { x = x |> linear(d * (i + 1)) }
    return x |> linear(d) as out
}

model M(d: int = 8, rate: float = 0.25)(x: [B, d]) -> [B, d] { return x |> Inner(d, rate=rate) as inner }
"""


def test_what_a_class_only_checks_is_its_argument_where_it_is_given() -> None:
    """`layers` decided what the class is, so that the class has no other number of them; `rate` comes from the model's user."""
    (text,) = dlc.loads(CHECKED)["M"].emit("torch").files.values()
    assert "def __init__(self, d: int, rate: float = 0.5) -> None:" in text
    assert "layers" not in text and "if rate >= d:" in text


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
