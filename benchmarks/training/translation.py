"""What translates German image captions into English (Multi30k): 29,000 pairs to learn from, 1,014 held out, 1,000 to translate.

    python benchmarks/training/translation.py FOLDER [--epochs 2]

The folder has `train`, `val` and `test_2016_flickr`, each `.de.gz` and `.en.gz`, a sentence a line. The same network trains twice, from the same weights
on the same batches: by dlc, and as `torch.nn.Transformer` in a loop of plain PyTorch. Both translate greedily, and BLEU is that of sacrebleu
(13a)."""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench import play

import dlc
from dlc.runtime.data.tokens import SPECIAL, FromFile, trained
from dlc.runtime.training_setup import starting_weights
from dlc.runtime.weight_map import WeightMap

SPEC = Path(__file__).parents[2] / "specs/language/transformer.dl"
PARTS = {"train": "train", "val": "val", "test": "test_2016_flickr"}
END = 0  # `<|endoftext|>`, which also begins a sentence and fills it up
Array = np.ndarray[Any, Any]
Logits = Callable[[Array, Array], Array]


# --- data


def prepared(folder: Path, data: Path) -> dict[str, list[list[str]]]:
    """Pairs of sentences by part. The folder gets them as tables, a tokenizer of those that are learnt from, and the spec."""
    pairs = {}
    for part, name in PARTS.items():
        sides = [
            gzip.decompress((data / f"{name}.{each}.gz").read_bytes()).decode("utf-8")
            for each in ("de", "en")
        ]
        pairs[part] = [each.splitlines() for each in sides]
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("source", "target"))
            rows.writerows(zip(*pairs[part], strict=True))
    texts = [folder / "de.txt", folder / "en.txt"]
    for path, lines in zip(texts, pairs["train"], strict=True):
        path.write_text("\n".join(lines), encoding="utf-8")
    content = trained(texts, "bpe", 4000, SPECIAL["bpe"])
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    (folder / SPEC.name).write_text(SPEC.read_text(encoding="utf-8"), encoding="utf-8")
    return pairs


def rows_of(tokenizer: FromFile, lines: Sequence[str], length: int) -> Array:
    """Sentences as so many tokens."""
    found = np.full((len(lines), length), END, np.int64)
    for row, line in zip(found, lines, strict=True):
        tokens = tokenizer.encode(line)[:length]
        row[: len(tokens)] = tokens
    return found


# --- plain PyTorch


