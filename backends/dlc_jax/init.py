"""`init(key)`: the initial parameters and buffers, as the spec's initial values say them.

    params["wte.weight"] = 0.02 * jax.random.normal(next(keys), (50257, 768), jnp.float32)
    for i in range(12):
        params[f"h.{i}.ln_1.weight"] = jnp.ones((768,), jnp.float32)

An initial value that is no short expression is a function of its own, shared by those that differ only in numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from dlc.emit.body import Uses, Writer
from dlc.emit.grouping import Group, Sketch, group
from dlc.emit.layout import INDENT, layout
from dlc.emit.python import quoted
from dlc.emit.tree import Call, Expr, Keyword, Num, Word, text, transform
from dlc_jax.functions import Emission, Scope, nodes
from dlc_jax.sketch import Key, Traits

if TYPE_CHECKING:
    from dlc_jax.emit import Module

NEXT_KEY = Word("next(keys)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter: the parts of its path, and its initial value's expression."""

    parts: tuple[str, ...]
    value: str


def init_function(module: Module) -> tuple[list[list[str]], list[str]]:
    """The functions for initial values that need one, and `init`."""
    names = list(dict.fromkeys(each.init for each in module.program.parameters))
    values, helpers = _values(module, names)
    entries = [Entry(tuple(each.path.split(".")), values[each.init]) for each in module.program.parameters]
    draws = sum("next(keys)" in entry.value for entry in entries)
    lines = [
        "def init(key: Array) -> Params:",
        f'{INDENT}"""Initial parameters and buffers, by path."""',
        *([f"{INDENT}keys = iter(jax.random.split(key, {draws}))"] if draws else []),
        f"{INDENT}params: Params = {{}}",
        *_assignments(entries, (), 1, 0),
        f"{INDENT}return params",
    ]
    return helpers, lines


def _values(module: Module, names: Sequence[str]) -> tuple[Mapping[str, str], list[list[str]]]:
    """Each initial value as an expression, and the functions that they call."""
    sketches = [module.sketch(module.program.functions[name]) for name in names]
    values: dict[str, str] = {}
    helpers: list[list[str]] = []
    for each in group(sketches):
        short = {member: _expression(sketch) for member, sketch in _members(each, sketches)}
        if all(short.values()):
            values.update(short)
        else:
            _helper(module, each, values, helpers)
    return values, helpers


def _members(group: Group, sketches: Sequence[Sketch]) -> Iterator[tuple[str, Sketch]]:
    by_name = {sketch.function.name: sketch for sketch in sketches}
    return ((name, by_name[name]) for name in group.members)


def _expression(sketch: Sketch) -> str:
    """The whole initial value as one short expression, or ""."""
    (result,) = (value for _, value in sketch.function.outputs)
    uses = Uses.of(sketch.steps, (result,))
    writer = Writer(uses, frozenset(), lambda step: None, _with_next_key)
    keys = {node.index for node in nodes(sketch.steps) if isinstance(node, Key)}
    if len(keys) > 1 or any(step.inner for step in sketch.steps):
        return ""
    writer.write(sketch.steps)
    (value,) = writer.results((result,))
    return "" if writer.lines or len(text(value)) > 80 else text(value)


def _with_next_key(expr: Expr) -> Expr:
    return transform(expr, lambda node: NEXT_KEY if isinstance(node, Key) else node)


def _helper(module: Module, group: Group, values: dict[str, str], helpers: list[list[str]]) -> None:
    draws = any(isinstance(node, Key) for node in nodes(group.sketch.steps))
    name = module.fresh(f"init_{group.sketch.function.source.strip('_') or 'value'}".lower())
    emission = Emission(group, name, Traits(params=False, key=draws, updates=False))
    helpers.append(emission.lines())
    for member in group.members:
        keywords = (
            Keyword(key, Num(value)) for key, value in group.arguments(member) if key in emission.used
        )
        values[member] = text(Call(Word(name), (*([NEXT_KEY] if draws else []), *keywords)))


def _assignments(entries: Sequence[Entry], before: tuple[str, ...], indent: int, depth: int) -> Iterator[str]:
    """The assignments of parameters below `before`; equal ones of consecutive indices as a loop."""
    for head, found in groupby(entries, key=lambda entry: _head(entry.parts)):
        run = list(found)
        if len(head) == len(run[0].parts):
            for entry in run:
                yield from _assignment((*before, *entry.parts), entry.value, indent)
            continue
        below = [Entry(entry.parts[len(head) :], entry.value) for entry in run]
        yield from _indexed(below, (*before, *head), indent, depth)


def _head(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The parts before the first index."""
    return parts[: next((i for i, part in enumerate(parts) if part.isdigit()), len(parts))]


def _indexed(entries: Sequence[Entry], before: tuple[str, ...], indent: int, depth: int) -> Iterator[str]:
    """Parameters whose next part is an index."""
    layers: list[tuple[str, tuple[Entry, ...]]] = []
    for index, found in groupby(entries, key=lambda entry: entry.parts[0]):
        layers.append((index, tuple(Entry(entry.parts[1:], entry.value) for entry in found)))
    while layers:
        (index, same), count = layers[0], 1
        while count < len(layers) and layers[count] == (str(int(index) + count), same):
            count += 1
        if count > 1:
            name = "ijklmn"[depth]
            yield f"{INDENT * indent}for {name} in range({f'{index}, ' * (index != '0')}{int(index) + count}):"
            yield from _assignments(same, (*before, f"{{{name}}}"), indent + 1, depth + 1)
        else:
            yield from _assignments(same, (*before, index), indent, depth)
        layers = layers[count:]


def _assignment(parts: tuple[str, ...], value: str, indent: int) -> list[str]:
    loops = any(part.startswith("{") for part in parts)
    path = ("f" if loops else "") + quoted(".".join(parts))
    return layout(f"params[{path}] = {value}", indent)
