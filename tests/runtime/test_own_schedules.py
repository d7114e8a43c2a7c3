"""Learning rates by an fn of the spec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dlc
from dlc.diagnostics import SpecError
from dlc.spec import TrainBlock

SPEC = """
fn stairs(step: int, total: int, high: float = 0.1, low: float = 0.0) -> float {{
    return high - (high - low) * (step // 2) / total
}}

fn doubled(rate: float) -> float {{
    return 2.0 * rate
}}

fn words(step: int) -> string {{
    return "fast"
}}

model Net()(x: [B, 4]) -> [B, 3] {{
    return x |> linear(3) as fc
}}

train t {{
    net = Net()
    batch (x: [B, 4], label: i64[B]) from synthetic(batch=8)
    minimize cross_entropy(net(x), label)
    optimizer = sgd(lr={lr})
    settings {{ steps = 6, log = 1 }}
}}
"""


def block(lr: str) -> TrainBlock:
    found: TrainBlock = dlc.loads(SPEC.format(lr=lr))["t"]
    return found


def rates(out: Path) -> list[float]:
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["lr"] for line in lines]


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_rate_by_step(backend: str, tmp_path: Path) -> None:
    dlc.train(block("stairs(high=0.6)"), backend=backend, out=tmp_path / "run")
    assert rates(tmp_path / "run") == pytest.approx([0.6, 0.6, 0.5, 0.5, 0.4, 0.4])


def test_goes_on_with_the_same_schedule_only(tmp_path: Path) -> None:
    tried = block("stairs()")
    dlc.train(tried.with_settings(steps=3), backend="torch", out=tmp_path / "run")
    changed = dlc.loads(SPEC.format(lr="stairs()").replace("step // 2", "step // 3"))["t"]
    with pytest.raises(SpecError, match="whose text is"):
        dlc.train(changed, backend="torch", out=tmp_path / "run", resume=True)
    with pytest.raises(SpecError, match=r"high=0\.2"):
        dlc.train(block("stairs(high=0.2)"), backend="torch", out=tmp_path / "run", resume=True)
    assert dlc.train(tried, backend="torch", out=tmp_path / "run", resume=True).steps == 6


def test_an_fn_of_numbers_is_a_number(tmp_path: Path) -> None:
    dlc.train(block("doubled(0.1)"), backend="torch", out=tmp_path / "run")
    assert rates(tmp_path / "run") == [0.2] * 6


@pytest.mark.parametrize(
    ("lr", "what"),
    [
        ("stairs(0.1)", "are given by name"),
        ("stairs(hihg=0.1)", "hihg"),
        ("words()", "a number by step"),
    ],
)
def test_what_is_refused(lr: str, what: str) -> None:
    with pytest.raises(SpecError, match=what):
        block(lr).plan  # noqa: B018


def test_a_rate_below_zero_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"`stairs` gives -0\.2 for step 4 of 6"):
        dlc.train(block("stairs(high=0.2, low=-1.0)"), backend="torch", out=tmp_path / "run")
