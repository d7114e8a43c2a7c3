"""The body of a function that makes initial values, as source: a dict, or statements where parts are conditional or come in two trees.

params["bn1"], state["bn1"] = init_batch_norm(width, dtype)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlc.emit.arguments import by_name
from dlc.emit.checks import opposite
from dlc.emit.layout import INDENT, layout, listed
from dlc.emit.settled import ForOneSetting
from dlc.emit.tree import At, Binary, Expr, Pairs, Word, text, transform
from dlc.records import dataclass, field, replace
from dlc_jax.parts import by_condition
from dlc_jax.places import Counted, key_of

Lines = list[str]


@dataclass(frozen=True)
class Item:
    """A part of what a function gives: where it stands, how it is made, and when there is one."""

    keys: tuple[str, ...]
    trees: tuple[str, ...]
    made: Expr
    draws: bool
    when: Expr | None = None
    containers: Mapping[str, set[tuple[str, ...]]] = field(default_factory=dict)
    """The dicts that it brings along, by tree."""
    reads: bool = False
    """Whether it is computed of what was made before."""
    layers: frozenset[str] = frozenset()
    """The keys of layers that it makes, each by itself."""
    turns: str = ""
    over: Expr = field(default_factory=lambda: Word(""))
    """The variables of a loop in whose turns it is made, and what that goes over."""
    span: Any = None
    """What tells the numbers of these turns."""

    @property
    def fixed(self) -> int:
        """How many of the dicts around it are there before the loop in whose turns it is made."""
        here = (k for k, key in enumerate(self.keys) if self.turns and isinstance(key, Counted))
        return next(here, len(self.keys) - 1)


def trees_of(items: Sequence[Item]) -> tuple[str, ...]:
    found = {tree for item in items for tree in item.trees}
    return tuple(tree for tree in ("params", "state") if tree in found)


def result_type(trees: Sequence[str]) -> str:
    kinds = [{"params": "Params", "state": "State"}[each] for each in trees]
    return kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]"


def written(items: Sequence[Item], trees: Sequence[str], words: Mapping[str, str]) -> Lines:
    """The body of a function that makes the items."""
    items = [_with_words(item, words) for item in items]
    count = sum(item.draws for item in items)
    keys = iter([Word("key")] if count == 1 else [At(Word("keys"), (Word(str(i)),)) for i in range(count)])
    items = [_with_key(item, next(keys)) if item.draws else item for item in items]
    lines = [f"{INDENT}keys = jax.random.split(key, {count})"] if count > 1 else []
    places = [item.keys for item in items]
    plain = all(item.when is None and not item.reads and not item.turns for item in items)
    simple = len(trees) == 1 and plain and not _nested(places) and () not in places
    if simple:
        return (
            [*lines, f"{INDENT}return {{", *_display(_tree(items), 2), f"{INDENT}}}"]
            if items
            else [
                *lines,
                f"{INDENT}return {{}}",
            ]
        )
    return [*lines, *_statements(items, trees)]


def _nested(places: Sequence[tuple[str, ...]]) -> bool:
    """Whether something stands inside of what another function gives, or at the same place."""
    return any(a == b[: len(a)] for i, a in enumerate(places) for j, b in enumerate(places) if i != j)


def _with_words(item: Item, words: Mapping[str, str]) -> Item:
    when = None if item.when is None else by_name(item.when, words)
    keys = tuple(
        Counted.of(key, by_name(key.told, words)) if isinstance(key, Counted) else key for key in item.keys
    )
    return replace(item, keys=keys, made=by_name(item.made, words), over=by_name(item.over, words), when=when)


def _with_key(item: Item, key: Expr) -> Item:
    def change(node: Expr) -> Expr:
        return key if node == Word("KEY") else node

    return replace(item, made=transform(item.made, change), over=transform(item.over, change))


Tree = dict[str, "Tree | Expr"]


def _tree(items: Sequence[Item]) -> Tree:
    tree: Tree = {}
    for item in items:
        node = tree
        for key in item.keys[:-1]:
            below = node.setdefault(key, {})
            assert isinstance(below, dict)
            node = below
        node[item.keys[-1]] = item.made
    return tree


def _display(tree: Tree, indent: int) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            whole = text(_pairs(value))
            line = f"{INDENT * indent}{text(key_of(key))}: {whole},"
            if len(line) <= 100 and len(value) == 1:
                yield line
                continue
            yield f"{INDENT * indent}{text(key_of(key))}: {{"
            yield from _display(value, indent + 1)
            yield f"{INDENT * indent}}},"
        else:
            yield from _entry(text(key_of(key)), value, indent)


def _entry(key: str, value: Expr, indent: int) -> Lines:
    """An entry of a dict, with its comma. A product that is too long for brackets of its own goes on below."""
    whole = text(value)
    long = 4 * (indent + 1) + len(whole) > 100
    if not (long and isinstance(value, Binary) and value.operator == "*"):
        return listed(f"{key}: {whole}", indent)
    first, *rest = layout(text(value.right), indent, width=97)
    *lines, last = f"{INDENT * indent}* {first.strip()}", *rest
    return [f"{INDENT * indent}{key}: {text(value.left)}", *lines, f"{last},"]


def _pairs(tree: Tree) -> Expr:
    return Pairs(
        tuple(
            (key_of(key), _pairs(value) if isinstance(value, dict) else value) for key, value in tree.items()
        )
    )


def _statements(items: Sequence[Item], trees: Sequence[str]) -> Iterator[str]:
    """Each part by itself, in dicts that are made before or come along with others."""
    owners = {tree: {keys for item in items if tree in item.trees for keys in _makes(item)} for tree in trees}

    def is_inside(item: Item) -> bool:
        above = (item.keys[:n] for n in range(1, len(item.keys)))
        return any(keys in owners[tree] for keys in above for tree in item.trees)

    _check_turns(items)
    held: dict[str, set[tuple[str, ...]]] = {}
    for tree in trees:
        kind = {"params": "Params", "state": "State"}[tree]
        around = [item.keys[: item.fixed] for item in items if tree in item.trees and not is_inside(item)]
        containers: Tree = {}
        for keys in around:
            node = containers
            for key in keys:
                below = node.setdefault(key, {})
                assert isinstance(below, dict)
                node = below
        held[tree] = {keys[:n] for keys in around for n in range(len(keys) + 1)}
        yield from layout(f"{tree}: {kind} = {text(_pairs(containers))}", 1)
    done: Done = {}
    for condition, sides in by_condition(sorted(items, key=is_inside)):
        for word, side in zip((f"if {text(condition)}:" if condition else "", "else:"), sides, strict=True):
            if condition and side:
                yield from layout(word, 1)
            yield from (line for each in side for line in _statement(each, held, done, 2 if condition else 1))
    yield f"{INDENT}return {', '.join(trees)}"


def _check_turns(items: Sequence[Item]) -> None:
    """What is put into one layer by several loops has to be put into the same ones: the first makes its dict."""
    spans: dict[tuple[str, ...], Any] = {}
    for item in (each for each in items if each.turns):
        if spans.setdefault(item.keys[: item.fixed + 1], item.span) != item.span:
            raise ForOneSetting("layers that do not all have what is put into them")


def _makes(item: Item) -> list[tuple[str, ...]]:
    """The places that it fills."""
    return [item.keys, *((*item.keys, label) for label in item.layers)]


Done = dict[tuple[str, tuple[str, ...]], list["Expr | None"]]
"""Where parts were put, and on which conditions."""


def _meet(one: Expr | None, other: Expr | None) -> bool:
    """Whether parts under two conditions can both be there: not those of the two branches of an `if`."""
    return one is None or other is None or one != opposite(other)


def _statement(
    item: Item,
    held: Mapping[str, set[tuple[str, ...]]],
    done: Done,
    indent: int,
) -> Lines:
    """Puts a part where it stands: into the innermost dict that there is, or together with what stands there already."""
    if item.turns:
        head = layout(f"for {item.turns} in {text(item.over)}:", indent)
        return [*head, *_statement(replace(item, turns=""), held, done, indent + 1)]
    places, made = [], item.made
    for tree in item.trees:
        depth = max((n for n in range(len(item.keys)) if item.keys[:n] in held[tree]), default=0)
        if len(item.trees) == 1:
            for key in reversed(item.keys[depth + 1 :]):
                made = Pairs(((key_of(key), made),))
        places.append(tree + "".join(f"[{text(key_of(key))}]" for key in item.keys[: depth + 1]))
    there = {
        tree: any(_meet(item.when, each) for each in done.get((tree, item.keys), ())) or not item.keys
        for tree in item.trees
    }
    for tree in item.trees:
        below = item.containers.get(tree, set())
        held[tree].update({item.keys[:n] for n in range(len(item.keys))}, below)
        held[tree].update((*keys, *each[len(item.keys) :]) for keys in _makes(item) for each in below)
        done.setdefault((tree, item.keys), []).append(item.when)
    if len(places) == 1 or not any(there.values()):
        equals = "|=" if len(places) == 1 and any(there.values()) else "="
        return layout(f"{', '.join(places)} {equals} {text(made)}", indent)
    names = [f"more_{tree}" for tree in item.trees]  # to be put beside what stands there
    lines = layout(f"{', '.join(names)} = {text(made)}", indent)
    for tree, name, place in zip(item.trees, names, places, strict=True):
        lines += layout(f"{place} {'|=' if there[tree] else '='} {name}", indent)
    return lines
