"""On a machine with an NVIDIA GPU: torch, jax and TVM run on it and agree with the CPU: python benchmarks/gpu_check.py

Each model runs with the same seeded weights and inputs on the CPU (the NumPy meaning in f64) and on the GPU by every backend
that is installed; then latency on the GPU is shown. Exit 1 if one of them disagrees, 2 where there is no GPU."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

from timing import side_by_side, table

import dlc
from dlc.runtime.compile import installed
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference

SPECS = Path(__file__).parents[1] / "specs"
TOLERANCE = 1e-4  # GPUs add in another order, and convolutions may use other algorithms
MODELS: tuple[tuple[str, str, dict[str, Any], dict[str, int]], ...] = (
    ("vision/lenet5.dl", "LeNet5", {}, {"B": 8}),
    ("vision/resnet.dl", "ResNet18", {}, {"B": 2, "H": 64, "W": 64}),
    ("vision/vit.dl", "ViT", {"layers": 2, "d": 64, "heads": 4}, {"B": 2}),
    (
        "language/gpt2.dl",
        "GPT2",
        {"layers": 4, "d": 256, "heads": 4, "vocab": 1000, "context": 256},
        {"B": 2, "T": 128},
    ),
    (
        "language/bert.dl",
        "BERT",
        {"layers": 2, "d": 128, "heads": 4, "ff": 256, "vocab": 1000},
        {"B": 2, "T": 64},
    ),
)
TARGETS = {
    "torch": {"device": "cuda"},
    "jax": {"device": "cuda"},
    "tvm": {"device": "cuda", "target": "cuda"},
}


def has_gpu() -> bool:
    """Whether the driver is there and counts a device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def main() -> int:
    if not has_gpu():
        print(
            "There is no NVIDIA GPU here (its driver's libcuda.so.1 finds none): nothing was compared.",
            file=sys.stderr,
        )
        return 2
    wrong = 0
    for spec, name, settings, sizes in MODELS:
        model = dlc.load(SPECS / spec)[name](**settings)
        weights = model.initial_weights(0)
        inputs = random_inputs(model.program, sizes)
        expected = run(model.program, weights, inputs, precision="f64")
        runs = {}
        for backend in (each for each in installed() if each in TARGETS):
            try:
                compiled = model.compile(backend, weights=weights, **TARGETS[backend])
                found = compiled(**inputs)
            except Exception as error:  # a report of what works here must not stop at what does not
                print(f"FAIL {name} {backend}: {type(error).__name__}: {error}")
                wrong += 1
                continue
            worst = max(difference(found[key], expected[key])[1] for key in expected)
            good = worst <= TOLERANCE
            wrong += not good
            print(f"{'ok  ' if good else 'FAIL'} {name} {backend}: relative difference {worst:.1e}")
            runs[backend] = lambda compiled=compiled, inputs=inputs: compiled(**inputs)
        if runs:
            print(table(side_by_side(runs), next(iter(runs))))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
