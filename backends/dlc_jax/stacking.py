"""`stack(params)`: the flat parameters as a tree, the layers of every loop stacked for `lax.scan`.

    tree = nest(params)
    tree["h"]["0:12"] = stack_layers(tree["h"][str(i)] for i in range(12))

It is a function of its own so that it can be run once for many calls: stacking copies the layers' parameters.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from dlc.emit.layout import INDENT, layout
from dlc.emit.python import quoted
from dlc.ir.index import INDEX, at_turn, mark, offset_of, split
from dlc.ir.nodes import Program
from dlc.ir.paths import Paths, indices
from dlc.ir.splice import prefixed
from dlc_jax.loops import Parts, is_looped, literal, statements


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers of a loop: `stem` is their path with `{i}` for the index, relative to the function that has
    the loop. `alike` says that they hold the same parameters, of the same shapes."""

    stem: str
    indices: tuple[int, ...]
    alike: bool

    @staticmethod
    def of(paths: Paths, function: str, stem: str, turns: Sequence[int]) -> Stack:
        """The layers of a loop in a function."""
        found = {at_turn(stem, i): set[object]() for i in turns}
        for prefix, param in paths.expand(function):
            path = prefixed(prefix, param.name)
            for layer, held in found.items():
                if path.startswith(layer + "."):
                    held.add((path.removeprefix(layer), param.type))
        first, *rest = found.values()
        ahead = tuple(index + offset_of(stem) for index in turns)
        return Stack(INDEX.sub(mark(), stem), ahead, all(each == first for each in rest))

    @property
    def path(self) -> str:
        """Where the stacked parameters are: `h.0:12`."""
        start, stop, by = _bounds(self.indices)
        return INDEX.sub(f"{start}:{stop}" + (f":{by}" if by != 1 else ""), self.stem)


def _bounds(indices: Sequence[int]) -> tuple[int, int, int]:
    """Start, stop and step of evenly spaced indices."""
    start = indices[0] if indices else 0
    by = indices[1] - start if len(indices) > 1 else 1
    return start, start + by * len(indices), by


def range_of(indices: Sequence[int]) -> str:
    """The source of evenly spaced `indices`."""
    start, stop, by = _bounds(indices)
    if by != 1:
        return f"range({start}, {stop}, {by})"
    return f"range({start}, {stop})" if start else f"range({stop})"


def index_literal(name: str, index: str = "i") -> str:
    """The source of a path's part with an index in it: `str(i)`, or `f"down{i}"`."""
    if offset := offset_of(name):
        index = f"{index} + {offset}"
    before, after = split(name)
    if not before and not after:
        return f"str({index})"
    escaped = [part.replace("{", "{{").replace("}", "}}") for part in (before, after)]
    return "f" + quoted(f"{escaped[0]}{{{index}}}{escaped[1]}")


def stack_function(program: Program, stacks: Mapping[str, Sequence[Stack]]) -> list[str]:
    """The function for the loops of each function, or no lines where nothing is stacked."""
    items = [
        (tuple(path.split(".")) if path else (), stack)
        for path, function in instances(program, stacks)
        for stack in stacks[function]
    ]
    if not items:
        return []
    # Loops within layers of a loop come first: what they stack is then stacked again.
    items.sort(key=lambda item: -len(item[0]))
    return [
        "def stack(params: Params) -> Params:",
        f'{INDENT}"""A tree with the layers of loops stacked, for `forward`: made once for many calls."""',
        f"{INDENT}tree = nest(params)",
        *statements(items, _say),
        f"{INDENT}return tree",
    ]


def _say(path: Parts, body: Hashable, indent: int) -> Iterator[str]:
    stack = cast(Stack, body)
    *parents, name = stack.stem.split(".")
    base = "tree" + "".join(f"[{literal((part,))}]" for part in (*path, *parents))
    index = "n" if any(map(is_looped, path)) else "i"
    function = "stack_layers" if stack.alike else "stack_shared"
    layers = f"{base}[{index_literal(name, index)}] for {index} in {range_of(stack.indices)}"
    place = quoted(stack.path.rpartition(".")[2])
    yield from layout(f"{base}[{place}] = {function}({layers})", indent)


def instances(program: Program, wanted: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The instances of the functions `wanted`, by path, each path once."""
    holders = _holders(program, wanted)
    stack, seen = [("", program.entry)], set()
    while stack:
        path, name = stack.pop()
        if (path, name) in seen:
            continue
        seen.add((path, name))
        if name in wanted:
            yield path, name
        inner = [
            (prefixed(path, each), callee) for each, callee in _calls(program, name) if callee in holders
        ]
        stack += reversed(inner)


def _holders(program: Program, wanted: Mapping[str, object]) -> frozenset[str]:
    """The functions that are wanted or lead to one."""
    found: set[str] = set()
    for name in program.reachable():
        if name in wanted or any(callee in found for _, callee in _calls(program, name)):
            found.add(name)
    return frozenset(found)


def _calls(program: Program, name: str) -> Iterator[tuple[str, str]]:
    """The paths and functions of a function's calls, once for every turn of a loop."""
    for op in program.functions[name].body:
        if op.region is not None:
            inner = [each for each in op.region.body if each.callee]
            yield from ((at_turn(each.path, i), each.callee) for i in indices(op) for each in inner)
        elif op.callee:
            yield op.path, op.callee
