"""What a syntax error was likely meant to be: small rules, the first that applies gives the help text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dlc.diagnostics import did_you_mean
from dlc.syntax.foreign import FIRST_WORDS
from dlc.syntax.foreign import RULES as FOREIGN
from dlc.syntax.lalr import Failure
from dlc.syntax.tokens import END, ITEMS, STATEMENTS, WEIGHT_RULES, Token

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
    "pass": "a block may be empty: `{ }`",
    "assert": "write `require …`",
    "break": "a loop always runs to its end",
    "continue": "a loop always runs to its end",
}
_BINARY = frozenset({"+", "-", "*", "/", "//", "%", "**", "@", "==", "!=", "<", "<=", ">", ">="})
_ARROW = "the output comes after an arrow: `-> [B, d]`"

Rule = Callable[[Failure, set[str]], str]


def hint(failure: Failure, expected: set[str]) -> str:
    """A help text for a failure, or nothing."""
    for rule in _RULES:
        if text := rule(failure, expected):
            return text
    return ""


def _first_words(failure: Failure) -> Iterator[Token]:
    """The wrong token and the one before it, as far as they are words that a statement or item begins
    with."""
    for offset in (0, -1):
        token, before = failure.near(offset), failure.near(offset - 1)
        begins = (
            before is None or before.kind in ("NEWLINE", "{", "}") or (token is not None and token.newline)
        )
        if token is not None and token.kind == "NAME" and begins:
            yield token


def _stray_closer(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == "}" and expected >= ITEMS:
        return "an item before it may have been closed too early"
    return ""


def _item_in_block(failure: Failure, expected: set[str]) -> str:
    inside = failure.token.level > 0
    return "in a body a value is bound by `name = …`" if inside and failure.token.kind == "let" else ""


def _foreign_word(failure: Failure, expected: set[str]) -> str:
    for offset in (0, -1):
        token = failure.near(offset)
        if token is not None and token.kind == "NAME" and token.text in _FOREIGN_WORDS:
            return _FOREIGN_WORDS[token.text]
    return next((FIRST_WORDS[each.text] for each in _first_words(failure) if each.text in FIRST_WORDS), "")


def _binding_at_top(failure: Failure, expected: set[str]) -> str:
    after = failure.near(1)
    if not (
        expected >= ITEMS and failure.token.newline and failure.token.kind in ("NAME", "return", "if", "for")
    ):
        return ""
    if failure.token.kind != "NAME":
        return "this belongs in a body: a `}` before it may close too early"
    if after is not None and after.kind == "=":
        return f"a value for the whole file is written `let {failure.token.text} = …`"
    if failure.token.text in ("param", "buffer"):
        return f"a `{failure.token.text}` stands in the body of the module or model that has it"
    return ""


def _python_block(failure: Failure, expected: set[str]) -> str:
    return "a block stands in braces: `{ … }`" if failure.token.kind == ":" and "{" in expected else ""


def _equality(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind != "=" or "==" not in expected:
        return ""
    name = failure.before
    if name is not None and name.kind == "NAME" and name.newline and name.line == failure.token.line:
        return "the line above ends with what asks for more, such as a `,`, so that it goes on in this one"
    return "a comparison is written `==`"


def _missing_arrow(failure: Failure, expected: set[str]) -> str:
    if "->" not in expected:
        return ""
    if failure.token.kind == "STRING":
        return "the new names come after an arrow: `->`"
    if failure.token.kind == "(":
        return f"a `fn` has one list, of tensors and static parameters, a module two; {_ARROW}"
    return _ARROW if failure.token.kind in ("{", "where", "NAME", ":", "=", "[") else ""


def _several_outputs(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == "," and expected >= {"{", "where"}:
        return "several outputs stand in parentheses: `-> (a: …, b: …)`"
    return ""


def _missing_braces(failure: Failure, expected: set[str]) -> str:
    if "where" in expected and (help := did_you_mean(failure.token.text, ["where"])):
        return help
    if "{" in expected and failure.token.kind not in ("=", ","):
        return "a body stands in braces: `{ … }`"
    return ""


def _one_list(failure: Failure, expected: set[str]) -> str:
    before = failure.before
    if expected == {"("} and before is not None and before.kind == ")":
        return "a module has two lists, static values and inputs: `module Name(d: int)(x: [B, d]) -> …`"
    return ""


def _generator(failure: Failure, expected: set[str]) -> str:
    return "write a list: `[… for … in …]`" if failure.token.kind == "for" and ")" in expected else ""


def _pipe(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == "|>" and failure.before is not None and failure.before.kind != "NEWLINE":
        return "a pipe inside an expression stands in parentheses: `(… |> …)`"
    return ""


def _pipe_and_more(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind in _BINARY and "|>" in expected and failure.token.kind not in expected:
        if failure.token.kind == "//":
            return "a comment begins with `#`; a division's left side stands in parentheses, `(… |> …) // …`"
        return "`|>` binds loosest: what goes on after a stage stands in parentheses, `(… |> …) * …`"
    if failure.token.kind == "if" and "|>" in expected and failure.token.kind not in expected:
        return "`|>` binds loosest: a choice between pipes has them in parentheses, `(… |> …) if … else …`"
    return ""


def _choice(failure: Failure, expected: set[str]) -> str:
    """An `if` where a statement's does not stand: in an axis of a type, or at the beginning of an expression."""
    if failure.token.kind != "if" or "if" in expected:
        return ""
    if ("NAME" in expected and "*" in expected) or (
        "]" in expected and "," in expected and "for" not in expected
    ):
        return "a size has no `if`, and a static parameter may: `(n: int = 4 if … else 3)(x: [B, n])`"
    return "a choice is written `a if c else b`; `if … { }` is a statement" if "NAME" in expected else ""


