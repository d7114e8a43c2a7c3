"""Room for recursion: elaborating a deeply nested spec takes more frames than Python allows by default."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
FRAMES = 8_000
ROOM = 1 << 16
"""Words of memory for frames, in one piece: half a megabyte, of which what is not used costs nothing."""


def deep(work: Callable[P, R]) -> Callable[P, R]:
    """`work` with room for the deepest spec that the parser and the limit on nested calls let through."""

    @wraps(work)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        before = sys.getrecursionlimit()
        if before >= FRAMES:
            return work(*args, **kwargs)
        sys.setrecursionlimit(FRAMES)
        try:
            return _in_one_piece(partial(work, *args, **kwargs))
        finally:
            sys.setrecursionlimit(before)

    return inside


def _in_one_piece(work: Callable[[], R]) -> R:
    """CPython takes memory for frames in pieces of 16 KB, and gives a piece back as soon as its last frame ends. Recursion that goes up
    and down over the edge of one asks the system for it thousands of times, a fifth of all time. A piece is at least twice as
    large as the frame that it is taken for, so this frame says that it needs much, and what it calls has the other half."""
    return work()


_in_one_piece.__code__ = _in_one_piece.__code__.replace(co_stacksize=ROOM)
