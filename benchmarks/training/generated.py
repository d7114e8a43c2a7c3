"""What autoencoders and adversarial networks make of MNIST's digits: the first 9,000 of 10,000 pictures to learn from, the last 1,000 held out.

    python benchmarks/training/generated.py vae FOLDER
    python benchmarks/training/generated.py vqvae FOLDER
    python benchmarks/training/generated.py gan FOLDER
    python benchmarks/training/generated.py wasserstein FOLDER
    python benchmarks/training/generated.py ordered FOLDER
    python benchmarks/training/generated.py dcgan FOLDER

A LeNet-5 (that of `digits.py supervised`) says what it sees in pictures. Its score of many is that of Salimans et al. ("Improved techniques for
training GANs", 2016) with it in Inception's place: 1 if it is never sure, or always sees the same; 10 if it is sure and sees all digits equally often.

The folder has `images-idx3-ubyte.gz` and `labels-idx1-ubyte.gz`."""

from __future__ import annotations

from typing import Any

import numpy as np
from bench import HELD_OUT, LEARNT, Array, Digits, play
from pictures import variety

import dlc
from dlc.runtime.training_setup import starting_weights
from dlc.runtime.weight_map import WeightMap


def scored(bench: Digits, pictures: Array) -> str:
    found, real = bench.seen(pictures), bench.seen(bench.images[HELD_OUT])
    shares = np.bincount(found.argmax(axis=-1), minlength=10) / len(found)
    rarest = f"the rarest digit is {shares.min():.1%} of {len(found):,} pictures"
    return f"score {score(found):.2f}, held-out digits {score(real):.2f}; {rarest}"


def score(seen: Array) -> float:
    mean = seen.mean(axis=0)
    return float(np.exp((seen * np.log((seen + 1e-12) / (mean + 1e-12))).sum(axis=-1).mean()))


# --- autoencoders


def vae(bench: Digits) -> str:
    """Beside PyTorch's example, trained by a loop of its own from the same weights on the same batches."""
    result = bench.train("generative/vae.dl", "mnist")
    assert result.evaluation is not None
    plain = plainly(bench, bench.block("generative/vae.dl", "mnist"))
    z = np.random.default_rng(0).normal(size=(1000, 20)).astype(np.float32)
    decoder = dlc.load(bench.folder / "generative/vae.dl")["VAE.decode"].compile(
        bench.backend, weights=result.weights["net"]
    )
    pictures = decoder(z=z)["image"].reshape(-1, 1, 28, 28)
    return f"bound {result.evaluation.loss:.2f} nats, {plain:.2f} by plain PyTorch; of z drawn: {scored(bench, pictures)}"


def plainly(bench: Digits, block: dlc.TrainBlock) -> float:
    import torch
    from torch import nn
    from torch.nn import functional

    settings, rows = block.plan.settings, int(block.plan.source.args["batch"])
    weights = {path.removeprefix("net."): each for path, each in starting_weights(block).items()}
    begun = WeightMap.at(block.spec, "pytorch", None).backward(weights)
    names = ("fc1", "fc21", "fc22", "fc3", "fc4")
    net = nn.ModuleDict({name: nn.Linear(*reversed(begun[f"{name}.weight"].shape)) for name in names})
    net.load_state_dict({path: torch.tensor(each) for path, each in begun.items()})
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    torch.manual_seed(settings["seed"])

    def bound(x: Any) -> Any:
        h = functional.relu(net["fc1"](x))
        mean, log_variance = net["fc21"](h), net["fc22"](h)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        logits = net["fc4"](functional.relu(net["fc3"](z)))
        surprise = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (surprise - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())) / len(x)

    pixels = torch.tensor(bench.images.reshape(-1, 784))
    learnt = pixels[LEARNT]
    for epoch in range(settings["epochs"]):
        order = np.random.default_rng([settings["seed"], epoch]).permutation(len(learnt))
        for start in range(0, len(learnt) - rows + 1, rows):
            adam.zero_grad()
            bound(learnt[order[start : start + rows]]).backward()
            adam.step()
    with torch.no_grad():
        return float(bound(pixels[HELD_OUT]))