class Plain:
    """The network of a block by `torch.nn.Transformer`, from the weights that the block begins with."""

    def __init__(self, block: dlc.TrainBlock) -> None:
        from torch import nn

        (network,) = block.plan.networks
        size = dict(network.static)
        self.d, self.p = size["d"], size["p"]
        layers = {"num_encoder_layers": size["layers"], "num_decoder_layers": size["layers"]}
        inner = nn.Transformer(
            self.d, size["heads"], dim_feedforward=size["ff"], dropout=self.p, batch_first=True, **layers
        )
        inner.encoder.norm = inner.decoder.norm = None
        inner.encoder.use_nested_tensor = False
        for layer in (
            *inner.encoder.layers,
            *inner.decoder.layers,
        ):  # which drop out more than the paper does
            layer.dropout.p = 0.0
            for each in (layer.self_attn, getattr(layer, "multihead_attn", None)):
                if each is not None:
                    each.dropout = 0.0
        self.net = nn.ModuleDict({"words": nn.Embedding(size["vocab"], self.d), "inner": inner})
        self.net.load_state_dict(self._begun(block))
        self.settings = block.plan.settings
        self.args = block.plan.steps[0].rules[0].optimizer.args

    def _begun(self, block: dlc.TrainBlock) -> dict[str, Any]:
        import torch

        weights = {path.removeprefix("net.model."): each for path, each in starting_weights(block).items()}
        stacks = {path: each for path, each in weights.items() if ".layers." in path}
        inner = WeightMap.at(block.spec, "torch", None).backward(stacks)
        named = {
            "words.weight": weights["shared.weight"],
            **{f"inner.{path}": each for path, each in inner.items()},
        }
        return {path: torch.tensor(each) for path, each in named.items()}

    def train(self, source: Array, target: Array, rows: int) -> None:
        import torch
        from torch.nn import functional

        torch.manual_seed(self.settings["seed"])
        rate = self.args["lr"].args
        total = self.settings["epochs"] * (len(source) // rows)
        adam = torch.optim.Adam(self.net.parameters(), rate["lr"], self.args["betas"], self.args["eps"])
        self.net.train()
        for step, index in enumerate(batches(len(source), rows, self.settings)):
            share = 0.5 * (1 + math.cos(math.pi * max(0, step - rate["warmup"]) / (total - rate["warmup"])))
            adam.param_groups[0]["lr"] = (rate["end"] + (rate["lr"] - rate["end"]) * share) * min(
                1.0, (step + 1) / rate["warmup"]
            )
            words, wanted = torch.tensor(source[index]), torch.tensor(target[index])
            said = functional.pad(wanted[:, :-1], (1, 0), value=END)
            counts = functional.pad(wanted[:, :-1] != END, (1, 0), value=True)
            label = wanted.masked_fill(~counts, -100)
            logits = self._logits(words, said)
            loss = functional.cross_entropy(
                logits.transpose(1, 2), label, ignore_index=-100, label_smoothing=0.1
            )
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings["clip_norm"])
            adam.step()
            if step % 100 == 0:
                print(f"plain PyTorch, step {step}/{total}: loss {loss.item():.4f}", flush=True)
        self.net.eval()

    def logits(self, source: Array, said: Array) -> Array:
        import torch

        with torch.no_grad():
            return self._logits(torch.tensor(source), torch.tensor(said)).numpy()

    def _logits(self, source: Any, said: Any) -> Any:
        ahead = self.net["inner"].generate_square_subsequent_mask(said.shape[1]).isinf()
        empty = source == END
        y = self.net["inner"](
            self._placed(source),
            self._placed(said),
            tgt_mask=ahead,
            src_key_padding_mask=empty,
            memory_key_padding_mask=empty,
        )
        return y @ self.net["words"].weight.T

    def _placed(self, tokens: Any) -> Any:
        """Words with their places."""
        import torch

        angles = torch.arange(tokens.shape[1])[:, None] / 10000.0 ** (2 / self.d * torch.arange(self.d // 2))
        places = torch.cat([angles.sin(), angles.cos()], dim=-1)
        x = self.net["words"](tokens) * math.sqrt(self.d) + places
        return torch.nn.functional.dropout(x, self.p, self.net.training)


def batches(count: int, rows: int, settings: dict[str, Any]) -> Iterator[Array]:
    """The rows of all batches, in the order in which `dlc train` takes them."""
    for epoch in range(settings["epochs"]):
        order = np.random.default_rng([settings["seed"], epoch]).permutation(count)
        yield from (order[start : start + rows] for start in range(0, count - rows + 1, rows))


# --- translations


def translations(logits: Logits, source: Array, together: int = 100) -> Array:
    """The likeliest token, again and again, until a sentence ends or is as long as those that were learnt from."""
    found = np.zeros_like(source)
    for start in range(0, len(source), together):
        words = source[start : start + together]
        said = np.full((len(words), 1), END, np.int64)
        over = np.zeros(len(words), bool)
        while said.shape[1] <= source.shape[1] and not over.all():
            token = np.where(over, END, logits(words, said)[:, -1].argmax(axis=-1))
            over |= token == END
            said = np.concatenate([said, token[:, None]], axis=1)
        found[start : start + together, : said.shape[1] - 1] = said[:, 1:]
    return found


def bleu(said: Sequence[str], wanted: Sequence[str]) -> float:
    """BLEU of a corpus with one reference a sentence (Papineni et al., 2002), in per cent."""
    found, there, lengths = np.zeros(4), np.zeros(4), np.zeros(2)
    for pair in zip(said, wanted, strict=True):
        words, reference = map(cut, pair)
        lengths += len(words), len(reference)
        for n in range(4):
            ours, theirs = grams(words, n + 1), grams(reference, n + 1)
            found[n] += (ours & theirs).total()
            there[n] += ours.total()
    if not found.all():
        return 0.0
    brevity = min(0.0, 1 - lengths[1] / lengths[0])
    return float(100 * np.exp(brevity + np.log(found / there).mean()))


def grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


CUTS = (
    (r"([\{-\~\[-\` -\&\(-\+\:-\@\/])", r" \1 "),
    (r"([^0-9])([\.,])", r"\1 \2 "),
    (r"([\.,])([^0-9])", r" \1 \2"),
    (r"([0-9])(-)", r"\1 \2 "),
)


def cut(line: str) -> list[str]:
    """Words and marks as the script `mteval-v13a` of NIST's evaluations parts them, which is sacrebleu's default."""
    line = f" {line} "
    for pattern, parted in CUTS:
        line = re.sub(pattern, parted, line)
    return line.split()


# --- the row


def compared(folder: Path, data: Path, backend: str, settings: dict[str, int]) -> str:
    pairs = prepared(folder, data)
    spec = dlc.load(folder / SPEC.name)
    block = spec["translation"].with_settings(**settings)
    (network,) = block.plan.networks
    size = dict(network.static)
    tokenizer = FromFile.open(folder / "tokenizer.json")
    begun = time.process_time()
    result = dlc.train(block, backend=backend, out=folder / "run")
    ours = time.process_time() - begun
    net = (
        spec["Transformer"](**size)
        .with_inputs("attention_mask")
        .compile(backend, weights=result.weights["net"])
    )
    plain = Plain(block)
    length = size["context"]
    source, target = (rows_of(tokenizer, each, length) for each in pairs["train"])
    plain.train(source, target, int(block.plan.source.args["batch"]))
    theirs = time.process_time() - begun - ours
    asked = rows_of(tokenizer, pairs["test"][0], length)

    def logits(source: Array, said: Array) -> Array:
        return net(input_ids=source, decoder_input_ids=said, attention_mask=(source != END).astype(np.int64))[
            "logits"
        ]

    scores = []
    for each in (logits, plain.logits):
        said = [tokenizer.decode(row[row != END]).strip() for row in translations(each, asked)]
        scores.append(bleu(said, pairs["test"][1]))
    return f'BLEU {scores[0]:.1f} by dlc with {backend} ({ours:.0f} s), {scores[1]:.1f} by plain PyTorch ({theirs:.0f} s); "{said[0]}"'


def translation(bench: tuple[Path, argparse.Namespace]) -> str:
    folder, args = bench
    settings = {key: each for key in ("seed", "epochs") if (each := getattr(args, key)) is not None}
    return compared(folder, args.data, args.backend, settings)


if __name__ == "__main__":
    play(
        __doc__,
        {"translation": translation},
        lambda folder, args: (folder, args),
        numbers={"seed": None, "epochs": None},
    )
