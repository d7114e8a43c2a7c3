"""`resize` against torch.nn.functional.interpolate, at sizes that are known and at open ones; and on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import dlc
from dlc.runtime.interpret import run

NAMES = ("B", "C", "H", "W", "D")
SHAPES = ((2, 3, 5, 7), (1, 2, 1, 6))
SCALES = ([2.0, 2.0], [3.0, 0.5], [1.5, 0.75], [1.25, 2.25])
SIZES = ([1, 1], [5, 7], [10, 14], [3, 4], [1, 9], [41, 13])
MODES: dict[str, tuple[dict[str, bool], ...]] = {
    "nearest": ({},),
    "nearest-exact": ({},),
    "bilinear": (
        {},
        {"align_corners": True},
        {"antialias": True},
        {"align_corners": True, "antialias": True},
    ),
    "bicubic": ({}, {"align_corners": True}, {"antialias": True}),
}
CASES = [(mode, options) for mode, several in MODES.items() for options in several]


def resized(x: np.ndarray, sizes_known: bool, **given: Any) -> np.ndarray:
    axes = ", ".join(map(str, x.shape)) if sizes_known else ", ".join(NAMES[: x.ndim])
    written = ", ".join(f"{name}={value}" for name, value in given.items())
    text = f"model Net()(x: [{axes}]) -> y: [*R] {{\n    return resize(x, {written})\n}}\n"
    found: np.ndarray = run(dlc.loads(text)["Net"].program, {}, {"x": x})["y"]
    return found


def check(x: np.ndarray, sizes_known: bool, mode: str, options: dict[str, bool], **sized: Any) -> None:
    if (key := "scale") in sized and any(
        int(n * s) < 1 for n, s in zip(x.shape[2:], sized[key], strict=True)
    ):
        return
    names = {"scale": "scale_factor", "size": "size"}
    theirs = {names[name]: value for name, value in sized.items()}
    wanted = F.interpolate(torch.from_numpy(x), mode=mode, **options, **theirs).numpy()
    written = {name: str(value).lower() for name, value in options.items()}
    found = resized(x, sizes_known, mode=f'"{mode}"', **written, **sized)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=4e-6, err_msg=f"{x.shape} {sized}")


@pytest.mark.parametrize("sizes_known", [True, False])
@pytest.mark.parametrize(
    ("mode", "options"), CASES, ids=lambda each: each if isinstance(each, str) else "-".join(each)
)
def test_images(mode: str, options: dict[str, bool], sizes_known: bool) -> None:
    for shape in SHAPES if sizes_known else SHAPES[:1]:
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        for scale in SCALES:
            check(x, sizes_known, mode, options, scale=scale)
        for size in SIZES:
            check(x, sizes_known, mode, options, size=size)


@pytest.mark.parametrize(
    ("mode", "shape"), [("linear", (2, 3, 5)), ("trilinear", (1, 2, 3, 1, 4)), ("nearest", (1, 2, 3, 4, 2))]
)
def test_other_numbers_of_axes(mode: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for aligned in ({}, {"align_corners": True}) if mode != "nearest" else ({},):
        check(x, False, mode, aligned, scale=[1.5] * (len(shape) - 2))
        check(x, True, mode, aligned, size=[3, 4, 5][: len(shape) - 2])


def test_nearest_rounds_as_pytorch_does() -> None:
    """41 * (1 / 41) is less than 1 in f32: element 41 is the first once more."""
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    assert resized(x, False, scale=41).ravel()[41] == 0.0
    check(x, False, "nearest", {}, scale=[41.0])
    check(x, True, "nearest", {}, size=[246])


def test_scales_with_no_size_for_every_input() -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 7, 10)).astype(np.float32)
    check(x, True, "bilinear", {}, scale=[1.3, 0.7])
    with pytest.raises(dlc.SpecError, match="rounded down, can't be said for every H"):
        resized(x, False, scale=1.3)


EVERYWHERE = """
model Net(k: int = 3, out: list[int] = [4, 6])(x: [B, 2, H, W], z: [B, 2, 5, 4]) -> _ {
    a = resize(x, scale=2)
    b = resize(x, scale=k, mode="bilinear")
    c = resize(x, size=[H + 1, 2*W], mode="bicubic", align_corners=true)
    d = resize(z, scale=[1.5, 0.75], mode="bilinear")
    e = resize(z, size=out, mode="bicubic", antialias=true)
    f = resize(z, scale=1.3)
    g = resize(z, size=[3, 4], mode="bilinear", antialias=true, align_corners=true)
    return a, b, c, d, e, f, g
}
"""


def test_backends() -> None:
    model = dlc.loads(EVERYWHERE)["Net"]
    found = dlc.verify(model, backends=("torch", "jax"), gradients=True)
    assert found.agree, str(found)
    assert dlc.verify(model, backends=("onnx",)).agree


def test_tvm_follows_the_definition() -> None:
    text = 'model Net()(x: [B, 2, H, W]) -> _ {\n    return resize(x, scale=1.5, mode="bilinear"), resize(x, size=[3, 5])\n}\n'
    assert dlc.verify(dlc.loads(text)["Net"], backends=("tvm",)).agree


def test_pytorch_says_it_in_one_call() -> None:
    text = next(iter(dlc.loads(EVERYWHERE)["Net"].emit("torch").files.values()))
    assert 'F.interpolate(x, scale_factor=k, mode="bilinear")' in text
    assert 'F.interpolate(z, size=(out[0], out[1]), mode="bicubic", antialias=True)' in text


REFUSED = {
    'resize(x, scale=2, mode="cubic")': "the mode is one of nearest, nearest-exact, linear",
    'resize(x, scale=2, mode="linear")': 'the mode "linear" is for 1 axes after [B, C], not 2',
    "resize(x)": "needs `scale=` or `size=`",
    "resize(x, scale=2, size=[4, 4])": "needs `scale=` or `size=`, not both",
    "resize(x, size=[4])": "a size above 0, or 2 of them",
    "resize(x, scale=-1)": "a number above 0, or 2 of them",
    "resize(x, scale=2, antialias=true)": "`antialias` means something in the modes bilinear, bicubic",
    "resize(resize(x, size=[2, 2]), scale=0.25)": "nothing is left of 2 elements at a scale of 0.25",
}  # fmt: skip


@pytest.mark.parametrize("call", REFUSED)
def test_refused(call: str) -> None:
    found = dlc.loads(f"model Net()(x: [B, C, H, W]) -> _ {{\n    return {call}\n}}\n").check()
    assert len(found) == 1 and REFUSED[call] in found[0].message
