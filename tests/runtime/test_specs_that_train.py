"""Train blocks of the specs that ship, at small settings: backends agree on their first steps."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.ir.verify import verify
from dlc.records import replace
from dlc.resources import specs_path
from dlc.runtime.step_programs import Programs
from dlc.runtime.trainers import Trainers

GRAPH = {"nodes": 12, "links": 20, "words": 6, "classes": 3, "hidden": 4}
SMALL = {"layers": 1, "d": 8, "rows": 4}
BLOCKS: dict[tuple[str, str], dict[str, Any]] = {
    ("vision/lenet5", "digits"): {},
    ("generative/gan", "digits"): {"noise": 4, "hidden": 16, "units": 8},
    ("generative/gan", "wasserstein"): {"noise": 4, "hidden": 16, "units": 8},
    ("generative/gan", "mnist"): {"noise": 4, "hidden": 16, "units": 8, "rows": 4},
    ("generative/gan", "wasserstein_mnist"): {"noise": 4, "hidden": 16, "units": 8, "rows": 4},
    ("generative/gan", "ordered_mnist"): {"noise": 4, "hidden": 16, "units": 8, "rows": 4},
    ("generative/dcgan", "mnist"): {"noise": 4, "width": 2, "eyes": 2, "rows": 4},
    ("generative/vae", "digits"): {"hidden": 16, "latent": 2},
    ("generative/flow_matching", "mnist"): {"d": 8, "layers": 1, "rows": 8},
    ("generative/flow_matching", "diffusion"): {"d": 8, "layers": 1, "rows": 8},
    ("vision/mae_vit_b", "mnist"): {"d": 8, "layers": 1, "rows": 4},
    ("multimodal/clip_vit_b32", "mnist"): {"d": 8, "layers": 1, "rows": 8},
    ("multimodal/captioner", "mnist"): {"d": 8, "widths": [2, 4], "rows": 8},
    ("generative/vae", "mnist"): {"hidden": 16, "latent": 2, "rows": 4},
    ("generative/vqvae", "mnist"): {"width": 4, "hidden": 2, "count": 8, "d": 4, "rows": 4},
    ("language/dpo", "pairs"): {"vocab": 6, "length": 5, "layers": 1, "d": 8, "rows": 8},
    ("vision/moco_v2", "digits"): {"widths": [4, 8], "hidden": 8, "d": 4, "length": 16, "rows": 8},
    ("language/gpt2", "characters"): {**SMALL, "heads": 2, "context": 6},
    ("language/bert", "characters"): {**SMALL, "heads": 2, "length": 7},
    ("language/rnn_lm", "characters"): {**SMALL, "hidden": 8, "length": 6},
    ("language/rnn_lm", "streams"): {**SMALL, "hidden": 8, "length": 6},
    ("language/transformer", "translation"): {**SMALL, "heads": 2, "ff": 8, "vocab": 12, "length": 6},
    ("language/routed_gpt", "characters"): {**SMALL, "heads": 2, "hidden": 4, "experts": 4, "length": 6},
    ("language/grpo", "grpo"): {"vocab": 6, "length": 4, "group": 4, "layers": 1, "d": 8},
    ("vision/simclr", "digits"): {"widths": [4, 8], "d": 4, "rows": 8},
    ("graph/gcn", "cora"): GRAPH,
    ("graph/gat", "cora"): {**GRAPH, "heads": 2},
}


def graph() -> dict[str, np.ndarray]:
    """One row: a graph by chance, each of its links both ways."""
    rng = np.random.default_rng(0)
    links = rng.integers(0, 12, (2, 10))
    return {
        "x": rng.random((1, 12, 6)).astype(np.float32),
        "edges": np.concatenate([links, links[::-1]], axis=1)[None],
        "label": rng.integers(0, 3, (1, 12)),
        "counts": rng.random((1, 12)) < 0.5,
    }


def pictures() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).random((12, 1, 28, 28)).astype(np.float32)}


def pairs() -> dict[str, np.ndarray]:
    """Sentences of 2 to 6 tokens, filled up with 0."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 7, (2, 12, 1))
    source, target = np.where(np.arange(6) < lengths, rng.integers(1, 12, (2, 12, 6)), 0)
    return {"source": source, "target": target}


def characters() -> dict[str, np.ndarray]:
    """Windows of a text by chance."""
    return {"tokens": np.random.default_rng(0).integers(0, 65, (16, 7))}


def labelled() -> dict[str, np.ndarray]:
    return {**pictures(), "label": np.random.default_rng(1).integers(0, 10, 12)}


DATA = {
    **dict.fromkeys(("gcn", "gat"), graph),
    **dict.fromkeys(("characters", "streams"), characters),
    **dict.fromkeys(("mnist", "wasserstein_mnist"), pictures),
    "ordered_mnist": labelled,
    **dict.fromkeys(
        ("generative/flow_matching", "multimodal/clip_vit_b32", "multimodal/captioner"), labelled
    ),
    "translation": pairs,
}
"""What stands in for files, by block or spec."""

TRAINED = [
    (str(path.relative_to(specs_path()).with_suffix("")), name)
    for path in sorted(specs_path().glob("*/*.dl"))
    if re.search("^train ", path.read_text(encoding="utf-8"), re.MULTILINE)
    for name in dlc.load(path).trains
]


@pytest.mark.parametrize(("spec", "name"), TRAINED)
def test_programs_keep_the_rules_of_the_ir(spec: str, name: str) -> None:
    """What a `require` says of sizes counts behind it: of the rows of a memory that is handed on, of a queue."""
    plan = dlc.load(specs_path() / f"{spec}.dl")[name].plan
    verify(plan.program)
    verify(plan.evaluation)


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "name"), TRAINED)
def test_steps_keep_the_rules_of_the_ir(spec: str, name: str) -> None:
    """What is computed of a batch, its derivative and the optimizers."""
    block = dlc.load(specs_path() / f"{spec}.dl")[name]
    rows = block.plan.source.args["batch"]
    sizes = {size: rows for type in block.plan.fields.values() for size in type.symbols}
    trainers = Trainers(block, sizes)
    for planned in trainers.turns.planned:
        verify(planned.program)
        verify(planned.of_batch)
    planned = trainers.turns.planned
    if block.plan.is_single:
        planned = (replace(planned[0], drawn=trainers.training.program),)
    held_out = trainers.evaluation.program
    made = Programs.of(block.spec.project, block.plan, planned, held_out, sizes, "f32", "f32")
    for step in made.programs.values():
        verify(step.program)


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "name"), BLOCKS)
def test_backends_agree(spec: str, name: str) -> None:
    block = dlc.load(specs_path() / f"{spec}.dl")[name](**BLOCKS[spec, name])
    made = DATA.get(spec) or DATA.get(name) or DATA.get(spec.partition("/")[2])
    data = None if made is None else made()
    report = dlc.verify_training(block, steps=3, backends=["torch", "jax", "onnx"], data=data)
    assert report.agree, str(report)
