"""`idx`: files in MNIST's format (http://yann.lecun.com/exdb/mnist), gzipped or not.

A header of two zero bytes, a code of the dtype and the number of axes, then the sizes as big-endian 32-bit
numbers; the values follow."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.runtime.data.arrays import ArrayRows, stretch
from dlc.source import Request, SourceError

Array = NDArray[Any]
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def open_rows(request: Request) -> ArrayRows:
    """image: f32[_, 1, h, w] scaled to [0, 1], or the bytes where the batch declares u8; label: i64[_].

    Raises SourceError for files that can't be read or don't belong together."""
    options, wanted = request.options, request.fields
    image = read(request.path("images"))
    if image.ndim == 3:
        image = image[:, None]
    arrays = {"image": image}
    if options["labels"] is not None:
        arrays["label"] = read(request.path("labels")).astype(np.int64)
    rows = stretch(arrays, options["start"], options["stop"])
    if "image" in wanted and wanted["image"].is_float and image.dtype == np.uint8:
        return ArrayRows({**rows.arrays, "image": rows.arrays["image"].astype(np.float32) / 255})
    return rows


def read(path: Path) -> Array:
    """The array of an IDX file. Raises SourceError if there is none, or it is no IDX file."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise SourceError(f"can't read {path}: {reason}") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or not content[3]:
        raise SourceError(f"can't read {path}: it is no IDX file")
    return _values(path, content, np.dtype(_DTYPES[content[2]]), content[3])


def _values(path: Path, content: bytes, dtype: np.dtype[Any], rank: int) -> Array:
    start = 4 + 4 * rank
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(content) != expected:
        raise SourceError(f"can't read {path}: it has {len(content):,} bytes, its header says {expected:,}")
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
