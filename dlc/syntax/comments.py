"""What comments of a spec say, as text."""

from __future__ import annotations

from collections.abc import Mapping


def comment_text(comment: str) -> str:
    """A comment without what makes it one."""
    return comment.removeprefix("#").removeprefix(" ")


def comment_above(line: int, alone: Mapping[int, str]) -> str:
    """The text of the comment lines directly above a line; `alone` are those that have a line for themselves."""
    first = line
    while first - 1 in alone:
        first -= 1
    return "\n".join(comment_text(alone[each]) for each in range(first, line))
