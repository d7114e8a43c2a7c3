"""`affine_grid` and `grid_sample` against PyTorch's: numbers, gradients, edges; and on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import dlc
from dlc.runtime.interpret import run

SHAPES = ((2, 3, 6, 5), (1, 1, 1, 1), (3, 2, 1, 7))
HOW = [
    (mode, around, aligned)
    for mode in ("bilinear", "nearest")
    for around in ("zeros", "border")
    for aligned in (False, True)
]


def written(mode: str, around: str, aligned: bool) -> str:
    return f'mode="{mode}", padding_mode="{around}", align_corners={str(aligned).lower()}'


def sampled(x: np.ndarray, grid: np.ndarray, *how: Any) -> np.ndarray:
    text = "model Net()(x: [B, C, H, W], grid: [B, h, w, 2]) -> y: [B, C, h, w] {\n"
    text += f"    return grid_sample(x, grid, {written(*how)})\n}}\n"
    found: np.ndarray = run(dlc.loads(text)["Net"].program, {}, {"x": x, "grid": grid})["y"]
    return found


def torchs(x: np.ndarray, grid: np.ndarray, mode: str, around: str, aligned: bool) -> np.ndarray:
    tensors = torch.from_numpy(x), torch.from_numpy(grid)
    return F.grid_sample(*tensors, mode=mode, padding_mode=around, align_corners=aligned).numpy()


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pixels_are_pytorchs(shape: tuple[int, ...], how: tuple[str, str, bool]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    grid = rng.uniform(-1.6, 1.6, (shape[0], 4, 5, 2)).astype(np.float32)
    np.testing.assert_allclose(sampled(x, grid, *how), torchs(x, grid, *how), rtol=1e-5, atol=4e-6)


@pytest.mark.parametrize("how", HOW, ids=str)
def test_far_places_and_those_at_edges(how: tuple[str, str, bool]) -> None:
    """Whole pixels, halves, the outermost edges, and places that no integer of 32 bits holds."""
    line = np.array([-np.inf, -1e30, -3, -1.5, -1.25, -1, -0.75, -0.5, 0, 0.25, 1, 1.25, 2, 1e30, np.inf])
    grid = np.stack(np.meshgrid(line, line), axis=-1)[None].astype(np.float32)
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    finite = np.isfinite(grid).all(axis=-1)[0]
    found, wanted = sampled(x, grid, *how)[0, 0], torchs(x, grid, *how)[0, 0]
    np.testing.assert_allclose(found[finite], wanted[finite], rtol=1e-6)
    # At an infinite place PyTorch's answer depends on the processor; here it is that of places far outside.
    near = np.clip(grid, -1e30, 1e30)
    np.testing.assert_array_equal(found, sampled(x, near, *how)[0, 0])


def test_what_is_infinite_stays_where_it_is() -> None:
    x = np.array([[[[np.inf, 1.0], [2.0, 3.0]]]], np.float32)
    grid = np.array([[[[1.0, 1.0], [1.0, -1.0], [5.0, 5.0]]]], np.float32)
    for how in HOW:
        np.testing.assert_array_equal(np.isfinite(sampled(x, grid, *how)), True)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.filterwarnings("ignore:Since version")
def test_grids_are_pytorchs(aligned: bool) -> None:
    theta = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32)
    for h, w in ((4, 5), (1, 3), (1, 1)):
        text = "model Net()(theta: [B, 2, 3]) -> y: [B, _, _, 2] {\n"
        text += f"    return affine_grid(theta, {h}, {w}, align_corners={str(aligned).lower()})\n}}\n"
        found = run(dlc.loads(text)["Net"].program, {}, {"theta": theta})["y"]
        wanted = F.affine_grid(torch.from_numpy(theta), [3, 1, h, w], align_corners=aligned).numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


EVERYWHERE = """
model Net()(x: [B, 2, H, 5], theta: [B, 2, 3]) -> _ {
    grid = affine_grid(theta, 4, 6)
    a = grid_sample(x, grid)
    b = grid_sample(x, grid, padding_mode="border")
    c = grid_sample(x, affine_grid(theta, H, 3, align_corners=true), align_corners=true)
    return a, b, c
}
"""
NEAREST = """
model Net()(x: [B, 2, 3, 5], grid: [B, 4, 6, 2]) -> _ {
    return grid_sample(x, grid, mode="nearest"), grid_sample(x, grid, mode="nearest", padding_mode="border")
}
"""


def test_backends() -> None:
    """Gradients by x and by the places are those of the definition, also where PyTorch has rules of its own for them."""
    model = dlc.loads(EVERYWHERE)["Net"]
    found = dlc.verify(model, backends=("torch", "jax"), gradients=True)
    assert found.agree, str(found)
    for text in (EVERYWHERE.replace("H", "3"), NEAREST):
        found = dlc.verify(dlc.loads(text)["Net"], backends=("torch", "jax", "onnx", "tvm"))
        assert found.agree, str(found)


def test_backends_say_it_in_one_call() -> None:
    model = dlc.loads(EVERYWHERE)["Net"]
    text = next(iter(model.emit("torch").files.values()))
    assert "F.affine_grid(theta, (B, 1, 4, 6), align_corners=False)" in text
    assert "F.grid_sample(x, grid, align_corners=False)" in text
    assert 'F.grid_sample(x, grid, padding_mode="border", align_corners=False)' in text
    assert any(file.count(b"GridSample") for file in map(bytes, as_bytes(model.emit("onnx").files)))


def as_bytes(files: Any) -> list[bytes]:
    return [each if isinstance(each, bytes) else str(each).encode() for each in files.values()]


EMPTY = """
model Net()(x: [B, 2, H, 5], theta: [B, 2, 3]) -> y: [B, 2, 4, 6]
    where 0 <= B, 0 <= H
{
    return grid_sample(x, affine_grid(theta, 4, 6))
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
def test_what_is_empty(backend: str) -> None:
    """Of no rows come none, and an image without pixels is all outside."""
    net = dlc.loads(EMPTY)["Net"].compile(backend, weights={})
    for rows, height in ((0, 3), (2, 0), (0, 0)):
        found = net(x=np.ones((rows, 2, height, 5), np.float32), theta=np.ones((rows, 2, 3), np.float32))["y"]
        np.testing.assert_array_equal(found, np.zeros((rows, 2, 4, 6)))


@pytest.mark.parametrize("call", ['mode="bicubic"', 'padding_mode="reflection"'])
def test_refused(call: str) -> None:
    text = f"model Net()(x: [B, C, H, W], grid: [B, h, w, 2]) -> _ {{\n    return grid_sample(x, grid, {call})\n}}\n"
    found = dlc.loads(text).check()
    assert len(found) == 1 and found[0].code == "E0208" and call.split('"')[1] in found[0].message, found
