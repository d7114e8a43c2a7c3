"""Checked identifiers, and variable names that are taken again as a person would: `x = x + attention(x)`."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Container, Iterable, Mapping, Sequence

from dlc.records import dataclass, field

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NUMBERED = re.compile(r"(.*?)_[0-9]+\Z")
_RESERVED = frozenset(keyword.kwlist) | frozenset(name for name in dir(builtins))

TURN = "i"
"""The variable of loops that the spec has no word for."""


def identifier(text: str, fallback: str = "value") -> str:
    """`text` as a name that Python takes: what is no letter, digit or `_` becomes `_`, words of Python's
    own get a `_`."""
    name = text if _WORD.match(text) else re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")
    if not name or not _WORD.match(name):
        name = f"{fallback}_{name}" if name else fallback
    return f"{name}_" if name in _RESERVED else name


def field_name(output: str) -> str:
    """An output's name as a field: those of a NamedTuple begin with a letter, and are neither words of Python nor methods of
    tuples."""
    name = re.sub(r"\W+", "_", output).strip("_") or "output"
    name = name if name[0].isalpha() else f"output_{name}"
    return f"{name}_" if keyword.iskeyword(name) or name in ("count", "index") else name


def field_names(outputs: Iterable[str]) -> tuple[str, ...]:
    """The fields of outputs, no two alike; what is called so in the spec keeps its name."""
    outputs = tuple(outputs)
    given = {name for name in outputs if field_name(name) == name}
    fields: list[str] = []
    for name in outputs:
        field = field_name(name)
        fields.append(field if field == name else unique(field, given.union(fields)))
    return tuple(fields)


def snake(text: str) -> str:
    """`MultiHeadAttention` as `multi_head_attention`, `SwiGLU` as `swi_glu`, `GPT2` as `gpt2`, `GATv2` as `gatv2`, `MoE` as `moe`,
    `DiTBlock` as `dit_block`."""
    text = re.sub(r"(?<=[a-z])[A-Z](?=[A-Z][a-z]|$)", lambda last: last[0].lower(), text)
    spaced = re.sub(r"([A-Z]+)([A-Z](?!v[0-9])[a-z])|([a-z0-9])([A-Z])", r"\1\3_\2\4", text)
    return identifier(spaced.lower())


def camel(text: str) -> str:
    """`self_attn` as `SelfAttn`; words that are in capitals already stay."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", text) if word)


def told_apart(base: str, differences: Iterable[str], taken: Container[str], *, is_class: bool) -> str:
    """The base name, with as many `differences` behind it as it takes to be free; at last a number."""
    name = base
    for part in differences:
        name += part if is_class else f"_{snake(part)}"
        if name not in taken:
            return name
    number = 2
    while f"{name}{number}" in taken:
        number += 1
    return f"{name}{number}"


@dataclass
class Told:
    """Names of functions, several of which the spec calls the same: what the first of a name lacks or has besides tells one from it,
    else a number does. `init_linear` and `init_linear_without_bias`, `layer` and `layer_with_moe`."""

    first: dict[str, Sequence[str]] = field(default_factory=dict)
    """By name what the first one has."""

    def name(self, base: str, own: Sequence[str], taken: Container[str]) -> str:
        first = self.first.setdefault(base, own)
        if base not in taken:
            return base
        more = [each for each in own if each not in first and each.isidentifier()]
        less = [each for each in first if each not in own and each.isidentifier()]
        telling = f"_with_{more[0]}" if more else f"_without_{less[0]}" if less else ""
        return unique(snake(base + telling), taken)


def base(name: str, names: Container[str]) -> str:
    """`x` for `x_2` where there is an `x` among `names`, or an `x_3` and no `x_1`: a number that only keeps values apart is dropped."""
    match = _NUMBERED.match(name)
    if match is None:
        return name
    others = (f"{match[1]}_{number}" for number in (2, 3) if f"{match[1]}_{number}" != name)
    apart = match[1] in names or (f"{match[1]}_1" not in names and any(other in names for other in others))
    return match[1] if apart else name


def unique(hint: str, taken: Container[str]) -> str:
    """`hint`, or `hint_2`, `hint_3`, … if it is taken."""
    number, name = 1, hint
    while name in taken:
        number += 1
        name = f"{hint}_{number}"
    return name


def plain(hint: str, reserved: Iterable[str]) -> str:
    """A hint as a variable that is neither one of `reserved` nor read as digits."""
    name = identifier(hint.strip("_") or hint)
    if name in ("l", "O", "I"):
        name += "_"
    return f"{name}_" if name in reserved else name


@dataclass
class Variables:
    """The variables of one Python function: each value gets one. `last` is where each value is read for the last
    time; a variable is free for another value from there on. `hints` are names that suit a value; `reserved`
    are no variables, `taken` those that are held for good."""

    last: dict[str, int]
    hints: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()
    taken: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)

    def free(self, name: str, at: int) -> bool:
        if name in self.taken or name in self.reserved:
            return False
        holder = self.holders.get(name)
        return holder is None or self.last.get(holder, -1) <= at

    def give(self, value: str, hints: Iterable[str], at: int) -> str:
        """A variable for `value`: the first of `hints` that is free, else the last one with a number."""
        name = hint = "y"
        for hint in hints:
            name = plain(hint, self.reserved)
            if self.free(name, at):
                break
        else:
            held = {each for each in self.holders if not self.free(each, at)}
            name = unique(plain(hint, self.reserved), held | self.taken | self.reserved)
        self.holders[name] = value
        self.names[value] = name
        return name

    def keep(self, hint: str, at: int) -> str:
        """A variable that is taken for good."""
        name = self.give(f"{hint} kept", (hint,), at)
        self.taken.add(name)
        return name
