"""Graph networks on Cora, Planetoid's split (Yang et al., 2016): accuracy on the 1,000 test papers, mean over seeds.

    python benchmarks/training/cora.py gcn cora.npz [--seeds 5] [--backend torch]

The file has `features` [2708, 1433], `edges` [2, E], both ways, `label`, and the masks `train`, `val` and `test`. The papers' figures are 81.5 % (GCN,
Kipf and Welling, 2017) and 83.0 % (GAT, Veličković et al., 2018)."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import dlc

FIGURES = {"gcn": 0.815, "gat": 0.830}


def rows(file: Path, mask: str) -> dict[str, np.ndarray]:
    """The graph as the one row of a training, with the nodes that count."""
    with np.load(file) as data:
        words = data["features"].astype(np.float32)
        return {
            "x": (words / np.maximum(words.sum(1, keepdims=True), 1))[None],
            "edges": data["edges"].astype(np.int64)[None],
            "label": data["label"].astype(np.int64)[None],
            "counts": data[mask].astype(bool)[None],
        }


def accuracy(block: dlc.TrainBlock, run: Path, file: Path) -> float:
    """On the test papers, with the weights that a run has kept."""
    return float(dlc.evaluate(block, weights=run, held_out=rows(file, "test")).metrics["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("network", choices=sorted(FIGURES))
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--backend", default="torch")
    args = parser.parse_args()
    spec = dlc.load(Path(__file__).parents[2] / f"specs/graph/{args.network}.dl")
    found, begun = [], time.process_time()
    for seed in range(args.seeds):
        block = spec["cora"].with_settings(seed=seed)
        held = "test" if args.network == "gcn" else "val"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            result = dlc.train(
                block,
                backend=args.backend,
                out=out,
                data=rows(args.file, "train"),
                held_out=rows(args.file, held),
            )
            found.append(accuracy(block, out, args.file))
        print(f"seed {seed}: {found[-1]:.1%} after {result.steps} steps", flush=True)
    mean, spread = np.mean(found), np.std(found)
    seconds = (time.process_time() - begun) / args.seeds
    print(
        f"{args.network}: {mean:.1%} +- {spread:.1%} (paper {FIGURES[args.network]:.1%}), {seconds:.0f} s of processor time a seed"
    )


if __name__ == "__main__":
    main()
