"""Decides what only the neighbourhood of a token can tell, before the parser sees it:

- where a newline ends a statement (a NEWLINE token stands there),
- which words are keywords (their kind becomes the word) and which are names,
- where a bracket that is never closed must have been meant to end (a closing token is put there).
"""

from __future__ import annotations

from dlc.diagnostics import Diagnostic
from dlc.records import dataclass
from dlc.syntax.brackets import Brackets, begins_item, match_brackets
from dlc.syntax.tokens import (
    CLAUSES,
    CLOSERS,
    CONTINUING,
    END,
    FIRST_WORDS,
    ITEMS,
    NAMING,
    OPEN_ENDED,
    OPERAND_ENDS,
    RESERVED,
    Token,
)


@dataclass(slots=True)
class _Frame:
    """An open bracket, or the file around all: what the block holds, the first word of the statement being
    read, whether the next word is a first one, and whether the bracket is never closed."""

    bracket: str
    block: str = ""
    head: str = ""
    fresh: bool = True
    lost: bool = False


def lay_out(tokens: list[Token], file: str, *, items: bool = True) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens for the parser, ended by `$END`, and what is wrong with the brackets. At the top stand
    items, or just an expression."""
    brackets = match_brackets(tokens, file)
    for token in tokens:
        token.broken |= id(token) in brackets.lost
    return _Layout(tokens, brackets, items).run(), brackets.diagnostics


def _ends_statement(before: Token, token: Token, after: Token | None) -> bool:
    """Whether the newline between `before` and `token` ends a statement, as far as the words around it
    tell."""
    if before.kind in OPEN_ENDED:
        return False
    if token.kind != "NAME" and token.kind not in RESERVED:
        return False
    continues = token.text in CONTINUING and not (after is not None and after.kind in NAMING)
    return not continues


class _Layout:
    def __init__(self, tokens: list[Token], brackets: Brackets, items: bool) -> None:
        self.items = items
        self.tokens = tokens
        self.brackets = brackets
        self.frames = [_Frame("")]
        self.level = 0
        self.result: list[Token] = []

    def run(self) -> list[Token]:
        tokens = self.tokens
        for index, token in enumerate(tokens):
            after = tokens[index + 1] if index + 1 < len(tokens) else None
            item = token.kind == "NAME" and begins_item(tokens, index)
            if token.newline and self.result:
                self._newline(token, after, item)
            self._token(token, after, item)
        self._close_frames(1)
        self._emit(self._synthetic(END))
        return self.result

    def _emit(self, token: Token) -> None:
        token.level = self.level
        token.depth = len(self.frames) - 1
        self.result.append(token)

    def _synthetic(self, kind: str) -> Token:
        """A token that the text does not have, right after the last one."""
        if not self.result:
            return Token(kind, "", 1, 1, 1)
        last = self.result[-1]
        return Token(kind, "", last.line, last.end, last.end)

    def _newline(self, token: Token, after: Token | None, item: bool) -> None:
        if item and self.brackets.margin:
            self._close_frames(1)
            return
        before = self.result[-1]
        frame = self.frames[-1]
        if frame.bracket == "" or not (frame.lost or frame.bracket == "{"):
            return
        if before.kind == "NEWLINE" or not _ends_statement(before, token, after):
            return
        self._close_lost()
        self._end_statement()

    def _end_statement(self) -> None:
        frame = self.frames[-1]
        if frame.bracket == "{" and self.result[-1].kind not in ("{", "NEWLINE"):
            self._emit(self._synthetic("NEWLINE"))
        frame.fresh = True
        frame.head = ""

    def _close_lost(self) -> None:
        """Closes the `(` and `[` on top that nothing in the text closes."""
        while self.frames[-1].lost and self.frames[-1].bracket in "([":
            self._close_top()

    def _close_frames(self, height: int) -> None:
        while len(self.frames) > height:
            self._close_top()

    def _close_top(self) -> None:
        frame = self.frames[-1]
        if frame.bracket == "{":
            self._drop_newline()
        token = self._synthetic(CLOSERS[frame.bracket])
        self._pop()
        self._emit(token)

    def _drop_newline(self) -> None:
        if self.result and self.result[-1].kind == "NEWLINE":
            self.result.pop()

    def _pop(self) -> None:
        if self.frames.pop().bracket == "{":
            self.level -= 1

    def _token(self, token: Token, after: Token | None, item: bool) -> None:
        kind = token.kind
        if kind == "NAME":
            self._name(token, after is not None and after.kind in NAMING, item)
            if self._is_axis(token, after):
                token.kind = token.text
        elif kind in CLOSERS:
            self._open(token)
        elif kind in (")", "]", "}"):
            self._close(token)
        elif kind == ";":
            self._close_lost()
            if self.frames[-1].bracket == "{":
                self._end_statement()
        else:
            frame = self.frames[-1]
            if frame.fresh and frame.bracket == "{":
                frame.fresh = False
                frame.head = kind
            self._emit(token)

    def _open(self, token: Token) -> None:
        if token.kind == "{":
            self._close_lost()
        frame = self.frames[-1]
        frame.fresh = False
        block = ""
        if token.kind == "{":
            block = frame.head if frame.head in ("weights", "settings") else "body"
            token.starts_body = block == "body" and self._after_header()
        self._emit(token)
        self.frames.append(_Frame(token.kind, block, lost=id(token) in self.brackets.lost))
        self.level += token.kind == "{"

    def _after_header(self) -> bool:
        """Whether a `{` can begin a block of statements: not where a value is wanted."""
        return bool(self.result) and self.result[-1].kind not in ("=", ",", "(", "[", ":", "return")

    def _close(self, token: Token) -> None:
        self._close_lost()
        if token.kind == "}":
            while self.frames[-1].lost:
                self._close_top()
            self._drop_newline()
        if CLOSERS.get(self.frames[-1].bracket) == token.kind:
            self._pop()
        self._emit(token)

    def _name(self, token: Token, naming: bool, item: bool) -> None:
        """A word: `naming` says that what follows it makes it a name, `item` that it certainly begins one."""
        frame = self.frames[-1]
        if frame.bracket == "" and self.items and not naming:
            self._word_at_top(token, frame, item)
        elif frame.bracket == "{":
            self._word_in_block(token, frame, naming)
        self._emit(token)

    def _is_axis(self, token: Token, after: Token | None) -> bool:
        """Whether `axis` begins a number of an axis: `along axis 1`, and not `along axis {`, a size of that name."""
        if token.text != "axis" or len(self.result) < 2 or self.result[-2].kind != "along":
            return False
        name = after is not None and after.kind == "NAME" and after.text not in CLAUSES["scan"]
        return name or (after is not None and after.kind in ("INT", "-", "("))

    def _word_at_top(self, token: Token, frame: _Frame, item: bool) -> None:
        if not item and self._is_clause(token, frame):
            token.kind = token.text
        elif item or (token.text in ITEMS and (not self.result or self.result[-1].kind in OPERAND_ENDS)):
            token.kind = frame.head = token.text
            token.starts_item = True

    def _word_in_block(self, token: Token, frame: _Frame, naming: bool) -> None:
        if not frame.fresh:
            if not naming and self._is_clause(token, frame):
                token.kind = token.text
            return
        frame.fresh = False
        frame.head = ""
        if token.text in FIRST_WORDS[frame.block] and not naming:
            token.kind = frame.head = token.text

    def _is_clause(self, token: Token, frame: _Frame) -> bool:
        if token.text not in CLAUSES.get(frame.head, ()):
            return False
        before = self.result[-1].kind
        return before in OPERAND_ENDS or before in ("evaluate", "backwards")
