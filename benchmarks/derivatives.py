"""What differentiating layers costs at any depth: python benchmarks/derivatives.py [--layers 2 12 48 96]

Processor seconds, the least of a few, of GPT-2's derivative by every parameter, and its operations without the slices that the
gradients by path are; beside it the derivative of the same layers written out, and what emitting the network takes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dlc
from dlc.autodiff import pullback
from dlc.ir.nodes import Program, walk
from dlc.passes.lower import unroll

SPEC = Path(__file__).parents[1] / "specs/language/gpt2.dl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="*", default=[2, 12, 48, 96])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(
        "| layers | derivative s | operations | written out s | operations | torch source s | jax source s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for layers in options.layers:
        model = dlc.load(SPEC)["GPT2"](layers=layers)
        program = model.program
        cells: list[object] = [layers]
        for each in (program, unroll(program)):
            cells += [seconds(partial(pullback, each), options.rounds), operations(pullback(each))]
        cells += [seconds(partial(emission, layers, backend), options.rounds) for backend in ("torch", "jax")]
        print(
            "| "
            + " | ".join(f"{each:.2f}" if isinstance(each, float) else f"{each:,}" for each in cells)
            + " |"
        )


def emission(layers: int, backend: str) -> None:
    dlc.load(SPEC)["GPT2"](layers=layers).emit(backend)


def seconds(work: Callable[[], object], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def operations(derived: Program) -> int:
    return sum(op.op not in ("slice", "reshape") for op in walk(derived.main.body))


if __name__ == "__main__":
    main()
