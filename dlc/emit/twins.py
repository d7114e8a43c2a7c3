"""Functions and classes that came out as the same text are one.

Instantiations part while it is not known what of their sizes is ever said: `apply_rope` for a picture's patches and for words differs
in the names that comments give to axes, and in nothing that runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Mapping, Sequence

from dlc.emit.body import Lines
from dlc.emit.layout import WIDTH
from dlc.once import once

_HEAD = re.compile(r"(?:def|class) (\w+)\b")
_COMMENT = re.compile(r"(?:^|  )\s*# .*$")


def without_twins(blocks: Sequence[Lines], ways_in: Container[str] = ()) -> list[Lines]:
    """The blocks without those that repeat an earlier one under another name, which all speak of by the earlier one's. What is called from
    elsewhere, by the names of `ways_in`, stays."""
    found = list(blocks)
    while names := _free(_twins(found, ways_in), found):
        found = [
            _renamed(lines, _replaced(lines, names))
            for lines in found
            if not (lines and _name(lines) in names)
        ]
    return found


def _free(names: Mapping[str, str], blocks: Sequence[Lines]) -> dict[str, str]:
    """Those of the names that mean one thing in all blocks, and whose successor does too: no argument or variable is called so."""
    if not names:
        return {}
    bound: set[str] = set()
    for node in (node for lines in blocks for node in ast.walk(_parsed("\n".join(lines)))):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                bound.add(name)
            case ast.JoinedStr():  # where names stand in one is not known before Python 3.12
                bound.update(each.id for each in ast.walk(node) if isinstance(each, ast.Name))
            case _:
                pass
    return {old: new for old, new in names.items() if not {old, new} & bound}


def _replaced(lines: Lines, names: Mapping[str, str]) -> Lines:
    """With every name as a variable replaced: not an attribute, a key, or an argument's name."""
    if not any(name in line for line in lines for name in names):
        return lines
    found = list(lines)
    places = sorted(
        (
            (node.lineno, node.col_offset, node.id)
            for node in ast.walk(_parsed("\n".join(lines)))
            if isinstance(node, ast.Name)
        ),
        reverse=True,
    )
    for number, start, name in places:
        if name in names:
            line = found[number - 1].encode()
            found[number - 1] = (
                line[:start] + names[name].encode() + line[start + len(name.encode()) :]
            ).decode()
    return found


@once
def _parsed(block: str) -> ast.Module:
    return ast.parse(block)


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


def _twins(blocks: Sequence[Lines], ways_in: Container[str]) -> dict[str, str]:
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
        if stays != name and name not in ways_in:
            names[name] = stays
    return names


def _name(lines: Lines) -> str:
    match = _HEAD.match(lines[0]) if lines else None
    return match[1] if match else ""


def _anonymous(head: str, name: str) -> str:
    return head.replace(f" {name}", " _", 1)
