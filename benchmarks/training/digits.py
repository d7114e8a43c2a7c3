"""What trains on MNIST's digits: the first 9,000 of 10,000 pictures to learn from, the last 1,000 held out.

    python benchmarks/training/digits.py supervised FOLDER [--backend torch]
    python benchmarks/training/digits.py distillation FOLDER
    python benchmarks/training/digits.py transfer FOLDER

The folder has `images-idx3-ubyte.gz` and `labels-idx1-ubyte.gz`."""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import dlc
from dlc.runtime.data.idx import read

SPECS = Path(__file__).parents[2] / "specs/vision"
IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"


class Bench:
    """A folder with copies of the specs and the data, in which runs are made."""

    def __init__(self, folder: Path, data: Path, backend: str) -> None:
        self.folder = folder
        self.backend = backend
        for each in (SPECS / "lenet5.dl", SPECS / "mlp.dl", data / IMAGES, data / LABELS):
            shutil.copy(each, folder)
        self.images = read(folder / IMAGES)[:, None].astype(np.float32) / 255
        self.labels = read(folder / LABELS).astype(np.int64)

    def train(self, name: str, file: str = "lenet5.dl", out: str = "", **settings: object) -> dlc.TrainBlock:
        """The result of a run, in a folder of the block's name."""
        block = dlc.load(self.folder / file)[name](**settings)
        return dlc.train(block, backend=self.backend, out=self.folder / (out or name))

    def digits(self, file: str, wanted: range, rows: slice, most: int | None = None) -> None:
        """Pictures of some digits, numbered from 0, as an archive."""
        chosen = np.flatnonzero(np.isin(self.labels[rows], wanted))[:most]
        labels = self.labels[rows][chosen] - wanted[0]
        np.savez(self.folder / file, image=self.images[rows][chosen], label=labels)


def supervised(bench: Bench) -> str:
    return f"LeNet-5 {bench.train('mnist').metrics['accuracy']:.1%} (goal 98.0 %)"


def distillation(bench: Bench) -> str:
    """The student with its teacher, and alone: the same block, which trusts the labels only."""
    teacher = bench.train("mnist")
    shutil.copy(teacher.weights["net"], bench.folder / "teacher.safetensors")
    found: dict[str, list[float]] = {"with": [], "alone": []}
    for seed in range(5):
        for word, trust in (("with", 0.9), ("alone", 0.0)):
            settings = {"trust": trust, "settings.seed": seed}
            result = bench.train("distilled", "mlp.dl", f"{word}_{seed}", **settings)
            found[word].append(result.metrics["accuracy"])
    both = {word: float(np.mean(each)) for word, each in found.items()}
    return f"student {both['with']:.1%} with its teacher ({teacher.metrics['accuracy']:.1%}), {both['alone']:.1%} alone, mean of 5"


def transfer(bench: Bench) -> str:
    """0 to 4 first, then 5 to 9 from 25 pictures, and these 25 without what came before."""
    bench.digits("few.npz", range(5), slice(9000))
    bench.digits("held_out.npz", range(5), slice(9000, None))
    spec = bench.folder / "lenet5.dl"
    text = spec.read_text(encoding="utf-8")
    anew = re.sub(r"    (load net|freeze \"net).*\n", "", text)
    spec.write_text(anew, encoding="utf-8")
    before = bench.train("transfer", out="before", **{"settings.steps": 1000})
    shutil.copy(before.weights["net"], bench.folder / "pretrained.safetensors")
    bench.digits("few.npz", range(5, 10), slice(9000), most=25)
    bench.digits("held_out.npz", range(5, 10), slice(9000, None))
    scratch = bench.train("transfer", out="scratch")
    spec.write_text(text, encoding="utf-8")
    tuned = bench.train("transfer")
    accuracies = (each.metrics["accuracy"] for each in (tuned, scratch))
    return "25 pictures of new digits: {:.1%} after transfer, {:.1%} from scratch, 100 steps each".format(
        *accuracies
    )


ROWS = {"supervised": supervised, "distillation": distillation, "transfer": transfer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backend", default="torch")
    args = parser.parse_args()
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        text = ROWS[args.row](Bench(Path(folder), args.data, args.backend))
    print(f"{text}; {time.process_time() - begun:.0f} s of processor time")


if __name__ == "__main__":
    main()
