"""What trains on MNIST's digits: the first 9,000 of 10,000 pictures to learn from, the last 1,000 held out.

    python benchmarks/training/digits.py supervised FOLDER [--backend torch]
    python benchmarks/training/digits.py distillation FOLDER
    python benchmarks/training/digits.py transfer FOLDER

The folder has `images-idx3-ubyte.gz` and `labels-idx1-ubyte.gz`."""

from __future__ import annotations

import re
import shutil

import numpy as np
from bench import HELD_OUT, LEARNT, Digits, play


def archive(bench: Digits, file: str, wanted: range, rows: slice, most: int | None = None) -> None:
    """Pictures of some digits, numbered from 0, beside the spec."""
    chosen = np.flatnonzero(np.isin(bench.labels[rows], wanted))[:most]
    labels = bench.labels[rows][chosen] - wanted[0]
    np.savez(bench.folder / "vision" / file, image=bench.images[rows][chosen], label=labels)


def supervised(bench: Digits) -> str:
    """With pictures that are moved at random, and with pictures as they are."""
    moved = bench.train("vision/lenet5.dl", "mnist").metrics["accuracy"]
    still = bench.train("vision/lenet5.dl", "mnist", "still", moved=False).metrics["accuracy"]
    return f"LeNet-5 {moved:.1%} (goal 98.0 %), {still:.1%} of pictures that never move"


def distillation(bench: Digits) -> str:
    """The student with its teacher, and alone: the same block, which trusts the labels only."""
    teacher = bench.train("vision/lenet5.dl", "mnist")
    shutil.copy(teacher.weights["net"], bench.folder / "vision/teacher.safetensors")
    found: dict[str, list[float]] = {"with": [], "alone": []}
    for seed in range(5):
        for word, trust in (("with", 0.9), ("alone", 0.0)):
            settings = {"trust": trust, "settings.seed": seed}
            result = bench.train("vision/mlp.dl", "distilled", f"{word}_{seed}", **settings)
            found[word].append(result.metrics["accuracy"])
    both = {word: float(np.mean(each)) for word, each in found.items()}
    return f"student {both['with']:.1%} with its teacher ({teacher.metrics['accuracy']:.1%}), {both['alone']:.1%} alone, mean of 5"


def transfer(bench: Digits) -> str:
    """0 to 4 first, then 5 to 9 from 25 pictures, and these 25 without what came before."""
    archive(bench, "few.npz", range(5), LEARNT)
    archive(bench, "held_out.npz", range(5), HELD_OUT)
    spec = bench.folder / "vision/lenet5.dl"
    text = spec.read_text(encoding="utf-8")
    anew = re.sub(r"    (load net|freeze \"net).*\n", "", text)
    spec.write_text(anew, encoding="utf-8")
    before = bench.train("vision/lenet5.dl", "transfer", "before", **{"settings.steps": 1000})
    shutil.copy(before.weights["net"], bench.folder / "vision/pretrained.safetensors")
    archive(bench, "few.npz", range(5, 10), LEARNT, most=25)
    archive(bench, "held_out.npz", range(5, 10), HELD_OUT)
    scratch = bench.train("vision/lenet5.dl", "transfer", "scratch")
    spec.write_text(text, encoding="utf-8")
    tuned = bench.train("vision/lenet5.dl", "transfer")
    accuracies = (each.metrics["accuracy"] for each in (tuned, scratch))
    return "25 pictures of new digits: {:.1%} after transfer, {:.1%} from scratch, 100 steps each".format(
        *accuracies
    )


ROWS = {"supervised": supervised, "distillation": distillation, "transfer": transfer}


if __name__ == "__main__":
    play(__doc__, ROWS, lambda folder, args: Digits(folder, args.data, args.backend))
