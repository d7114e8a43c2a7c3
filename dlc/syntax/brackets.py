"""Pairs the brackets of a token list, and tells which are never closed."""

from __future__ import annotations

from dlc.diagnostics import Diagnostic, Fix, Span
from dlc.diagnostics.catalogue import SYNTAX, UNCLOSED
from dlc.records import dataclass, field
from dlc.syntax.tokens import CLOSERS, ITEMS, Token

_REPORTED_TOGETHER = 3  # of many brackets that are lost at one place, only so many are reported


@dataclass(slots=True)
class Brackets:
    """`lost`: the identities of the opening tokens without a partner; `margin`: whether an item at the margin
    closes what is open before it."""

    margin: bool
    lost: set[int] = field(default_factory=set)
    diagnostics: list[Diagnostic] = field(default_factory=list)


def begins_item(tokens: list[Token], index: int) -> bool:
    """Whether an item certainly begins here, whatever is still open: its keyword at the margin, then what
    it names."""
    token = tokens[index]
    if not (token.newline and token.column == 1 and token.kind == "NAME" and token.text in ITEMS):
        return False
    after = tokens[index + 1 : index + 3]
    if not after:
        return False
    if token.text == "from":
        return after[0].kind == "STRING" and len(after) == 2 and after[1].text == "import"
    if token.text in ("import", "test"):
        return after[0].kind == "STRING"
    return after[0].kind == "NAME"


def match_brackets(tokens: list[Token], file: str) -> Brackets:
    """Pairs them by kind and block: no `(` or `[` reaches over a `{` or `}`.

    A closing bracket of the wrong kind is turned into the right one where nothing else is open. If something
    is left over, no bracket reaches over the start of an item, and indentation tells which `{` is not
    closed."""
    brackets = _match(tokens, _Matcher(file, tokens))
    if not brackets.lost:
        return brackets
    again = _match(tokens, _Matcher(file, tokens, by_margins=True))
    corrections = [each for each in brackets.diagnostics if each.code == SYNTAX.code]
    again.diagnostics += [each for each in corrections if each not in again.diagnostics]
    return again


def _match(tokens: list[Token], matcher: _Matcher) -> Brackets:
    for index, token in enumerate(tokens):
        kind = token.kind
        if kind in CLOSERS:
            matcher.open(token)
        elif kind == "}":
            matcher.close_block(token)
        elif kind in (")", "]"):
            matcher.close(token)
        elif kind == "NAME" and token.column == 1:
            matcher.begin(tokens, index)
    matcher.lose(0)
    return matcher.result


class _Matcher:
    def __init__(self, file: str, tokens: list[Token], by_margins: bool = False) -> None:
        self.file = file
        self.by_margins = by_margins
        self.broken_lines = {token.line for token in tokens if token.broken}
        self.indents = {token.line: token.column for token in tokens if token.newline}
        self.stack: list[Token] = []
        self.blocks: list[int] = []  # where in the stack the `{` stand
        self.result = Brackets(by_margins)

    def _bottom(self) -> int:
        """The height of the stack at which the innermost block begins."""
        return self.blocks[-1] + 1 if self.blocks else 0

    def open(self, token: Token) -> None:
        if token.kind == "{":
            self.lose(self._bottom())
            self.blocks.append(len(self.stack))
        self.stack.append(token)

    def begin(self, tokens: list[Token], index: int) -> None:
        """Closes everything before an item at the margin."""
        if self.by_margins and self.stack and begins_item(tokens, index):
            self.lose(0, f"the next item begins in line {tokens[index].line}")

    def close_block(self, token: Token) -> None:
        self.lose(self._bottom())
        if self.by_margins and token.newline:
            self._lose_deeper(token.column)
        if self.blocks:
            self.blocks.pop()
            self.stack.pop()

    def _lose_deeper(self, column: int) -> None:
        """Gives up the blocks that are indented deeper than a `}`, if it stands where one around them
        began."""
        begins = [self.indents.get(self.stack[at].line, 0) for at in self.blocks]
        if column in begins:
            while begins and begins[-1] > column:
                begins.pop()
                self.lose(self.blocks[-1])

    def close(self, token: Token) -> None:
        bottom = self._bottom()
        partner = len(self.stack) - 1
        while partner >= bottom and CLOSERS[self.stack[partner].kind] != token.kind:
            partner -= 1
        if partner >= bottom:
            self.lose(partner + 1)
            self.stack.pop()
        elif len(self.stack) > bottom:
            self._correct(token, self.stack.pop())

    def _correct(self, token: Token, opener: Token) -> None:
        right = CLOSERS[opener.kind]
        span = Span(self.file, token.line, token.column, token.line, token.end)
        message = f"`{opener.kind}` opened at {opener.line}:{opener.column} is closed by `{token.kind}`"
        self.result.diagnostics.append(
            SYNTAX.at(span, message=message, help=f"write `{right}`", fixes=[Fix(span, right)])
        )
        token.kind = right

    def lose(self, height: int, help: str = "") -> None:
        """Gives up what is open above `height`."""
        gone = self.stack[height:]
        del self.stack[height:]
        while self.blocks and self.blocks[-1] >= height:
            self.blocks.pop()
        self.result.lost.update(map(id, gone))
        for token in [each for each in gone if each.line not in self.broken_lines][:_REPORTED_TOGETHER]:
            span = Span(self.file, token.line, token.column, token.line, token.end)
            self.result.diagnostics.append(UNCLOSED.at(span, bracket=token.kind, help=help))
