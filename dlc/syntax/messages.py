"""Says what a syntax error is: what was found, what could stand there, and what was likely meant."""

from __future__ import annotations

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics.catalogue import SYNTAX, TOO_DEEP
from dlc.syntax.foreign import dangling
from dlc.syntax.hints import hint
from dlc.syntax.lalr import MAX_DEPTH, Failure
from dlc.syntax.tokens import END, ERROR, ITEMS, RESERVED, STATEMENTS, WEIGHT_RULES, Token, words

_EXPRESSION = words("NAME INT FLOAT STRING ( [ - + not true false none _")
_OPERATORS = words("+ - * / // % ** @ == != < <= > >= in not and or if |>")
_POSTFIX = words(". ( [ as")
_WORDS = {
    "NAME": "a name",
    "INT": "a number",
    "FLOAT": "a number",
    "STRING": "a string",
    "LABEL": "a label",
    "NEWLINE": "a new line",
    END: "the end",
}
_LOOK_BACK = 1000  # tokens
_VALUES = words("true false none _ not")
_ITEM = "an item such as `module`, `model`, `fn` or `train`"

# Kinds that are named together where all of the first stand in what is expected; the last are covered by the
# name.
_GROUPS = (
    (words("return if for"), "a statement", _EXPRESSION | STATEMENTS | ITEMS | words("return if for")),
    (ITEMS, _ITEM, ITEMS),
    (WEIGHT_RULES, "a rule such as `rename`, `strip` or `transpose`", WEIGHT_RULES),
    (words("NAME INT ("), "an expression", _EXPRESSION),
    (words("+ * ("), "", _OPERATORS | _POSTFIX),
    (words(". ( ["), "", _POSTFIX),
    (words("NAME ["), "a type", words("NAME [")),
)


def explain(failure: Failure, file: str) -> Diagnostic | None:
    """The diagnostic of a failure; None if it only follows from what the lexer has reported."""
    if failure.too_deep:
        help = "name an intermediate value"
        return TOO_DEEP.at(_place(failure, file), limit=MAX_DEPTH, help=help)
    if _follows(failure):
        return None
    expected = failure.expected()
    if dangling(failure, expected) and failure.before is not None:
        before = failure.before
        place = Span(file, before.line, before.column, before.line, before.end)
        message = f"expected an expression after `{before.text}`, found the next statement"
        return SYNTAX.at(place, message=message, help="the line ends in the middle of an expression")
    special = _special(failure, expected)
    message = special or _plain(failure, expected)
    return SYNTAX.at(_place(failure, file), message=message, help=hint(failure, expected))


def _follows(failure: Failure) -> bool:
    """Whether the error comes from a bracket or a word that was complained of already."""
    near = [each for each in (failure.token, failure.before, _opener(failure)) if each is not None]
    return any(each.broken or (not each.text and each.kind in (")", "]", "}")) for each in near)


def _opener(failure: Failure) -> Token | None:
    """The `(` or `[` that the wrong token stands in."""
    depth = failure.token.depth - 1
    for token in reversed(failure.tokens[max(0, failure.index - _LOOK_BACK) : failure.index]):
        if token.depth <= depth:
            return token if token.kind in ("(", "[") else None
    return None


def _place(failure: Failure, file: str) -> Span:
    token, before = failure.token, failure.before
    if before is not None and (token.text == "" or _cut_short(failure)):
        return Span(file, before.line, before.end, before.line, before.end + 1)
    return Span(file, token.line, token.column, token.line, max(token.end, token.column + 1))


def _cut_short(failure: Failure) -> bool:
    """Whether an item ends too early: the next one begins on a later line."""
    token, before = failure.token, failure.before
    return token.starts_item and before is not None and before.line < token.line


def found(token: Token) -> str:
    if token.kind == "NEWLINE":
        return "the end of the line"
    if token.kind == END:
        return "the end of the text"
    return f"`{token.text}`" if len(token.text) <= 40 else f"`{token.text[:40]}…`"


def _plain(failure: Failure, expected: set[str]) -> str:
    before = failure.before
    after = f" after {found(before)}" if before is not None and before.text else ""
    there = "the end of the line" if _cut_short(failure) else found(failure.token)
    return f"expected {wanted(expected)}{after}, found {there}"


def wanted(expected: set[str]) -> str:
    """The kinds of token that could stand somewhere, in words."""
    rest = expected - {ERROR}
    names = []
    for kinds, name, covered in _GROUPS:
        if rest >= kinds:
            names += [name] if name else []
            rest = rest - covered
    if names[:1] == [_ITEM]:
        rest = rest - {END}
    names += sorted({_WORDS.get(kind, f"`{kind}`") for kind in rest}, key=_rank)
    return _alternatives(names or ["an operator"])


def _rank(name: str) -> tuple[bool, str]:
    return name.startswith("`"), name


def _alternatives(names: list[str]) -> str:
    if len(names) > 5:
        names = [*names[:5], "…"]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


def _special(failure: Failure, expected: set[str]) -> str:
    """A message for where the general one would be no help."""
    token = failure.token
    if token.kind in (")", "]", "}") and (expected >= ITEMS or (token.kind != "}" and "NEWLINE" in expected)):
        return f"this `{token.kind}` closes nothing"
    if token.kind in ITEMS and token.level > 0:
        return f"`{token.kind}` stands at the top of a file, not in a block"
    if token.kind == "NAME" and token.text in ITEMS and expected >= ITEMS and (after := failure.near(1)):
        return f"expected what `{token.text}` defines, found {found(after)}"
    reserved = _reserved(failure, expected)
    return f"`{reserved.kind}` is a reserved word, it can't be a name" if reserved else ""


def _reserved(failure: Failure, expected: set[str]) -> Token | None:
    """The reserved word that is used as a name, if that is the error: it is bound, or only a name could
    stand there."""
    token, before, after = failure.token, failure.before, failure.near(1)
    if token.kind == "=" and before is not None and before.kind in RESERVED and "=" not in expected:
        return before if before.kind not in _VALUES else None
    if token.kind in RESERVED and "NAME" in expected and token.kind not in _VALUES:
        bound = after is not None and after.kind == "="
        return token if bound or "INT" not in expected else None
    return None
