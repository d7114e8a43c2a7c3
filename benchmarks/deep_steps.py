"""What compiling the step of a training costs at any depth: python benchmarks/deep_steps.py [--backends onnx tvm] [--layers 2 8 32 96]

Processor seconds of a small GPT-2's step (width 32) with adamw and clipped gradients: putting the derivative and the update together, lowering
and emitting, and loading; without and with `recompute = "blocks"`. Each row is a process of its own, whose imports are not counted.

With `--run` the time of a step whose layers stay a loop, by that of one whose layers are written out, in turns in one process: of 16 layers of width 256, 8 texts of 64
tokens."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import dlc
from dlc.runtime.compile import find_backend
from dlc.runtime.compiled_training import CompiledTrainer
from dlc.runtime.step_programs import MANY
from dlc.runtime.trainers import Trainers
from dlc.runtime.training_data import open_data

SPEC = Path(__file__).parents[1] / "specs/language/gpt2.dl"
TRAIN = """
train deep(layers: int = 4, d: int = 32, rows: int = 4, length: int = 16) {
    net = GPT2(layers=layers, d=d, heads=4, vocab=60, context=2 * length)
    batch (tokens: i64[B, length + 1]) from synthetic(batch=rows, count=64, high=60)
    minimize cross_entropy(net(tokens[:, :-1]), tokens[:, 1:])
    optimizer = adamw(lr=1e-3, weight_decay=0.1)
    settings { steps = 5, clip_norm = 1.0 }
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="*", default=["onnx", "tvm"])
    parser.add_argument("--layers", type=int, nargs="*", default=[2, 8, 32, 96])
    parser.add_argument("--row", nargs=3, metavar=("BACKEND", "LAYERS", "RECOMPUTE"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--run", type=int, metavar="STEPS", help="Time so many steps, with the loop and without."
    )
    options = parser.parse_args()
    if options.run:
        print("| backend | loop ms | written out ms | ratio |\n| --- | --- | --- | --- |")
        for backend in options.backends:
            print(in_turns(backend, options.run), flush=True)
        return
    if options.row:
        backend, layers, recompute = options.row
        print(row(backend, int(layers), recompute == "blocks"))
        return
    print(
        "| backend | layers | recompute | step s | emit s | load s |\n| --- | --- | --- | --- | --- | --- |"
    )
    for backend in options.backends:
        for layers in options.layers:
            for recompute in ("none", "blocks"):
                command = [sys.executable, __file__, "--row", backend, str(layers), recompute]
                print(subprocess.check_output(command, text=True), end="", flush=True)


def row(name: str, layers: int, recompute: bool) -> str:
    backend = find_backend(name, usable=True)
    step(name, 1, recompute).compiled(backend)  # imports, and what is done once
    trainers = step(name, layers, recompute)
    times = [time.process_time()]
    steps = trainers._steps(name, "f32", many=MANY)
    times.append(time.process_time())
    artifacts = steps.emitted(backend, trainers.plan)
    times.append(time.process_time())
    backend.workspace({"step": artifacts["step"]}, trainers._values(steps, None), "cpu")
    times.append(time.process_time())
    took = (f"{after - before:.2f}" for before, after in pairwise(times))
    return f"| {name} | {layers} | {'blocks' if recompute else 'none'} | " + " | ".join(took) + " |"


def step(name: str, layers: int, recompute: bool, **sizes: int) -> Trainers:
    block = dlc.loads(SPEC.read_text(encoding="utf-8") + TRAIN)["deep"](layers=layers, **sizes)
    block = block.with_settings(recompute="blocks" if recompute else None)
    return Trainers(block, open_data(block, evaluating=False).sizes)


def in_turns(name: str, steps: int) -> str:
    """Medians of both ways of one step."""
    backend = find_backend(name, usable=True)
    trainers = step(name, 16, False, d=256, rows=8, length=64)
    tokens = np.random.default_rng(0).integers(0, 60, (8, 65))
    ways: dict[str, Any] = {}
    for way, many in (("loop", MANY), ("written out", None)):
        made = trainers.compiled(backend, many=many)
        workspace = backend.workspace(made.artifacts, made.values, "cpu")
        ways[way] = CompiledTrainer(made.steps, workspace, trainers._paths)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(steps + 2):
        for way, trainer in ways.items():
            begin = time.perf_counter()
            trainer.step(number, [{"tokens": tokens}], {}, [1e-3])
            times[way].append(time.perf_counter() - begin)
    loop, out = (1e3 * statistics.median(each[2:]) for each in times.values())
    return f"| {name} | {loop:.0f} | {out:.0f} | {loop / out:.2f} |"


if __name__ == "__main__":
    main()
