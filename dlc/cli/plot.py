"""Curves as text: dots of braille, eight to a character; stars where the output has no place for these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 10
_BLANK = 0x2800
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


def plot(name: str, points: Sequence[tuple[int, float]], file: TextIO, width: int = WIDTH) -> list[str]:
    """A curve under its name, as lines for `file`; nothing for less than two numbers."""
    steps, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    there = np.isfinite(values)
    steps, values = steps[there], values[there]
    if len(values) < 2:
        return []
    is_plain = not (file.encoding or "").lower().startswith("utf")
    rows = _stars(_cells(steps, values, width, HEIGHT)) if is_plain else _braille(steps, values, width)
    ends = [f"{values.max():.4g}", *[""] * (HEIGHT - 2), f"{values.min():.4g}"]
    margin = max(map(len, ends))
    lines = [
        f"{end.rjust(margin)} {'|' if is_plain else '│'}{row}" for end, row in zip(ends, rows, strict=True)
    ]
    first, last = f"{int(steps[0]):,}", f"{int(steps[-1]):,}"
    below = f"{' ' * (margin + 2)}{first}{last.rjust(width - len(first))}"
    return [f"{' ' * (margin + 2)}{name}", *(line.rstrip() for line in lines), below]


def _braille(steps: NDArray[np.float64], values: NDArray[np.float64], width: int) -> list[str]:
    down, across = _DOTS.shape
    cells = _cells(steps, values, width * across, HEIGHT * down)
    codes = np.einsum("hdwa,da->hw", cells.reshape(HEIGHT, down, width, across).astype(int), _DOTS)
    return ["".join(chr(_BLANK + int(code)) if code else " " for code in row) for row in codes]


def _stars(cells: NDArray[np.bool_]) -> list[str]:
    return ["".join("*" if each else " " for each in row) for row in cells]


def _cells(
    steps: NDArray[np.float64], values: NDArray[np.float64], width: int, height: int
) -> NDArray[np.bool_]:
    """Which dots of a field lie on the curve: in each column from next to the last of the one before."""
    seen = np.interp(np.linspace(steps[0], steps[-1], width), steps, values)
    low, high = values.min(), values.max()
    level = np.rint((high - seen) / ((high - low) or 1.0) * (height - 1)).astype(int)
    before = np.concatenate([level[:1], level[:-1]])
    begin = before + np.sign(level - before)
    rows = np.arange(height)[:, None]
    joined: NDArray[np.bool_] = (rows >= np.minimum(begin, level)) & (rows <= np.maximum(begin, level))
    return joined
