"""Train blocks that training scripts are written of, their data, and what compares a script with `dlc train`."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import forked
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from ruff.__main__ import find_ruff_bin
from safetensors.numpy import load_file
from training_specs import BOUNDED

import dlc
from dlc.runtime.data.tokens import trained
from dlc.runtime.scripts import write_script
from dlc.spec import TrainBlock

SPEC = """
model Net(classes: int = 10)(image: [B, 1, 28, 28]) -> logits: [B, classes] {
    x = image |> conv2d(4, 5, stride=3, bias=false) as conv |> batch_norm as norm |> relu
    return x |> flatten |> dropout(0.1) |> linear(classes) as head
}

train digits {
    net = Net()
    batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=64)
    evaluate from digits(split="test", batch=100)
    logits = net(image)
    minimize cross_entropy(logits, label)
    metric accuracy = mean(argmax(logits, axis=-1) == label)
    zeros = cast(label == 0, float)
    metric recall = sum(cast(argmax(logits, axis=-1) == 0, float) * zeros) / sum(zeros)
    optimizer = adamw(lr=cosine(2e-3, warmup=5), weight_decay=0.05)
    optimizer batch_norm, linear.bias = adamw(lr=1e-3, weight_decay=0.0)
    settings { steps = 12, clip_norm = 1.0, log = 1, eval_every = 5, checkpoint_every = 5, seed = 3 }
}

model CharGPT(d: int = 16, layers: int = 2, vocab: int = 12)(tokens: i64[B, T]) -> logits: [B, T, vocab] {
    x = tokens |> embedding(vocab, d) as wte
    for i in range(layers) as h {
        x = x + (x |> layer_norm as norm |> linear(4 * d) as up |> gelu |> linear(d) as down)
    }
    return x |> linear(vocab) as head
}

train characters {
    net = CharGPT()
    batch (tokens: i64[B, 9]) from text("input.txt", length=9, batch=8, stop=0.9)
    evaluate from text("input.txt", length=9, batch=16, start=0.9)
    minimize cross_entropy(net(tokens[:, :-1]), tokens[:, 1:])
    optimizer = sgd(lr=step_decay(0.1, every=4), momentum=0.9, nesterov=true)
    settings { epochs = 1, log = 1 }
}

model Reader(vocab: int = 12, hidden: int = 6)(tokens: i64[B, T], h: [1, B, hidden]) -> (logits: [B, T, vocab], h: [1, B, hidden]) {
    y, last = tokens |> embedding(vocab, 4) as table |> gru(hidden, layers=1)(h) as rnn
    return y |> linear(vocab) as head, last
}

train streams {
    net = Reader()
    batch (tokens: i64[B, 9]) from text("input.txt", length=9, batch=8, stop=0.3, order="streams")
    buffer h: [1, 8, 6] = zeros
    require B == 8
    logits, last = net(tokens[:, :-1], h)
    update h = last
    minimize cross_entropy(logits, tokens[:, 1:])
    optimizer = adam(lr=1e-2)
    settings { epochs = 2, log = 1 }
}

train stretches {
    net = Auto()
    batch (x: [B, 4]) from synthetic(batch=16, count=75, order="streams")
    minimize mean(square(x - net(x)[0]))
    optimizer = sgd(lr=0.1)
    settings { steps = 9, log = 1 }
}

model Auto()(x: [B, 4]) -> (y: [B, 4], mu: [B, 2]) {
    mu = x |> linear(8) as enc |> tanh |> linear(2) as mu
    return mu + normal_like(mu) |> linear(4) as out, mu
}

module Spare(d: int)(x: [B, d]) -> (y: [B, d], spare: [B, d]) {
    return x |> linear(d) as used, x |> linear(d) as unused
}

model Sparing()(x: [B, 4]) -> [B, 4] {
    for i in range(2) as layers {
        x, _ = x |> Spare(4) as part
    }
    return x * stop_gradient(x |> linear(4) as gate)
}

train sparing {
    net = Sparing()
    batch (x: [B, 4]) from synthetic(batch=16, count=64)
    minimize mean((x - net(x)) ** 2)
    optimizer = adamw(lr=1e-2, weight_decay=0.5)
    settings { steps = 6, log = 1 }
}

model Flower(classes: int = 3)(features: [B, n]) -> logits: [B, classes] {
    return features |> linear(8) as up |> relu |> linear(classes) as head
}

