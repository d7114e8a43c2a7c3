"""What the rows of trainings share: the command line, and MNIST's digits with copies of the specs beside them."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import dlc
from dlc.runtime.data.idx import read
from dlc.runtime.training import Result

SPECS = Path(__file__).parents[2] / "specs"
IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"
LEARNT, HELD_OUT = slice(0, 9000), slice(9000, None)
Array = np.ndarray[Any, Any]
Bench = TypeVar("Bench")


def play(
    doc: str,
    rows: Mapping[str, Callable[[Bench], str]],
    made: Callable[[Path, argparse.Namespace], Bench],
    *,
    seeded: bool = False,
    numbers: Mapping[str, int | None] | None = None,
) -> None:
    """Run the row that the command line names, or the only one there is, in a folder of its own, and print what it found; `made` is what it runs
    in. `numbers` are further options with what they are by default."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    if len(rows) > 1:
        parser.add_argument("row", choices=rows)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backend", default="torch")
    for name, default in {**({"seed": 0} if seeded else {}), **(numbers or {})}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        text = rows[args.row if len(rows) > 1 else next(iter(rows))](made(Path(folder), args))
    print(f"{text}; {time.process_time() - begun:.0f} s of processor time")


class Digits:
    """A folder with copies of the specs and of MNIST's files beside them, in which runs are made. Without a `seed` blocks have their own."""

    def __init__(self, folder: Path, data: Path, backend: str, seed: int | None = None) -> None:
        self.folder, self.backend, self.seed = folder, backend, seed
        shutil.copytree(SPECS, folder, dirs_exist_ok=True)
        for place in ("vision", "generative", "multimodal"):
            for each in (IMAGES, LABELS):
                shutil.copy(data / each, folder / place)
        self.images = read(data / IMAGES)[:, None].astype(np.float32) / 255
        self.labels = read(data / LABELS).astype(np.int64)

    def block(self, file: str, name: str, **settings: object) -> dlc.TrainBlock:
        block = dlc.load(self.folder / file)[name](**settings)
        return block if self.seed is None else block.with_settings(seed=self.seed)

    def train(self, file: str, name: str, out: str = "", **settings: object) -> Result:
        """The result of a run, in a folder of the spec's name and the block's, or in `out`."""
        out = out or f"{Path(file).stem}_{name}"
        return dlc.train(self.block(file, name, **settings), backend=self.backend, out=self.folder / out)

    def seen(self, pictures: Array) -> Array:
        """How likely a LeNet-5, trained once as `digits.py supervised` does, takes each picture for each digit."""
        weights = self.folder / "lenet5_mnist/net.safetensors"
        weights = weights if weights.exists() else self.train("vision/lenet5.dl", "mnist").weights["net"]
        net = dlc.load(self.folder / "vision/lenet5.dl")["LeNet5"].compile(self.backend, weights=weights)
        logits = net(x=(pictures.astype(np.float32) - 0.1307) / 0.3081)["logits"]
        found = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return found / found.sum(axis=-1, keepdims=True)
