"""Parts whose path lies inside another part of the class, where checkpoints keep them: the constructor puts them there.

    shared = embedding(vocab, d) as model.shared            self.model = EncoderDecoder(...)
    x = EncoderDecoder(...)(...) as model             ->    self.model.shared = nn.Embedding(vocab, d)

The other part's class says so with an annotation, `shared: nn.Embedding`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from dlc.emit.ranges import numbers
from dlc.emit.tree import Call, Dot, Expr, Text, Word, text
from dlc.ir.index import has_index, split
from dlc.ir.nodes import Child, Param
from dlc.records import dataclass, field, replace
from dlc_torch.reach import Roots, entered, follow
from dlc_torch.structure import Builder, Init, Node, attribute_name, find, is_numbered, tree, turns_of


@dataclass(frozen=True)
class Divided:
    """The parts of a class in their own places, and those inside others."""

    children: list[Child] = field(default_factory=list)
    params: list[Param] = field(default_factory=list)
    inside: list[Child] = field(default_factory=list)
    tensors: list[Param] = field(default_factory=list)

    @staticmethod
    def of(children: Sequence[Child], params: Sequence[Param]) -> Divided:
        found = Divided()
        for child in children:
            others = [other for other in children if other is not child]
            turns = [other for other in others if child.count and _is_within(child, other)]
            inside = _is_inside(child.path, others) or any(_starts(child.path, each.path) for each in turns)
            (found.inside if inside else found.children).append(child)
        for param in params:
            (found.tensors if _is_inside(param.name, children) else found.params).append(param)
        return found


def _is_inside(path: str, others: Sequence[Child] | Iterator[Child]) -> bool:
    return any(_lies_in(path, other) for other in others)


def _lies_in(path: str, other: Child) -> bool:
    """Whether a path lies in the instance of `other`, which is known before a loop's turn is."""
    if not has_index(other.path):
        return _starts(path, other.path)
    pattern = r"(\d+)".join(map(re.escape, split(other.path)))
    match = re.match(rf"{pattern}\.", path)
    return match is not None and match[0][:-1] in set(other.paths())


def _is_within(child: Child, other: Child) -> bool:
    """Whether all turns that have an instance have the other one."""
    return {*turns_of(child.turns)} <= {*turns_of(other.turns)}


def _starts(path: str, prefix: str) -> bool:
    return path.startswith(f"{prefix}.")


@dataclass
class Placing:
    """Writes the constructor's statements for parts inside others, once those have been made. `late` is told which class has
    which part from elsewhere."""

    root: Node
    roots: Roots
    builder: Builder
    hold: Callable[[Node], None]
    late: Callable[[str, str, Expr], None]

    def statements(self, parts: Divided, made: Callable[[Child], Expr]) -> Iterator[Init]:
        whole = tree(parts.inside, [(param, None) for param in parts.tensors], made)
        for label, node in whole.items.items():
            yield from self._below(Word("self"), self.root, Node(items={label: node}))

    def _below(self, base: Expr, place: Node, parts: Node) -> Iterator[Init]:
        """The statements that put `parts` into the instance or container `place`, which `base` reads."""
        inside = entered(place, self.roots)
        for key, node in parts.items.items():
            below = find(inside, [node.label])
            if below is not None and node.is_container:
                there = self._below(follow(base, place, [node.label], self.roots), below, node)
                yield from (
                    (replace(each, over=numbers(*node.turns)) for each in there) if node.turns else there
                )
                continue
            alone = Node(items={key: node})
            self.hold(alone)
            yield from self._put(base, place, node)

    def _put(self, base: Expr, place: Node, node: Node) -> Iterator[Init]:
        kind = "module" if node.param is None else "parameter" if node.param.kind == "param" else "buffer"
        made = self.builder.made(node)
        inside = entered(place, self.roots)
        inside.late[node.label] = node
        numbered = inside.function and is_numbered(node.label)
        attribute = node.label if numbered else attribute_name(node.label)
        if place.function:
            self.late(place.function, attribute, Word("Tensor") if kind == "buffer" else made)
        if kind == "buffer" and node.param is not None:
            yield Init("", _registered(base, kind, attribute, self.builder.tensor(node.param)))
        elif place.is_container or numbered or not text(base).startswith("self"):
            yield Init("", _registered(base, kind, node.label, made))
        else:
            yield Init(text(base).removeprefix("self.") + f".{attribute}", made)


def _registered(base: Expr, kind: str, label: str, value: Expr) -> Expr:
    """A part that no attribute can be written for, or a buffer: a call puts it there."""
    method = {"module": "add_module"}.get(kind, f"register_{kind}")
    return Call(Dot(base, method), (Text(label), value))
