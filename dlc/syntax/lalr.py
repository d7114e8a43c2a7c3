"""Drives the generated LALR(1) table: shifts tokens, calls the builder at each reduction, recovers from
errors.

The table's rows are decoded when first met: a spec meets half of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from dlc.diagnostics import Span, suggestion
from dlc.records import dataclass
from dlc.syntax import _table
from dlc.syntax.tokens import END, ERROR, ITEMS, Token, words

MAX_DEPTH = 200
MAX_STACK = 2_000  # symbols that wait for more, ten to a level at most

# What nests, and how much: a call nests its arguments, a block its statements.
_NESTING = {
    **dict.fromkeys(words("pipe conditional binary unary compare index attribute labeled tuple list"), 1),
    **dict.fromkeys(words("comprehension star slice target_tuple tensor_type indexed_type dotted"), 1),
    **dict.fromkeys(words("call if for scan step entry"), 2),
}

_symbols = _table.SYMBOLS.split("\n")
_rows: list[tuple[int, ...] | dict[str, int]] = list(_table.STATES)
_rules: list[Any] = list(_table.RULES.split("\n"))


@dataclass(slots=True)
class Rule:
    """A rule: its symbol, the builder's method (`_` for a list that its parent takes over), the number of
    symbols, which are kept, whether a single child stands for itself, how much it nests, and whether it only
    gives its one symbol another name."""

    symbol: str
    action: str
    length: int
    single: bool
    kept: tuple[tuple[int, bool], ...]
    nests: int
    renames: bool


def row(state: int) -> dict[str, int]:
    """What follows in `state` on each symbol: a state, or -1 minus a rule."""
    found = _rows[state]
    if isinstance(found, tuple):
        cells = iter(found)
        found = _rows[state] = {_symbols[symbol]: action for symbol, action in zip(cells, cells, strict=True)}
    return found


def rule(number: int) -> Rule:
    found = _rules[number]
    if isinstance(found, str):
        found = _rules[number] = _decode_rule(found)
    assert isinstance(found, Rule)
    return found


def _decode_rule(text: str) -> Rule:
    symbol, action, length, single, *kept = text.split()
    children = tuple((-1 if each == "n" else int(each.lstrip("*")), each[0] == "*") for each in kept)
    renames = single == "?" and children == ((0, False),) and length == "1"
    return Rule(
        _symbols[int(symbol)], action, int(length), single == "?", children, _NESTING.get(action, 0), renames
    )


class Builder(Protocol):
    """Makes the value of a reduction. `action(name)` is a function of the span and the children."""

    def action(self, name: str) -> Callable[..., Any]: ...


class Inline(list[Any]):
    """The children of a rule that its parent takes over."""


@dataclass(slots=True)
class Failure:
    """Where the parser could not go on: all tokens and where among them, the states then, and whether nesting
    was the reason."""

    tokens: list[Token]
    index: int
    states: list[int]
    too_deep: bool = False

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def before(self) -> Token | None:
        return self.near(-1)

    def near(self, offset: int) -> Token | None:
        """The token so far from the wrong one, if there is one."""
        at = self.index + offset
        return self.tokens[at] if 0 <= at < len(self.tokens) else None

    def expected(self) -> set[str]:
        """The kinds of token that could have stood there."""
        return {kind for kind in row(self.states[-1]) if self.fits(kind)}

    def fits(self, kind: str) -> bool:
        """Whether `kind` can be shifted, after the reductions that it calls for."""
        if kind.startswith("<") and kind.endswith(">"):
            return False  # a rule
        states = list(self.states)
        while True:
            action = row(states[-1]).get(kind)
            if action is None or action >= 0:
                return action is not None
            reduced = rule(-1 - action)
            if reduced.length:
                del states[-reduced.length :]
            states.append(row(states[-1])[reduced.symbol])


class Parser:
    """One run over a list of tokens."""

    def __init__(
        self,
        tokens: list[Token],
        file: str,
        builder: Builder,
        on_failure: Callable[[Failure], None],
    ) -> None:
        self.tokens = tokens
        self.file = file
        self.builder = builder
        self.on_failure = on_failure
        self.index = 0
        self._resumed = -1  # where it went on after the last error
        self.states: list[int] = []
        self.values: list[Any] = []
        # Per symbol on the stack: its first and its last token, and how deeply it nests.
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.depths: list[int] = []

    def parse(self, start: str) -> Any:
        """The value of the start symbol, or None if an error could not be recovered from."""
        self.states.append(_table.STARTS[start])
        snapshot = list(self.states)
        tokens, states, rows, rules = self.tokens, self.states, _rows, _rules
        while True:
            token = tokens[self.index]
            follows = rows[states[-1]]
            action = (row(states[-1]) if isinstance(follows, tuple) else follows).get(token.kind)
            if action is None or token.depth > MAX_DEPTH or len(states) > MAX_STACK:
                if not self._fail(snapshot, action is not None):
                    return None
                snapshot = list(states)
            elif action < 0:
                found = rules[-1 - action]
                reduced = rule(-1 - action) if isinstance(found, str) else found
                if reduced.renames:  # most are: an operand is a factor, which is a product, …
                    states[-1] = row(states[-2])[reduced.symbol]
                elif self._reduce(reduced) > MAX_DEPTH:
                    if not self._fail(snapshot, True):
                        return None
                    snapshot = list(states)
            elif token.kind == END:
                return self.values[-1]
            else:
                self._push(action, token, self.index, self.index, 0)
                self.index += 1
                snapshot = list(states)

    def _push(self, state: int, value: Any, first: int, last: int, depth: int) -> None:
        self.states.append(state)
        self.values.append(value)
        self.firsts.append(first)
        self.lasts.append(last)
        self.depths.append(depth)

    def _reduce(self, reduced: Rule) -> int:
        """Replaces the symbols of a rule on the stack by its value; returns how deeply that nests."""
        length = reduced.length
        base = len(self.values) - length
        first = self.firsts[base] if length else self.index
        last = self.lasts[-1] if length else self.index - 1
        depth = (max(self.depths[base:]) if length else 0) + reduced.nests
        value = self._value(reduced, self.values[base:], first, last)
        self._pop(base)
        self._push(row(self.states[-1])[reduced.symbol], value, first, last, depth)
        return depth

    def _pop(self, height: int) -> None:
        del self.states[height + 1 :]
        for stack in (self.values, self.firsts, self.lasts, self.depths):
            del stack[height:]

    def _value(self, reduced: Rule, parts: list[Any], first: int, last: int) -> Any:
        children = self._children(reduced, parts)
        if reduced.action == "_":
            return children
        if reduced.single and len(children) == 1:
            return children[0]
        return self.builder.action(reduced.action)(self._span(first, last), *children)

    def _children(self, reduced: Rule, parts: list[Any]) -> Inline:
        """The kept children. A list that grows by one item at a time is extended in place."""
        children = Inline()
        for index, splice in reduced.kept:
            if index < 0:
                children.append(None)
            elif not splice:
                children.append(parts[index])
            elif index == 0 and isinstance(parts[0], Inline):
                children = parts[0]
            else:
                children.extend(parts[index])
        return children

    def _span(self, first: int, last: int) -> Span:
        start = self.tokens[first]
        if last < first:
            return Span(self.file, start.line, start.column, start.line, start.column)
        end = self.tokens[last]
        return Span(self.file, start.line, start.column, end.line, end.end)

    def _fail(self, snapshot: list[int], too_deep: bool) -> bool:
        """Reports, then puts ERROR in the place of what is wrong and skips to where the next statement or
        item begins."""
        index = self.index
        self.on_failure(Failure(self.tokens, index, snapshot, too_deep))
        if not too_deep:
            self._finish()
        height = len(self.values)
        while not self._recovers(height):
            height -= 1
            if height < 0:
                return False
        self._pop(height)
        first = self.lasts[-1] + 1 if self.lasts else 0
        level = self._block_level(height)
        self._push(row(self.states[-1])[ERROR], self.tokens[index], first, first, 0)
        bodies = not self._is_foreign(index)
        self.index = self._behind_value(self.index)
        while not self._resumes(self.tokens[self.index], level, bodies):
            self.index += 1
        self.lasts[-1] = max(first, self.index - 1)
        stuck = self.index == self._resumed
        self._resumed = self.index
        return not stuck

    def _behind_value(self, index: int) -> int:
        """Where what follows a label goes on behind a value in braces, `as h.{i}.fc`, which is no block; else where it is."""
        first = index
        while first and _touch(self.tokens[first - 1], self.tokens[first]):
            first -= 1
        if self.tokens[index].kind != "{" or first in (0, index) or self.tokens[first - 1].kind != "as":
            return index
        depth = 0
        for at in range(index, len(self.tokens)):
            kind = self.tokens[at].kind
            if depth == 0 and at > index and not _touch(self.tokens[at - 1], self.tokens[at]):
                return at
            if kind in ("NEWLINE", END):
                break
            depth += (kind == "{") - (kind == "}")
        return index if depth else at

    def _finish(self) -> None:
        """Keeps the statement or item that is complete before the wrong token."""
        for kind in ("NEWLINE", "module"):
            if Failure(self.tokens, self.index, self.states).fits(kind):
                self._feed(kind)
                return

    def _feed(self, kind: str) -> None:
        """Goes on as if a token of `kind` stood here: up to a keyword, or behind a NEWLINE."""
        while (action := row(self.states[-1])[kind]) < 0:
            self._reduce(rule(-1 - action))
        if kind == "NEWLINE":
            last = self.tokens[self.lasts[-1]]
            token = Token(kind, "", last.line, last.end, last.end, level=last.level, depth=last.depth)
            self._push(action, token, self.index, self.index - 1, 0)

    def _recovers(self, height: int) -> bool:
        """Whether a wrong statement or item can be replaced where the stack is `height` high."""
        if row(self.states[height]).get(ERROR, -1) < 0:
            return False
        return not height or self.tokens[self.lasts[height - 1]].depth < MAX_DEPTH

    def _block_level(self, height: int) -> int:
        """How many blocks are open where the stack is `height` high: a `{` or NEWLINE is on top, if any."""
        last = self.values[height - 1] if height else None
        if not isinstance(last, Token):
            return 0
        return last.level + (last.kind == "{")

    def _is_foreign(self, index: int) -> bool:
        """Whether an item begins with a word that is no slip of one that items begin with: its block is not read."""
        token = self.tokens[index]
        if token.kind != "NAME" or token.level or not (token.newline or not index):
            return False
        return not suggestion(token.text, (*ITEMS, "class", "def", "function", "func"))

    def _resumes(self, token: Token, level: int, bodies: bool) -> bool:
        """Whether the parser can go on at `token` after an error in a block (`level` > 0) or an item."""
        if token.kind == END:
            return True
        if token.kind not in row(self.states[-1]):
            return False
        if token.starts_body and token.level == level:
            return bodies
        if level == 0:
            return token.starts_item and token.level == 0
        ends_block = token.kind == "}" and token.level < level
        return ends_block or (token.kind == "NEWLINE" and token.level <= level)


def _touch(before: Token, token: Token) -> bool:
    """Whether nothing stands between two words."""
    return before.line == token.line and before.end == token.column
