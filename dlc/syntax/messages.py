"""Says what a syntax error is: what was found, what could stand there, and what was likely meant."""

from __future__ import annotations

from collections.abc import Callable

from dlc.diagnostics import Diagnostic, Span, did_you_mean
from dlc.diagnostics.catalogue import SYNTAX, TOO_DEEP
from dlc.syntax.lalr import MAX_DEPTH, Failure
from dlc.syntax.tokens import END, ITEMS, RESERVED, STATEMENTS, WEIGHT_RULES, Token, words

_EXPRESSION = words("NAME INT FLOAT STRING ( [ - + not true false none _")
_OPERATORS = words("+ - * / // % ** @ == != < <= > >= in not and or if |> . ( [ as")
_WORDS = {
    "NAME": "a name",
    "INT": "a number",
    "FLOAT": "a number",
    "STRING": "a string",
    "LABEL": "a label",
    "NEWLINE": "a new line",
    END: "the end",
}
_ORDER = ("a name", "a type", "an expression", "a statement", "an item")


def explain(failure: Failure, file: str) -> Diagnostic | None:
    """The diagnostic of a failure; None if it only follows from what the lexer has reported."""
    if failure.too_deep:
        return TOO_DEEP.at(_place(failure, file), limit=MAX_DEPTH)
    if _follows(failure):
        return None
    expected = failure.expected()
    message, help = _special(failure, expected) or (_plain(failure, expected), "")
    return SYNTAX.at(_place(failure, file), message=message, help=help or _help(failure, expected))


def _follows(failure: Failure) -> bool:
    """Whether the error comes from a bracket or a word that was complained of already."""
    near = [each for each in (failure.token, failure.before) if each is not None]
    return any(each.broken or (not each.text and each.kind in (")", "]", "}")) for each in near)


def _place(failure: Failure, file: str) -> Span:
    token, before = failure.token, failure.before
    if token.text == "" and before is not None:
        return Span(file, before.line, before.end, before.line, before.end + 1)
    return Span(file, token.line, token.column, token.line, max(token.end, token.column + 1))


def found(token: Token) -> str:
    if token.kind == "NEWLINE":
        return "the end of the line"
    if token.kind == END:
        return "the end of the text"
    return f"`{token.text}`" if len(token.text) <= 40 else f"`{token.text[:40]}…`"


def _plain(failure: Failure, expected: set[str]) -> str:
    before = failure.before
    after = f" after {found(before)}" if before is not None and before.text else ""
    return f"expected {wanted(expected)}{after}, found {found(failure.token)}"


def wanted(expected: set[str]) -> str:
    """The kinds of token that could stand somewhere, in words."""
    rest = set(expected)
    words = []
    if rest >= {"return", "if", "for"}:
        words.append("a statement")
        rest -= _EXPRESSION | STATEMENTS | ITEMS | {"return", "if", "for", "ERROR"}
    if rest >= ITEMS:
        words.append("an item such as `module`, `model`, `fn` or `train`")
        rest -= ITEMS
    if rest >= WEIGHT_RULES:
        words.append("a rule such as `rename`, `strip` or `transpose`")
        rest -= WEIGHT_RULES
    if rest >= {"NAME", "INT", "("}:
        words.append("an expression")
        rest -= _EXPRESSION
    if rest >= {"+", "*", "("}:
        rest -= _OPERATORS
        if not rest - {"ERROR", END}:
            words.append("an operator")
    if rest >= {"NAME", "["} and "]" not in rest:
        words.append("a type")
        rest -= {"NAME", "["}
    words += sorted({_WORDS.get(kind, f"`{kind}`") for kind in rest - {"ERROR"}}, key=_rank)
    return _alternatives(words)


def _rank(word: str) -> tuple[bool, str]:
    return word.startswith("`"), word


def _alternatives(words: list[str]) -> str:
    if len(words) > 5:
        words = [*words[:5], "…"]
    if len(words) < 2:
        return "".join(words) or "something else"
    return ", ".join(words[:-1]) + " or " + words[-1]


# --- what is often meant
# -------------------------------------------------------------------------------------