train flowers {
    net = Flower()
    batch (features: [B, 3], species: i64[B], petal_length: [B], wild: bool[B], age: i32[B])
        from csv("flowers.csv", split=0.8, sample_by="species", missing="drop", batch=16)
    evaluate from rest(batch=10)
    logits = net(concat([features[:, :2], petal_length[:, none]], axis=-1))
    fresh = cast(wild, float) + 0.1 * cast(age, float)
    each = cross_entropy(logits, species, reduction="none")
    minimize mean(each * fresh)
    metric accuracy = mean(argmax(logits, axis=-1) == species)
    optimizer = adamw(lr=1e-2)
    settings { steps = 12, log = 1, eval_every = 4 }
}

train lists {
    net = Flower(classes=2)
    batch (row: [B, 4], label: i64[B], weight: [B]) from json("lists.jsonl", batch=8, sample_by="weight", missing=0.5)
    minimize mean(cross_entropy(net(row), label, reduction="none") * weight)
    optimizer = sgd(lr=0.1)
    settings { steps = 8, log = 1 }
}

train columns {
    net = Flower(classes=2)
    batch (row: [B, 4], label: i64[B], weight: [B]) from parquet("lists.parquet", batch=8, classes=["yes", "no"], missing="drop")
    evaluate from parquet("lists.parquet", batch=16, missing="drop")
    minimize mean(cross_entropy(net(row), label, reduction="none") * weight)
    optimizer = sgd(lr=0.1)
    settings { steps = 8, log = 1 }
}

model Words(vocab: int = 300)(species: i64[B, T]) -> [B, 3] {
    return species |> embedding(vocab, 4) as table |> mean(axis=1) |> linear(3) as head
}

train words {
    net = Words()
    batch (species: i64[B, 5], age: i64[B]) from csv("flowers.csv", tokenizer="byte", split=0.8, missing="drop", batch=8)
    evaluate from rest(batch=10)
    minimize cross_entropy(net(species), age % 3)
    optimizer = adam(lr=1e-2)
    settings { steps = 6, log = 1 }
}

train pieces {
    net = Words()
    batch (label: i64[B, 3], weight: [B]) from json("lists.jsonl", tokenizer="pieces.json", missing="drop", batch=8)
    minimize mean(logsumexp(net(label), axis=-1) * weight)
    optimizer = adam(lr=1e-2)
    settings { steps = 6, log = 1 }
}

model Pet()(image: [B, c, h, w]) -> [B, 2] {
    return image |> conv2d(4, 3) as conv |> relu |> mean(axis=[2, 3]) |> linear(2) as head
}

train pets {
    net = Pet()
    batch (image: [B, 3, 6, 8], label: i64[B]) from images("pets", size=(6, 8), batch=4, split=0.75)
    evaluate from rest(batch=3)
    minimize cross_entropy(net(image), label)
    optimizer = adam(lr=1e-2)
    settings { steps = 6, log = 1 }
}

train gray {
    net = Pet()
    batch (image: u8[B, 1, 6, 8]) from images("pets", size=(6, 8), fit="crop", batch=4)
    logits = net(cast(image, float) / 255.0)
    minimize mean(square(logits))
    optimizer = adam(lr=1e-2)
    settings { steps = 6, log = 1 }
}

train drawn {
    net = Auto()
    batch (x: [B, 4], keep: bool[B]) from synthetic(batch=16, count=64)
    y, mu = net(x)
    minimize mean(sum((x - y) ** 2, axis=-1) * cast(keep, float)) + 0.1 * mean(mu * mu)
    optimizer = adam(lr=linear(1e-2), betas=(0.8, 0.99))
    freeze "net.enc.bias"
    settings { steps = 10, log = 1 }
}

module Layer(d: int)(x: [B, d]) -> [B, d] {
    return x |> linear(d) as fc |> tanh
}

model Generator(d: int = 8)(z: [B, 4]) -> x: [B, 3] {
    x = z |> linear(d) as a |> batch_norm as norm |> relu
    for i in range(2) {
        x = x |> Layer(d) as "layers.{i}"
    }
    return x |> linear(3) as b
}

model Critic(d: int = 8)(x: [B, 3]) -> score: [B] {
    return x |> linear(d) as a |> leaky_relu(0.2) |> linear(1) as b |> squeeze(axis=-1)
}

train gan {
    G = Generator()
    D = Critic()
    smooth = ema(G, decay=0.9)
    batch (x: [B, 3]) from npz("points.npz", batch=16)
    z = normal([B, 4])
    fake = G(z)
    step critic updates D with adam(lr=constant(1e-3, warmup=3), betas=(0.5, 0.9)) repeat 2 {
        share = uniform([B, 1])
        between = x * share + stop_gradient(fake) * (1.0 - share)
        slope = gradient(sum(D(between)), between)
        minimize mean(D(stop_gradient(fake))) - mean(D(x)) + mean((norm(slope, axis=-1) - 1.0) ** 2)
        metric sure = mean(D(x) > 0.0)
    }
    step generator updates G with sgd(lr=1e-2) every 2 {
        minimize -mean(D(fake))
    }
    metric size = mean(abs(smooth(z)))
    update D.b.bias = clamp(D.b.bias, min=-0.01, max=0.01)
    settings { steps = 11, log = 1 }
}

