"""Programs as they are made and shrunk: statements in blocks, what each of them binds, and their text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc.types.dims import Dim

LARGEST = 3
"""The greatest size that a dim is run with."""
ELEMENTS = 500
"""Tensors have at most so many elements then."""
EXACT = 20
"""Numbers that take so many bits are exact in f32, in whatever order they are added up."""


@dataclass(frozen=True, slots=True)
class Type:
    """A tensor's type, and what is known of its numbers: they are below 2**top, and multiples of 2**-frac where `frac` is not
    None; `plain` ones are no nan and not infinite."""

    dtype: str
    axes: tuple[Dim, ...]
    top: int = 1
    frac: int | None = 2
    plain: bool = True

    @property
    def is_float(self) -> bool:
        return self.dtype in ("float", "f64", "f32", "f16")

    @property
    def is_int(self) -> bool:
        return self.dtype in ("i64", "i32")

    @property
    def exact(self) -> bool:
        """Whether no rounding can change it, so that it may be compared, rounded and ordered."""
        return not self.is_float or (
            self.frac is not None and self.top + self.frac <= EXACT and self.dtype != "f16"
        )

    @property
    def rank(self) -> int:
        return len(self.axes)

    def at(self, axes: Sequence[Dim | int]) -> Type:
        return replace(self, axes=tuple(map(Dim.of, axes)))

    def rounded(self, top: int = 3) -> Type:
        return replace(self, top=top, frac=None)

    def __str__(self) -> str:
        return f"{'' if self.dtype == 'float' else self.dtype}[{', '.join(map(str, self.axes))}]"


@dataclass(frozen=True, slots=True)
class Var:
    """A name, or an expression that stands where one could, and its type."""

    text: str
    type: Type

    def __str__(self) -> str:
        return self.text

    @property
    def axes(self) -> tuple[Dim, ...]:
        return self.type.axes

    @property
    def rank(self) -> int:
        return len(self.type.axes)


@dataclass(frozen=True, slots=True)
class Line:
    """A statement: what it binds, its text, and for `for`, `scan` and `if` the statements within, a block or two."""

    names: tuple[str, ...]
    text: str
    blocks: tuple[tuple[Line, ...], ...] = ()

    def lines(self, indent: str) -> Iterator[str]:
        if not self.blocks:
            yield indent + self.text
            return
        yield f"{indent}{self.text} {{"
        for i, block in enumerate(self.blocks):
            if i:
                yield f"{indent}}} else {{"
            for line in block:
                yield from line.lines(indent + "    ")
        yield f"{indent}}}"

    def reads(self) -> set[str]:
        words = set(re.findall(r"[A-Za-z_]\w*", self.text))
        return words.union(*(line.reads() for block in self.blocks for line in block))


@dataclass(frozen=True, slots=True)
class Item:
    """A fn, module or model: its head up to the outputs, its statements, and what it returns."""

    name: str
    head: str
    lines: tuple[Line, ...]
    outputs: tuple[str, ...]
    named: bool = False
    facts: tuple[str, ...] = ()

    def text(self) -> str:
        names = [f"o{i}: _" for i in range(len(self.outputs))] if self.named else ["_"] * len(self.outputs)
        outputs = names[0] if len(names) == 1 and not self.named else f"({', '.join(names)})"
        where = f"\n    where {', '.join(self.facts)}\n" if self.facts else " "
        body = "\n".join(text for line in self.lines for text in line.lines("    "))
        return f"{self.head} -> {outputs}{where}{{\n{body}\n    return {', '.join(self.outputs)}\n}}\n"


@dataclass(frozen=True, slots=True)
class Input:
    """One of the model's: `float` ones may be `spoiled` with nan and infinities."""

    name: str
    type: Type
    spoiled: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """A file with a model, and what is given to it."""

    seed: int
    items: tuple[Item, ...]
    inputs: tuple[Input, ...]
    dims: Mapping[str, int]
    """The least that each may be."""

    @property
    def model(self) -> Item:
        return self.items[-1]

    def text(self) -> str:
        return "\n".join(item.text() for item in self.items)

    def with_item(self, i: int, item: Item) -> Program:
        return replace(self, items=(*self.items[:i], item, *self.items[i + 1 :]))

    def pruned(self) -> Program:
        """Without statements and items that nothing reads."""
        items = tuple(
            replace(each, lines=_live(each.lines, set(_words(each.outputs)))) for each in self.items
        )
        read = set().union(*(line.reads() for each in items for line in each.lines))
        return replace(self, items=tuple(each for each in items if each.name in read or each is items[-1]))

    def smaller(self) -> Iterator[Program]:
        """Programs with something taken away, the largest pieces first."""
        outputs = self.model.outputs
        for i in range(len(outputs) if len(outputs) > 1 else 0):
            for kept in ((outputs[i],), (*outputs[:i], *outputs[i + 1 :])):
                yield self.with_item(len(self.items) - 1, replace(self.model, outputs=kept)).pruned()
        for i in reversed(range(len(self.items))):
            for lines in _fewer(self.items[i].lines):
                yield self.with_item(i, replace(self.items[i], lines=lines)).pruned()


