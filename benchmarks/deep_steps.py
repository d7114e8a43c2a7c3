"""What compiling the step of a training costs at any depth: python benchmarks/deep_steps.py [--backends onnx tvm] [--layers 2 8 32 96]

Processor seconds of a small GPT-2's step (width 32) with adamw and clipped gradients: putting the derivative and the update together, lowering
and emitting, and loading; without and with `recompute = "blocks"`. Each row is a process of its own, whose imports are not counted."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import dlc
from dlc.runtime.compile import find_backend
from dlc.runtime.step_programs import MANY
from dlc.runtime.trainers import Trainers
from dlc.runtime.training_data import open_data

SPEC = Path(__file__).parents[1] / "specs/language/gpt2.dl"
TRAIN = """
train deep(layers: int = 4) {
    net = GPT2(layers=layers, d=32, heads=4, vocab=60, context=32)
    batch (tokens: i64[B, 17]) from synthetic(batch=4, count=64, high=60)
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
    options = parser.parse_args()
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


def step(name: str, layers: int, recompute: bool) -> Trainers:
    block = dlc.loads(SPEC.read_text(encoding="utf-8") + TRAIN)["deep"](layers=layers)
    block = block.with_settings(recompute="blocks" if recompute else None)
    return Trainers(block, open_data(block, evaluating=False).sizes)


if __name__ == "__main__":
    main()
