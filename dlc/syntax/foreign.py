"""Syntax that people bring from Python, PyTorch and elsewhere: what each is here. Rules as in `dlc.syntax.hints`."""

from __future__ import annotations

from pathlib import PurePosixPath

from dlc.diagnostics import suggestion
from dlc.syntax.lalr import Failure
from dlc.syntax.tokens import ITEMS, WEIGHT_RULES, Token, words

_LIBRARIES = words(
    "torch torchvision numpy np jax jnp flax haiku equinox tensorflow tf keras math nn functools einops typing os"
)
_STATIC = words("int float bool str dtype dim module fn list tuple string")
_PREFIXES = words("f r b u fr rf F R")
_EXPRESSION = frozenset({"NAME", "INT", "("})
_OPERATORS = words("+ - * / // % ** @ == != < <= > >= |> = , and or not in")
_RULES = {
    "replace": "rename", "map": "rename", "move": "rename", "drop": "ignore", "remove": "ignore", "skip": "ignore",
    "delete": "ignore", "prefix": "strip", "permute": "transpose", "merge": "concat", "cat": "concat", "unstack": "split",
    "add": "offset", "multiply": "scale", "weightnorm": "weight_norm",
}  # fmt: skip

_PART = "a part is written `module Name(…)(…) -> … { }`, an entry point `model`"
_NO_IMPORT = "layers and ops are there without an import"
# First words of statements and items.
FIRST_WORDS = {
    **dict.fromkeys(("network", "net", "layer", "block", "graph", "component", "struct"), _PART),
    "repeat": "write `for i in range(3) { … }`",
    "loop": "write `for i in range(3) { … }`",
    "with": "there is no `with`; `stop_gradient(x)` stops gradients",
    "try": "nothing fails while a network runs: leave it out",
    "maximize": "write `minimize -(…)`",
    "use": 'another spec is imported by `from "file.dl" import Name`',
    "include": 'another spec is imported by `from "file.dl" import Name`',
    "async": "nothing runs at the same time here: leave it out",
    "export": "every item of a file can be imported: leave it out",
    "fun": "a computation is written `fn name(…) -> … { }`",
    "val": "a static value is written `let NAME = …`; in a body just `name = …`",
}


def adjacent(before: Token | None, token: Token) -> bool:
    return before is not None and before.line == token.line and before.end == token.column


def dangling(failure: Failure, expected: set[str]) -> bool:
    """Whether a line ends with an operator, and what follows is no operand."""
    before = failure.before
    return (
        before is not None
        and failure.token.newline
        and before.kind in _OPERATORS
        and bool(before.text)
        and expected >= _EXPRESSION
    )


def imports(failure: Failure, expected: set[str]) -> str:
    token, before = failure.token, failure.before
    if before is None:
        return ""
    if before.kind in ("import", "from") and expected == {"STRING"}:
        named = failure.near(1) if token.kind == "." else token
        name = named.text if named is not None else "file"
        return _NO_IMPORT if name in _LIBRARIES else f'a file is named in quotes: `from "{name}.dl" import …`'
    if expected == {"as"} and before.kind == "STRING":
        path = PurePosixPath(before.text.strip('"'))
        name = "".join(each if each.isalnum() else "_" for each in path.stem) or "name"
        return f"give it a name: `import {before.text} as {name}`"
    if token.kind == "*" and before.kind == "import":
        return "names are imported one by one: `import Block, Head`"
    return ""


def identity(failure: Failure, expected: set[str]) -> str:
    if failure.token.text != "is" or "==" not in expected:
        return ""
    after = failure.near(1)
    return "write `!=`: `mask != none`" if after is not None and after.kind == "not" else "write `==`"


def strings(failure: Failure, expected: set[str]) -> str:
    token, before = failure.token, failure.before
    if token.kind != "STRING" or before is None or not adjacent(before, token):
        return ""
    if before.kind == "STRING":
        return "documentation is the comment above an item: `# …`"
    if before.text in _PREFIXES:
        return "a string has no letter before it; in labels and messages `{…}` interpolates by itself"
    return ""


