"""What a constructor or a `Config` asks of its static arguments, as lines that raise ValueError."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dlc.emit.arguments import NO_NAMES, Argument, by_name
from dlc.emit.body import with_words
from dlc.emit.checks import WORDS, failed, opposite, raised
from dlc.emit.implied import without_implied
from dlc.emit.layout import layout
from dlc.emit.python import listed
from dlc.emit.tree import Arg, At, Binary, Expr, Num, Splat, Word, text, walk
from dlc.ir.nodes import Function
from dlc.records import dataclass, replace


@dataclass(frozen=True, slots=True)
class Taken:
    """A list by its argument's name, the value that it was taken apart as, how many elements are read by their number, and how long its
    elements are, if these are lists."""

    name: str
    value: tuple[Any, ...]
    least: int = 0
    spec: str = ""
    rows: int | None = None


def asked_lines(
    conditions: Iterable[Expr],
    lists: Iterable[Taken],
    names: Mapping[str, str] = NO_NAMES,
    owner: str = "",
) -> Iterator[tuple[str, ...]]:
    """The lines of each condition; one that is asked of all elements of a list is asked of these at once."""
    left = without_implied(conditions)
    sizes = {each.name: len(each.value) for each in lists}
    while left:
        first = left.pop(0)
        of_each = _of_each(first, sizes)
        if of_each is None or not all(each in left for each in of_each[1:]):
            yield tuple(required(first, names, owner))
            continue
        left = [each for each in left if each not in of_each]
        yield tuple(_asked_of_each(first, names, owner))


def _of_each(condition: Expr, sizes: Mapping[str, int]) -> list[Expr] | None:
    """The same condition for all elements of a list, of which it is that for the first."""
    match condition:
        case Binary(_, At(Arg(name) as base, (Num(0) as first,)), Num()) if sizes.get(name, 0) > 1:
            places = (At(base, (replace(first, value=k),)) for k in range(sizes[name]))
            return [replace(condition, left=place) for place in places]
    return None


def _asked_of_each(condition: Expr, names: Mapping[str, str], owner: str) -> Iterator[str]:
    assert isinstance(condition, Binary) and isinstance(condition.left, At)
    wrong = opposite(replace(condition, left=Word("each")))
    here, said = (text(by_name(condition.left.base, names, each)) for each in (owner, ""))
    yield from layout(f"if any({text(wrong)} for each in {here}):", 2)
    wanted = f"{WORDS[condition.operator]} {text(condition.right)}"
    yield from raised(f"each of {said} must be {wanted}, but {said} is {{{here}}}", 3, with_values=True)


def required(
    condition: Expr,
    names: Mapping[str, str] = NO_NAMES,
    owner: str = "",
    *,
    words: Mapping[str, str] = NO_NAMES,
    indent: int = 2,
) -> Iterator[str]:
    """A condition that must hold. `names` says the arguments that the source calls otherwise than the spec; `owner` stands before
    them: `self.`; `words` tell how those are read that are none here."""

    def read(expr: Expr, owner: str = "") -> str:
        return text(by_name(expr, names, owner))

    asked = failed(with_words(condition, words))
    yield from layout(f"if {read(asked, owner)}:", indent)
    speaks_of = dict.fromkeys(node for node in walk(condition) if isinstance(node, Arg))
    values = {read(each): read(with_words(each, words), owner) for each in speaks_of}
    yield from raised(_must_hold(read(condition), values), indent + 1, with_values=bool(values))


def _must_hold(condition: str, values: Mapping[str, str]) -> str:
    """The message, with what is asked about and how each is read."""
    if not values:
        return f"{condition} must hold"
    given = listed([f"{name} is {{{value}}}" for name, value in values.items()])
    said = condition.replace("{", "{{").replace("}", "}}")
    return f"{said} must hold, but {given}"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Which lists of a model the source holds for at any length: these, by the spec's names; of those that parts of it are given,
    all (`within`) or none. `any` is all of the model's."""

    free: frozenset[str] = frozenset()
    within: bool = False
    any: bool = False

    def of(self, taken: Iterable[Taken], is_main: bool) -> list[Taken]:
        """The lists whose length is asked for."""
        return [
            each for each in taken if not (self.any or each.spec in self.free if is_main else self.within)
        ]

    def at_least(self, taken: Iterable[Taken], is_main: bool) -> list[Taken]:
        """Those of which only the elements that are read have to be there, each as long as it is read."""
        asked = self.of(taken, is_main)
        return [each for each in taken if (each.least or each.rows is not None) and each not in asked]


EXACT = Lengths()
ANY_LENGTH = Lengths(any=True, within=True)


def taken_apart(arguments: Iterable[Argument], function: Function, read: Iterable[Expr]) -> Iterator[Taken]:
    """The lists that the expressions `read` take apart, or go over."""
    places: dict[Expr, list[int]] = {}
    for node in (node for expr in read for node in walk(expr)):
        match node:
            case At(Arg() as base, items):
                numbers = (int(each.value) for each in items if isinstance(each, Num))
                needed = (each + 1 if each >= 0 else -each for each in numbers)
                places.setdefault(base, []).append(max(needed, default=0))
            case At(base) | Splat(base) if isinstance(base, Arg | At):
                places.setdefault(base, [])
    static = dict(function.static)
    for each in arguments:
        value = static.get(each.spec)
        if isinstance(value, tuple) and Arg(each.name) in places:
            rows = {len(row) for row in value if isinstance(row, tuple)} if _has_rows(each.type) else set()
            least = max(places[Arg(each.name)], default=0)
            yield Taken(each.name, value, least, each.spec, rows.pop() if len(rows) == 1 else None)


def _has_rows(kind: str) -> bool:
    """Whether the elements of a list are lists themselves, and no tuples whose length their type says."""
    return kind.startswith("tuple[tuple[") and kind.endswith(", ...], ...]")


def lengths(taken: Iterable[Taken], owner: str = "", indent: int = 2) -> Iterator[str]:
    """Lists have the length that they are taken apart to."""
    for name, value in ((each.name, each.value) for each in taken):
        nested = [len(item) if isinstance(item, tuple) else 0 for item in value]
        here = f"{owner}{name}"
        found, wanted = (
            (f"[len(each) for each in {here}]", nested) if any(nested) else (f"len({here})", len(value))
        )
        message = f"{name} must have {'lengths' if any(nested) else 'length'} {wanted}, not {{{found}}}"
        yield from layout(f"if {found} != {wanted}:", indent)
        yield from raised(message, indent + 1, with_values=True)


def at_least(taken: Iterable[Taken], owner: str = "", indent: int = 2) -> Iterator[str]:
    """Lists have the elements that are read by their number."""
    for each in taken:
        here, many = f"{owner}{each.name}", "element" if each.least == 1 else "elements"
        if each.rows is not None:
            yield from layout(f"if any(len(each) != {each.rows} for each in {here}):", indent)
            message = f"each of {each.name} must have length {each.rows}, but {each.name} is {{{here}}}"
            yield from raised(message, indent + 1, with_values=True)
        if not each.least:
            continue
        yield from layout(f"if len({here}) < {each.least}:", indent)
        message = f"{each.name} must have at least {each.least} {many}, not {{len({here})}}"
        yield from raised(message, indent + 1, with_values=True)
