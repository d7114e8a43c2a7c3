"""AlphaFold 2 at small settings on the CPU: python benchmarks/alphafold.py; OMP_NUM_THREADS says on how many threads.

How long each backend takes to make it (processor seconds, weights and imports included), and to run it for proteins of several lengths:
two cycles of an Evoformer with two blocks, some 1,500 operations. All sizes are open. Candidates take turns in one process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from timing import side_by_side, table

import dlc
from dlc.runtime.inputs import random_inputs

SPEC = Path(__file__).parents[1] / "specs/science/alphafold2.dl"
SETTINGS: dict[str, Any] = {
    "cycles": 2, "blocks": 2, "cm": 16, "cz": 12, "cs": 20, "heads": 2, "e": 4, "outer": 4, "triangle": 6, "pair_heads": 2,
    "pair_e": 4, "widen": 2, "extra_blocks": 1, "ce": 10, "extra_e": 4, "template_blocks": 1, "ct": 12, "template_e": 4,
    "template_d": 6, "turns": 2, "ipa_heads": 3, "ipa_e": 4, "d": 8,
}  # fmt: skip
BACKENDS = ("torch", "onnx", "tvm")
LENGTHS = (8, 24, 64)


def main() -> None:
    model = dlc.load(SPEC)["AlphaFold2"](**SETTINGS)
    weights = model.initial_weights(0)
    made: dict[str, Any] = {}
    for backend in BACKENDS:
        start = time.process_time()
        made[backend] = model.compile(backend, weights=weights)
        print(f"{backend}: made in {time.process_time() - start:.1f} s")
    for length in LENGTHS:
        inputs = given(model, length)
        print(f"\n{length} residues:\n")
        calls = {name: (lambda run=run, given=inputs: run(**given)) for name, run in made.items()}
        print(table(side_by_side(calls, rounds=9), "torch"))


def given(model: Any, length: int) -> dict[str, np.ndarray[Any, Any]]:
    """A random protein with four sequences, six further ones and two templates."""
    found = random_inputs(model.program, {"B": 1, "N": length, "S": 4, "E": 6, "P": 2})
    return {key: each.astype(np.float32) if each.dtype.kind == "f" else each for key, each in found.items()}


if __name__ == "__main__":
    main()
