"""What was refused, dropped or left unsaid without reason: settings, digits, masks that are counted, values of a test's sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import dlc
from dlc.cli import build
from dlc.cli.specs import shipped
from dlc.runtime.testing import run_tests

BLOCK = """
model Net()(x: [B, 4]) -> [B, 4] {{ return x |> linear(4) as fc }}
train run {{
    net = Net()
    batch (x: [B, 4]) from synthetic()
    minimize mean(square(net(x)))
    optimizer = adam()
    settings {{ {settings} }}
}}
"""


@pytest.mark.parametrize("name", ["steps", "epochs", "clip_norm", "eval_every", "checkpoint_every"])
def test_a_setting_may_be_given_its_default_of_none(name: str) -> None:
    other = "epochs = 1" if name != "epochs" else "steps = 1"
    assert dlc.loads(BLOCK.format(settings=f"{name} = none, {other}")).check() == ()


def test_a_setting_without_that_default_may_not() -> None:
    (found,) = dlc.loads(BLOCK.format(settings="steps = 1, seed = none")).check()
    assert found.code == "E0703"


VALUES = """
test "digits" {
    require close(round(tensor([0.25, 1.26, -3.14159]), 1), tensor([0.2, 1.3, -3.1]))
    require close(round(tensor([149.0, 250.0]), -2), tensor([100.0, 200.0]))
    require all(round(tensor([15, 25]), 1) == tensor([15, 25]))
    require round(2.567, 2) == 2.57
}

test "masks" {
    mask = tensor([1, 2, 1]) == 1
    require all(cumsum(mask, axis=0) == tensor([1, 1, 2]))
    require all(cumprod(mask, axis=0) == tensor([1, 0, 0]))
    require all(prod(mask, axis=0) == 0)
    require all(clamp(tensor([1, 2]) - 2, min=0) == 0)
}
"""


def test_digits_and_masks() -> None:
    spec = dlc.loads(VALUES)
    assert [each.diagnostics for each in run_tests(spec.project, spec.unit)] == [(), ()]


def test_what_failed_is_told_with_its_values(tmp_path: Path) -> None:
    """Both sides, file, line and column, also in JSON."""
    file = tmp_path / "net.dl"
    text = 'model Net()(x: [B, 4]) -> [B, 4] { return x |> linear(4) }\n\ntest "size" {\n    require parameters(Net()) == 91\n}\n'
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(build("test"), ["test", str(file), "--format", "json"])
    ((row,),) = [json.loads(result.stdout)]
    (told,) = row["diagnostics"]
    assert result.exit_code == 1 and not row["passed"]
    assert told["notes"] == ["parameters(Net()) is 20, not 91"]
    assert (told["file"], told["line"], told["column"]) == (str(file), 4, 13)


def test_a_forgotten_block_of_weights_is_offered() -> None:
    spec = dlc.loads("""
    model Net()(x: [B, 2]) -> [B, 2] { return x |> linear(2) as fc }
    weights other for Net { strip "no." }
    weights published for Net { rename "dense.**" -> "fc.**" }
    """)
    weights = {"dense.weight": np.ones((2, 2), np.float32), "dense.bias": np.ones(2, np.float32)}
    with pytest.raises(dlc.SpecError, match="--through published"):
        dlc.verify(spec["Net"], backends=("torch",), weights=weights)
    with pytest.raises(dlc.SpecError) as found:
        dlc.verify(spec["Net"], backends=("torch",), weights={"dense.weight": weights["dense.weight"]})
    assert "--through" not in str(found.value)


def test_listed_specs_are_whole_sentences() -> None:
    assert [each for each in shipped().values() if not each.endswith(".")] == []


def test_a_preset_is_told_of_where_it_stands() -> None:
    """By every way in; what is wrong with the model anyhow is told there."""
    text = "model Net(d: int = 8, heads: int = 4)(x: [B, d]) -> _ where d % heads == 0 { return x }\npreset Mine = Net(heads=3)\n"
    spec = dlc.loads(text)
    (found,) = spec.check()
    with pytest.raises(dlc.SpecError) as raised:
        _ = spec["Mine"].program
    assert [found] == list(raised.value.diagnostics)
    assert found.span.line == 2
    broken = dlc.loads(text.replace("return x", "return y"))
    assert {each.span.line for each in broken.check()} == {1, 2}
