"""Patterns of tensor names in `weights` blocks: `*` is one part or a piece of one, `**` any number, `{e}` a named part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from dlc.diagnostics import did_you_mean

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
def _expression(pattern: str) -> re.Pattern[str]:
    groups = {"*": "([^.]*)", "**": "(.*)"}
    parts = [
        (groups.get(piece, "([^.]+)") if _PIECE.fullmatch(piece) else re.escape(piece))
        for piece in _PIECE.split(pattern)
    ]
    return re.compile("".join(parts))


def match(pattern: str, name: str) -> dict[str, str] | None:
    """What the open pieces of a pattern stand for in a name; None where it does not fit."""
    found = _expression(pattern).fullmatch(name)
    return dict(zip(pieces(pattern), found.groups(), strict=True)) if found else None


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
    """Whether a path pattern fits: `*` is one part or a piece of one, `**` any number of parts."""
    return _compiled(pattern).fullmatch(path) is not None


_PATTERNS: dict[str, re.Pattern[str]] = {}


def _compiled(pattern: str) -> re.Pattern[str]:
    found = _PATTERNS.get(pattern)
    if found is None:
        parts = []
        for part in pattern.split("."):
            if part == "**":
                parts.append("**")
            else:
                parts.append(
                    "".join("[^.]*" if each == "*" else re.escape(each) for each in re.split(r"(\*)", part))
                )
        text = ""
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            if part == "**":
                text += ".*" if last else "(?:.*\\.)?"
            else:
                text += part + ("" if last else "\\.")
        found = _PATTERNS[pattern] = re.compile(text)
    return found
