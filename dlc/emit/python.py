"""Text that is safe to stand in Python source: numbers, strings, comments, docstrings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence


def number(value: int | float | bool) -> str:
    """A number's literal, exact."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    text = repr(value)
    return _plain_exponent(text) if isinstance(value, float) else text


def _plain_exponent(text: str) -> str:
    """1e-05 and 10000000000.0 as a person writes them, 1e-5 and 1e10."""
    mantissa, e, exponent = text.partition("e")
    round_one = re.fullmatch(r"(-?1)(0{5,})\.0", text)
    if round_one:
        return f"{round_one[1]}e{len(round_one[2])}"
    return f"{mantissa}e{int(exponent)}" if e else text


def quoted(text: str) -> str:
    """A string literal in ASCII, in double quotes unless single ones need fewer escapes (the formatter's
    choice)."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    body = "".join("\\" + char if char in (quote, "\\") else ascii(char)[1:-1] for char in text)
    return quote + body + quote


def comment(text: str) -> str:
    """Text from a spec as one line of a comment: what can't be printed is left out."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text, its paragraphs broken anew between words if one of their lines is too long."""
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        plain = [line.rstrip() for line in paragraph.splitlines()]
        fits = all(len(line) <= width for line in plain)
        lines += ["", *(plain if fits else textwrap.wrap(" ".join(plain), width))]
    return lines[1:]


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def filled(parts: Iterable[str], width: int) -> list[str]:
    """Parts of a line, as many to each line as fit."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(f"{lines[-1]} {part}") > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {part}".strip()
    return lines


def _is_escaped(line: str) -> bool:
    """Whether the last character has a backslash of its own: an odd number of them before it."""
    before = line[:-1]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def docstring(text: str, indent: int = 0) -> list[str]:
    """The lines of a docstring, first line to last; nothing in `text` can end it early."""
    lines = [
        "".join(char for char in line if char.isprintable()).rstrip() for line in text.strip().splitlines()
    ]
    safe = [line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') for line in lines]
    if not safe:
        return []
    if safe[-1].endswith('"') and not _is_escaped(safe[-1]):
        safe[-1] = safe[-1][:-1] + '\\"'
    if safe[0].startswith('"'):
        safe[0] = " " + safe[0]  # as the formatter has it
    margin = " " * indent
    safe[0] = '"""' + safe[0]
    if len(safe) == 1:
        return [margin + safe[0] + '"""']
    return [margin + line if line else "" for line in (*safe, '"""')]
