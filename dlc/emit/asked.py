"""What a constructor or a `Config` asks of its static arguments, as lines that raise ValueError."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dlc.emit.arguments import NO_NAMES, Argument, by_name
from dlc.emit.body import with_words
from dlc.emit.checks import WORDS, opposite, raised
from dlc.emit.layout import layout
from dlc.emit.python import listed
from dlc.emit.tree import Arg, At, Binary, Expr, Num, Word, text, walk
from dlc.ir.nodes import Function
from dlc.records import replace

Taken = tuple[str, tuple[Any, ...]]
"""A list by its argument's name, and the value that it was taken apart as."""


def asked_lines(
    conditions: Iterable[Expr],
    lists: Iterable[Taken],
    names: Mapping[str, str] = NO_NAMES,
    owner: str = "",
) -> Iterator[tuple[str, ...]]:
    """The lines of each condition; one that is asked of all elements of a list is asked of these at once."""
    left = list(dict.fromkeys(conditions))
    sizes = {name: len(value) for name, value in lists}
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

    asked = opposite(with_words(condition, words))
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


def taken_apart(arguments: Iterable[Argument], function: Function, read: Iterable[Expr]) -> Iterator[Taken]:
    """The lists that the expressions `read` take apart."""
    parts = {node.base for expr in read for node in walk(expr) if isinstance(node, At)}
    static = dict(function.static)
    for each in arguments:
        value = static.get(each.spec)
        if isinstance(value, tuple) and Arg(each.name) in parts:
            yield each.name, value


def lengths(taken: Iterable[Taken], owner: str = "", indent: int = 2) -> Iterator[str]:
    """Lists have the length that they are taken apart to."""
    for name, value in taken:
        nested = [len(item) if isinstance(item, tuple) else 0 for item in value]
        here = f"{owner}{name}"
        found, wanted = (
            (f"[len(each) for each in {here}]", nested) if any(nested) else (f"len({here})", len(value))
        )
        message = f"{name} must have {'lengths' if any(nested) else 'length'} {wanted}, not {{{found}}}"
        yield from layout(f"if {found} != {wanted}:", indent)
        yield from raised(message, indent + 1, with_values=True)
