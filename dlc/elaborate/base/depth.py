"""Room for recursion: elaborating a deeply nested spec takes more frames than Python allows by default."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
FRAMES = 8_000


def deep(work: Callable[P, R]) -> Callable[P, R]:
    """`work` with room for the deepest spec that the parser and the limit on nested calls let through."""

    @wraps(work)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        before = sys.getrecursionlimit()
        if before >= FRAMES:
            return work(*args, **kwargs)
        sys.setrecursionlimit(FRAMES)
        try:
            return work(*args, **kwargs)
        finally:
            sys.setrecursionlimit(before)

    return inside
