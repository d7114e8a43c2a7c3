"""`text`: windows of `length` tokens of a text file.

Tokens are the characters, numbered in their sorted order over the whole file (of held-out data as in the
training data), the bytes, or those of a tokenizer file. A window
begins with the last token of the one before, so that of each the next tokens are predicted once. In
training the first window begins somewhere else in every epoch, unless windows follow each other in streams:
where one epoch ends the next one goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.elaborate.base.sources import STREAMS
from dlc.runtime.data.files import can_t_read
from dlc.runtime.data.tokens import Bytes, chosen
from dlc.source import Field, Request, SourceError

Array = NDArray[Any]


@dataclass(frozen=True)
class Windows:
    """Windows of a stretch of tokens."""

    tokens: Array
    length: int
    vocabulary: int
    about: Mapping[str, Any]
    in_streams: bool = False

    @property
    def fields(self) -> dict[str, Field]:
        return {"tokens": Field("i64", (self.length,), self.vocabulary)}

    @property
    def arrays(self) -> dict[str, Array]:
        return {"tokens": self.tokens}

    @property
    def stride(self) -> int:
        return max(1, self.length - 1)

    def __len__(self) -> int:
        """So many that the first window may begin anywhere in the first stride, but at least one."""
        return max(1, (len(self.tokens) - self.length + 1) // self.stride)

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> dict[str, Array]:
        starts = index * self.stride + (0 if epoch is None else self._shift(epoch))
        return {"tokens": self.tokens[starts[:, None] + np.arange(self.length)]}

    def share(self, low: float, high: float) -> Windows:
        """A share of the tokens in their order: windows overlap, and those of one part must not reach into another. Raises
        SourceError where it is shorter than a window."""
        start, stop = (round(each * len(self.tokens)) for each in (low, high))
        part = self.tokens[start:stop]
        if len(part) < self.length:
            found = f"the share from {low:g} to {high:g} has {len(part):,} tokens"
            raise SourceError(f"{found}, fewer than one window of {self.length}")
        return replace(self, tokens=part)

    def _shift(self, epoch: tuple[int, int]) -> int:
        if self.in_streams:
            return 0
        room = len(self.tokens) - self.length - (len(self) - 1) * self.stride
        return int(np.random.default_rng(epoch).integers(0, min(room, self.stride - 1) + 1))


def open_rows(request: Request) -> Windows:
    """tokens: i64[_, length]. Raises SourceError for a file that can't be read or is shorter than one
    window."""
    options = request.options
    path = request.path("path")
    tokens, about = _tokens(path, _content(path), request)
    start, stop = (round(options[name] * len(tokens)) for name in ("start", "stop"))
    part = tokens[start:stop]
    if len(part) < options["length"]:
        found = f"{path} has {len(part):,} tokens from start to stop"
        raise SourceError(f"{found}, fewer than one window of {options['length']}")
    in_streams = options["order"] == STREAMS
    return Windows(part, options["length"], about["vocabulary"], about, in_streams)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise can_t_read(path, error) from None


def _tokens(path: Path, content: bytes, request: Request) -> tuple[Array, dict[str, Any]]:
    if request.options["tokenizer"] == "byte":  # of any file
        return np.frombuffer(content, np.uint8).astype(np.int64), Bytes().about
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        help = 'tokenizer="byte" takes any file'
        raise SourceError(f"the text is no UTF-8: {error.reason} at byte {error.start:,}", help) from None
    tokenizer = chosen(request, text)
    try:
        return tokenizer.encode(text), tokenizer.about
    except SourceError as error:
        raise SourceError(f"{path}, {error}", error.help) from None
