"""Functions and classes that came out as the same text are one.

Instantiations part while it is not known what of their sizes is ever said: `apply_rope` for a picture's patches and for words differs
in the names that comments give to axes, and in nothing that runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dlc.emit.body import Lines
from dlc.emit.layout import WIDTH

_HEAD = re.compile(r"(?:def|class) (\w+)\b")
_COMMENT = re.compile(r"(?:^|  )\s*# .*$")


def without_twins(blocks: Sequence[Lines]) -> list[Lines]:
    """The blocks without those that repeat an earlier one under another name, which all speak of by the earlier one's."""
    found = list(blocks)
    while names := _twins(found):
        found = [lines for lines in found if not (lines and _name(lines) in names)]
        # Not an attribute of that name, a key, or an argument.
        word = re.compile(rf"(?<![\w.\"'])({'|'.join(names)})(?![\w\"']|\s*=[^=])")
        found = [
            _renamed(lines, [word.sub(lambda match: names[match[0]], line) for line in lines])
            for lines in found
        ]
    return found


def _renamed(before: Lines, after: Lines) -> Lines:
    """With calls on one line that a shorter name lets stand there."""
    done: Lines = []
    i = 0
    while i < len(after):
        part = after[i : i + 3]
        whole = part[0] + "".join(line.strip() for line in part[1:])
        if part != before[i : i + 3] and _is_broken(part) and len(whole) <= WIDTH:
            done.append(whole)
            i += 3
        else:
            done.append(after[i])
            i += 1
    return done


def _is_broken(part: Lines) -> bool:
    """Whether three lines are a call whose arguments stand on a line of their own."""
    if len(part) < 3 or not part[0].endswith(("(", "[", "{")) or part[1].endswith((",", "(", "[", "{")):
        return False
    indent = len(part[0]) - len(part[0].lstrip())
    return (
        part[2].startswith((" " * indent + ")", " " * indent + "]", " " * indent + "}"))
        and "#" not in part[1]
    )


def _twins(blocks: Sequence[Lines]) -> dict[str, str]:
    """The names that go, with those that stay. A class that is asked for by its name stays what it is."""
    first: dict[tuple[str, ...], str] = {}
    names: dict[str, str] = {}
    asked = " ".join(line for lines in blocks for line in lines if "isinstance(" in line)
    for lines in blocks:
        name = _name(lines)
        if not name or re.search(rf"\b{name}\b", asked):
            continue
        text = tuple(
            filter(None, (_COMMENT.sub("", line) for line in (_anonymous(lines[0], name), *lines[1:])))
        )
        stays = first.setdefault(text, name)
        if stays != name:
            names[name] = stays
    return names


def _name(lines: Lines) -> str:
    match = _HEAD.match(lines[0]) if lines else None
    return match[1] if match else ""


def _anonymous(head: str, name: str) -> str:
    return head.replace(f" {name}", " _", 1)
