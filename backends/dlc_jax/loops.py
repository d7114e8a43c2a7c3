"""Statements about paths, with those of equal consecutive blocks as loops.

h.0.ln: a    h.0.fc: b    h.1.ln: a    h.1.fc: b        ->      for i in range(2):
                                                                    f"h.{i}.ln": a
                                                                    f"h.{i}.fc": b
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby

from dlc.emit.layout import INDENT
from dlc.emit.python import quoted

Parts = tuple[str, ...]
"""A path's parts; inside of loops with a mark for the index."""
Item = tuple[Parts, Hashable]
Say = Callable[[Parts, Hashable, int], Iterator[str]]
"""The lines that say an item, so many levels in."""

_MARK = "\0"  # no label of a spec holds it
_INDICES = "ijkl"
_NUMBER = re.compile(r"[0-9]+")


def statements(items: Sequence[Item], say: Say, indent: int = 1) -> Iterator[str]:
    """The statements for all items. A loop takes two turns at least, three where a part is no bare number."""
    return _block(items, say, (), indent, 0)


def is_looped(part: str) -> bool:
    """Whether a part has the index of a loop in it."""
    return _MARK in part


def literal(parts: Parts) -> str:
    """A path's source: an f-string inside of loops."""
    path = ".".join(parts)
    if _MARK not in path:
        return quoted(path)
    texts = path.replace("{", "{{").replace("}", "}}").split(_MARK)
    # Texts and names of indices take turns.
    return "f" + quoted("".join(f"{{{each}}}" if i % 2 else each for i, each in enumerate(texts)))


def _block(items: Sequence[Item], say: Say, before: Parts, indent: int, depth: int) -> Iterator[str]:
    """Items whose paths begin with `before`, which has been taken off."""
    for (head, whole), found in groupby(items, key=lambda item: (_head(item[0]), _head(item[0]) == item[0])):
        run = list(found)
        if whole:
            for parts, body in run:
                yield from say((*before, *parts), body, indent)
        else:
            below = [(parts[len(head) :], body) for parts, body in run]
            yield from _indexed(below, say, (*before, *head), indent, depth)


def _indexed(items: Sequence[Item], say: Say, before: Parts, indent: int, depth: int) -> Iterator[str]:
    """Items whose path goes on with a part that has a number."""
    blocks = [
        (part, tuple((parts[1:], body) for parts, body in found))
        for part, found in groupby(items, key=lambda item: item[0][0])
    ]
    while blocks:
        (part, block), count = blocks[0], 1
        while count < len(blocks) and blocks[count] == (_counted(part, count), block):
            count += 1
        if count > (1 if part.isdigit() else 2) and depth < len(_INDICES):
            start, index, end = _index(part)
            name = _INDICES[depth]
            yield f"{INDENT * indent}for {name} in range({f'{index}, ' if index else ''}{index + count}):"
            looped = f"{start}{_MARK}{name}{_MARK}{end}"
            yield from _block(block, say, (*before, looped), indent + 1, depth + 1)
        else:
            count = 1
            yield from _block(block, say, (*before, part), indent, depth)
        blocks = blocks[count:]


def _head(parts: Parts) -> Parts:
    """The parts before the first that has a number."""
    return parts[: next((i for i, part in enumerate(parts) if _NUMBER.search(part)), len(parts))]


def _index(part: str) -> tuple[str, int, str]:
    """What stands before the number of a part, the number, and what stands behind."""
    match = _NUMBER.search(part)
    assert match is not None
    return part[: match.start()], int(match[0]), part[match.end() :]


def _counted(part: str, by: int) -> str:
    """The part with its number increased."""
    start, number, end = _index(part)
    return f"{start}{number + by}{end}"
