"""Patterns of tensor names in `weights` blocks: `*` is one part or a piece of one, `**` any number, `{e}` a named part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from dlc.diagnostics import did_you_mean
from dlc.elaborate.base.wildcards import ANY, Runs, captures, fits, part_pattern, runs

_PIECE = re.compile(r"(\*\*|\*|\{\w+\})")

_NUMBER = re.compile(r"\.\d+(?=\.)")


@cache
def pieces(pattern: str) -> tuple[str, ...]:
    """What the open pieces of a pattern are called: stars by their number, `{e}` by its name."""
    found: list[str] = []
    for piece in _PIECE.findall(pattern):
        found.append(piece[1:-1] if piece.startswith("{") else str(sum(each.isdigit() for each in found)))
    return tuple(found)


@cache
def _split(pattern: str) -> tuple[tuple[str, ...], str]:
    """The pieces of a pattern, and the longest that is written out."""
    parts = tuple(filter(None, _PIECE.split(pattern)))
    return parts, max((each for each in parts if not _PIECE.fullmatch(each)), key=len, default="")


def match(pattern: str, name: str) -> dict[str, str] | None:
    """What the open pieces of a pattern stand for in a name, each as long as it can be, the first ones first; None where it does not
    fit."""
    parts, longest = _split(pattern)
    if longest not in name:  # of many names and patterns most part here
        return None
    found = captures(parts, name)
    return None if found is None else dict(zip(pieces(pattern), found, strict=True))


def near(pattern: str, names: Iterable[str]) -> str:
    """Help with what a pattern that matches nothing was likely meant to be, open where it is open."""
    forms = set(names)
    if "*" in pattern:
        forms |= {_NUMBER.sub(".*", name) for name in forms}
        forms |= {f"{name.rpartition('.')[0]}.*" for name in forms if "." in name}
    if "**" in pattern:
        parts = [name.split(".") for name in forms]
        forms |= {".".join(part[:i]) + ".**" for part in parts for i in range(1, len(part))}
    return did_you_mean(pattern, forms)


def fill(pattern: str, captured: Mapping[str, str]) -> str:
    """A pattern with its open pieces filled in. Raises KeyError for a piece that nothing was captured for."""
    keys = iter(pieces(pattern))
    parts = [captured[next(keys)] if _PIECE.fullmatch(piece) else piece for piece in _PIECE.split(pattern)]
    return "".join(parts)


def matches(pattern: str, path: str) -> bool:
    """Whether a path pattern fits: `*` is one part or a piece of one, `**` any number of parts, of which a last one has at
    least one."""
    runs, longest = _runs(pattern)
    return longest in path and fits(runs, path.split("."))


@cache
def _runs(pattern: str) -> tuple[Runs, str]:
    """The parts of a pattern, and the longest piece of one that is written out: of many paths most lack it."""
    parts = pattern.split(".")
    if parts[-1] == ANY:
        parts.append("*")  # what stands below something is not that itself
    pieces = [piece for part in parts for piece in part.split("*")]
    return runs(part if part == ANY else part_pattern(part) for part in parts), max(pieces, key=len)
