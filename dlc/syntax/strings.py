"""The inside of string literals: escapes, and where `{expr}` interpolates."""

from __future__ import annotations

import re

from dlc.records import dataclass

BAD_TOLD = 20  # escapes of one string that do not exist; more says nothing more
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|(.)|$)", re.DOTALL)
_SPECIAL = re.compile(r"[\\{}]")
_PLAIN = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a literal: text, or an expression between braces, whose source begins at `offset`."""

    text: str
    offset: int
    is_expression: bool


def unescape(raw: str) -> tuple[str, list[tuple[int, str]]]:
    """`raw` with its escapes resolved, and the escapes that do not exist with their offsets."""
    if "\\" not in raw:
        return raw, []
    bad: list[tuple[int, str]] = []

    def resolve(found: re.Match[str]) -> str:
        code, plain = found.groups()
        if code is not None and _is_character(int(code, 16)):
            return chr(int(code, 16))
        if plain in _PLAIN:
            return _PLAIN[plain]
        if len(bad) < BAD_TOLD:
            bad.append((found.start(), found.group()))
        return found.group()

    return _ESCAPE.sub(resolve, raw), bad


def _is_character(code: int) -> bool:
    return code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF


def pieces(raw: str) -> tuple[list[Piece], int | None]:
    """The stretches of `raw`, and where a `{` stands that nothing closes."""
    found: list[Piece] = []
    text: list[str] = []
    position = start = 0
    while position < len(raw):
        escape = _ESCAPE.match(raw, position)
        if escape is not None:
            text.append(unescape(escape.group())[0])
            position = escape.end()
        elif raw.startswith(("{{", "}}"), position):
            text.append(raw[position])
            position += 2
        elif raw[position] != "{":
            special = _SPECIAL.search(raw, position + 1)
            end = len(raw) if special is None else special.start()
            text.append(raw[position:end])
            position = end
        else:
            end = raw.find("}", position)
            if end < 0:
                return found, position
            if text:
                found.append(Piece("".join(text), start, False))
            found.append(Piece(raw[position + 1 : end], position + 1, True))
            text = []
            position = start = end + 1
    if text:
        found.append(Piece("".join(text), start, False))
    return found, None
