"""Axes that a function has any number of, in comments: `[B, *S]` as the spec has it, where nothing reads their sizes.

def quick_gelu(x: Tensor) -> Tensor:  # [B, S0, S1] -> [B, S0, S1]     ->     # [B, *S] -> [B, *S]
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dlc.emit.body import Lines
from dlc.emit.settled import QUOTES, parted

_NUMBERED = re.compile(r"\b([A-Z])\d\b")
_RUN = re.compile(r"\b([A-Z])0(?:, \1[1-9])*(?!\w)")


def with_stars(block: Lines) -> Lines:
    """The lines of a function or class, in whose comments axes that are numbered from 0 and read nowhere are one word."""
    sides = list(_sides(block))
    read = {found[1] for code, _ in sides for found in _NUMBERED.finditer(code)}
    runs = {found[0] for _, comment in sides for found in _RUN.finditer(comment)}
    free = {run[0]: run for run in runs} if len({run[0] for run in runs}) == len(runs) else {}
    # (A shorter run of the same letter is other axes.)
    loose = {found[1] for _, comment in sides for found in _NUMBERED.finditer(_RUN.sub("", comment))}
    free = {letter: run for letter, run in free.items() if letter not in read | loose}
    if not free:
        return block
    return [code + _RUN.sub(lambda found: f"*{found[1]}" if found[1] in free else found[0], comment)
            for code, comment in sides]  # fmt: skip


def _sides(block: Lines) -> Iterator[tuple[str, str]]:
    """The code of each line and its comment; all of a docstring is comment."""
    inside = False
    for line in block:
        is_doc = inside or line.lstrip().startswith(QUOTES)
        inside ^= line.count(QUOTES) % 2 == 1
        yield ("", line) if is_doc else parted(line)