model Tagger(tags: int = 5)(tokens: i64[B, T]) -> scores: [B, T, tags] {
    return tokens |> embedding(12, 8) as emb |> linear(tags) as head
}

train tags {
    net = Tagger()
    batch (tokens: i64[B, 6], label: i64[B, 6]) from npz("tags.npz", batch=4, stop=100)
    evaluate from npz("tags.npz", batch=16, start=100)
    scores = net(tokens)
    minimize cross_entropy(scores, label, ignore=-100) + 1e-3 * sum(net.head.weight ** 2)
    metric perplexity = exp(cross_entropy(scores, label, ignore=-100))
    optimizer = adamw(lr=1e-2)
    settings { epochs = 3, accumulate = 4, log = 1, clip_norm = 1.0 }
}

train masked {
    net = Tagger()
    batch (tokens: i64[B, 6], mask: bool[B, 6], weight: [B]) from npz("tags.npz", batch=4, stop=98)
    scores = net(tokens)
    kept = cast(mask, float) * weight[:, none]
    minimize sum(kept * logsumexp(scores, axis=-1)) / sum(kept) + 0.1 * mean(abs(scores)) - sum(kept) / sum(weight)
    metric share = mean(kept)
    freeze "net.head.bias"
    optimizer = sgd(lr=0.1, momentum=0.9)
    settings { epochs = 3, accumulate = 3, log = 1, clip_norm = 0.1 }
}

train twice {
    net = Net()
    batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=32)
    each = cross_entropy(net(image), label)
    spread = logsumexp(net(image), axis=-1)
    minimize log(mean(exp(spread))) + mean(spread ** 2) / (1.0 + mean(spread)) + each
    metric wide = mean(spread)
    optimizer = sgd(lr=0.05)
    settings { steps = 8, accumulate = 3, log = 1 }
}

let FLOOR = 1e-4

fn ramp(step: int, over: int) -> float {
    return min(1.0, (step + 1) / over)
}

