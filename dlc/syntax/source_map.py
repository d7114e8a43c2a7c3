"""What the formatter asks of the text that a tree came from: how something was written, and its comments."""

from __future__ import annotations

from collections.abc import Iterable

from dlc.diagnostics import Span

MAX_WIDTH = 110

Place = tuple[int, int]  # a line and a column


def end(span: Span) -> Place:
    return span.end_line, span.end_column


class SourceMap:
    """The text behind a tree. Comments are taken out as they are placed, so that none is lost or placed
    twice."""

    def __init__(self, text: str, comments: Iterable[tuple[int, str, bool]]) -> None:
        self.lines = text.removeprefix("\ufeff").split("\n")
        self._comments = {line: (comment, alone) for line, comment, alone in comments}

    # --- text ----------------------------------------------------------------------------------------------

    def slice(self, span: Span) -> str:
        """The text at a span that stands on one line, or nothing."""
        if not 0 < span.line <= len(self.lines) or span.end_line != span.line:
            return ""
        return self.lines[span.line - 1][span.column - 1 : span.end_column - 1]

    def between(self, left: Span, right: Span) -> str:
        """The text from the end of `left` to the start of `right` if both are on one line, or nothing."""
        if left.end_line != right.line or not 0 < right.line <= len(self.lines):
            return ""
        return self.lines[right.line - 1][left.end_column - 1 : right.column - 1]

    def parenthesized(self, span: Span) -> bool:
        """Whether parentheses stand directly around `span`."""
        if not 0 < span.line <= span.end_line <= len(self.lines):
            return False
        before = self.lines[span.line - 1][: span.column - 1].rstrip()
        after = self.lines[span.end_line - 1][span.end_column - 1 :].lstrip()
        return before.endswith("(") and after.startswith(")")

    def find(self, character: str, place: Place) -> Place:
        """Right behind the next `character` from a place on, outside comments; the place itself if there is none."""
        start = place[1] - 1
        for number in range(max(place[0], 1), len(self.lines) + 1):
            code = self.lines[number - 1][start:].split("#", 1)[0]
            if character in code:
                return number, start + code.index(character) + 2
            start = 0
        return place

    # --- comments ------------------------------------------------------------------------------------------

    def has_comments(self, first: int, last: int) -> bool:
        """Whether comments that are not placed yet begin on lines `first` to `last` - 1."""
        if last - first > len(self._comments):
            return any(first <= line < last for line in self._comments)
        return any(line in self._comments for line in range(first, last))

    def take(self, first: int, last: int) -> list[tuple[int, str]]:
        """The unplaced comments on lines `first` to `last` - 1, in order."""
        found = sorted(line for line in self._comments if first <= line < last)
        return [(line, self._comments.pop(line)[0]) for line in found]

    def trailing(self, line: int, code: str, offset: int = 0) -> str:
        """`code`, which will stand at column `offset`, with the comment that ends `line`, if there is one: in
        the column that it has, if that is free."""
        comment, alone = self._comments.get(line, ("", True))
        if alone:
            return code
        del self._comments[line]
        before = self.lines[line - 1].rstrip().removesuffix(comment) if line <= len(self.lines) else ""
        gap = len(before) - offset - len(code) if len(before) - len(before.rstrip()) > 2 else 2
        return code + " " * max(2, gap) + comment

    def save(self) -> dict[int, tuple[str, bool]]:
        """The comments that are not placed yet, for `restore`."""
        return dict(self._comments)

    def restore(self, comments: dict[int, tuple[str, bool]]) -> None:
        self._comments = comments
