"""Names in the model: nodes as PyTorch's exporter says them, values by what made them, functions by what tells them apart.

A node is named by the path of its instance and its kind (`/h.3/attn/c_attn/MatMul`), further ones of that name are
numbered (`/h.3/attn/Reshape_1`). Nodes that say one op together stand under it (`/mixer/silu/Sigmoid`). The result of an
instance has its path (`/h.3/attn/c_attn`), a value that the spec names has that name behind the path (`/h.3/attn/q`), any
other the name of its node, or of its op (`/mixer/silu`). Constants are called by what they hold (`/[0,0,32]`, `/0.5`), sizes
by what they are: `/T`, a list of them `/[B,T,32]`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.emit.names import camel, identifier, told_apart
from dlc.ir.nodes import Attr, Function, Op, walk
from dlc.types.dims import Dim

if TYPE_CHECKING:
    import numpy as np

_NUMBERED = re.compile(r".*_[0-9]+\Z")
# The ends of an axis, as Slice is told them.
LAST = 2**63 - 1
FIRST = -LAST
_ENDS = {LAST: "end", FIRST: "start"}
# A constant with more numbers than this is no name.
_NUMBERS = 8
# Dtypes that a number of a constant's name has, unless it says another.
_PLAIN = ("i64", "f32", "bool")
# What PyTorch writes in capitals.
_ACRONYMS = {"gru": "GRU", "lstm": "LSTM", "rnn": "RNN", "rms": "RMS"}


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

    def release(self, name: str) -> None:
        """Let a name be free again."""
        self._taken.discard(name)
        self._last.pop(bare(name), None)


def constant_name(array: np.ndarray, dtype: str) -> str:
    """What a constant holds: `0.5`, `[0,0,32]`; what is too long is a `Constant`."""
    if array.size > _NUMBERS:
        return "Constant"
    text = re.sub(r"\s+", "", str(_texts(array))).replace("'", "")
    return text if dtype in _PLAIN else f"{text}:{dtype}"


def _texts(array: np.ndarray) -> str | list[Any]:
    """The numbers of an array as texts, nested as they are."""
    if array.ndim:
        return [_texts(each) for each in array]
    return _ENDS.get(array.item(), str(array)) if array.dtype.kind == "i" else str(array)


def size_name(*sizes: Dim) -> str:
    """A list of sizes: `[B,T,32]`, `[2*T+1]`."""
    return f"[{','.join(str(size).replace(' ', '') for size in sizes)}]"


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
            parts = _differences(forms[key], forms[plain], others)
            names[key] = base if key == plain else told_apart(base, parts, taken, is_class=base[0].isupper())
            taken.add(names[key])
    return names


def _base(function: Function) -> str:
    """The spec's name; a layer of the library is a class as in PyTorch: `GroupNorm`, `GRUCell`."""
    if not function.library or not (function.params or function.children):
        return identifier(function.source.strip("_"), "function")
    words = function.source.split("_")
    return identifier("".join(_ACRONYMS.get(word, camel(word)) for word in words), "function")


def _differences(
    made: Sequence[Function], plain: Sequence[Function], others: Sequence[Function]
) -> Iterator[str]:
    """What a form has and the plain one lacks, or the other way round: instances and inputs, settings, its width, operations."""
    yield from _difference(_parts(made[0]), _parts(plain[0]))
    yield from _settings(made, plain, others)
    widths = {_width(each) for each in made}
    if len(widths) == 1 and widths != {0} and widths != {_width(each) for each in plain}:
        yield f"Width{widths.pop()}"
    yield from _difference(_steps(made[0]), _steps(plain[0]))


def _width(function: Function) -> int:
    """The first size of the first input that is known: its channels or features; 0 if there is none."""
    axes = [axis.constant for value in function.inputs[:1] for axis in value.type.axes]
    return next((axis for axis in axes if axis is not None), 0)


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


def _settings(
    made: Sequence[Function], plain: Sequence[Function], others: Sequence[Function]
) -> Iterator[str]:
    """Static arguments that all of the form share: first those that no other form has, then those that the plain one has not, then
    those that some other has not. `StageGelu`, `BottleneckStride2`."""
    mine, *rest = (set(each.static) for each in made)
    shared = [each for each in made[0].static if each in mine.intersection(*rest)]
    without = [{setting for each in among for setting in each.static} for among in (others, plain)]
    lacked = [each for each in shared if any(each not in other.static for other in others)]
    tiers = [each for known in without for each in shared if each not in known] + lacked
    return filter(None, map(_setting, dict.fromkeys(tiers)))


def _setting(setting: tuple[str, Attr]) -> str:
    """A static argument in a name; "" for one that is no word."""
    name, value = setting
    if value is None or value is False:
        return f"Without{camel(name)}"
    if value is True:
        return camel(name)
    if isinstance(value, str):  # a module is given with its arguments
        return camel(value.partition("(")[0]) or camel(name)
    return f"{camel(name)}{re.sub(r'[^0-9a-z]', '', str(value))}" if isinstance(value, int | float) else ""
