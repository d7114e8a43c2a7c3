"""How methods reach the parameters, buffers and instances of their class.

    "h.3"                                    self.h[3]
    "embeddings.words"                       self.embeddings.words
    "layer.0.SelfAttention.q.weight"         self.layer[0].SelfAttention.q.weight

What PyTorch can't have as an attribute is looked up by its name in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dlc.emit.tree import At, Call, Dot, Expr, Text, Word
from dlc.ir.index import INDEX, has_index
from dlc_torch.structure import Node, find, indexed, is_attribute, is_taken

Roots = Mapping[str, Node]
"""The trees of the classes, by IR function."""


def reach(root: Node, path: str, tensor: bool, roots: Roots) -> Expr:
    """The parameter, buffer or instance at a path of the class with the tree `root`."""
    return follow(Word("self"), root, path.split("."), roots, tensor=tensor)


def follow(base: Expr, node: Node, labels: Sequence[str], roots: Roots, *, tensor: bool = False) -> Expr:
    """What lies at `labels` below `base`, which is the part `node`."""
    for i, label in enumerate(labels):
        inside = entered(node, roots)
        below = part(inside, label) or Node(label)
        step = _step(base, inside, label)
        if step is None:
            return looked_up(base, labels[i:], kind_of(inside, labels[i:], roots) if tensor else "submodule")
        base, node = step, below
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


def _step(base: Expr, inside: Node, label: str) -> Expr | None:
    """One label further; None for what is no attribute or element."""
    if has_index(label):
        known = inside.is_mapping or (inside.is_sequence and INDEX.fullmatch(label))
        return At(base, (indexed(label),)) if known else None
    if inside.is_mapping:
        return At(base, (Text(label),))
    if is_attribute(label):
        return Dot(base, label)
    if label.isdigit() and (inside.is_sequence or not inside.items):
        return At(base, (Word(label),))
    return None


def looked_up(base: Expr, labels: Sequence[str], kind: str = "submodule") -> Expr:
    """`base.get_submodule("0.norm")`. Names that PyTorch does not find so are taken from where it keeps them."""
    taken = next((i for i, label in enumerate(labels) if is_taken(label)), None)
    if taken is None:
        path = ".".join(labels)
        return Call(Dot(base, f"get_{kind}"), (indexed(path) if has_index(path) else Text(path),))
    if taken:
        base = looked_up(base, labels[:taken])
    last = taken == len(labels) - 1
    table = {"parameter": "_parameters", "buffer": "_buffers"}.get(kind, "_modules") if last else "_modules"
    # (`vars` says nothing of types, where `base._modules` would say that the part may be None.)
    found = At(At(Call(Word("vars"), (base,)), (Text(table),)), (Text(labels[taken]),))
    return found if last else looked_up(found, labels[taken + 1 :], kind)


BUFFERS = frozenset({"running_mean", "running_var", "num_batches_tracked"})  # of PyTorch's own layers


def kind_of(node: Node, labels: Sequence[str], roots: Roots) -> str:
    """Whether a path names a parameter or a buffer."""
    found = locate(node, labels, roots)
    if found is None or found.param is None:
        return "buffer" if labels[-1] in BUFFERS else "parameter"
    return "parameter" if found.param.kind == "param" else "buffer"
