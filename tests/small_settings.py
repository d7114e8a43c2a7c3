"""The networks of the specs at small settings, and other settings of each that the spec accepts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from dlc.api import Model
from dlc.diagnostics import SpecError

TEXT = {"layers": 2, "d": 64, "heads": 4, "vocab": 100}
# (file, model, settings, sizes of the inputs' open axes, optional inputs)
CASES: tuple[tuple[str, str, dict[str, Any], dict[str, int], tuple[str, ...]], ...] = (
    ("vision/mlp", "MLP", {}, {}, ()),
    ("vision/mlp", "XOR", {}, {}, ()),
    ("vision/lenet5", "LeNet5", {}, {}, ()),
    ("vision/lenet5_1998", "LeNet5_1998", {}, {}, ()),
    ("vision/alexnet", "AlexNet", {"size": 63, "hidden": 96, "classes": 10}, {"B": 1}, ()),
    ("vision/vgg", "VGG", {"stages": [[8, 8], [16, 16]], "size": 32, "hidden": 64, "classes": 10}, {"B": 1}, ()),
    ("vision/resnet", "ResNet", {"depths": [1, 2], "widths": [16, 32], "stem": 8}, {"H": 33, "W": 40}, ()),
    ("vision/mobilenet_v2", "MobileNetV2", {}, {"B": 1, "H": 64, "W": 64}, ()),
    ("vision/googlenet", "GoogLeNet", {"size": 64}, {"B": 1}, ()),
    ("vision/vit", "ViT", {"size": 32, "patch": 8, "layers": 2, "d": 64, "heads": 4, "classes": 10}, {}, ()),
    ("language/gpt2", "GPT2", {**TEXT, "context": 32}, {"T": 7}, ()),
    ("language/gpt3", "GPT3", {**TEXT, "layers": 4, "context": 32}, {"T": 7}, ()),
    ("language/llama3_8b", "Llama", {**TEXT, "kv_heads": 2, "ff": 96, "context": 32}, {"T": 7}, ()),
    ("language/bert", "BERT", {**TEXT, "context": 32}, {"T": 7}, ("attention_mask", "token_type_ids")),
    ("language/t5_small", "T5", {**TEXT, "head": 16}, {"T": 7, "S": 5}, ("attention_mask",)),
    ("language/transformer", "Transformer", TEXT, {"T": 7, "S": 5}, ("attention_mask",)),
    ("language/rnn_lm", "LSTM", {"d": 16, "hidden": 12, "vocab": 20}, {"T": 4}, ("h", "c")),
    ("language/seq2seq", "Attentive", {"d": 16, "hidden": 12, "source_vocab": 20, "target_vocab": 20}, {"S": 4, "T": 3}, ("keep",)),
    ("language/mamba", "Mamba", {"layers": 2, "d": 32, "s": 4, "vocab": 20}, {"T": 4}, ()),
)  # fmt: skip
QUICK = {"MLP", "LeNet5", "ResNet", "GPT2", "GPT3"}


def params(quick: frozenset[str] = frozenset(QUICK)) -> list[Any]:
    """The cases, slow ones marked."""
    return [
        pytest.param(*case, id=case[1], marks=() if case[1] in quick else pytest.mark.slow) for case in CASES
    ]


def others(model: Model, names: list[str]) -> Iterator[dict[str, Any]]:
    """Settings that the spec accepts: several parameters at once at values that the emitter has not seen, then each alone that
    is not among them."""
    changes: list[dict[str, Any]] = []
    for name in names:
        tried = ({name: each} for each in _values(model.settings[name]))
        changes += (change for change in tried if _accepted(model(**change)))
    together: dict[str, Any] = {}
    for change in changes:
        if not together.keys() & change.keys() and _accepted(model(**together, **change)):
            together |= change
    alone = (change for change in changes if not set(change) <= set(together))
    yield from itertools.chain([together], alone)


def _values(value: Any) -> Iterator[Any]:
    match value:
        case bool():
            yield not value
        case int():
            yield from (3 * value, value + 2, 2 * value)
        case float():
            yield 0.5 * value + 0.05
        case list() | tuple():
            yield [next(_values(each)) for each in value]


def _accepted(model: Model) -> bool:
    try:
        return model.program is not None
    except SpecError:
        return False
