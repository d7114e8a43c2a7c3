"""Cuts the text of a spec into words, numbers, strings, operators and comments. What a word means is
decided later."""

from __future__ import annotations

import re
from itertools import pairwise

from dlc.diagnostics import Diagnostic, Fix, Span
from dlc.diagnostics.catalogue import BAD_CHARACTER, SYNTAX, UNTERMINATED_STRING
from dlc.records import dataclass, field
from dlc.syntax.tokens import RESERVED, Token

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\f]+)
  | (?P<newline>\n)
  | (?P<comment>\#[^\n]*)
  | (?P<NAME>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9])
  | (?P<STRING>"(?:[^"\\\n]++|\\[^\n])*+(?P<close>"?))
  | (?P<single>'(?:[^'\\\n]++|\\[^\n])*+'?)
  | (?P<foreign>===|!==|&&|\|\|(?!>)|(?:\*\*|//|[+\-*/%@])=(?!=)|=>|:=|<>)
  | (?P<op>\*\*|//|->|\|>|==|!=|<=|>=|\.\.\.|[-+*/%@<>=.,:()\[\]{}])
  | (?P<other>[^\W\d]\w*|(?P<same>.)(?P=same)*+)
    """,
    re.VERBOSE,
)
WORD_LIMIT = 60_000
CHARACTER_LIMIT = 2_000_000
COMMENTS_A_WORD = 8
INTERPOLATION_WORDS = 3  # what one counts for, at least: it is parsed by itself
TOLD_LIMIT = 1_000  # of what is wrong; more says nothing more
_NUMBER = re.compile(
    r"(?P<INT>0[xX](?:_?[0-9a-fA-F])++|0[oO](?:_?[0-7])++|0[bB](?:_?[01])++)(?![A-Za-z0-9_])"
    r"|(?P<digits>[0-9](?:_?[0-9])*+)"
    r"(?P<FLOAT>(?:\.[0-9](?:_?[0-9])*+)?(?:[eE][+-]?[0-9](?:_?[0-9])*+)?)(?![A-Za-z0-9_])"
)
_NUMBER_LIKE = re.compile(r"[0-9][A-Za-z0-9_]*+(?:\.[0-9][A-Za-z0-9_]*+)*+")
_BEFORE = re.compile(r"[A-Za-z0-9_]+\Z")  # a side of `a..b`
_INDEXED = re.compile(r"[\w\])]\[[^\[\]\n]*\Z")
_BEHIND = re.compile(r"=?\s*[A-Za-z0-9_]+")
_LABEL = re.compile(r"[A-Za-z0-9_]++(?:\.[A-Za-z0-9_]++)*+")
_LABEL_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+")

# What other languages write: (what to read it as, help).
_FOREIGN = {
    "===": ("==", "equality is written `==`"),
    "!==": ("!=", "inequality is written `!=`"),
    "&&": ("and", "write `and`"),
    "||": ("or", "write `or`"),
    "<>": ("!=", "inequality is written `!=`"),
    "=>": ("->", "an output's type comes after `->`; there are no function literals: write a `fn`"),
    ":=": ("=", "a name is bound with `=`"),
}
_UNITS = {"k": "000", "K": "000", "m": "000_000", "M": "000_000", "b": "000_000_000", "B": "000_000_000"}
_QUOTES = "a string stands in straight double quotes"
_CHARACTER_HELP = {
    ";": "a new line ends a statement",
    "?": "a choice is written `a if c else b`",
    "!": "write `not`, or `!=` for inequality",
    "&": "write `and`: it works on bool tensors element by element",
    "|": "write `or`, or `|>` to pipe",
    "~": "write `not`: it works on bool tensors element by element",
    "^": "a power is written `**`",
    "`": "names stand without quotes",
    "\\": "a line goes on after an operator and inside brackets; strings stand in double quotes",
    "\u00a0": "this is a no-break space: write a plain one",
    "\ufeff": "this is a byte-order mark: delete it",
    **dict.fromkeys("“”‘’„«»", _QUOTES),
}
# Characters that mean an operator elsewhere, and what they are read as.
_MEANT = {
    "!": "not",
    "&": "and",
    "|": "or",
    "~": "not",
    "^": "**",
    "−": "-",
    "–": "-",
    "×": "*",
    "·": "*",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "…": "...",
}


@dataclass(slots=True)
class Scanned:
    """The tokens of a text, its comments (line, text, whether alone on its line) and what was wrong."""

    tokens: list[Token] = field(default_factory=list)
    comments: list[tuple[int, str, bool]] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    words: int = 0
    """The tokens, and what stands in strings to be parsed."""


def scan(text: str, file: str, line: int = 1, column: int = 1) -> Scanned:
    """The tokens of `text`, whose first character stands at `line`, `column` of `file`."""
    return _Scanner(text, file, line, column).run()


class _Scanner:
    def __init__(self, text: str, file: str, line: int, column: int) -> None:
        self.text = text
        self.file = file
        self.line = line
        self.start_of_line = 1 - column
        self.newline = True
        self.inner_words = 0
        self.result = Scanned()

    def run(self) -> Scanned:
        position = 1 if self.text.startswith("\ufeff") else 0
        self.start_of_line += position
        end = len(self.text)
        match = _TOKEN.match
        while position < end and self._has_room():
            found = match(self.text, position)
            assert found is not None and found.lastgroup is not None
            position = self._take(found.lastgroup, found)
        self.result.words = self._words()
        return self.result

    def _has_room(self) -> bool:
        return self._words() <= WORD_LIMIT and len(self.result.diagnostics) < TOLD_LIMIT

    def _words(self) -> int:
        return len(self.result.tokens) + self.inner_words + len(self.result.comments) // COMMENTS_A_WORD

    def _take(self, group: str, found: re.Match[str]) -> int:
        """Acts on one match and returns where the next begins."""
        start, end = found.span()
        if group == "space":
            return end
        if group == "newline":
            self.line += 1
            self.start_of_line = end
            self.newline = True
            return end
        if group in ("NAME", "number") and self._after_as():
            return self._label(start)
        if group == "NAME":
            word = found.group()
            self._add(word if word in RESERVED else "NAME", start, end)
            return end
        if group == "op":
            return self._operator(found.group(), start, end)
        return self._rare(group, found, start, end)

    def _rare(self, group: str, found: re.Match[str], start: int, end: int) -> int:
        if group == "number":
            return self._number(start)
        if group == "comment":
            self.result.comments.append((self.line, found.group().rstrip(), self.newline))
        elif group == "STRING":
            self._string(found, start, end)
        elif group == "single":
            self._single_quoted(found.group(), start, end)
        elif group == "foreign":
            self._foreign(found.group(), start, end)
        else:
            self._bad_character(found.group(), start, end)
        return end

    def _after_as(self) -> bool:
        tokens = self.result.tokens
        return bool(tokens) and tokens[-1].kind == "as"

    def _add(self, kind: str, start: int, end: int, text: str | None = None) -> Token:
        first = self.start_of_line - 1
        token = Token(
            kind,
            self.text[start:end] if text is None else text,
            self.line,
            start - first,
            end - first,
            self.newline,
        )
        self.newline = False
        self.result.tokens.append(token)
        return token

    def _span(self, start: int, end: int) -> Span:
        first = self.start_of_line - 1
        return Span(self.file, self.line, start - first, self.line, end - first)

    def _syntax(self, start: int, end: int, message: str, replacement: str = "", help: str = "") -> None:
        span = self._span(start, end)
        fixes = [Fix(span, replacement)] if replacement else []
        self.result.diagnostics.append(SYNTAX.at(span, message=message, help=help, fixes=fixes))

    def _label(self, start: int) -> int:
        found = _LABEL.match(self.text, start)
        assert found is not None
        label, end = found.group(), found.end()
        if not all(_LABEL_PART.fullmatch(part) for part in label.split(".")):
            self._syntax(start, end, f"`{label}` is no label", f'"{label}"', "put it in double quotes")
        self._add("LABEL", start, end)
        return end

    def _operator(self, text: str, start: int, end: int) -> int:
        if text == "." and self.text[end : end + 1].isdecimal() and not self._after_operand():
            return self._bare_fraction(start)
        if text == "." and self.text[end : end + 1] == ".":
            return self._range(start, 2)
        if text == "..." and self._after_operand():
            return self._range(start, 3)
        self._add(text, start, end)
        return end

    def _range(self, start: int, dots: int) -> int:
        """`0..3` or `0...3`, which other languages have: what stands around it is read as if an operator stood here."""
        end = start + dots
        first, last = (
            found.group() if found else "…"
            for found in (
                _BEFORE.search(self.text, max(0, start - 40), start),
                _BEHIND.match(self.text, end),
            )
        )
        last = last.removeprefix("=")
        help = f"write `range({first}, {last})`, which ends before its second number"
        if _INDEXED.search(self.text, max(0, start - 80), start):
            help = f"a slice is `{first}:{last}`, which ends before its second number"
        self._syntax(start, end, f"`{self.text[start:end]}` makes no range in this language", help=help)
        self._add("+", start, end).broken = True
        return end

    def _after_operand(self) -> bool:
        tokens = self.result.tokens
        return bool(tokens) and tokens[-1].kind in ("NAME", ")", "]", "INT", "FLOAT")

    def _bare_fraction(self, start: int) -> int:
        found = _NUMBER_LIKE.match(self.text, start + 1)
        if found is None:  # a digit of another script
            self._add(".", start, start + 1)
            return start + 1
        text = self.text[start : found.end()]
        self._syntax(start, found.end(), "a float has digits on both sides of its point", f"0{text}")
        self._add("FLOAT", start, found.end(), text="0.0").broken = True
        return found.end()

    def _number(self, start: int) -> int:
        found = _NUMBER.match(self.text, start)
        if found is None:
            return self._bad_number(start)
        end = found.end()
        if found["INT"]:
            self._add("INT", start, end)
        elif found["FLOAT"]:
            self._add("FLOAT", start, end)
        elif self._open_point(end):
            text = self.text[start : end + 1]
            self._syntax(start, end + 1, "a float has digits on both sides of its point", f"{text}0")
            end += 1
            self._add("FLOAT", start, end, text="0.0").broken = True
        else:
            self._integer(start, end)
        return end

    def _open_point(self, at: int) -> bool:
        """Whether a point stands at `at` that belongs to nothing else: neither `...` nor `.name`."""
        after = self.text[at + 1 : at + 2]
        return self.text[at : at + 1] == "." and not (after == "." or after.isalpha() or after == "_")

    def _integer(self, start: int, end: int) -> None:
        text = self.text[start:end]
        plain = text.replace("_", "")
        if plain[0] == "0" and plain.strip("0"):
            self._syntax(start, end, "an integer does not begin with 0", plain.lstrip("0"))
        self._add("INT", start, end)

    def _bad_number(self, start: int) -> int:
        found = _NUMBER_LIKE.match(self.text, start)
        assert found is not None
        text = found.group()
        unit = _UNITS.get(text[-1]) if text[:-1].isdecimal() else None
        help = f"write `{text[:-1]}_{unit}`" if unit else "a name begins with a letter or `_`"
        self._syntax(start, found.end(), f"`{text}` is neither a number nor a name", help=help)
        self._add("INT", start, found.end(), text="0").broken = True
        return found.end()

    def _string(self, found: re.Match[str], start: int, end: int) -> None:
        if found["close"]:
            self._add("STRING", start, end)
            self.inner_words += INTERPOLATION_WORDS * self.text.count("{", start, end)
            return
        self.result.diagnostics.append(
            UNTERMINATED_STRING.at(self._span(start, end), help="a string ends on the line that it begins on")
        )
        self._add("STRING", start, end, text='""').broken = True

    def _single_quoted(self, text: str, start: int, end: int) -> None:
        inner = text[1:].removesuffix("'").replace('"', '\\"')
        self._syntax(start, end, "a string stands in double quotes", f'"{inner}"', f'write `"{inner}"`')
        self._add("STRING", start, end, text='""').broken = True

    def _foreign(self, text: str, start: int, end: int) -> None:
        if text in _FOREIGN:
            kind, help = _FOREIGN[text]
            self._syntax(start, end, f"`{text}` is no operator of this language", kind, help)
            self._add(kind, start, end).broken = True
        else:
            before = _BEFORE.search(self.text[max(0, start - 40) : start].rstrip())
            name = before.group() if before else "x"
            help = f"write `{name} = {name} {text[:-1]} …`"
            self._syntax(start, end, f"`{text}` is no operator of this language", help=help)
            self._add("=", start, end).broken = True
            if name.isidentifier():  # as it is meant, so that what follows is read of the right value
                self._add("NAME", start, start, text=name)
                self._add(text[:-1], start, end, text=text[:-1])

    def _bad_character(self, text: str, start: int, end: int) -> None:
        first = text[0]
        shown = f"`{text[:40]}`" if text.isprintable() and not text.isspace() else f"U+{ord(first):04X}"
        meant = _MEANT.get(first, "")
        help = _CHARACTER_HELP.get(first) or (f"write `{meant}`" if meant else "")
        if first.isalpha():
            help = "names are made of the letters a to z, digits and `_`"
        help = self._in_context(text, end) or help
        if first == ";" and self._told(BAD_CHARACTER.code):
            return self._separate(start, end)
        self.result.diagnostics.append(BAD_CHARACTER.at(self._span(start, end), character=shown, help=help))
        if first == ";":
            self._separate(start, end)
        elif meant or first.isalpha():
            self._add(meant or "NAME", start, end).broken = True

    def _separate(self, start: int, end: int) -> None:
        self._add(";", start, end, text=";")

    def _told(self, code: str) -> bool:
        """Whether the loop of another language that stands on this line was complained of."""
        return self._is_c_loop() and any(
            each.code == code and each.span.line == self.line for each in self.result.diagnostics
        )

    def _is_c_loop(self) -> bool:
        tokens = [each for each in self.result.tokens[-16:] if each.line == self.line]
        return any(a.kind == "for" and b.kind == "(" for a, b in pairwise(tokens))

    def _in_context(self, text: str, end: int) -> str:
        """Help for a character that means something else where it stands."""
        tokens = self.result.tokens
        if text == ";" and self._is_c_loop():
            return "a loop is written `for i in range(3) { … }`"
        if text.startswith("```"):
            return "this is a fence of Markdown, not of the spec: leave it out"
        if (
            text == "?"
            and tokens
            and tokens[-1].kind in ("[", ",")
            and self.text[end : end + 1] in (",", "]")
        ):
            return "a size that is open has a name, such as `B`, or is `_`"
        if text == "?" and tokens and self._ends_type(tokens, end):
            return "an optional input is written `name: type = none`"
        return ""

    def _ends_type(self, tokens: list[Token], end: int) -> bool:
        """Whether a `?` makes an input optional, as in `mask: bool[B]?` and `mask?: bool[B]`."""
        after = self.text[end:].lstrip()[:1]
        before = tokens[-2] if len(tokens) > 1 else None
        named = tokens[-1].kind == "NAME" and before is not None and before.kind in ("(", ",")
        return (tokens[-1].kind == "]" and after in (",", ")")) or (named and after == ":")