def _special(failure: Failure, expected: set[str]) -> tuple[str, str] | None:
    """Message and help where the general message would be no help."""
    token, before = failure.token, failure.before
    if token.kind in (")", "]", "}") and token.level == 0 and token.depth == 0 and expected >= ITEMS:
        return f"this `{token.kind}` closes nothing", "an item before it may have been closed too early"
    if token.kind in (")", "]") and "NEWLINE" in expected:
        return f"this `{token.kind}` closes nothing", ""
    if token.kind in ITEMS and token.level > 0:
        return f"`{token.kind}` stands at the top of a file, not in a block", _ITEM_HELP.get(token.kind, "")
    if token.kind in RESERVED and expected & {"NAME"} and not expected & {"INT"} and before is not None:
        return f"`{token.kind}` is a reserved word, it can't be a name", "choose another name"
    return None


_ITEM_HELP = {"let": "in a body a value is bound by `name = …`"}
_FOREIGN_WORDS = {
    "def": "a computation is written `fn name(…) -> … { }`, a network `module Name(…)(…) -> … { }`",
    "class": "a network is written `module Name(…)(…) -> … { }`",
    "func": "a computation is written `fn name(…) -> … { }`",
    "function": "a computation is written `fn name(…) -> … { }`",
    "const": "a static value is written `let NAME = …`",
    "var": "a static value is written `let NAME = …`; in a body just `name = …`",
    "while": "there is no `while`: use `for` over a range, or `scan`",
    "elif": "write `else if`",
    "lambda": "there are no lambdas: write a `fn`",
    "with": "`with` belongs to `scan`, `step` and `load`",
    "del": "a value is not deleted",
    "pass": "a block may be empty: `{ }`",
    "assert": "write `require …`",
    "break": "a loop always runs to its end",
    "continue": "a loop always runs to its end",
    "self": "parameters are plain names: `param w: [d] = …`, then `w`",
}


def _foreign_word(failure: Failure, expected: set[str]) -> str:
    for token in (failure.token, failure.before):
        if token is not None and token.kind == "NAME" and token.text in _FOREIGN_WORDS:
            return _FOREIGN_WORDS[token.text]
    return ""


def _typo(failure: Failure, expected: set[str]) -> str:
    words = {kind for kind in expected if kind.isalpha() and kind.islower()}
    for token in (failure.token, failure.before):
        if token is not None and token.kind == "NAME" and len(token.text) > 2:
            known = words if token is failure.token else STATEMENTS | ITEMS | WEIGHT_RULES
            if token.text not in known and (help := did_you_mean(token.text, known)):
                return help
    return ""


def _python_block(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == ":" and "{" in expected:
        return "a block stands in braces: `{ … }`"
    return ""


def _missing_braces(failure: Failure, expected: set[str]) -> str:
    if "{" in expected and failure.token.kind not in ("=", ","):
        return "a body stands in braces: `{ … }`"
    return ""


def _equality(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == "=" and "==" in expected:
        return "a comparison is written `==`"
    return ""


def _missing_arrow(failure: Failure, expected: set[str]) -> str:
    if "->" in expected and failure.token.kind in ("{", "where", "NAME", ":", "="):
        return "the output comes after an arrow: `-> [B, d]`"
    return ""


def _one_list(failure: Failure, expected: set[str]) -> str:
    before = failure.before
    if expected == {"("} and before is not None and before.kind == ")":
        return "a module has two lists, static values and inputs: `module Name(d: int)(x: [B, d]) -> …`"
    return ""


def _several_outputs(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == "," and "{" in expected and "where" in expected:
        return "several outputs stand in parentheses: `-> (a: …, b: …)`"
    return ""


def _generator(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == "for" and ")" in expected:
        return "write a list: `[… for … in …]`"
    return ""


def _missing_separator(failure: Failure, expected: set[str]) -> str:
    if "NEWLINE" in expected and failure.token.kind in ("NAME", "INT", "FLOAT", "STRING", "return"):
        return "statements stand on lines of their own"
    return ""


def _pipe(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == "|>" and failure.before is not None:
        return "a pipe inside an expression stands in parentheses: `(… |> …)`"
    return ""


_HELPS: tuple[Callable[[Failure, set[str]], str], ...] = (
    _foreign_word,
    _python_block,
    _equality,
    _missing_arrow,
    _several_outputs,
    _missing_braces,
    _one_list,
    _generator,
    _pipe,
    _typo,
    _missing_separator,
)


def _help(failure: Failure, expected: set[str]) -> str:
    for rule in _HELPS:
        if text := rule(failure, expected):
            return text
    return ""
