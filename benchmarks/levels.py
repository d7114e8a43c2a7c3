"""-O2 against -O1: python benchmarks/levels.py [torch|jax|onnx|tvm …]; OMP_NUM_THREADS says on how many threads.

The goal: -O2 is not slower than -O1 on ResNet-50 and GPT-2 124M (128 tokens)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from timing import side_by_side, table

import dlc

SPECS = Path(__file__).parents[1] / "specs"
CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "GPT-2 124M, 128 tokens",
        "language/gpt2.dl",
        "GPT2",
        {"tokens": np.random.default_rng(0).integers(0, 50257, (1, 128))},
    ),
    (
        "ResNet-50, 224x224",
        "vision/resnet.dl",
        "ResNet50",
        {"x": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)},
    ),
)


def main() -> None:
    backends = sys.argv[1:] or ["torch"]
    for title, spec, name, inputs in CASES:
        model = dlc.load(SPECS / spec)[name]
        weights = model.initial_weights(0)
        for backend in backends:
            runs = {f"-O{level}": model.compile(backend, weights=weights, optimize=level) for level in (1, 2)}
            timings = side_by_side(
                {key: (lambda run=run, given=inputs: run(**given)) for key, run in runs.items()}, pause=0.1
            )
            print(f"\n{title}, {backend}\n\n{table(timings, '-O1')}")


if __name__ == "__main__":
    main()