def vqvae(bench: Digits) -> str:
    """How far pictures are off that come back from their symbols, and whether they can still be read."""
    result = bench.train("generative/vqvae.dl", "mnist")
    assert result.evaluation is not None
    size = dict(bench.block("generative/vqvae.dl", "mnist").plan.networks[0].static)
    net = dlc.load(bench.folder / "generative/vqvae.dl")["VQVAE"](**size)
    images, labels = bench.images[HELD_OUT], bench.labels[HELD_OUT]
    painted = net.compile(bench.backend, weights=result.weights["net"])(image=images)["reconstruction"]
    read, before = (np.mean(bench.seen(each).argmax(axis=-1) == labels) for each in (painted, images))
    metrics = result.evaluation.metrics
    kept = f"{metrics['error']:.1%} of the variance is lost, {metrics['used']:.1f} symbols of 64 in use"
    return f"{kept}; a LeNet-5 reads {read:.1%} of what is painted, {before:.1%} of the pictures"


# --- adversarial networks


def gan(bench: Digits) -> str:
    return by_game(bench, "mnist")


def wasserstein(bench: Digits) -> str:
    return by_game(bench, "wasserstein_mnist")


def by_game(bench: Digits, name: str) -> str:
    result = bench.train("generative/gan.dl", name)
    generator = dlc.load(bench.folder / "generative/gan.dl")["Generator"](noise=64, hidden=400)
    z = np.random.default_rng(0).uniform(-(3**0.5), 3**0.5, (2000, 64)).astype(np.float32)
    pictures = generator.compile(bench.backend, weights=result.weights["smooth"])(z=z)["image"]
    return scored(bench, pictures.reshape(-1, 1, 28, 28))


def ordered(bench: Digits) -> str:
    """Of 100 pictures of each digit, how many are what was ordered, and how much they differ among themselves."""
    result = bench.train("generative/gan.dl", "ordered_mnist")
    generator = dlc.load(bench.folder / "generative/gan.dl")["Generator"](noise=74, hidden=400)
    digits = np.repeat(np.arange(10), 100)
    z = np.random.default_rng(0).uniform(-(3**0.5), 3**0.5, (1000, 64)).astype(np.float32)
    told = np.concatenate([z, 5.0 * np.eye(10, dtype=np.float32)[digits]], axis=1)
    pictures = generator.compile(bench.backend, weights=result.weights["smooth"])(z=told)["image"]
    pictures = pictures.reshape(-1, 1, 28, 28)
    found = float(np.mean(bench.seen(pictures).argmax(axis=-1) == digits))
    spread = variety(pictures, digits) / variety(bench.images[HELD_OUT], bench.labels[HELD_OUT])
    return f"{found:.1%} of 1,000 pictures are what was ordered (goal 90.0 %), with {spread:.0%} of the variance of real ones"


SHRUNK = """
model Shrunk()(image: [B, 1, 64, 64]) -> [B, 1, 28, 28] {
    return resize((image + 1.0) / 2.0, size=28, mode="bilinear", antialias=true)
}
"""


def dcgan(bench: Digits) -> str:
    result = bench.train("generative/dcgan.dl", "mnist")
    generator = dlc.load(bench.folder / "generative/dcgan.dl")["Generator"](noise=64, width=16, channels=1)
    painter = generator.compile(bench.backend, weights=result.weights["smooth"])
    z = np.random.default_rng(0).normal(size=(2000, 64, 1, 1)).astype(np.float32)
    shrunk = dlc.loads(SHRUNK)["Shrunk"].compile(bench.backend)
    parts = [shrunk(image=painter(z=each)["image"]) for each in np.split(z, 20)]
    return scored(bench, np.concatenate([next(iter(each.values())) for each in parts]))


ROWS = {
    "vae": vae,
    "vqvae": vqvae,
    "gan": gan,
    "wasserstein": wasserstein,
    "ordered": ordered,
    "dcgan": dcgan,
}


if __name__ == "__main__":
    play(__doc__, ROWS, lambda folder, args: Digits(folder, args.data, args.backend, args.seed), seeded=True)
