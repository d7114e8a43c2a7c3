"""Graph networks on Cora, Planetoid's split (Yang et al., 2016): accuracy on the 1,000 test papers, mean over seeds.

    python benchmarks/training/cora.py gcn cora.npz [--seeds 5] [--backend torch]

The file has `features` [2708, 1433], `edges` [2, E], both ways, `label`, and the masks `train`, `val` and `test`. The papers' figures are 81.5 % (GCN,
Kipf and Welling, 2017) and 83.0 % (GAT, Veličković et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench import play

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


@dataclass(frozen=True)
class Graph:
    """Where runs are made, and the file that they are of."""

    folder: Path
    file: Path
    backend: str
    seeds: int


def gcn(bench: Graph) -> str:
    return over_seeds(bench, "gcn", "test")


def gat(bench: Graph) -> str:
    return over_seeds(bench, "gat", "val")


def over_seeds(bench: Graph, network: str, held: str) -> str:
    spec, found = dlc.load(Path(__file__).parents[2] / f"specs/graph/{network}.dl"), []
    data, held_out = rows(bench.file, "train"), rows(bench.file, held)
    for seed in range(bench.seeds):
        block, out = spec["cora"].with_settings(seed=seed), bench.folder / f"seed_{seed}"
        result = dlc.train(block, backend=bench.backend, out=out, data=data, held_out=held_out)
        found.append(accuracy(block, out, bench.file))
        print(f"seed {seed}: {found[-1]:.1%} after {result.steps} steps", flush=True)
    return f"{network}: {np.mean(found):.1%} +- {np.std(found):.1%} (paper {FIGURES[network]:.1%})"


if __name__ == "__main__":
    play(
        __doc__,
        {"gcn": gcn, "gat": gat},
        lambda folder, args: Graph(folder, args.data, args.backend, args.seeds),
        numbers={"seeds": 5},
    )
