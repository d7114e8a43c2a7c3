"""Where parameters stand in the tree that emitted functions take, and what checkpoints call them.

The tree follows the paths of the spec, label by label. What differs:

    h.{i}               params["h"]                the layers of a loop stand along the first axis of their parameters
    layer1.{i}, i >= 1  params["layer1"]["1:"]     with others beside them, under the numbers that they have
    h.{i}               params["h"]["3"]           where layers have other parts by their number, each by itself
    block.0.attn        params["relative_bias"]    an instance whose path lies in a layer of a loop: under the name of its module
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from dlc.emit.forms import call, indexed, labelled
from dlc.emit.names import snake, unique
from dlc.emit.origins import size
from dlc.emit.settled import ForOneSetting
from dlc.emit.tree import At, Expr, Text, Word
from dlc.ir.index import INDEX, at_number, at_turn, factor_of, is_computed, mark, offset_of, upto_index
from dlc.ir.nodes import Child, Function, Param, Program, walk
from dlc.records import dataclass, field
from dlc.types.dims import Dim
from dlc.types.terms import names, origin_free, term
from dlc.types.traced import Term
from dlc_jax.parts import by_turn

Keys = tuple[str | int, ...]
"""Keys of the tree from the outside in; a number takes one layer of those that stand along the first axis."""


class Counted(str):
    """A key that is told by how many layers a loop has: that of the first or the last of them, or the number behind them."""

    told: Expr

    @staticmethod
    def of(key: str, told: Expr) -> Counted:
        made = Counted(key)
        made.told = told
        return made


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers of a loop at `stem` (`h.{i}`): where they stand, and their numbers. Where `apart` they are no stack but each stands
    by itself, under its number."""

    stem: str
    keys: tuple[str, ...]
    start: int
    step: int
    count: int
    apart: bool = False
    is_open: bool = False
    """Whether they are as many as static parameters say, and stand by themselves."""
    ends: Expr | None = None
    """The number behind them, where it is told by static parameters."""
    first: Expr | None = None
    last: Expr | None = None
    """The labels of the first and the last of them, where these are told by static parameters."""

    @property
    def numbers(self) -> range:
        return range(self.start, self.start + self.step * self.count, self.step)

    @property
    def labels(self) -> list[str]:
        return [at_number(self.stem.rpartition(".")[2], number) for number in self.numbers]

    def told(self, label: str) -> Expr | None:
        """The label of the first or the last of them, as static parameters say it."""
        labels = self.labels
        if labels and label == labels[0] and self.first is not None:
            return self.first
        return self.last if labels and label == labels[-1] else None

    def position(self, path: str) -> tuple[int, str] | None:
        """For a path in one of the layers, which of them, and the rest of the path."""
        *parents, _ = self.stem.split(".")
        *around, label = path.split(".")[: len(parents) + 1]
        labels = self.labels
        if around != parents or label not in labels:
            return None
        return labels.index(label), ".".join(path.split(".")[len(parents) + 1 :])


@dataclass(frozen=True, slots=True)
class Found:
    """What a path names: where it stands, and the parameter or the function of the instance there."""

    keys: Keys
    param: Param | None = None
    function: str = ""


@dataclass
class Layout:
    """The parts of the instances that some functions share (a module and its further entries)."""

    children: Mapping[str, Sequence[Child]]
    params: Mapping[str, Param]
    stacks: dict[str, Stack] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    """Instances and parameters whose path lies in a layer of a loop, with the key that they have instead."""


def at(base: Expr, keys: Keys, *, tensor: bool = False) -> Expr:
    """`base["a"]["b"]`; the number of a layer among stacked ones is taken last where that is one tensor."""
    numbers = [key for key in keys if isinstance(key, int)]
    for key in keys:
        if isinstance(key, str):
            base = At(base, (key_of(key),))
        elif not tensor:
            base = call("one_layer", base, Word(str(key)))
    for number in numbers if tensor else ():
        base = At(base, (Word(str(number)),))
    return base


def key_of(key: str) -> Expr:
    """`"h"`, and `str(len(hidden))` for the number behind a loop's layers."""
    return key.told if isinstance(key, Counted) else Text(key)


def in_words(keys: Keys) -> tuple[str, ...]:
    """The keys with numbers as texts."""
    return tuple(key if isinstance(key, str) else str(key) for key in keys)


