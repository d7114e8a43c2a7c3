"""Patterns of tensor names in `weights` blocks: `*` is one part or a piece of one, `**` any number, `{e}` a named part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from dlc.diagnostics import did_you_mean
from dlc.elaborate.base.wildcards import ANY, captures, fitting

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


def below(name: str, paths: Iterable[str]) -> str:
    """Help with the name of a part, a network say, that stands for what lies below it."""
    is_part = any(path.startswith(f"{name}.") for path in paths)
    return f'what lies below it is `"{name}.**"`' if is_part else ""


def near(pattern: str, names: Iterable[str]) -> str:
    """Help with what a pattern that matches nothing was likely meant to be, open where it is open."""
    forms = set(names)
    if found := below(pattern, forms):
        return found
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
    return bool(_fitting(pattern)(path))


@cache
def _fitting(pattern: str) -> Callable[[str], object]:
    below = pattern.split(".")[-1] == ANY  # what stands below something is not that itself
    return fitting(f"{pattern}.*" if below else pattern)
