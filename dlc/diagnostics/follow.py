"""Problems that only follow from another one are not told: one mistake, one message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dlc.diagnostics import Diagnostic, catalogue, meaning, training

_LEXICAL = {
    catalogue.UNTERMINATED_STRING.code,
    catalogue.BAD_CHARACTER.code,
    catalogue.UNCLOSED.code,
    catalogue.BAD_ESCAPE.code,
}
# What a body may seem to lack because a line of it could not be read.
_UNBOUND = {meaning.UNKNOWN_NAME.code, meaning.NOT_CALLABLE.code}
_LACKING = {meaning.NO_RETURN.code, meaning.UNUSED_RULE.code, training.INCOMPLETE.code}


def without_echoes(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Problems of a text, without those that the parser meets because of a token that was complained of on that line."""
    broken = {each.span.line for each in found if each.code in _LEXICAL}
    deep = {each.span.line for each in found if each.code == catalogue.TOO_DEEP.code}
    return [
        each
        for each in found
        if not (each.code == catalogue.SYNTAX.code and each.span.line in broken)
        and not (each.code == catalogue.UNCLOSED.code and each.span.line in deep)
    ]


def without_consequences(
    found: Iterable[Diagnostic], file: str, text: str, starts: Sequence[int]
) -> list[Diagnostic]:
    """All problems, without those of meaning that follow from a line of `file` that could not be read.

    `starts` are the lines that its items begin in: what such a line would have bound is unknown only because of it, and an
    item with such a line may lack what stood there."""
    found = list(found)
    lines = text.split("\n")
    unread = {each.span.line for each in found if is_syntax(each) and each.span.file == file}
    words = {
        word for line in unread for word in re.findall(r"\w+", lines[line - 1] if line <= len(lines) else "")
    }
    damaged = {_item(line, starts) for line in unread}

    misplaced = {each.span for each in found if each.code == catalogue.SYNTAX.code}

    def follows(each: Diagnostic) -> bool:
        at = each.span
        if at.file != file or not unread or is_syntax(each):
            return False
        if at.line in unread or at in misplaced:
            return True
        if each.code in _LACKING:
            return _item(at.line, starts) in damaged
        return each.code in _UNBOUND and lines[at.line - 1][at.column - 1 : at.end_column - 1] in words

    return [each for each in found if not follows(each)]


def is_syntax(diagnostic: Diagnostic) -> bool:
    return diagnostic.code.startswith("E00")


def _item(line: int, starts: Sequence[int]) -> int:
    """The line in which the item that `line` belongs to begins."""
    return max((start for start in starts if start <= line), default=0)
