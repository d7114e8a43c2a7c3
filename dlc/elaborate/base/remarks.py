"""What a spec says in comments inside of bodies: of which statement each speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dlc.ir.nodes import Remark
from dlc.syntax import ast
from dlc.syntax.comments import comment_above, comment_text

# What speaks to dlc, and shapes, which emitted source has anyhow.
_SILENT = re.compile(r"\s*(allow\s+[EW]\d|[a-z]*\d*\[[^\]]*\]\s*$)")


def remarks(file: ast.File, path: str) -> tuple[Remark, ...]:
    """The comments of a file that stand above a statement, or behind one that has a line for itself. Those above items and entries are no
    remarks but their `doc`, also where what they hold begins on the same line."""
    alone = {line: text for line, text, is_alone in file.comments if is_alone}
    behind = {line: text for line, text, is_alone in file.comments if not is_alone}
    found: list[Remark] = []
    statements = list(_statements(file.items)) if file.comments else []
    entries = (each for each in statements if isinstance(each, ast.Entry))
    told = {each.span.line for each in (*file.items, *entries)}
    for statement in statements:
        line, end = statement.span.line, statement.span.end_line
        above = comment_above(line, alone)
        if above and line not in told:
            found.append(Remark(path, line, end, above))
        if line == end and line in behind:
            found.append(Remark(path, line, end, comment_text(behind[line]), behind=True))
    return tuple(
        sorted((each for each in found if not _SILENT.match(each.text)), key=lambda each: each.first)
    )


def _statements(items: Sequence[ast.Item]) -> Iterator[ast.Stmt]:
    """All statements in items, those in blocks too."""
    stack: list[Any] = list(items)
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Stmt):
            yield each
        stack += ast.children(each)
