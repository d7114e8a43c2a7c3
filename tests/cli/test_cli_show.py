"""`dlc show` of train blocks: what is computed of a batch, a step with its derivative, the script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dlc.cli import build

SPEC = """
model Net(layers: int = 3, d: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(layers) as h { x = x + (x |> linear(d) |> tanh) }
    return x
}
train fit {
    net = Net()
    batch (x: [B, 4], y: [B, 4]) from synthetic(batch=8, count=16)
    minimize mean((net(x) - y) ** 2)
    optimizer = adam(lr=1e-3)
    settings { steps = 2, recompute = "blocks" }
}
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "net.dl").write_text(SPEC, encoding="utf-8")
    return str(tmp_path / "net.dl")


def shown(*arguments: str, code: int = 0) -> str:
    found = CliRunner().invoke(build(), ["show", *arguments])
    assert found.exit_code == code, found.output
    return found.output


def test_what_is_computed_of_a_batch(spec: str) -> None:
    text = shown(f"{spec}:fit")
    assert "model train_fit" in text and "grad" not in text


def test_a_step_with_its_derivative(spec: str) -> None:
    text = shown(f"{spec}:fit", "--stage", "step")
    loops = [line for line in text.splitlines() if " = loop(" in line]
    assert text.startswith("# evaluate\n") and "\n# step\n" in text
    assert len(loops) == 3  # outside of training; forward and back
    assert "recompute=true" in loops[1] and "backwards=true" in loops[2]
    assert "x: f32[8, 4]" in text  # at the sizes of its batches
    assert "optimizer.net.h.2.weight" in text


def test_a_step_as_json(spec: str) -> None:
    assert json.loads(shown(f"{spec}:fit", "--stage", "step", "--format", "json")).keys() == {
        "evaluate",
        "step",
    }
    assert json.loads(shown(f"{spec}:fit", "--format", "json"))["entry"] == "train_fit"


def test_a_script(spec: str) -> None:
    text = shown(f"{spec}:fit", "--stage", "source", "--backend", "torch", "--set", "settings.steps=7")
    assert "STEPS = 7" in text and "class Net(nn.Module)" in text


@pytest.mark.parametrize(("target", "stage"), [("fit", "optimized"), ("Net", "step")])
def test_what_is_not_there_is_told(spec: str, target: str, stage: str) -> None:
    assert "of a train block" in shown(f"{spec}:{target}", "--stage", stage, code=2)
