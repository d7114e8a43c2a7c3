"""What is emitted beside the library, as text to read: the Relax module."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

WIDTH = 110
_OPENING, _CLOSING = "([{", ")]}"


def identifier(name: str) -> str:
    """A name or path as TVM's script may write it: `h.0.ln_1.weight` is `h_0_ln_1_weight`."""
    clean = re.sub(r"\W", "_", name)
    return f"_{clean}" if clean[:1].isdigit() else clean


def digest(library: bytes) -> str:
    return hashlib.sha256(library).hexdigest()


def text(module: Any, header: Sequence[str]) -> str:
    """The module in TVM's script, a parameter of a function to a line, behind the lines of the header as comments."""
    lines = [f"# {line}" for line in header]
    for line in module.script().rstrip().split("\n"):
        lines += _folded(line)
    return "\n".join(lines) + "\n"


def _folded(line: str) -> Iterable[str]:
    """A function's header that is too long: its parameters on lines of their own."""
    indent = line[: len(line) - len(line.lstrip())]
    if len(line) <= WIDTH or not line.lstrip().startswith("def "):
        return [line]
    name, _, rest = line.partition("(")
    *parameters, tail = _split(rest)
    return [f"{name}(", *(f"{indent}    {each}," for each in parameters), f"{indent}{tail}"]


def _split(text: str) -> Iterator[str]:
    """`a: R.Tensor((2, 3)), b) -> c:` as its parameters, then the rest from the closing parenthesis on."""
    depth, begin = 0, 0
    for i, letter in enumerate(text):
        if depth == 0 and letter in ",)":
            yield text[begin:i].strip()
            begin = i + 1
            if letter == ")":
                yield text[i:]
                return
        depth += (letter in _OPENING) - (letter in _CLOSING)
