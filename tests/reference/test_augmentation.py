"""The library's augmentations against torchvision's functions, with what is drawn given to both."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import dlc
from dlc.passes.lower import hoist_randomness
from dlc.runtime.interpret import run

from . import shim  # noqa: F401  (before torchvision)

vision: Any = import_module("torchvision.transforms.v2.functional")

DRAWS = (0.0, 0.2, 0.5, 0.95)


def image(channels: int = 3) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(0).random((1, channels, 6, 5)).astype(np.float32)
    found[0, :, 0, 0], found[0, :, 1, 1] = 0.3, 0.0  # grey and black have no hue
    return found


def changed(call: str, x: np.ndarray, u: float) -> np.ndarray:
    """What the network makes of an image in training, where every draw is `u`."""
    text = f"model Net()(x: [B, {x.shape[1]}, H, W]) -> y: [*R] {{\n    return {call}\n}}\n"
    program, draws = hoist_randomness(dlc.loads(text)["Net"].training_program)
    given = {draw.input.name: np.full([1] * draw.input.type.rank, u, np.float32) for draw in draws}
    found: np.ndarray = run(program, {}, {"x": x, **given})["y"]
    return found


def between(low: float, high: float, u: float) -> float:
    return low + u * (high - low)


def agree(found: np.ndarray, wanted: torch.Tensor) -> None:
    np.testing.assert_allclose(found, wanted.numpy(), atol=3e-6)


@pytest.mark.parametrize("u", DRAWS)
def test_colours(u: float) -> None:
    x = image()
    tensor = torch.from_numpy(x)
    agree(
        changed("color_jitter(x, brightness=0.8)", x, u),
        vision.adjust_brightness(tensor, between(0.2, 1.8, u)),
    )
    agree(
        changed("color_jitter(x, contrast=1.5)", x, u), vision.adjust_contrast(tensor, between(0.0, 2.5, u))
    )
    agree(
        changed("color_jitter(x, saturation=0.7)", x, u),
        vision.adjust_saturation(tensor, between(0.3, 1.7, u)),
    )
    agree(changed("color_jitter(x, hue=0.5)", x, u), vision.adjust_hue(tensor, between(-0.5, 0.5, u)))
    agree(changed("random_grayscale(x, p=1)", x, u), vision.rgb_to_grayscale(tensor, 3))


@pytest.mark.parametrize("u", DRAWS)
def test_one_channel_has_brightness_and_contrast(u: float) -> None:
    x = image(1)
    wanted = vision.adjust_brightness(torch.from_numpy(x), between(0.4, 1.6, u))
    wanted = vision.adjust_contrast(wanted, between(0.1, 1.9, u))
    agree(changed("color_jitter(x, brightness=0.6, contrast=0.9)", x, u), wanted)


@pytest.mark.parametrize("u", DRAWS)
def test_affine(u: float) -> None:
    x = image()
    move = [round(between(-n * share, n * share, u)) for n, share in ((5, 0.4), (6, 0.3))]
    wanted = vision.affine(
        torch.from_numpy(x),
        angle=between(-70, 70, u),
        translate=move,
        scale=between(0.5, 1.5, u),
        shear=[between(-25, 25, u), 0.0],
        interpolation=vision.InterpolationMode.BILINEAR,
    )
    call = "random_affine(x, 70, translate=(0.4, 0.3), scale=(0.5, 1.5), shear=25)"
    agree(changed(call, x, u), wanted)
