"""What the library's augmentations do to a batch, in NumPy, one row after another: the draws come in the order of the spec's text."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

Array = np.ndarray
Draws = Iterator[Array]


def flipped(x: Array, draws: Draws, axis: int, p: float) -> Array:
    chosen = next(draws)[:, 0, 0, 0] < np.float32(p)
    return np.stack([np.flip(row, axis) if each else row for row, each in zip(x, chosen, strict=True)])


def cropped(x: Array, draws: Draws, size: int | None, padding: int, fill: float) -> Array:
    around = ((0, 0), (padding, padding), (padding, padding))
    h, w = (size or x.shape[2]), (size or x.shape[3])
    tops, lefts = next(draws).ravel(), next(draws).ravel()
    rows = []
    for row, top, left in zip(x, tops, lefts, strict=True):
        wide = np.pad(row, around, constant_values=fill)
        i = int(top * np.float32(wide.shape[1] - h + 1))
        j = int(left * np.float32(wide.shape[2] - w + 1))
        rows.append(wide[:, i : i + h, j : j + w])
    return np.stack(rows)


def shifted(x: Array, draws: Draws, by: int) -> Array:
    downs, rights = next(draws).ravel(), next(draws).ravel()
    rows = []
    for row, down, right in zip(x, downs, rights, strict=True):
        wide = np.pad(row, ((0, 0), (by, by), (by, by)), mode="edge")
        i, j = int(down * np.float32(2 * by + 1)), int(right * np.float32(2 * by + 1))
        rows.append(wide[:, i : i + x.shape[2], j : j + x.shape[3]])
    return np.stack(rows)


def affine(
    x: Array,
    draws: Draws,
    degrees: float,
    translate: tuple[float, float],
    scale: tuple[float, float],
    shear: float,
    fill: float,
) -> Array:
    """By matrices: move, turn, enlarge and shear about the middle, in pixels; and PyTorch's grid and reading."""
    turns, leans, sizes, rights, downs = (next(draws).ravel().astype(np.float64) for _ in range(5))
    h, w = x.shape[2:]
    thetas = []
    for i in range(len(x)):
        turn, lean = np.radians((2 * turns[i] - 1) * degrees), np.radians((2 * leans[i] - 1) * shear)
        size = scale[0] + sizes[i] * (scale[1] - scale[0])
        right, down = (
            np.round((2 * u[i] - 1) * t * n)
            for u, t, n in zip((rights, downs), translate, (w, h), strict=True)
        )
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        forward = size * rotation @ np.array([[1, -np.tan(lean)], [0, 1]])
        back = np.linalg.inv(forward)
        from_unit, to_unit = np.diag([w / 2, h / 2]), np.diag([2 / w, 2 / h])
        moved = to_unit @ back @ -np.array([right, down])
        thetas.append(np.column_stack([to_unit @ back @ from_unit, moved]))
    theta = torch.from_numpy(np.stack(thetas))
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    read = F.grid_sample(torch.from_numpy(x.astype(np.float64) - fill), grid, align_corners=False)
    found: Array = read.numpy() + fill
    return found


def grey(x: Array) -> Array:
    return np.tensordot(np.array([0.2989, 0.587, 0.114]), x, axes=(0, 0))[None]


def jittered(
    x: Array, draws: Draws, brightness: float, contrast: float, saturation: float, hue: float
) -> Array:
    """Colours by the standard library's `colorsys`, pixel by pixel."""

    def factor(most: float) -> Array:
        low = max(1 - most, 0)
        return low + next(draws).ravel() * (1 + most - low)

    bright, apart, full = factor(brightness), factor(contrast), factor(saturation)
    turns = (2 * next(draws).ravel() - 1) * hue
    rows = []
    for i, row in enumerate(x.astype(np.float64)):
        row = np.clip(row * bright[i], 0, 1)
        row = np.clip(row * apart[i] + grey(row).mean() * (1 - apart[i]), 0, 1)
        row = np.clip(row * full[i] + grey(row) * (1 - full[i]), 0, 1)
        for at in np.ndindex(row.shape[1:]):
            h, s, v = colorsys.rgb_to_hsv(*row[(slice(None), *at)])
            row[(slice(None), *at)] = colorsys.hsv_to_rgb((h + turns[i]) % 1, s, v)
        rows.append(row)
    return np.stack(rows)


def grayed(x: Array, draws: Draws, p: float) -> Array:
    chosen = next(draws).ravel() < np.float32(p)
    return np.stack(
        [np.broadcast_to(grey(r), r.shape) if each else r for r, each in zip(x, chosen, strict=True)]
    )


