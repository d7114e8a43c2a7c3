"""What is emitted, to the byte: `pytest --update-golden` writes the files anew, for review."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from jax_programs import Case, emitted

GOLDEN = Path(__file__).parents[2] / "golden" / "jax"
GOLDENS = [
    ("gpt2", Case("language/gpt2.dl", "GPT2"), 1, False),
    ("bert", Case("language/bert.dl", "BERT"), 1, False),
    ("t5_small", Case("language/t5_small.dl", "T5"), 1, False),
    ("llama3_8b", Case("language/llama3_8b.dl", "Llama"), 1, False),
    ("transformer_training", Case("language/transformer.dl", "Transformer"), 1, True),
    ("lenet5", Case("vision/lenet5.dl", "LeNet5"), 1, False),
    ("mobilenet_v2", Case("vision/mobilenet_v2.dl", "MobileNetV2"), 1, False),
    ("resnet50", Case("vision/resnet.dl", "ResNet50"), 1, False),
    ("resnet50_prepared", Case("vision/resnet.dl", "ResNet50"), 2, False),
    ("resnet50_training", Case("vision/resnet.dl", "ResNet50"), 1, True),
    ("vit_b16", Case("vision/vit.dl", "ViT_B16"), 1, False),
]


@pytest.mark.parametrize(("name", "case", "level", "training"), GOLDENS, ids=[name for name, *_ in GOLDENS])
def test_golden(
    name: str, case: Case, level: int, training: bool, golden: Callable[[Path, str], None]
) -> None:
    ((_, source),) = emitted(case, level, training).files.items()
    golden(GOLDEN / f"{name}.py", str(source))
