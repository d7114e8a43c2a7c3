"""What trains on the characters of a text (tiny Shakespeare): the first nine tenths to learn from, the last tenth held out.

    python benchmarks/training/text.py autoregressive FILE [--backend torch] [--seed 0]
    python benchmarks/training/text.py masked FILE
    python benchmarks/training/text.py recurrent FILE
    python benchmarks/training/text.py streams FILE
    python benchmarks/training/text.py experts FILE
    python benchmarks/training/text.py preferred FILE

Each row is `characters` of a spec, but for `streams` of the LSTM's and `continuations` of a reward model's; `FILE` is read as UTF-8, and has 65 different characters."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench import SPECS, play

import dlc
from dlc.runtime.reported import Record

USED = ("gpt2.dl", "reward_model.dl", "bert.dl", "rnn_lm.dl", "routed_gpt.dl", "mixtral_8x7b.dl")


@dataclass
class Bench:
    """A folder with copies of the specs and the text, in which runs are made."""

    folder: Path
    backend: str
    seed: int

    def train(self, file: str, out: str, name: str = "characters", **settings: object) -> Record:
        """What a block of a spec has found at its end of the held-out text."""
        block = dlc.load(self.folder / file)[name](**settings).with_settings(seed=self.seed)
        found = dlc.train(block, backend=self.backend, out=self.folder / out).evaluation
        assert found is not None  # all of them have held-out data
        return found


def autoregressive(bench: Bench) -> str:
    return f"GPT-2 of 4 layers: held-out loss {bench.train('gpt2.dl', 'gpt2').loss:.4f} (goal 1.88)"


def masked(bench: Bench) -> str:
    """Against what each character costs if nothing but how frequent it is in the training part is known."""
    result = bench.train("bert.dl", "bert")
    _, number = np.unique(list((bench.folder / "input.txt").read_text(encoding="utf-8")), return_inverse=True)
    before, held_out = np.split(number, [round(0.9 * len(number))])
    share = np.bincount(before, minlength=number.max() + 1) / len(before)
    alone = -np.log(share[held_out]).mean()
    found = f"held-out loss {result.loss:.4f}, {result.metrics['accuracy']:.1%} of the hidden characters"
    return f"BERT of 4 layers: {found}; {alone:.4f} by frequencies alone"


def recurrent(bench: Bench) -> str:
    return f"LSTM of 2 layers: held-out loss {bench.train('rnn_lm.dl', 'lstm').loss:.4f} (goal 1.75)"


def streams(bench: Bench) -> str:
    """With a state that is carried from batch to batch, and with an empty one in each, from windows of the same length."""
    carried = bench.train("rnn_lm.dl", "carried", "streams").loss
    emptied = bench.train("rnn_lm.dl", "emptied", length=64, rows=32).loss
    return f"LSTM of 2 layers: held-out loss {carried:.4f} with its state carried on (goal 1.75), {emptied:.4f} without"


def experts(bench: Bench) -> str:
    """With eight experts, two for each token, and without, at as much work."""
    routed = bench.train("routed_gpt.dl", "routed").metrics
    dense = bench.train("routed_gpt.dl", "dense", experts=1, k=1, hidden=256).metrics
    shares = f"an expert gets between {routed['least']:.2f} and {routed['most']:.2f} of its even share"
    return f"held-out loss {routed['bare']:.4f} with experts, {dense['bare']:.4f} without; {shares}"


def preferred(bench: Bench) -> str:
    """A reward model that begins as the language model of the first row."""
    bench.train("gpt2.dl", "gpt2")
    shutil.copy(bench.folder / "gpt2" / "net.safetensors", bench.folder / "characters.safetensors")
    found = bench.train("reward_model.dl", "reward", "continuations").metrics["accuracy"]
    return f"reward model of 4 layers: it likes the text's own continuation better in {found:.1%} of held-out pairs"


ROWS = {
    "autoregressive": autoregressive,
    "masked": masked,
    "recurrent": recurrent,
    "streams": streams,
    "experts": experts,
    "preferred": preferred,
}


def bench(folder: Path, args: argparse.Namespace) -> Bench:
    for each in USED:
        shutil.copy(SPECS / "language" / each, folder)
    shutil.copy(args.data, folder / "input.txt")
    return Bench(folder, args.backend, args.seed)


if __name__ == "__main__":
    play(__doc__, ROWS, bench, seeded=True)
