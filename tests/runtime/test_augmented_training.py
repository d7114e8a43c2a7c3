"""Blocks that change their batches at random: all of the library's functions in one, on every backend, and as scripts that run without dlc."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from training_specs import BACKENDS

import dlc
from dlc.runtime.scripts import write_script
from dlc.runtime.verify_training import verify_training
from dlc.spec import TrainBlock

SPEC = """
model Net()(image: [B, 3, 16, 16]) -> [B, 10] {
    return image |> conv2d(4, 3, stride=3) as conv |> relu |> flatten |> linear(10) as head
}

train changed {
    net = Net()
    batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=24)
    evaluate from digits(split="test", batch=100)

    grey = resize(clamp(image, min=0.0, max=1.0), size=16, mode="bilinear")
    x = concat([grey, 0.5 * grey, 1.0 - grey], axis=1)
        |> random_horizontal_flip(0.3)
        |> random_vertical_flip
        |> random_crop(14)
        |> random_crop(16, padding=2)
        |> random_crop(padding=2)
        |> random_shift(2)
        |> random_affine(20, translate=(0.1, 0.2), scale=(0.8, 1.2), shear=10)
        |> color_jitter(0.4, 0.4, 0.4, 0.1)
        |> random_grayscale
        |> gaussian_noise
        |> random_erasing
        |> cutout(5)
    x, y = mixup(x, one_hot(label, 10), alpha=0.4)
    x, y = cutmix(x, y)
    minimize soft_cross_entropy(net(x), y)
    metric accuracy = mean(argmax(net(x), axis=-1) == label)
    metric spans = mean(abs(spec_augment(image[:, 0], time=5, frequency=7)))
    metric tokens = mean(cast(token_dropout(label, 10), float))
    optimizer = adamw(lr=1e-3)
    settings { steps = 3, log = 1, draws = "portable" }
}
"""


@pytest.fixture
def block() -> TrainBlock:
    found: TrainBlock = dlc.loads(SPEC)["changed"]
    return found


def test_backends_agree(block: TrainBlock) -> None:
    report = verify_training(block, steps=3, backends=BACKENDS)
    assert report.agree, report.text()


@pytest.mark.slow
def test_tvm_agrees(block: TrainBlock) -> None:
    report = verify_training(block, steps=2, backends=("tvm",))
    assert report.agree, report.text()


def test_held_out_data_is_seen_as_it_is(block: TrainBlock, tmp_path: Path) -> None:
    """The same loss as of a block without any of it, where no step is big enough to matter."""
    plain = re.sub(r"        \|> (?!random_crop\((14|16)).*\n", "", SPEC)
    plain = plain.replace("mixup(x, one_hot(label, 10), alpha=0.4)", "x, cast(one_hot(label, 10), float)")
    plain = plain.replace("    x, y = cutmix(x, y)\n", "")
    assert "jitter" not in plain and "mix" not in plain
    numbers = []
    for name, tried in (("changed", block), ("plain", dlc.loads(plain)["changed"])):
        found = dlc.train(tried.with_settings(steps=1), backend="torch", out=tmp_path / name)
        assert found.evaluation is not None
        numbers.append(found.evaluation.loss)
    assert numbers[0] == pytest.approx(numbers[1], abs=0.05)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_scripts(block: TrainBlock, backend: str, precision: str, tmp_path: Path) -> None:
    """Each function is one of the script, and the losses are those of `dlc train`."""
    tried = block.with_settings(precision=precision)
    write_script(tried, backend, tmp_path)
    text = (tmp_path / "changed.py").read_text(encoding="utf-8")
    assert "import dlc" not in text
    for name in ("random_crop", "random_affine", "color_jitter", "mixup", "spec_augment"):
        assert f"\ndef {name}(" in text
    if backend == "torch":
        assert "F.grid_sample(" in text and "F.affine_grid(" in text
    for check in (["check"], ["format", "--check"]):
        command = [
            sys.executable,
            "-m",
            "ruff",
            *check,
            "-q",
            "--line-length",
            "100",
            str(tmp_path / "changed.py"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stdout
    done = subprocess.run(
        [sys.executable, "changed.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert not done.returncode, done.stderr
    dlc.train(tried, backend=backend, out=tmp_path / "run")
    records = [
        json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    bound = 2e-4 if precision == "f32" else 2e-2
    for line, record in zip(done.stdout.splitlines(), records, strict=False):
        for name, value in re.findall(r"  (\w+) (-?[\d.]+)", line):
            wanted = {**record["metrics"], "loss": record["loss"]}[name]
            assert float(value) == pytest.approx(wanted, abs=bound), line
