"""What a spec says in comments inside of bodies: of which statement each speaks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from dlc.ir.nodes import Remark
from dlc.syntax import ast

# What speaks to dlc, and shapes, which emitted source has anyhow.
_SILENT = re.compile(r"\s*(allow\s+[EW]\d|[a-z]*\d*\[[^\]]*\]\s*$)")


def remarks(file: ast.File, path: str) -> tuple[Remark, ...]:
    """The comments of a file that stand above a statement, or behind one that has a line for itself. Those above items are no remarks
    but their `doc`."""
    comments = {line: (text, is_alone) for line, text, is_alone in file.comments}
    found: list[Remark] = []
    for statement in _statements(file.items) if comments else ():
        line, end = statement.span.line, statement.span.end_line
        first = line
        while comments.get(first - 1, ("", False))[1]:
            first -= 1
        if first < line and not isinstance(statement, ast.Entry):
            text = "\n".join(_text(comments[each][0]) for each in range(first, line))
            found.append(Remark(path, line, end, text))
        if line == end and line in comments:
            found.append(Remark(path, line, end, _text(comments[line][0]), behind=True))
    return tuple(
        sorted((each for each in found if not _SILENT.match(each.text)), key=lambda each: each.first)
    )


def _text(comment: str) -> str:
    return comment.removeprefix("#").removeprefix(" ").rstrip()


def _statements(nodes: Iterable[Any]) -> Iterator[ast.Stmt]:
    """All statements in items, those in blocks too."""
    for node in nodes:
        if isinstance(node, ast.Stmt):
            yield node
        for block in ("body", "then", "otherwise"):
            inside = getattr(node, block, ())
            yield from _statements(inside if isinstance(inside, tuple) else ())