def noisy(x: Array, draws: Draws, mean: float, sigma: float, clip: bool) -> Array:
    found: Array = x + next(draws) * sigma + mean
    return np.clip(found, 0, 1) if clip else found


def erased(
    x: Array, draws: Draws, p: float, scale: tuple[float, float], ratio: tuple[float, float], value: float
) -> Array:
    areas, aspects, tops, lefts, chances = (next(draws).astype(np.float64) for _ in range(5))
    h, w = x.shape[2:]
    result = x.copy()
    for i in range(len(x)):
        if chances[i].item() >= p:
            continue
        for k in range(10):
            area = h * w * (scale[0] + areas[i, k] * (scale[1] - scale[0]))
            aspect = np.exp(np.log(ratio[0]) + aspects[i, k] * (np.log(ratio[1]) - np.log(ratio[0])))
            high, wide = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if high < h and wide < w:
                top, left = int(tops[i].item() * (h - high + 1)), int(lefts[i].item() * (w - wide + 1))
                result[i, :, top : top + high, left : left + wide] = value
                break
    return result


def cut_out(x: Array, draws: Draws, size: int, fill: float) -> Array:
    tops, lefts = next(draws).ravel(), next(draws).ravel()
    result = x.copy()
    for row, top, left in zip(result, tops, lefts, strict=True):
        i, j = int(top * np.float32(x.shape[2])) - size // 2, int(left * np.float32(x.shape[3])) - size // 2
        row[:, max(i, 0) : max(i + size, 0), max(j, 0) : max(j + size, 0)] = fill
    return result


def masked(
    x: Array, draws: Draws, time: int, frequency: int, times: int, bands: int, p: float, fill: float
) -> Array:
    rows, steps, features = x.shape
    result = x.copy()
    for turns, n, most, axis in [
        (times, steps, min(time, int(steps * p)), 0),
        (bands, features, min(frequency, features), 1),
    ]:
        # A loop's draws are one sequence: an entry a turn.
        lengths, starts = (next(draws).reshape(turns, rows) if turns else () for _ in range(2))
        for us, vs in zip(lengths, starts, strict=True):
            for row, u, v in zip(result, us, vs, strict=True):
                length = int(u * np.float32(most + 1))
                start = int(v * np.float32(n - length + 1))
                np.moveaxis(row, axis, 0)[start : start + length] = fill
    return result


def dropped(x: Array, draws: Draws, mask: int, p: float) -> Array:
    return np.where(next(draws) < np.float32(p), mask, x)


def gamma(draws: Draws, alpha: float) -> Array:
    """Marsaglia and Tsang's draws, of which the first that is taken counts, times u ** (1 / alpha)."""
    z, u, last = (next(draws).astype(np.float64) for _ in range(3))
    d = alpha + 1 - 1 / 3
    found = []
    for i in range(len(z)):
        for normal, uniform in zip(z[i], u[i], strict=True):
            v = (1 + normal / np.sqrt(9 * d)) ** 3
            if v > 0 and np.log(1 - uniform) < 0.5 * normal**2 + d - d * v + d * np.log(v):
                found.append(d * v * (1 - last[i]) ** (1 / alpha))
                break
    return np.array(found)


def beta(draws: Draws, alpha: float) -> Array:
    if alpha == 1.0:
        return next(draws)
    one, other = gamma(draws, alpha), gamma(draws, alpha)
    found: Array = one / (one + other)
    return found


def mixed(x: Array, kept: Array) -> Array:
    return np.stack([kept[i] * x[i] + (1 - kept[i]) * x[i - 1] for i in range(len(x))])


def mixed_rows(x: Array, target: Array, draws: Draws, alpha: float) -> tuple[Array, Array]:
    kept = beta(draws, alpha)
    return mixed(x, kept), mixed(target, kept)


def cut_and_mixed(x: Array, target: Array, draws: Draws, alpha: float) -> tuple[Array, Array]:
    kept = beta(draws, alpha)
    tops, lefts = next(draws).ravel(), next(draws).ravel()
    h, w = x.shape[2:]
    result, shares = x.copy(), []
    for i in range(len(x)):
        half = 0.5 * np.sqrt(1 - kept[i])
        y, z = int(tops[i] * np.float32(h)), int(lefts[i] * np.float32(w))
        high, wide = int(half * h), int(half * w)
        box = (
            slice(None),
            slice(max(y - high, 0), min(y + high, h)),
            slice(max(z - wide, 0), min(z + wide, w)),
        )
        result[i][box] = x[i - 1][box]
        shares.append(1 - x[i][box][0].size / (h * w))
    return result, mixed(target, np.array(shares))
