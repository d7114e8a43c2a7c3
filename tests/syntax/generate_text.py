"""Random texts of the language: sentences of the grammar, and changes to specs."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from lark import Lark
from lark.grammar import NonTerminal, Rule
from lark.lexer import PatternStr

from dlc.resources import grammar_path

TOKENS = [
    "module",
    "model",
    "fn",
    "let",
    "type",
    "preset",
    "weights",
    "train",
    "test",
    "import",
    "from",
    "param",
    "buffer",
    "update",
    "init",
    "entry",
    "scan",
    "yield",
    "batch",
    "minimize",
    "metric",
    "evaluate",
    "optimizer",
    "load",
    "freeze",
    "settings",
    "step",
    "if",
    "else",
    "for",
    "in",
    "as",
    "return",
    "true",
    "false",
    "none",
    "and",
    "or",
    "not",
    "where",
    "with",
    "along",
    "backwards",
    "updates",
    "every",
    "repeat",
    "frozen",
    "except",
    "strip",
    "rename",
    "a",
    "b",
    "x",
    "T",
    "d",
    "_",
    "1",
    "2.5",
    "0",
    '"s"',
    '"a{b}"',
    '"{"',
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "@",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "=",
    "->",
    "|>",
    ",",
    ":",
    ".",
    "...",
    "#",
    ";",
    "\n",
    "\n",
    "\n",
    "!",
    "$",
    "é",
    "'",
    '"',
    "\\",
]

_TEXTS = {
    "NAME": ["a", "b", "x", "T", "heads", "linear"],
    "LABEL": ["fc", "layer.0", "a.b.c"],
    "INT": ["0", "1", "12", "5_000", "0x1F"],
    "FLOAT": ["0.5", "6e-4", "1_0.25"],
    "STRING": ['"a"', '"b c"', '"x{i}y"', '"\\n"'],
    "_NEWLINE": ["\n", "\n\n", "\n# own line\n", "  # behind\n"],
}


@cache
def _grammar() -> tuple[dict[str, list[Rule]], dict[str, list[str]]]:
    lark = Lark(
        grammar_path().read_text(encoding="utf-8"), parser="lalr", lexer="basic", start=["file", "value"]
    )
    rules: dict[str, list[Rule]] = {}
    for rule in lark.rules:
        names = [symbol.name for symbol in rule.expansion]
        if "ERROR" not in names and "error" not in names and names[-1:] != ["COMMA"]:
            rules.setdefault(rule.origin.name, []).append(rule)
    terminals: dict[str, list[str]] = {}
    for terminal in lark.terminals:
        fixed = isinstance(terminal.pattern, PatternStr)
        terminals[terminal.name] = [terminal.pattern.value] if fixed else _TEXTS.get(terminal.name, ["a"])
    return rules, terminals


def sentence(source: random.Random, start: str = "file", depth: int = 12) -> str:
    """A random sentence of the grammar: words and operators with random space between them."""
    rules, terminals = _grammar()
    words: list[str] = []
    todo: list[tuple[Any, int]] = [(NonTerminal(start), depth)]
    while todo:
        symbol, left = todo.pop()
        if symbol.is_term:
            words.append(source.choice(terminals[symbol.name]))
            continue
        if symbol.name == "_item":
            words.append("\n")
        choices = rules[symbol.name]
        if left <= 0:
            choices = [min(choices, key=lambda rule: _total(rule, _sizes()))]
        inner = left - (len(choices) > 1)
        todo += [(each, inner) for each in reversed(source.choice(choices).expansion)]
    return _spaced(words, source)


@cache
def _sizes() -> dict[str, int]:
    """The least number of rules that each symbol needs."""
    rules, _ = _grammar()
    sizes = dict.fromkeys(rules, 10_000)
    for _ in range(40):
        for name, choices in rules.items():
            sizes[name] = min(_total(rule, sizes) for rule in choices)
    return sizes


def _total(rule: Rule, sizes: dict[str, int]) -> int:
    return 1 + sum(0 if symbol.is_term else sizes[symbol.name] for symbol in rule.expansion)


def _spaced(words: list[str], source: random.Random) -> str:
    """The words, with new lines and comments where they mean nothing: inside `(` and `[`."""
    text: list[str] = []
    depth = [0]
    for word in words:
        text.append(word)
        if word == "{":
            depth.append(0)
        elif word == "}":
            depth.pop()
        else:
            depth[-1] += (word in ("(", "[")) - (word in (")", "]"))
        text.append(source.choice([" ", " ", " ", " ", "\n", "  # why\n"]) if depth[-1] > 0 else " ")
    return "".join(text).replace("\n ", "\n")


def mutated(text: str, source: random.Random, changes: int) -> str:
    """`text` with pieces cut, doubled, moved or replaced."""
    for _ in range(changes):
        start = source.randrange(len(text) + 1)
        end = min(len(text), start + source.choice([0, 1, 1, 2, 5, 20]))
        piece = source.choice(
            [text[start:end] * 2, "", source.choice(TOKENS), " " + source.choice(TOKENS) + " "]
        )
        text = text[:start] + piece + text[end:]
    return text


def soup(source: random.Random, length: int) -> str:
    """Tokens without any order."""
    return "".join(source.choice(TOKENS) + source.choice(["", " ", " ", "\n"]) for _ in range(length))


def respaced(text: str, source: random.Random) -> str:
    """A spec with comments and blank lines put in at the ends of lines."""
    lines: list[str] = []
    for line in text.split("\n"):
        lines.append(
            line if '"' in line or "#" in line or source.random() < 0.7 else f"{line} # c{len(lines)}"
        )
        if source.random() < 0.1:
            lines.append(source.choice(["", "# own", "        # own and indented"]))
    return "\n".join(lines)
