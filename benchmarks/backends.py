"""The four backends on the CPU, from one spec: python benchmarks/backends.py [THREADS]

THREADS is the number that every backend is told; the column "cores" says what each kept busy.
The goal for TVM: at most 1.5 times ONNX Runtime on GPT-2 124M (128 tokens), 2 times on ResNet-50."""

from __future__ import annotations

import os
import sys

THREADS = sys.argv[1] if len(sys.argv) > 1 else "1"
os.environ.update(OMP_NUM_THREADS=THREADS, PJRT_NPROC=THREADS)  # PJRT_NPROC: jax; OMP_NUM_THREADS: the others

from levels import CASES, SPECS  # noqa: E402 - thread counts are read when frameworks load
from timing import side_by_side, table  # noqa: E402

import dlc  # noqa: E402


def main() -> None:
    import torch

    torch.set_num_threads(int(THREADS))
    for title, spec, name, inputs in CASES:
        model = dlc.load(SPECS / spec)[name]
        weights = model.initial_weights(0)
        runs = {
            each: model.compile(each, weights=weights, optimize=2) for each in ("onnx", "torch", "jax", "tvm")
        }
        timings = side_by_side(
            {key: (lambda run=run, given=inputs: run(**given)) for key, run in runs.items()},
            rounds=11,
            pause=0.1,
        )
        print(f"\n{title}, {THREADS} thread(s), -O2\n\n{table(timings, 'onnx')}")


if __name__ == "__main__":
    main()
