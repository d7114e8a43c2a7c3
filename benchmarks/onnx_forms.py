"""The two forms of an ONNX file: python benchmarks/onnx_forms.py; OMP_NUM_THREADS says on how many threads.

Flat, as written by default, against modules kept as functions (`--functions`): the file without weights, its nodes, the
time until onnxruntime has a session, and the time of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from dlc_onnx import BACKEND
from dlc_onnx.weights import parsed
from timing import side_by_side, table

import dlc
from dlc.backend import Artifact

SPECS = Path(__file__).parents[1] / "specs"
RNG = np.random.default_rng(0)
CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("GPT-2 124M, 128 tokens", "language/gpt2.dl", "GPT2", {"tokens": RNG.integers(0, 50257, (1, 128))}),
    (
        "ResNet-50, 224x224",
        "vision/resnet.dl",
        "ResNet50",
        {"x": RNG.standard_normal((1, 3, 224, 224)).astype(np.float32)},
    ),
)


def main() -> None:
    for title, spec, name, inputs in CASES:
        model = dlc.load(SPECS / spec)[name]
        weights = model.initial_weights(0)
        forms = {"flat": model.emit("onnx"), "functions": model.emit("onnx", functions=True)}
        print(f"\n{title}\n\n{sizes(forms)}")
        sessions = {
            key: (lambda form=form, given=weights: BACKEND.load(form, given)) for key, form in forms.items()
        }
        print(f"\nSession:\n\n{table(side_by_side(sessions, rounds=7, warmup=1), 'functions')}")
        runs = {key: BACKEND.load(form, weights) for key, form in forms.items()}
        calls = {key: (lambda run=run, given=inputs: run(**given)) for key, run in runs.items()}
        print(f"\nRun:\n\n{table(side_by_side(calls, pause=0.1), 'functions')}")


def sizes(forms: dict[str, Artifact]) -> str:
    """A Markdown table of what the files hold."""
    rows = ["| what | file KB | nodes | functions |", "| --- | --- | --- | --- |"]
    for name, artifact in forms.items():
        model = parsed(artifact)[1]
        nodes = len(model.graph.node) + sum(len(each.node) for each in model.functions)
        rows.append(f"| {name} | {model.ByteSize() / 1e3:.0f} | {nodes} | {len(model.functions)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