@dataclass
class Places:
    """The places of a program's parameters, by function and path."""

    program: Program
    layouts: dict[str, Layout] = field(default_factory=dict)
    spoken: dict[str, set[str]] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[str, list[Function]]:
        return sharing(self.program.functions)

    def layout(self, function: str) -> Layout:
        group = self.groups[function]
        key = group[0].name
        if key not in self.layouts:
            self.layouts[key] = self._layout(group)
        return self.layouts[key]

    def find(self, function: str, path: str) -> Found | None:
        """What a path names in a function, `{i}` in it standing for the turn of a loop."""
        if not path:
            return Found((), function=function)
        layout = self.layout(function)
        if path in layout.params:
            moved = layout.moved.get(path)
            return Found((moved,) if moved else tuple(path.split(".")), layout.params[path])
        for own in sorted(layout.children, key=len, reverse=True):
            if (path == own or path.startswith(f"{own}.")) and not self._is_layer(layout, own):
                found = self._below(layout, own, path[len(own) + 1 :])
                if found is not None:
                    return found
        return self._in_layer(function, layout, path)

    def containers(self, function: str, tree: str) -> set[tuple[str, ...]]:
        """The keys of all dicts in the parameters ("params") or the state of an instance."""
        layout = self.layout(function)
        kind = "buffer" if tree == "state" else "param"
        found: set[tuple[str, ...]] = set()
        for name, param in layout.params.items():
            if param.kind == kind:
                keys = (layout.moved[name],) if name in layout.moved else tuple(name.split("."))
                found |= {keys[:n] for n in range(len(keys))}
        for path, same in layout.children.items():
            own = in_words(self.keys(layout, path))
            for below in (each for child in same for each in self.containers(child.function, tree)):
                found |= {(*own, *below)[:n] for n in range(len(own) + len(below) + 1)}
        return found

    def _below(self, layout: Layout, own: str, rest: str) -> Found | None:
        for child in layout.children[own]:
            found = self.find(child.function, rest)
            if found is not None:
                return Found((*self.keys(layout, own), *found.keys), found.param, found.function)
        return None

    def keys(self, layout: Layout, path: str) -> Keys:
        """Where an instance stands."""
        if path in layout.moved:
            return (layout.moved[path],)
        stem = upto_index(path)
        if not stem:
            *parents, label = path.split(".")
            return (*self._told(layout, parents), self._counted(layout, parents, label))
        rest = path[len(stem) + 1 :]
        return (*layout.stacks[stem].keys, *(rest.split(".") if rest else ()))

    def _told(self, layout: Layout, labels: Sequence[str]) -> Iterator[str]:
        """Labels of which one may be that of the first or the last of a loop's layers."""
        for k, label in enumerate(labels):
            found = (
                each.told(label)
                for each in layout.stacks.values()
                if each.apart and each.stem.split(".")[:-1] == labels[:k]
            )
            yield next((Counted.of(label, told) for told in found if told is not None), label)

    def _counted(self, layout: Layout, parents: Sequence[str], label: str) -> str:
        """A label that is the number behind layers which stand by themselves, however many they are. That this is no chance
        whoever emits finds out: with more layers it is another number then, and the source is the same."""
        for stack in layout.stacks.values():
            *beside, own = stack.stem.split(".")
            end = stack.start + stack.step * stack.count
            if (
                stack.apart
                and beside == parents
                and INDEX.fullmatch(own)
                and label == str(end)
                and stack.ends
            ):
                return Counted.of(label, call("str", stack.ends))
        return label

    def _each(self, layout: Layout, path: str) -> Iterator[tuple[str, ...]]:
        """Where an instance stands; of layers that stand by themselves, where each does."""
        keys = in_words(self.keys(layout, path))
        stack = layout.stacks.get(upto_index(path))
        if stack is None or not stack.apart:
            yield keys
            return
        cut = len(stack.keys)
        yield from ((*keys[:cut], label, *keys[cut:]) for label in stack.labels)

    def _in_layer(self, function: str, layout: Layout, path: str) -> Found | None:
        """A path into one layer of a loop, by its number."""
        for stack in layout.stacks.values():
            found = stack.position(path)
            if found is not None:
                number, rest = found
                inside = self.find(function, f"{stack.stem}.{rest}" if rest else stack.stem)
                if inside is not None:
                    cut = len(stack.keys)
                    taken = stack.labels[number] if stack.apart else number
                    keys = (*inside.keys[:cut], taken, *inside.keys[cut:])
                    return Found(keys, inside.param, inside.function)
        return None

    # --- layouts

    def _layout(self, group: Sequence[Function]) -> Layout:
        children: dict[str, list[Child]] = {}
        params: dict[str, Param] = {}
        for function in group:
            for child in function.children:
                if not child.path:  # another way into the same instances, which is of the group
                    continue
                same = children.setdefault(child.path, [])
                if all(each.function != child.function for each in same):
                    same.append(child)
            for param in function.params:
                params.setdefault(param.name, param)
        layout = Layout(children, params)
        self._stack(layout, group)
        self._move(layout)
        return layout

    def varies(self, group: Sequence[Function], child: Child) -> bool:
        """Whether the layers of a loop are others, have other parts, or of other sizes, by the number of the turn: no stack holds them."""
        if by_turn(child):
            return True
        given = [told for function in group for _, told in self._given(function, child)]
        return any(told.holds("each") for told in given)

    def _given(self, function: Function, child: Child) -> Iterator[tuple[str, Term]]:
        """What an instance is given that its parts speak of."""
        callee = self.program.functions[child.function]
        spoken = self._spoken(child.function)
        for op in walk(function.body):
            if op.path == child.path and op.callee == child.function:
                told = (*op.given, *((name, term(size)) for name, size in op.known))
                yield from ((name, each) for name, each in told if callee.library or name in spoken)

    def _spoken(self, name: str) -> set[str]:
        """The static parameters of a function that its parameters and instances speak of: which there are, and how large they are."""
        if name not in self.spoken:
            function = self.program.functions[name]
            found: set[str] = set()
            for param in function.params:
                found.update(names(param.when), *map(names, param.type.axes))
            for child in function.children:
                found.update(names(child.when), names(child.count))
                found.update(*(names(told) for _, told in self._given(function, child)))
            self.spoken[name] = found
        return self.spoken[name]

    def _stack(self, layout: Layout, group: Sequence[Function]) -> None:
        stems: dict[str, Child] = {}
        counts: dict[str, set[int]] = {}
        for path, (child, *_) in layout.children.items():
            if child.count:
                stem = upto_index(path)
                counts.setdefault(stem, set()).add(int(child.count))
                if stem not in stems or stems[stem].count < child.count:  # (not all turns have all parts)
                    stems[stem] = child
        labels = [path.split(".") for path in (*layout.children, *layout.params)]
        own = {stem: _labels(stem, child) for stem, child in stems.items()}
        for stem, child in stems.items():
            *parents, label = stem.split(".")
            others = {
                each[len(parents)]
                for each in labels
                if each[: len(parents)] == parents and len(each) > len(parents)
            } - {label}
            others -= own[stem]
            start, _, step = _numbers(stem, child)
            # Those of a stack are called by their place in it alone.
            apart = not origin_free(child.start) or len(counts[stem]) > 1
            apart = apart or any(self.varies(group, each) for each in layout.children[child.path])
            key = "" if apart else _key(label, others, start, step, bool(parents))
            keys = (*parents, key) if key else tuple(parents)
            ends = _ends(stem, child), *_told_ends(label, child)
            is_open = apart and not origin_free((child.count, child.start))
            layout.stacks[stem] = Stack(stem, keys, start, step, int(child.count), apart, is_open, *ends)

    def _move(self, layout: Layout) -> None:
        taken = {path.split(".")[0] for path in (*layout.children, *layout.params)}
        for path, same in layout.children.items():
            if not same[0].count and self._is_covered(layout, path) and not self._is_layer(layout, path):
                source = self.program.functions[same[0].function].source
                layout.moved[path] = unique(snake(source.strip("_")), taken)
                taken.add(layout.moved[path])
        for name in layout.params:
            if self._is_covered(layout, name):
                layout.moved[name] = unique(name.rpartition(".")[2], taken)
                taken.add(layout.moved[name])

    def _is_covered(self, layout: Layout, path: str) -> bool:
        """Whether a path leads into a layer of a loop, of this function or of one of its instances."""
        # (One in a layer that stands by itself may be put there.)
        if any(not each.first and each.position(path) is not None for each in layout.stacks.values()):
            return True
        inside = (
            (child.function, path[len(own) + 1 :])
            for own, same in layout.children.items()
            for child in same
            if not child.count and path.startswith(f"{own}.")
        )
        return any(self._is_covered(self.layout(name), rest) for name, rest in inside)

    def _is_layer(self, layout: Layout, path: str) -> bool:
        """Whether the instance at a path is one of a loop's layers, lent."""
        return any(
            found[1] == "" and stack.stem in layout.children
            for stack in layout.stacks.values()
            if (found := stack.position(path)) is not None
            and {self.program.functions[each.function].source for each in layout.children[path]}
            & {self.program.functions[each.function].source for each in layout.children.get(stack.stem, ())}
        )

    # --- what checkpoints call them

    def names(self) -> dict[str, tuple[str, Stack | None]]:
        """For places whose labels are not those of the checkpoint, the path there, relative to what holds them: with the
        stack whose number stands in it, if there is one."""
        found: dict[str, tuple[str, Stack | None]] = {}
        is_open = False
        seen: set[tuple[str, str]] = set()
        stack = [("", self.program.entry)]
        while stack:
            place, name = stack.pop()
            if (place, name) in seen:
                continue
            seen.add((place, name))
            layout = self.layout(name)
            for each in layout.stacks.values():
                if each.apart:
                    continue
                label = each.stem.split(".")[max(len(each.keys) - 1, 0) :]
                found[_joined(place, *each.keys)] = ".".join(label), each
            found.update((_joined(place, key), (path, None)) for path, key in layout.moved.items())
            is_open |= any(each.is_open for each in layout.stacks.values())
            below = [
                (_joined(place, *each), child.function)
                for path, same in layout.children.items()
                for child in same
                if not self._is_layer(layout, path)
                for each in self._each(layout, path)
            ]
            stack += reversed(below)
        return _for_any_number(found) if is_open else found