def _words(texts: Sequence[str]) -> list[str]:
    return re.findall(r"[A-Za-z_]\w*", " ".join(texts))


def _live(lines: Sequence[Line], live: set[str]) -> tuple[Line, ...]:
    kept: list[Line] = []
    for line in reversed(lines):
        if line.names and not live & set(line.names):
            continue
        live |= line.reads()
        kept.append(line)
    return tuple(reversed(kept))


def _fewer(lines: tuple[Line, ...]) -> Iterator[tuple[Line, ...]]:
    """Statements with one left out, with one's right side replaced by something that it reads, or fewer in a block."""
    for i in reversed(range(len(lines))):
        line, rest = lines[i], (lines[:i], lines[i + 1 :])
        yield (*rest[0], *rest[1])
        if not line.blocks and len(line.names) == 1:
            for part in _parts(line.text.partition(" = ")[2]):
                yield (*rest[0], replace(line, text=f"{line.names[0]} = {part}"), *rest[1])
        for j, block in enumerate(line.blocks):
            for fewer in _fewer(block):
                blocks = (*line.blocks[:j], fewer, *line.blocks[j + 1 :])
                yield (*rest[0], replace(line, blocks=blocks), *rest[1])
        if line.blocks:
            for block in line.blocks:
                yield (*rest[0], *block, *rest[1])


def _parts(text: str) -> Iterator[str]:
    """What stands in brackets in an expression, and its names."""
    starts: list[int] = []
    for i, letter in enumerate(text):
        if letter == "(":
            starts.append(i)
        elif letter == ")" and starts:
            inner = text[starts.pop() + 1 : i]
            yield from (each.strip() for each in (inner, inner.partition(",")[0]))
    yield from (part.strip() for part in text.split("|>")[:1])
    yield from dict.fromkeys(re.findall(r"\b[vx]\d+\b", text))


@dataclass
class Body:
    """Statements while they are made."""

    rng: random.Random
    minima: Mapping[str, int]
    scope: list[Var]
    count: Callable[[], int]
    lines: list[Line] = field(default_factory=list)
    pending: list[Var] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    depth: int = 0
    statics: Mapping[str, int] = field(default_factory=dict)
    layers: bool = True

    # sizes

    def low(self, size: Dim) -> int:
        return size.evaluate(self.minima)

    def high(self, size: Dim) -> int:
        return size.evaluate({name: max(LARGEST, low) for name, low in self.minima.items()})

    def fits(self, type: Type) -> bool:
        total = 1
        for size in type.axes:
            total *= max(self.high(size), 1)
        return total <= ELEMENTS and type.rank <= 5

    # values

    def pick(self, wanted: Callable[[Type], bool]) -> Var | None:
        """A value that may be read here; one that waits for a reader first."""
        waiting = [each for each in self.pending if wanted(each.type)]
        if waiting:
            self.pending.remove(waiting[-1])
            return waiting[-1]
        found = [each for each in self.scope if wanted(each.type)]
        if not found:
            return None
        return found[-1 - min(int(self.rng.expovariate(0.35)), len(found) - 1)]

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    # statements

    def bind(self, text: str, *types: Type) -> list[Var]:
        made = [Var(f"v{self.count()}", each) for each in types]
        names = tuple(each.text for each in made)
        self.lines.append(Line(names, f"{', '.join(names)} = {text}"))
        self.scope += made
        return made

    def made(self, text: str, type: Type) -> None:
        """An expression: a statement of its own, or part of the one that reads it."""
        if self.chance(0.35):
            self.pending.append(
                Var(
                    text if re.fullmatch(r"[\w.]+(\(.*\))?", text) and "|>" not in text else f"({text})", type
                )
            )
        else:
            self.bind(text, type)

    def flush(self) -> None:
        for each in self.pending[:]:
            self.pending.remove(each)
            self.bind(each.text, each.type)
