"""Checked identifiers, and variable names that are taken again as a person would: `x = x + attention(x)`."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NUMBERED = re.compile(r"(.*?)_[0-9]+\Z")
_RESERVED = frozenset(keyword.kwlist) | frozenset(name for name in dir(builtins))


def identifier(text: str, fallback: str = "value") -> str:
    """`text` as a name that Python takes: what is no letter, digit or `_` becomes `_`, words of Python's
    own get a `_`."""
    name = text if _WORD.match(text) else re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")
    if not name or not _WORD.match(name):
        name = f"{fallback}_{name}" if name else fallback
    return f"{name}_" if name in _RESERVED else name


def snake(text: str) -> str:
    """`MultiHeadAttention` as `multi_head_attention`, `SwiGLU` as `swi_glu`, `GPT2` as `gpt2`."""
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])|([a-z0-9])([A-Z])", r"\1\3_\2\4", text)
    return identifier(spaced.lower())


def base(name: str, names: Iterable[str]) -> str:
    """`x` for `x_2` where there is an `x` among `names`: a number that only keeps values apart is dropped."""
    match = _NUMBERED.match(name)
    return match[1] if match and match[1] in names else name


def unique(hint: str, taken: Iterable[str]) -> str:
    """`hint`, or `hint_2`, `hint_3`, … if it is taken."""
    number, name = 1, hint
    while name in taken:
        number += 1
        name = f"{hint}_{number}"
    return name


@dataclass
class Variables:
    """The variables of one Python function: which value each holds (None: taken for good), and how often a
    value is still to be read. A name is free again when its value has been read for the last time."""

    reads: dict[str, int]
    holders: dict[str, str | None] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def reserve(self, names: Iterable[str]) -> None:
        self.holders.update((name, None) for name in names)

    def is_free(self, name: str) -> bool:
        if name not in self.holders:
            return True
        holder = self.holders[name]
        return holder is not None and not self.reads.get(holder)

    def hold(self, value: str, hints: Iterable[str]) -> str:
        """A variable for `value`: the first of `hints` that is free, else the last one with a number."""
        name = hint = "value"
        for hint in hints:
            name = identifier(hint)
            if self.is_free(name):
                break
        else:
            name = unique(name, {each for each in self.holders if not self.is_free(each)})
        self.holders[name] = value
        self.names[value] = name
        return name

    def read(self, value: str) -> None:
        self.reads[value] -= 1