def _for_any_number(names: Mapping[str, tuple[str, Stack | None]]) -> dict[str, tuple[str, Stack | None]]:
    """The table for however many layers that stand by themselves: a place in one of them is that in all, `stages.*.blocks`. Raises
    ForOneSetting where they are not called alike."""
    found: dict[str, tuple[str, Stack | None]] = {}
    for place, (label, stack) in names.items():
        alike = NUMBER.sub(ANY, place)
        known = found.setdefault(alike, (label, stack))
        if (known[0], _counting(known[1])) != (label, _counting(stack)):
            raise ForOneSetting("layers that are called otherwise by their number")
    return found


NUMBER, ANY = re.compile(r"\d+"), "*"


def _counting(stack: Stack | None) -> tuple[int, int] | None:
    return None if stack is None else (stack.start, stack.step)


def _joined(*labels: str) -> str:
    return ".".join(each for each in labels if each)


def _numbers(stem: str, child: Child) -> tuple[int, int, int]:
    """Start, stop and step of the numbers of a loop's layers."""
    if is_computed(stem):
        return int(child.start), int(child.start) + child.step * int(child.count), child.step
    start, step = factor_of(stem) * int(child.start) + offset_of(stem), factor_of(stem) * child.step
    return start, start + step * int(child.count), step


