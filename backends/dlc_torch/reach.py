"""How methods reach the parameters, buffers and instances of their class.

    "h.3"                                    self.h[3]
    "embeddings.words"                       self.embeddings.words
    "layer.0.SelfAttention.q.weight"         self.layer[0].SelfAttention.q.weight

A name that Python or nn.Module have taken (`type`, `forward`) is that of an attribute with `_` behind: `checkpoint_names.py`.
A number in a layer of torch's own is no attribute that can be written: `getattr(self.fc, "0")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dlc.emit.forms import indexed
from dlc.emit.tree import At, Call, Dot, Expr, Text, Word
from dlc.ir.index import INDEX, has_index
from dlc_torch.structure import Node, attribute_name, end_of, find, is_numbered, keyed

Roots = Mapping[str, Node]
"""The trees of the classes, by IR function."""


def reach(root: Node, path: str, roots: Roots) -> Expr:
    """The parameter, buffer or instance at a path of the class with the tree `root`."""
    return follow(Word("self"), root, path.split("."), roots, own=True)


def follow(base: Expr, node: Node, labels: Sequence[str], roots: Roots, *, own: bool = False) -> Expr:
    """What lies at `labels` below `base`, which is the part `node`, with `own` the class itself whose method it is: what static
    parameters are in an instance of another class is not known outside of it."""
    own = own or not node.function
    for label in labels:
        inside = entered(node, roots)
        base, node = _step(base, inside, label, own=own), part(inside, label) or Node(label)
        own = own and not node.function
    return base


def locate(root: Node, labels: Iterable[str], roots: Roots) -> Node | None:
    """The node at a path, through the classes of the parts on the way."""
    node: Node | None = root
    for label in labels:
        node = part(entered(node, roots), label) if node is not None else None
    return node


def part(inside: Node, label: str) -> Node | None:
    """The part of a class or container that has a label, or a class's that another one puts into it."""
    return find(inside, [label]) or inside.late.get(label)


def entered(node: Node, roots: Roots) -> Node:
    """An instance's own tree."""
    return roots.get(node.function, node) if node.function else node


def _step(base: Expr, inside: Node, label: str, *, own: bool) -> Expr:
    """One label further: an attribute, or an element."""
    if has_index(label):
        if inside.is_mapping:
            return At(base, (keyed(label),))
        if inside.is_sequence and INDEX.fullmatch(label):
            return At(base, (indexed(label),))
        # No attribute begins with a number: `attribute_name`.
        return Call(Word("getattr"), (base, indexed(f"part_{label}" if INDEX.match(label) else label)))
    place = part(inside, label) if own and label not in inside.items else None
    told = end_of(place, label) if place is not None else None
    if told is not None:
        return At(base, (told,)) if inside.is_mapping else Call(Word("getattr"), (base, told))
    if inside.is_mapping:
        return At(base, (Text(label),))
    if inside.function and label in inside.late and is_numbered(label):
        return Call(Word("getattr"), (base, Text(label)))
    if label.isdigit() and (inside.is_sequence or not inside.items):
        return At(base, (Word(label),))
    return Dot(base, attribute_name(label))
