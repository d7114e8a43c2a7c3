"""Matching names with wildcards in a time that no pattern makes explode, as backtracking expressions do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

ANY = "**"
_Run = Sequence[re.Pattern[str]]


def fitting(pattern: str) -> Callable[[str], object]:
    """Tells whether a path fits: a part `**` stands for any number of its parts, a `*` in one for any characters of one."""
    runs: list[list[str]] = [[]]
    for part in pattern.split("."):
        if part == ANY:
            runs.append([])
        else:
            runs[-1].append(_expression(part))
    if len(runs) == 1:
        return re.compile(r"\.".join(runs[0])).fullmatch
    compiled = [[re.compile(part) for part in run] for run in runs]
    return lambda path: _fits(compiled, path.split("."))


def _expression(part: str) -> str:
    """What one part of a path fits. Where a piece between two stars stands first is as good as any later place, so nothing is
    tried twice."""
    head, *others = map(re.escape, part.split("*"))
    if not others:
        return head
    *middle, tail = others
    found = "".join(f"(?>[^.]*?{each})" for each in middle if each)
    return f"{head}{found}[^.]*{tail}"


def _fits(runs: Sequence[_Run], path: Sequence[str]) -> bool:
    """Whether runs of parts with `**` between them fit a path."""
    head, *middle, tail = runs
    at, end = len(head), len(path) - len(tail)
    if at > end or not (_stands(head, path, 0) and _stands(tail, path, end)):
        return False
    for run in middle:
        while at + len(run) <= end and not _stands(run, path, at):
            at += 1
        at += len(run)
        if at > end:
            return False
    return True


def _stands(run: _Run, path: Sequence[str], at: int) -> bool:
    return all(each.fullmatch(path[at + i]) for i, each in enumerate(run))


def captures(pieces: Sequence[str], name: str) -> list[str] | None:
    """What the open pieces among these stand for, in their order: `*` for characters without a dot, `{e}` for one or more of them, `**` for
    any. Each is as long as it can be, the first ones first. None where the name does not fit."""
    if not _in_order(pieces, name):
        return None
    starts, left = [0], [_ends(pieces[0], name, 0)] if pieces else []
    dead: set[tuple[int, int]] = set()  # pieces from which no end was reached, by where they began
    while left:
        at = len(left) - 1
        end = next(left[-1], None)
        if end is None:
            dead.add((at, starts.pop()))
            left.pop()
        elif at + 1 == len(pieces):
            if end == len(name):
                ends = [*starts[1:], end]
                spans = zip(pieces, starts, ends, strict=True)
                return [name[a:b] for piece, a, b in spans if _is_open(piece)]
        elif (at + 1, end) not in dead:
            starts.append(end)
            left.append(_ends(pieces[at + 1], name, end))
    return None


def _in_order(pieces: Iterable[str], name: str) -> bool:
    """Whether the name has all that is written out, one behind the other: what does not is told at once."""
    at = 0
    for piece in pieces:
        if not _is_open(piece):
            at = name.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
    return True


def _is_open(piece: str) -> bool:
    return piece in ("*", ANY) or (piece.startswith("{") and piece.endswith("}"))


def _ends(piece: str, name: str, start: int) -> Iterator[int]:
    """Where a piece that begins there may end, the farthest first."""
    if not _is_open(piece):
        return iter([start + len(piece)] if name.startswith(piece, start) else [])
    dot = name.find(".", start)
    stop = len(name) if dot < 0 or piece == ANY else dot
    return iter(range(stop, start - (not piece.startswith("{")), -1))
