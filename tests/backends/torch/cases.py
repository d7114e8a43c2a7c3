"""Models to test on: every spec at a size that a test can afford, and one spec of awkward ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dlc_torch import BACKEND
from numpy.typing import NDArray

import dlc
from dlc.api import Model
from dlc.backend import Artifact, EmitOptions
from dlc.ir.nodes import Program
from dlc.runtime.compile import lower
from dlc.runtime.family import ModelFamily

Array = NDArray[Any]
SPECS = Path(__file__).parents[3] / "specs"
AWKWARD = Path(__file__).parent / "awkward.dl"


EMITTED: dict[str, Artifact] = {}


@dataclass(frozen=True)
class Case:
    file: str
    model: str
    dims: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    scale: float = 0.2

    def __str__(self) -> str:
        return self.model

    def loaded(self) -> Model:
        path = AWKWARD if self.file == "awkward" else SPECS / f"{self.file}.dl"
        model = dlc.load(path)[self.model]
        model = model(**self.settings) if self.settings else model
        return model.with_inputs(*self.inputs) if self.inputs else model

    def program(self, *, training: bool = False) -> Program:
        return self.loaded().training_program if training else self.loaded().program

    def emitted(self, level: int = 1, **options: Any) -> Artifact:
        """The model as `dlc compile` emits it, static parameters as arguments. Emitted once, for several tests."""
        key = repr((self, level, sorted(options.items())))
        if key not in EMITTED:
            EMITTED[key] = self.emitted_anew(level, **options)
        return EMITTED[key]

    def emitted_anew(self, level: int = 1, **options: Any) -> Artifact:
        training = options.get("training", False)

        def lowered(program: Program) -> Program:
            return lower(program, BACKEND, level)

        model = self.loaded()
        own = lowered(model.training_program if training else model.program)
        mode = training if level > 1 else None
        family = ModelFamily(model, lowered, mode, whole=mode is None)
        return BACKEND.emit(own, EmitOptions("model", optimize=level, family=family, **options))


TEXT = {"layers": 2, "d": 64, "heads": 4, "vocab": 100}
CASES = (
    Case("vision/mlp", "MLP", {"B": 2}),
    Case("vision/mlp", "XOR", {"B": 2}),
    Case("vision/lenet5", "LeNet5", {"B": 2}),
    Case("vision/lenet5_1998", "LeNet5_1998", {"B": 2}),
    Case("vision/alexnet", "AlexNet", {"B": 1}, {"size": 63, "hidden": 96, "classes": 10}, scale=0.05),
    Case(
        "vision/alexnet", "AlexNet2012", {"B": 1}, {"widths": [16, 24, 32, 32, 16], "hidden": 64}, scale=0.05
    ),
    Case(
        "vision/vgg", "VGG", {"B": 1}, {"stages": [[8, 8], [16, 16]], "size": 32, "hidden": 64, "classes": 10}
    ),
    Case(
        "vision/resnet",
        "ResNet",
        {"B": 2, "H": 33, "W": 40},
        {"depths": [2, 3], "widths": [16, 32], "stem": 8},
    ),
    Case(
        "vision/resnet",
        "ResNet18",
        {"B": 1, "H": 32, "W": 32},
        {"widths": [8, 12, 16, 24], "stem": 6, "classes": 10},
    ),
    Case("vision/mobilenet_v2", "MobileNetV2", {"B": 1, "H": 64, "W": 64}),
    Case("vision/googlenet", "GoogLeNet", {"B": 1}, {"size": 64}),
    Case(
        "vision/vit",
        "ViT",
        {"B": 2},
        {"size": 32, "patch": 8, "layers": 2, "d": 64, "heads": 4, "classes": 10},
    ),
    Case("language/gpt2", "GPT2", {"B": 2, "T": 7}, {**TEXT, "context": 32}),
    Case("language/gpt3", "GPT3", {"B": 2, "T": 7}, {**TEXT, "layers": 4, "context": 32}),
    Case("language/llama3_8b", "Llama", {"B": 2, "T": 7}, {**TEXT, "kv_heads": 2, "ff": 96, "context": 32}),
    Case(
        "language/bert",
        "BERT",
        {"B": 2, "T": 7},
        {**TEXT, "context": 32},
        ("attention_mask", "token_type_ids"),
    ),
    Case("language/bert", "BERTForPreTraining", {"B": 2, "T": 7}, {**TEXT, "context": 32}),
    Case("language/t5_small", "T5", {"B": 2, "T": 7, "S": 5}, {**TEXT, "head": 16}, ("attention_mask",)),
    Case("language/transformer", "Transformer", {"B": 2, "T": 7, "S": 5}, TEXT, ("attention_mask",)),
    Case("graph/gat", "GAT", {"N": 9, "E": 12}, {"words": 10, "hidden": 4, "heads": 2, "classes": 3}),
    Case("awkward", "Stack", {"B": 2, "T": 5}),
    Case("awkward", "Vae", {"B": 2}),
    Case("awkward", "Vae.encode", {"B": 2}),
    Case("awkward", "Vae.eval", {"B": 2}),
    Case("awkward", "UsesVae", {"B": 2}),
    Case("awkward", "Tracked", {"B": 3}),
    Case("awkward", "Foreign", {"B": 3}),
)

# The same for `parametrize`. GoogLeNet's source takes longer to write than all others together.
EVERYDAY = tuple(
    pytest.param(case, marks=pytest.mark.slow if case.model == "GoogLeNet" else ()) for case in CASES
)


def emitted(program: Program, level: int = 1, **options: Any) -> Artifact:
    """The program as the torch backend emits it after the passes of a level."""
    lowered = lower(program, BACKEND, level)
    return BACKEND.emit(lowered, EmitOptions("model", optimize=level, **options))


def source(artifact: Artifact) -> str:
    content = artifact.files["model.py"]
    assert isinstance(content, str)
    return content


def weights(program: Program, scale: float = 0.2) -> dict[str, Array]:
    """Random values for every parameter and buffer; variances are positive."""
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for each in program.parameters:
        value = rng.normal(size=each.type.shape).astype(np.float32) * np.float32(scale)
        integral = each.type.dtype.startswith("i")
        found[each.path] = np.zeros(each.type.shape or (), np.int64) if integral else value
        if each.path.endswith("running_var"):
            found[each.path] = np.abs(value) + np.float32(0.5)
    return found


def inputs(program: Program, dims: Mapping[str, int]) -> dict[str, Array]:
    """Random inputs; integers are small enough for any table."""
    rng = np.random.default_rng(1)
    found: dict[str, Array] = {}
    for value in program.main.inputs:
        shape = tuple(axis.evaluate(dims) for axis in value.type.axes)
        if value.type.dtype == "i64":
            found[value.name] = rng.integers(
                0, 2 if "mask" in value.name or "type" in value.name else 7, shape
            )
        elif value.type.dtype == "bool":
            found[value.name] = rng.random(shape) > 0.3
        else:
            found[value.name] = rng.normal(size=shape).astype(np.float32)
    return found
