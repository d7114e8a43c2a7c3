"""Parts whose path lies inside another part of the class: checkpoints keep them there.

    shared = embedding(vocab, d) as model.shared            self.model = EncoderDecoder(...)
    x = EncoderDecoder(...)(...) as model             ->    self.model.add_module("shared", nn.Embedding(vocab, d))

Where the other part has a part of its own at that very path, both keep their parameters under it:

    relative_bias = RelativeBias(heads, buckets)
    self.block[0].get_submodule("...").add_module("relative_attention_bias", relative_bias.relative_attention_bias)
    self.relative_bias = (relative_bias,)                   # a tuple, so that it is not registered a second
    time
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from dlc.emit.merge import negated
from dlc.emit.names import snake, unique
from dlc.emit.tree import Call, Dot, Expr, Pairs, Seq, Text, Word
from dlc.ir.index import has_index, split
from dlc.ir.nodes import Child, Function
from dlc.records import dataclass
from dlc_torch.structure import Init, Node, find, reach, registered


@dataclass(frozen=True, slots=True)
class Foreign:
    """An instance of `function` at `path`, which begins with the path `owner` of an instance of
    `owner_function`."""

    path: str
    function: str
    owner: str
    owner_function: str

    @property
    def rest(self) -> list[str]:
        return self.path[len(self.owner) + 1 :].split(".") if self.path != self.owner else []


def divide(children: Sequence[Child]) -> tuple[list[Child], list[Foreign]]:
    """The children in their own places, and those inside others."""
    plain: list[Child] = []
    foreign: list[Foreign] = []
    for i, child in enumerate(children):
        owner = next(filter(None, (_inside(child, other) for other in children if other is not child)), None)
        same = next((each for each in children[:i] if each.path == child.path and not child.count), None)
        same = None if same is not None and _instead(child, same) else same
        if owner is not None:
            foreign.append(Foreign(child.path, child.function, *owner))
        elif same is not None:
            foreign.append(Foreign(child.path, child.function, child.path, same.function))
        else:
            plain.append(child)
    return plain, foreign


def _instead(child: Child, other: Child) -> bool:
    """Whether the one takes the place of the other, by a condition."""
    return child.when is not None and other.when is not None and child.when == negated(other.when)


def _inside(child: Child, other: Child) -> tuple[str, str] | None:
    """The path of the instance of `other` that `child` lies in."""
    if child.count:
        return None
    pattern = (
        r"(\d+)".join(map(re.escape, split(other.path))) if has_index(other.path) else re.escape(other.path)
    )
    match = re.match(rf"{pattern}\.", child.path)
    if match is None or (other.count and match[0][:-1] not in set(other.paths())):
        return None
    return match[0][:-1], other.function


@dataclass
class Placing:
    """Writes the constructor's statements for foreign parts, once the parts that they lie in have been
    made."""

    root: Node
    roots: Mapping[str, Node]
    functions: Mapping[str, Function]
    instance: Callable[[str, str], Expr]
    native: Callable[[str], bool]
    overlays: dict[str, str]

    def statements(self, parts: Iterable[Foreign]) -> Iterator[Init]:
        for part in parts:
            known, rest = self._walk(part)
            base = reach(self.root, known, False, self.roots, self.native)
            if not rest:
                yield from self._overlaid(part, base)
                continue
            made = self.instance(part.path, part.function)
            for label in reversed(rest[1:]):
                made = Call(Word("nn.ModuleDict"), (Pairs(((Text(label), made),)),))
            yield Init("", registered(base, "module", rest[0], made))

    def _walk(self, part: Foreign) -> tuple[str, list[str]]:
        """How far the path exists already, and the labels that do not."""
        node = self.roots.get(part.owner_function, Node())
        rest = part.rest
        known = part.owner
        while rest and (below := find(node, rest[:1])) is not None:
            known = f"{known}.{rest.pop(0)}"
            node = self.roots.get(below.function, Node()) if below.function else below
        return known, rest

    def _overlaid(self, part: Foreign, base: Expr) -> Iterator[Init]:
        function = self.functions[part.function]
        taken = {node.label for node in self.root.items.values()} | set(self.overlays.values())
        name = unique(snake(function.source), taken)
        self.overlays[part.path] = name
        yield Init(name, self.instance(part.path, part.function), local=True)
        labels = [(child.path.split(".")[0], "module") for child in function.children]
        labels += [
            (param.name, "parameter" if param.kind == "param" else "buffer") for param in function.params
        ]
        for label, kind in dict.fromkeys(labels):
            yield Init("", registered(base, kind, label, Dot(Word(name), label)))
        yield Init(name, Seq((Word(name),)))