fn stairs(step: int, total: int, high: float = 0.1) -> float {
    found = high
    for mark in [2, 5] {
        if step >= mark {
            found = found * 0.5 ** (1 + mark % 2)
        } else if step == 1 and not (total < 4) {
            found = -(high - 2.0 * found) - (1e-3 - FLOOR)
        }
    }
    turned = found * (0.5 * (1.0 + cos(pi * step / total)))
    return max(found * ramp(step, 3) if step < total // 2 else turned, FLOOR + 1e-3)
}

fn late(over: int, step: int) -> float {
    return 0.0 if step < over else 1e-2
}

train stairs_down {
    net = Auto()
    batch (x: [B, 4]) from synthetic(batch=8)
    evaluate from synthetic(batch=12, count=30, seed=1)
    y, mu = net(x)
    minimize mean((x - y) ** 2)
    optimizer = sgd(lr=stairs(high=0.06))
    optimizer linear.bias = adam(lr=late(over=4))
    settings { steps = 14, log = 1, draws = "portable" }
}
"""
OWN = (
    BOUNDED
    + """
# No memory, and a rate of its own.
module normed()(weight: [*S], slope: [*S]) -> [*S] {
    return weight - 0.01 * slope / (norm(slope) + 1e-8)
}

# What is remembered: the parameter itself, one gradient behind another, a number that is counted, and one that does not begin as 0.
module behind_hand()(p: [*S], g: [*S], lr: []) -> [*S] {
    buffer before: [*S] = zeros
    buffer now: [*S] = zeros
    buffer start: [*S] = zeros
    buffer step: i64[] = 0
    buffer scale: [] = 0.5
    pull = where(step > 1, 0.01, 0.0) * (start - p)
    update step = step + 1
    update before = now
    update now = g
    update start = p
    update scale = scale * 0.9 + 0.05
    return p - lr * (scale * before + 0.5 * g) + pull
}

# One draw and no memory.
module langevin(sigma: float = 0.05)(p: [*S], g: [*S], lr: []) -> [*S] {
    return p - lr * (g + sigma * normal_like(p))
}

# Other draws for matrices than for vectors.
module shaken()(p: [*S], g: [*S], t: i64[], lr: []) -> [*S] {
    buffer mean: [*S] = zeros
    new = 0.9 * mean + g
    update mean = new
    if len([*S]) >= 2 {
        new = new * (0.5 + uniform([])) + 0.1 * uniform([*S]) / cast(t, float)
    }
    return p - lr * (new + 0.1 * cast(randint([*S], -2, 3), float))
}
"""
)
RULES = {
    "one of one's own": ("characters", "optimizer = bounded(lr=cosine(0.01, warmup=2), share=0.3)"),
    "several": (
        "characters",
        """optimizer = bounded(lr=0.01)
    optimizer linear.bias = normed()
    optimizer linear.weight = bounded(lr=cosine(0.02), beta=0.8)
    optimizer embedding = adamw(lr=1e-2)
    optimizer "net.head.*" = behind_hand(lr=0.05)""",
    ),
    "late": ("digits", "optimizer = behind_hand(lr=0.05)"),
    "lion, muon": (
        "digits",
        "optimizer = lion(lr=1e-3)\n    optimizer linear.weight, conv2d.weight = muon(weight_decay=0.1)",
    ),
    "adafactor": ("digits", "optimizer = adafactor(lr=1e-2)"),
    "adafactor, muon": (
        "characters",
        "optimizer = adafactor()\n    optimizer linear.weight = muon(lr=linear(0.05))",
    ),
    "turns": ("gan", ""),
    "draws": (
        "characters",
        "optimizer = langevin(lr=cosine(0.05))\n    optimizer linear.weight, embedding = shaken(lr=0.01)",
    ),
    "draws of several shapes": ("characters", "optimizer = shaken(lr=0.01)"),
    "draws in turns": ("gan", ""),
}
RULED = [(name, backend) for name in RULES for backend in ("torch", "jax")]


def with_rules(folder: Path, name: str) -> TrainBlock:
    """A block of the spec with other optimizers."""
    of, rules = RULES[name]
    head, begun, text = SPEC.partition(f"train {of} {{")
    own, end, rest = text.partition("\n}\n")
    if name == "draws in turns":
        own = own.replace(
            "adam(lr=constant(1e-3, warmup=3), betas=(0.5, 0.9))", "langevin(lr=constant(0.05, warmup=3))"
        )
        own = own.replace("sgd(lr=1e-2)", "shaken(lr=1e-2)")
    elif of == "gan":
        own = own.replace(
            "adam(lr=constant(1e-3, warmup=3), betas=(0.5, 0.9))", "behind_hand(lr=constant(0.05, warmup=3))"
        )
        own = own.replace("sgd(lr=1e-2)", "behind_hand(lr=1e-2)")
    else:
        lines = [line for line in own.splitlines() if not line.startswith("    optimizer")]
        at = next(i for i, line in enumerate(lines) if line.startswith("    settings"))
        own = "\n".join((*lines[:at], f"    {rules}", *lines[at:]))
    (folder / "spec.dl").write_text(OWN + head + begun + own + end + rest, encoding="utf-8")
    return block(folder, of)


SOURCES = ("flowers", "lists", "columns", "words", "pieces", "pets")
BLOCKS = ("digits", "characters", "streams", "stretches", "drawn", "sparing", "gan", *SOURCES)
WRITTEN = [(name, backend) for backend in ("torch", "jax") for name in BLOCKS]
SETTINGS = [
    (name, settings, backend)
    for name, settings in (
        ("digits", {"best": "accuracy", "eval_every": 2}),
        ("digits", {"patience": 2, "eval_every": 1, "precision": "bf16"}),
        ("drawn", {"clip_norm": 0.05}),
        ("digits", {"accumulate": 3}),
        ("digits", {"accumulate": 2, "precision": "bf16"}),
        ("characters", {"accumulate": 4, "epochs": 2}),
        ("characters", {"accumulate": 40, "epochs": 3}),  # more than an epoch has
        ("drawn", {"accumulate": 2, "clip_norm": 0.05}),
        ("gan", {"accumulate": 2, "clip_norm": 1.0}),
        ("tags", {}),
        ("tags", {"precision": "bf16"}),
        ("masked", {}),
        ("twice", {}),
        ("twice", {"precision": "bf16"}),
        ("stairs_down", {}),
        ("stairs_down", {"accumulate": 2}),  # what is computed of sums is the same text twice
        ("drawn", {"draws": "portable"}),
        ("drawn", {"draws": "portable", "accumulate": 2}),
        ("digits", {"precision": "f16", "accumulate": 2}),
        ("digits", {"precision": "f16", "loss_scale": 512.0, "clip_norm": 0.5}),
        ("gan", {"precision": "f16", "accumulate": 2}),
    )
    for backend in ("torch", "jax")
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.dl").write_text(SPEC, encoding="utf-8")
    rng = np.random.default_rng(0)
    letters = rng.choice(list("abcdefghij \n"), 2000)
    (tmp_path / "input.txt").write_text("".join(letters), encoding="utf-8")
    np.savez(tmp_path / "points.npz", x=rng.normal(size=(100, 3)).astype(np.float32))
    _write_tables(tmp_path, rng)
    (tmp_path / "pieces.json").write_text(trained([tmp_path / "input.txt"], "bpe", 280, ()), encoding="utf-8")
    _write_pictures(tmp_path / "pets", rng)
    label, mask = rng.integers(0, 5, (130, 6)), rng.random((130, 6)) < 0.4
    np.savez(
        tmp_path / "tags.npz",
        tokens=rng.integers(0, 12, (130, 6)),
        label=np.where(rng.random((130, 6)) < rng.random((130, 1)), -100, label),
        mask=mask,
        weight=rng.random(130).astype(np.float32),
    )
    return tmp_path


def _write_tables(folder: Path, rng: np.random.Generator) -> None:
    """Values of all kinds, some of them missing, in columns whose names are no words of the language."""
    lines = ["sepal a,sepal b,sepal c,petal length,species,wild,age"]
    for row in range(90):
        a, b, c, length = rng.normal(size=4).round(3)
        species = ["setosa", "virginica", "versicolor", "setosa", "setosa"][row % 5]
        lines.append(
            f"{a},{'NA' if row == 7 else b},{c},{length}, {species},{'yes' if row % 3 else 'no'},{row % 9}"
        )
    text = "\n".join((*lines, "")).replace(", setosa", ",setosa").replace(", v", ",v")
    (folder / "flowers.csv").write_text(text, encoding="utf-8")
    rows = [
        {
            "row": [float(each) for each in rng.normal(size=4)],
            "label": "yes" if rng.random() < 0.3 else "no",
            "weight": None if row == 5 else float(rng.random()),
        }
        for row in range(40)
    ]
    (folder / "lists.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "lists.parquet")


def _write_pictures(folder: Path, rng: np.random.Generator) -> None:
    """Of other sizes and modes; one lies on its side."""
    for number in range(16):
        place = folder / ("cat" if number % 3 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9 + number % 4, 7, 3)).astype(np.uint8)
        picture = Image.fromarray(pixels if number % 4 else pixels[..., 0])
        if number == 5:
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.save(place / f"{number}.png", exif=exif)
        else:
            picture.save(place / f"{number}.png")


def block(folder: Path, name: str) -> TrainBlock:
    found: TrainBlock = dlc.load(folder / "spec.dl")[name]
    return found


def run(script: Path, *options: str) -> list[str]:
    data = ["--data", str(script.parents[1])] if "--data" in script.read_text(encoding="utf-8") else []
    done = forked.run(script, [*data, *options])
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def reported(line: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"  (\w+) (-?[\d.]+(?:e-?\d+)?)", line)}


def lints(script: Path) -> None:
    """A script is as linters and the formatter want it."""
    options = ["--isolated", "--line-length", "100"]
    rules = ["--select", "E,F,I,UP,B,SIM", "--target-version", "py311"]
    for command in (["check", *options, *rules], ["format", "--check", *options]):
        found = subprocess.run(
            [find_ruff_bin(), *command, str(script)], capture_output=True, text=True, check=False
        )
        assert not found.returncode, found.stdout + found.stderr


def compared(tried: TrainBlock, backend: str, folder: Path) -> None:
    """The script of a block reads well, and its losses and weights are those of `dlc train`."""
    name = tried.name
    write_script(tried, backend, folder / "script")
    script = folder / "script" / f"{name}.py"
    assert "import dlc" not in script.read_text(encoding="utf-8")
    lints(script)
    lines = run(script, "--out", "found")
    dlc.train(tried, backend=backend, out=folder / "run")
    with (folder / "run/metrics.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    assert len(lines) == len(records) + (2 if tried.plan.best is not None else 1)
    for line, record in zip(lines, records, strict=False):
        assert line.startswith("step" if record["kind"] == "train" else "held out")
        values = {**record["metrics"], "loss": record["loss"]}
        for key, value in reported(line).items():
            assert value == pytest.approx(values[key], abs=2e-4), f"{key} of `{line}`"
    for weights in (folder / "run").glob("*.safetensors"):
        mine = load_file(folder / "script/found" / weights.name)
        for path, value in load_file(weights).items():
            np.testing.assert_allclose(
                mine[path], value, rtol=2e-3, atol=2e-5, err_msg=f"{weights.stem}.{path}"
            )
