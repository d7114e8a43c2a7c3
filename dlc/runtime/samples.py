"""Samples that a run writes while it trains: pictures as PNG, tokens as text, into `samples` in its folder.

They are made of one batch, the first that is held out (or trained on, where none is), and of draws that are the same every time: what
changes from one to the next is what the networks have learned."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.runtime import run_folder
from dlc.runtime.data.tokens import Tokenizer
from dlc.writing import write

Array = NDArray[Any]
FOLDER = "samples"
MOST_PICTURES, MOST_TEXTS = 64, 16
GAP = 2  # pixels between pictures
COLOURS = {1: 0, 3: 2, 4: 6}  # of PNG, by channels


def write_samples(out: Path, step: int, made: Mapping[str, Array], tokenizer: Tokenizer | None) -> None:
    """The samples after a step, each in a file of its own. Raises OSError."""
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    for name, value in made.items():
        is_text = value.dtype.kind == "i"
        content = text(value, tokenizer) if is_text else png(grid(_pixels(value)))
        path = folder / f"{name}-{step:08}.{'txt' if is_text else 'png'}"
        write(path, content, staging=run_folder.STAGING)


def text(tokens: Array, tokenizer: Tokenizer | None) -> str:
    """Rows of tokens as text, or as numbers where no tokenizer says what they are."""
    rows = np.atleast_2d(tokens)[:MOST_TEXTS].tolist()
    if tokenizer is None:
        return "".join(f"{' '.join(map(str, row))}\n" for row in rows)
    # (A network may have more tokens than the data.)
    known = ([each for each in row if 0 <= each < tokenizer.vocabulary] for row in rows)
    return "\n---\n".join(map(tokenizer.decode, known)) + "\n"


def _pixels(pictures: Array) -> Array:
    """Bytes [N, H, W, C] of pictures: floats from 0 to 1, or bytes."""
    channels_last = pictures[..., None] if pictures.ndim == 3 else np.moveaxis(pictures, 1, -1)
    if channels_last.dtype == np.uint8:
        return channels_last
    return (np.nan_to_num(channels_last, nan=0.0).clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


def grid(pictures: Array) -> Array:
    """Pictures [N, H, W, C] as one, side by side in rows."""
    count, height, width, channels = pictures[:MOST_PICTURES].shape
    across = max(1, math.ceil(math.sqrt(count)))
    down = max(1, math.ceil(count / across))
    size = (down * (height + GAP) - GAP, across * (width + GAP) - GAP, channels)
    whole = np.zeros((max(size[0], 1), max(size[1], 1), channels), np.uint8)
    for i, each in enumerate(pictures[:MOST_PICTURES]):
        y, x = i // across * (height + GAP), i % across * (width + GAP)
        whole[y : y + height, x : x + width] = each
    return whole


def png(pixels: Array) -> bytes:
    """A picture [H, W, C] of bytes as a file."""
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(*each) for each in parts)


def _part(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