def comments(failure: Failure, expected: set[str]) -> str:
    token = failure.token
    at = failure.index
    if token.kind in ("/", "//") and (expected >= ITEMS or expected >= {"return", "if", "for"}):
        return "a comment begins with `#`"
    while at > 0 and failure.tokens[at].line == token.line:
        if failure.tokens[at].kind == "//" and failure.index - at >= 2:
            return "a comment begins with `#`"
        at -= 1
    return ""


def stars(failure: Failure, expected: set[str]) -> str:
    token, before = failure.token, failure.before
    if token.kind not in ("*", "**") or before is None or before.kind not in ("(", ","):
        return ""
    if "..." in expected:
        return "arguments are written out; `f(...)` passes on every static value of the same name"
    return "parameters are written out: `d: int, heads: int`" if "NAME" in expected else ""


def dots(failure: Failure, expected: set[str]) -> str:
    """`[...s]` and `[..., d]` for any number of axes."""
    token, after = failure.token, failure.near(1)
    if token.kind != "..." or not {"*", "]"} <= expected:
        return ""
    name = after.text if after is not None and after.kind == "NAME" else "S"
    rest = "" if after is not None and after.kind in ("NAME", "]") else ", …"
    return f"any number of axes is written `[*{name}{rest}]`"


def braces(failure: Failure, expected: set[str]) -> str:
    token, before = failure.token, failure.before
    if token.kind != "{" or before is None:
        return "a file holds items such as `model Name(…)(…) -> … { }`" if token.kind == "{" else ""
    first = failure.near(-4)
    if adjacent(before, token) and (label := _label(failure)):
        return f'a label with a value in it stands in quotes: `as "{label}{{i}}"`'
    if expected == {"("} and before.kind == "=":
        return "members stand in parentheses: `(name: type, …)`"
    if first is not None and first.kind == "preset" and expected >= ITEMS:
        return f"settings stand in parentheses: `{before.text}(name=value)`"
    if expected >= _EXPRESSION:
        return "there are no dictionaries: give each value a name of its own, or use a list of tuples"
    return ""


def _label(failure: Failure) -> str:
    """The label that ends in front of the token, which something follows: `h.` of `as h.{i}`; "" where none does."""
    text, at = "", failure.index - 1
    while at >= 0 and failure.tokens[at].kind != "as":
        if not adjacent(failure.tokens[at], failure.tokens[at + 1]):
            return ""
        text, at = failure.tokens[at].text + text, at - 1
    return text if at >= 0 else ""


def types(failure: Failure, expected: set[str]) -> str:
    token, before = failure.token, failure.before
    if before is None:
        return ""
    if token.kind == "<" and expected >= {"[", "."}:
        return "a tensor's type is written `[B, 10]`, or `f32[B, 10]`"
    if token.kind == "(" and before.kind in (":", "->") and expected >= {"[", "NAME"}:
        return "a tensor's type stands in brackets: `[B, 10]`"
    if token.kind == "NAME" and before.text in _STATIC and ":" in expected:
        return f"the type comes behind the name: `{token.text}: {before.text}`"
    return ""


def arrows(failure: Failure, expected: set[str]) -> str:
    token, before = failure.token, failure.before
    if before is None:
        return ""
    if token.kind == ">" and before.kind == ">" and adjacent(before, token):
        return "a pipe is written `|>`"
    if token.kind == "->" and "NEWLINE" in expected:
        return "layers are joined by pipes: `y = x |> linear(10) |> relu`"
    if token.kind == "|>" and {"return", "if", "for"} <= expected:
        return "a pipe begins with a value: `x |> …`"
    return ""


def colons(failure: Failure, expected: set[str]) -> str:
    token, before = failure.token, failure.before
    if token.kind != ":" or before is None or before.kind != "NAME":
        return ""
    if "=" in expected and ")" in expected:
        return f"an argument by name is written `{before.text}=…`"
    return f"write `{before.text} = …`" if expected == {"="} else ""


