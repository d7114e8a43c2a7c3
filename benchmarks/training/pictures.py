"""What learns to paint MNIST's digits, or to name them: the first 9,000 of 10,000 pictures to learn from, the last 1,000 held out.

    python benchmarks/training/pictures.py flow FOLDER
    python benchmarks/training/pictures.py diffusion FOLDER
    python benchmarks/training/pictures.py names FOLDER
    python benchmarks/training/pictures.py captions FOLDER
    python benchmarks/training/pictures.py masked FOLDER

Of what is painted by order, 100 of each digit, a LeNet-5 says what it sees (that of `digits.py supervised`).

The folder has `images-idx3-ubyte.gz` and `labels-idx1-ubyte.gz`."""

from __future__ import annotations

import numpy as np
from bench import HELD_OUT, LEARNT, Digits, play

import dlc


def painted(bench: Digits, block: str, entry: str) -> str:
    """How many of 1,000 pictures are what was ordered, and how much they differ among themselves: to paint one picture
    again and again would be easy."""
    spec = "generative/flow_matching.dl"
    result = bench.train(spec, block)
    model = dlc.load(bench.folder / spec)[f"Painter.{entry}"]
    run = model.compile(bench.backend, weights=result.weights["net"])
    ordered = np.repeat(np.arange(10), 100)
    noise = np.random.default_rng(0).normal(size=(1000, 784)).astype(np.float32)
    pictures = run(noise=noise, label=ordered)["picture"].clip(-1, 1).reshape(-1, 1, 28, 28) / 2 + 0.5
    found = float(np.mean(bench.seen(pictures).argmax(axis=-1) == ordered))
    spread = variety(pictures, ordered) / variety(bench.images[HELD_OUT], bench.labels[HELD_OUT])
    return f"{found:.1%} of 1,000 pictures are what was ordered (goal 90.0 %), with {spread:.0%} of the variance of real ones"


def variety(images: np.ndarray, labels: np.ndarray) -> float:
    """The variance of pixels among pictures of one digit, mean of digits and pixels."""
    return float(np.mean([images[labels == each].var(axis=0).mean() for each in range(10)]))


def flow(bench: Digits) -> str:
    return painted(bench, "mnist", "sample")


def diffusion(bench: Digits) -> str:
    return painted(bench, "diffusion", "denoise")


def names(bench: Digits) -> str:
    found = bench.train("multimodal/clip_vit_b32.dl", "mnist").metrics["accuracy"]
    return f"CLIP finds the name of {found:.1%} of 1,000 digits among ten (goal 95.0 %)"


def captions(bench: Digits) -> str:
    found = bench.train("multimodal/captioner.dl", "mnist").metrics["exact"]
    return f"{found:.1%} of 1,000 captions are right to the letter (goal 95.0 %)"


def masked(bench: Digits) -> str:
    """The error in hidden patches, and that of the mean of the pictures that were learnt from, in the same patches."""
    spec = "vision/mae_vit_b.dl"
    weights = bench.train(spec, "mnist").weights["net"]
    sizes = {"layers": 3, "d": 64, "heads": 4, "decoder_layers": 2, "decoder_d": 64, "decoder_heads": 4}
    model = dlc.load(bench.folder / spec)["MAE"](size=28, patch=4, **sizes)
    images = bench.images[HELD_OUT].repeat(3, axis=1)
    noise = np.random.default_rng(0).random((len(images), 49)).astype(np.float32)
    found = model.compile(bench.backend, weights=weights)(image=images, noise=noise)
    guess = np.broadcast_to(bench.images[LEARNT].mean(axis=0), images.shape)
    hidden = found["hidden"][..., None]
    baseline = np.sum(np.square(patches(images) - patches(guess)) * hidden) / np.sum(hidden) / (3 * 4**2)
    return f"error {float(found['loss']):.4f} in hidden patches, {float(baseline):.4f} of the mean picture (goal: less)"


def patches(images: np.ndarray) -> np.ndarray:
    """Pictures of three colours by their patches of 4 x 4, as MAE counts them."""
    cut = images.reshape(-1, 3, 7, 4, 7, 4).transpose(0, 2, 4, 3, 5, 1)
    return cut.reshape(len(images), 49, -1)


ROWS = {"flow": flow, "diffusion": diffusion, "names": names, "captions": captions, "masked": masked}


if __name__ == "__main__":
    play(__doc__, ROWS, lambda folder, args: Digits(folder, args.data, args.backend))
