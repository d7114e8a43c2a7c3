"""Names in the model: nodes as PyTorch's exporter says them, values by what made them, functions by what tells them apart.

A node is named by the path of its instance and its kind (`/h.3/attn/c_attn/MatMul`), further ones of that name are
numbered (`/h.3/attn/Reshape_1`). The result of an instance has its path (`/h.3/attn/c_attn`), a value that the spec
names has that name behind the path (`/h.3/attn/q`), any other the name of its node.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from dlc.emit.names import camel, identifier, told_apart
from dlc.ir.nodes import Attr, Function, Op, walk

_NUMBERED = re.compile(r".*_[0-9]+\Z")


class Numbered:
    """Unique names: `fresh("a")` gives `a`, then `a_1`, `a_2`, …"""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        name, number = hint, self._last.get(hint, 0)
        while name in self._taken:
            number += 1
            name = f"{hint}_{number}"
        self._last[hint] = number
        self._taken.add(name)
        return name


def within(scope: str, path: str) -> str:
    """`attn.c_attn` within `/h.0` as `/h.0/attn/c_attn`: a number stays with the list that it counts in."""
    for word in filter(None, path.split(".")):
        scope += f".{word}" if scope and word.isdecimal() else f"/{word}"
    return scope


def spoken(op: Op, name: str) -> bool:
    """Whether a value has its name from the spec: it is neither the op's, nor numbered as one that was bound again."""
    return name != op.op and not _NUMBERED.match(name)


def bare(name: str) -> str:
    """`x` for `x_2`, bound again: results of an instance are told apart by its path."""
    return re.sub(r"_[0-9]+\Z", "", name)


def function_names(forms: Mapping[str, Sequence[Function]], uses: Mapping[str, int]) -> dict[str, str]:
    """A name for each function of the model, given the program's functions that it stands for. Of the forms of one
    module, the one that is called most often (`uses`) has the module's name; others say what they have besides:
    `BlockWithDownsample`, `StageGelu`."""
    groups: dict[str, list[str]] = {}
    for key, members in forms.items():
        groups.setdefault(_base(members[0]), []).append(key)
    names: dict[str, str] = {}
    taken: set[str] = set(groups)
    for base, group in groups.items():
        plain = max(group, key=lambda key: (uses.get(key, 0), -len(forms[key][0].body)))
        for key in group:
            others = [each for other in group if other != key for each in forms[other]]
            parts = _differences(forms[key], forms[plain][0], others)
            names[key] = base if key == plain else told_apart(base, parts, taken, is_class=base[0].isupper())
            taken.add(names[key])
    return names


def _base(function: Function) -> str:
    """The spec's name; a layer of the library is a class as in PyTorch: `GroupNorm`."""
    layer = function.library and (function.params or function.children)
    return identifier(camel(function.source) if layer else function.source.strip("_"), "function")


def _differences(made: Sequence[Function], plain: Function, others: Sequence[Function]) -> Iterator[str]:
    """What a form has and the plain one lacks, or the other way round: instances and inputs, settings, operations."""
    yield from _difference(_parts(made[0]), _parts(plain))
    yield from _settings([dict(each.static) for each in made], [dict(each.static) for each in others])
    yield from _difference(_steps(made[0]), _steps(plain))


def _difference(mine: Sequence[str], theirs: Sequence[str]) -> Iterator[str]:
    extra, missing = Counter(mine) - Counter(theirs), Counter(theirs) - Counter(mine)
    if extra or missing:
        yield f"With{camel(next(iter(extra)))}" if extra else f"Without{camel(next(iter(missing)))}"


def _parts(function: Function) -> list[str]:
    labels = (*(child.path for child in function.children), *(param.name for param in function.params))
    inputs = (value.name for value in function.inputs)
    return [*(label.partition(".")[0] for label in labels if not label[:1].isdecimal()), *inputs]


def _steps(function: Function) -> list[str]:
    """The names of the operations; a sum with the function's own input is a residual."""
    inputs = {value.name for value in function.inputs}
    steps = ((op.path or op.op, op.op == "add" and inputs & set(op.inputs)) for op in walk(function.body))
    return ["skip" if residual else name for name, residual in steps if name not in ("param", "const")]


def _settings(mine: Sequence[Mapping[str, Attr]], others: Sequence[Mapping[str, Attr]]) -> Iterator[str]:
    """Static arguments that all of the form share and no other form has: `StageGelu`, `BottleneckStride2`."""
    for name, value in mine[0].items():
        shared = all(each.get(name) == value for each in mine)
        if not shared or any(each.get(name) == value for each in others):
            continue
        if value is None or value is False:
            yield f"Without{camel(name)}"
        elif value is True:
            yield camel(name)
        elif isinstance(value, str):
            yield camel(value) or camel(name)
        elif isinstance(value, int):
            yield f"{camel(name)}{value}"