def dashes(failure: Failure, expected: set[str]) -> str:
    token, before, first = failure.token, failure.before, failure.near(-2)
    if token.kind != "-" or before is None or not adjacent(before, token):
        return ""
    if before.kind == "LABEL":
        return f'a label with other characters stands in quotes: `as "{before.text}-…"`'
    after = failure.near(1)
    if first is not None and first.kind in ITEMS and after is not None:
        return f"names are made of letters, digits and `_`: `{before.text}_{after.text}`"
    return ""


def facts(failure: Failure, expected: set[str]) -> str:
    if expected >= {"{", ","} and failure.token.kind in ("NAME", "INT", "("):
        return "facts are joined by `,` or `and`"
    return ""


def weights(failure: Failure, expected: set[str]) -> str:
    token, before = failure.token, failure.before
    if expected >= WEIGHT_RULES:
        if token.kind == "STRING":
            return 'a rule begins with what it does: `rename "a.*" -> "b.*"`'
        if meant := _RULES.get(token.text):
            return f"did you mean `{meant}`?"
        return "" if suggestion(token.text, WEIGHT_RULES) else f"rules are {', '.join(sorted(WEIGHT_RULES))}"
    if before is None or before.kind != "STRING":
        return ""
    if expected == {"->"} or (expected == {"->", ","} and token.kind == "="):
        return "the new names come after an arrow: `->`"
    if token.kind == "INT" and "NEWLINE" in expected:
        return "`transpose` swaps the last two axes: it takes names only"
    return ""


def train(failure: Failure, expected: set[str]) -> str:
    token, before, first = failure.token, failure.before, failure.near(-2)
    if before is None:
        return ""
    if before.kind == "metric" or (first is not None and first.kind == "metric" and expected == {"="}):
        return "a metric is a name and a value: `metric accuracy = mean(argmax(logits, axis=-1) == label)`"
    if before.kind == "sample" or (first is not None and first.kind == "sample" and expected == {"="}):
        return "a sample is a name and a value: `sample painted = net(z)`"
    if before.kind == "batch" and expected == {"("}:
        return "fields stand in parentheses: `batch (image: [B, 1, 28, 28], label: i64[B]) from …`"
    if before.kind == "evaluate":
        return 'write `evaluate from digits(split="test")`'
    if before.kind == "optimizer" and token.kind == ".":
        return "no call is needed: `optimizer = adamw(lr=1e-3)` says how to update"
    if token.kind == "for" and first is not None and first.kind == "train":
        return "a train block binds its networks: `net = Model()`"
    return ""


def items(failure: Failure, expected: set[str]) -> str:
    token, before, first = failure.token, failure.before, failure.near(-2)
    if token.kind == "@" and expected >= ITEMS:
        return "there are no decorators: leave it out"
    if before is None:
        return ""
    if expected == {"for"} and first is not None and first.kind == "weights":
        return f"write `weights NAME for {before.text} {{ … }}`"
    if expected == {"="} and first is not None and first.kind == "preset":
        return f"write `preset {before.text} = Model(name=value)`"
    if before.kind == "test" and expected == {"STRING"}:
        return 'a test is named in quotes: `test "sizes" { … }`'
    if before.kind == "return" and token.kind in ("}", "NEWLINE"):
        return "say what: `return x`"
    return ""


def quotes(failure: Failure, expected: set[str]) -> str:
    if expected != {"STRING"} or failure.token.kind != "NAME":
        return ""
    before = failure.before
    below = ".**" if before is not None and before.kind == "freeze" else ""
    text, at = failure.token.text, failure.index + 1
    while adjacent(failure.tokens[at - 1], failure.tokens[at]) and failure.tokens[at].kind in (
        ".",
        "NAME",
        "INT",
    ):
        text, at = text + failure.tokens[at].text, at + 1
    return f'paths stand in quotes: `"{text}{below}"`'


RULES = (
    imports, identity, strings, comments, stars, dots, braces, types, arrows, colons, dashes, facts, weights, train, items, quotes,
)  # fmt: skip
