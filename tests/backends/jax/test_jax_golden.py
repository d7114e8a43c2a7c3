"""What is emitted, to the byte: `pytest --update-golden` writes the files anew, for review."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jax_programs import Case

GOLDEN = Path(__file__).parents[2] / "golden" / "jax"
GOLDENS = [
    ("gpt2", Case("language/gpt2.dl", "GPT2"), 1),
    ("bert", Case("language/bert.dl", "BERT"), 1),
    ("t5_small", Case("language/t5_small.dl", "T5"), 1),
    ("llama3_8b", Case("language/llama3_8b.dl", "Llama"), 1),
    ("transformer", Case("language/transformer.dl", "Transformer"), 1),
    ("lstm", Case("language/rnn_lm.dl", "LSTM"), 1),
    ("lenet5", Case("vision/lenet5.dl", "LeNet5"), 1),
    ("mobilenet_v2", Case("vision/mobilenet_v2.dl", "MobileNetV2"), 1),
    ("resnet50", Case("vision/resnet.dl", "ResNet50"), 1),
    ("resnet50_prepared", Case("vision/resnet.dl", "ResNet50"), 2),
    ("vit_b16", Case("vision/vit.dl", "ViT_B16"), 1),
]


@pytest.mark.parametrize(("name", "case", "level"), GOLDENS, ids=[name for name, *_ in GOLDENS])
def test_golden(name: str, case: Case, level: int, golden: Callable[[Path, str], None]) -> None:
    artifact = case.load().emit("jax", optimize=level)
    ((_, source),) = artifact.files.items()
    golden(GOLDEN / f"{name}.py", str(source))


def test_goldens_are_formatted_and_linted() -> None:
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", "--line-length", "100", str(GOLDEN)]
    subprocess.run([*ruff, "check", "--select", "E,F,I,B,UP,SIM,RUF", *options], check=True)
    subprocess.run([*ruff, "format", "--check", *options], check=True)