def _untyped_parameter(failure: Failure, expected: set[str]) -> str:
    first, name = failure.near(-2), failure.before
    if expected == {":"} and first is not None and first.kind == "param" and name is not None:
        return f"a parameter has a type: `param {name.text}: [sizes] = …`"
    return ""


def _unnamed_yield(failure: Failure, expected: set[str]) -> str:
    first, value = failure.near(-2), failure.before
    if first is None or first.kind != "yield" or value is None or "=" not in expected:
        return ""
    renamed = failure.near(1) if failure.token.kind == "as" else None
    name = renamed.text if renamed is not None else "name"
    more = "" if failure.token.kind in ("as", "}", "NEWLINE") else " …"
    return f"what a turn hands out has a name of its own: `yield {name} = {value.text}{more}`"


def _format_spec(failure: Failure, expected: set[str]) -> str:
    if failure.token.kind == ":" and END in expected and not expected >= ITEMS:
        return "an interpolated value is shown as it is: no format follows it"
    return ""


def _typo(failure: Failure, expected: set[str]) -> str:
    for token in _first_words(failure):
        known = {"return", "for", "if"} | STATEMENTS | ITEMS | WEIGHT_RULES
        if token is failure.token:
            known = {kind for kind in expected if kind.isalpha() and kind.islower()}
        if len(token.text) > 2 and (help := did_you_mean(token.text, known - {token.text})):
            return help
    return ""


def _missing_separator(failure: Failure, expected: set[str]) -> str:
    if "NEWLINE" in expected and failure.token.kind in (
        "NAME",
        "INT",
        "FLOAT",
        "STRING",
        "return",
        "if",
        "for",
    ):
        return "statements stand on lines of their own"
    return ""


_RULES: tuple[Rule, ...] = (
    _stray_closer,
    _item_in_block,
    *FOREIGN,
    _foreign_word,
    _binding_at_top,
    _python_block,
    _equality,
    _missing_arrow,
    _several_outputs,
    _missing_braces,
    _one_list,
    _generator,
    _pipe,
    _pipe_and_more,
    _choice,
    _untyped_parameter,
    _unnamed_yield,
    _format_spec,
    _typo,
    _missing_separator,
)