def _ends(stem: str, child: Child) -> Expr | None:
    """The number behind a loop's layers, of a loop whose length static parameters tell."""
    count = Dim.of(child.count)
    if not names(child.count) or child.start or is_computed(stem):
        return None
    return size(count * (factor_of(stem) * child.step) + offset_of(stem))


def turn_key(label: str, variable: str) -> Expr:
    """The key of a layer that stands by itself, in a turn of a loop."""
    key = indexed(label, variable)
    return call("str", key) if INDEX.fullmatch(label) else key


def _labels(stem: str, child: Child) -> set[str]:
    """The labels of a loop's layers."""
    label = stem.rpartition(".")[2]
    return {at_number(label, number) for number in range(*_numbers(stem, child))}


def _told_ends(label: str, child: Child) -> tuple[Expr | None, Expr | None]:
    """The labels of the first and the last of a loop's layers, where static parameters tell where the loop begins."""
    if origin_free(child.start):
        return None, None
    first = Dim.of(child.start)
    ends = first, first + (Dim.of(child.count) - 1) * child.step
    told = [None if each.origin is None else labelled(label, size(each, "index")) for each in ends]
    return told[0], told[1]


def _key(label: str, others: Iterable[str], start: int, step: int, nested: bool) -> str:
    """The key of stacked layers; "" where they are all that stands there."""
    plain = INDEX.sub("", label).strip("_-")
    numbers = f"{start}:" + (f":{step}" if step != 1 else "")
    if INDEX.fullmatch(label):
        return "" if nested and not list(others) and start == 0 and step == 1 else numbers
    similar = [each for each in others if INDEX.sub(mark(), each) == INDEX.sub(mark(), label)]
    if similar or not plain or plain in others:
        return INDEX.sub(numbers, label)
    return plain


def sharing(functions: Mapping[str, Function]) -> dict[str, list[Function]]:
    """For every function those that are ways into the same instances, in the program's order: they stand at one path, or one calls
    the other without one."""
    group = {name: [name] for name in functions}

    def join(a: str, b: str) -> None:
        if group[a] is not group[b]:
            merged = [name for name in functions if name in group[a] or name in group[b]]
            for name in merged:
                group[name] = merged

    for name, function in functions.items():
        at: dict[tuple[str, str], str] = {}
        for path, callee in _instances(function, functions):
            if not path:
                join(name, callee)
            else:
                join(at.setdefault((functions[callee].source, path), callee), callee)
    return {name: [functions[each] for each in names] for name, names in group.items()}


def _instances(function: Function, functions: Mapping[str, Function]) -> Iterator[tuple[str, str]]:
    """The path and function of every instance that a function calls or holds; of a layer of a loop, of the first one."""
    for child in function.children:
        yield (at_turn(child.path, int(child.start)) if child.count else child.path), child.function
        if child.count:
            yield child.path, child.function
    for op in walk(function.body):
        if op.callee and (functions[op.callee].params or functions[op.callee].children):
            yield op.path, op.callee
