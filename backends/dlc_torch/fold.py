"""Chains of layers under numbered paths become an `nn.Sequential`, as a person would have written them.

    x = self.features["0"](x)                     self.features = nn.Sequential(
    x = F.relu(x)                         ->          nn.Conv2d(3, 64, ...), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(...), ...
    x = F.max_pool2d(x, 3)                        )
    x = self.features["3"](x)                     x = self.features(x)

The numbers have to fit: what stands between two layers must be as many functions that are layers too as
numbers are left out. So the paths of parameters stay what the spec says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from dlc.emit.origins import said
from dlc.emit.statements import Assign, Draft, Loop, Stmt
from dlc.emit.tree import Arg, Call, Expr, Gen, Num, Path, Ref, Seq, Splat, Word, refs
from dlc.ir.index import factor_of, offset_of
from dlc.records import dataclass, replace
from dlc_torch.structure import Node, place, variable

# What may follow the last numbered layer inside the same container.
TRAILING = ("nn.ReLU", "nn.ReLU6", "nn.GELU", "nn.SiLU", "nn.Tanh", "nn.Sigmoid", "nn.LeakyReLU", "nn.Hardswish",
            "nn.MaxPool1d", "nn.MaxPool2d", "nn.MaxPool3d", "nn.Dropout")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Link:
    """A statement that applies one layer, or a loop of layers, to one value: `labels` is the path of the
    instance, `()` for a function. Of a loop whose turns apply several, `parts` are these, each as a link."""

    index: int
    source: str
    result: str
    labels: tuple[str, ...]
    layer: Expr
    turns: tuple[int, int, int] | None = None
    parts: tuple[Link, ...] = ()

    @property
    def held(self) -> list[Link]:
        """The links that are instances."""
        return [each for each in self.parts or (self,) if each.labels]


def fold(draft: Draft, root: Node) -> Draft:
    """The draft with its chains folded; the tree's containers are told what they hold."""
    while True:
        chains = list(_chains(draft))
        found = next(filter(None, (_fit(chain, root) for chain in chains)), None)
        if found is None:
            return draft
        node, labels, links = found
        node.layers = tuple(_layer(link, root) for link in links)
        draft = _replaced(draft, links, ".".join(labels))


def whole_class(draft: Draft, root: Node) -> tuple[Expr, ...] | None:
    """The layers of a class that is nothing but a chain of numbered layers, from its input to its output."""
    if (
        len(draft.inputs) != 1
        or len(draft.results) != 1
        or not root.items
        or (root.kind != "dict" and root.kind != "list")
    ):
        return None
    chain = next(iter(_chains(draft)), [])
    spans = chain and chain[0].source == draft.inputs[0].name and draft.results[0] == Ref(chain[-1].result)
    if not spans or len(chain) != len(draft.body) or not _numbered(root):
        return None
    if [link.labels for link in _between(chain, (), root) or ()] != [link.labels for link in chain]:
        return None
    return tuple(_layer(link, root) for link in chain)


# --- chains -------------------------------------------------------------------------------------------------


def _chains(draft: Draft) -> Iterator[list[Link]]:
    """The longest runs of statements that each apply a layer to the result of the one before, read nowhere
    else."""
    reads = Counter(name for expr in draft.expressions() for name in refs(expr))
    links = [link for link in (_link(i, stmt) for i, stmt in enumerate(draft.body)) if link]
    # A value that is read once, by a link, joins that link to the one that made it.
    after = {link.source: link for link in links if reads[link.source] == 1}
    joined = {link.result for link in links if link.result in after}
    for link in links:
        if link.source in joined:
            continue
        chain = [link]
        while chain[-1].result in joined:
            chain.append(after[chain[-1].result])
        yield chain


def _link(index: int, stmt: Stmt) -> Link | None:
    match stmt:
        case Assign(targets=(target,), layer=Path(path), through=through):
            return Link(index, through, target.name, tuple(path.split(".")), Path(path))
        case Assign(targets=(target,), layer=Expr() as layer, through=through):
            return Link(index, through, target.name, (), layer)
        case Loop(
            turns=int() as count,
            inputs=(Ref(source),),
            outputs=(target,),
            args=(arg,),
            results=(result,),
            body=body,
            kept=(),
            recompute=False,
        ):
            turns = (count, stmt.start, stmt.step)
            parts = _parts(body, arg.name, turns) if result == Ref(_made(body)) else None
            if parts and len(parts) == 1 and parts[0].labels and isinstance(stmt.count, Num):
                return replace(parts[0], index=index, source=source, result=target.name)
            if (
                parts
                and len(parts) > 1
                and (own := next((each for each in parts if each.labels), None)) is not None
            ):
                return Link(index, source, target.name, own.labels, own.layer, turns, parts)
    return None


def _made(body: Sequence[Stmt]) -> str:
    """The value that the last statement makes."""
    last = body[-1] if body else None
    return last.targets[0].name if isinstance(last, Assign) else ""


def _parts(body: Sequence[Stmt], given: str, turns: tuple[int, int, int]) -> tuple[Link, ...] | None:
    """The layers of a turn, each applied to what the one before gives."""
    found: list[Link] = []
    for stmt in body:
        link = _link(0, stmt) if isinstance(stmt, Assign) else None
        if link is None or link.source != given:
            return None
        found.append(replace(link, turns=turns if link.labels else None))
        given = link.result
    return tuple(found)


# --- fitting numbers ----------------------------------------------------------------------------------------


def _fit(chain: Sequence[Link], root: Node) -> tuple[Node, tuple[str, ...], list[Link]] | None:
    """A container whose layers are links of the chain, in order and in number."""
    for link in chain:
        labels = link.labels[:-1]
        node = _container(root, labels) if labels else None
        if node is None or node.layers is not None or not _numbered(node):
            continue
        links = _between(chain, labels, node)
        if links and (len(links) > 1 or links[0].parts):
            return node, labels, links
    return None


def _container(root: Node, labels: Sequence[str]) -> Node | None:
    node = root
    for label in labels:
        if label not in node.items:
            return None
        node = node.items[label]
    return node if node.is_container else None


def _numbered(node: Node) -> bool:
    return -1 not in node.indices() and all(each.function and not each.items for each in node.items.values())


def _between(chain: Sequence[Link], labels: tuple[str, ...], node: Node) -> list[Link] | None:
    """The stretch of the chain that fills the container; None if the numbers do not fit."""
    own = [i for i, link in enumerate(chain) if link.labels and link.labels[:-1] == labels]
    held = [part for i in own for part in chain[i].held]
    if len(held) != len(node.items) or any(part.labels[:-1] != labels for part in held):
        return None
    first, last = own[0] - _first(chain[own[0]]), own[-1]
    if first < 0:
        return None
    while last + 1 < len(chain) and _may_trail(chain, last + 1, whole=not labels):
        last += 1
    place = 0
    for i in range(first, last + 1):
        if (i in own and _first(chain[i]) != place) or (i not in own and chain[i].labels):
            return None
        place += _length(chain[i])
    return list(chain[first : last + 1])


def _first(link: Link) -> int:
    """The number of the link's first layer; one that fits nowhere where a turn does not apply the layers that it takes numbers for."""
    if not link.turns:
        return int(link.labels[-1])
    parts = link.parts or (link,)
    factor = factor_of(link.labels[-1])
    fits = len(parts) == factor * link.turns[2] and all(
        offset_of(part.labels[-1]) == k and factor_of(part.labels[-1]) == factor
        for k, part in enumerate(parts)
        if part.labels and link.parts
    )
    start = factor * link.turns[1] + (0 if link.parts else offset_of(link.labels[-1]))
    return start if fits else NOWHERE


NOWHERE = -1_000_000


def _length(link: Link) -> int:
    return link.turns[0] * len(link.parts or (link,)) if link.turns else 1


def _may_trail(chain: Sequence[Link], at: int, *, whole: bool) -> bool:
    """Whether a function after the last layer belongs to the container: not if the next container begins with
    it."""
    layer = chain[at].layer
    if chain[at].labels or not isinstance(layer, Call) or not isinstance(layer.function, Word):
        return False
    if whole:
        return True
    following = next((i for i in range(at, len(chain)) if chain[i].labels), None)
    if following is not None and len(chain[following].labels) > 1:
        label = chain[following].labels[-1]
        if label.isdigit() and at >= following - int(label):
            return False
    return isinstance(layer.function, Arg) or layer.function.text in TRAILING


# --- replacing ----------------------------------------------------------------------------------------------


def _layer(link: Link, root: Node, turns: tuple[int, int, int] | None = None) -> Expr:
    """The constructor of a link's layer; of one of several in the turns of a loop, for a turn."""
    if not link.labels:
        return link.layer
    node = root
    for label in link.labels:
        node = node.items[place(label, turns or link.turns)]
    made = node.made
    if link.turns is None:
        return made
    if link.parts:
        parts = Seq(tuple(_layer(replace(each, turns=None), root, link.turns) for each in link.parts))
        over = Call(Word("range"), (_count(link, root),))
        return Splat(Gen(Word("layer"), variable(parts), over, parts))
    return Splat(Gen(made, variable(made), Call(Word("range"), (Num(link.turns[0], "count"),))))


def _count(link: Link, root: Node) -> Expr:
    """How often a loop turns, as its instances say it."""
    node = root
    for label in link.labels:
        node = node.items[place(label, link.turns)]
    assert node.turns is not None
    return said(node.turns[0], "count")


def _replaced(draft: Draft, links: Sequence[Link], path: str) -> Draft:
    gone = {link.index for link in links}
    last = draft.body[links[-1].index]
    assert isinstance(last, Assign | Loop)
    target = last.targets[0] if isinstance(last, Assign) else last.outputs[0]
    call = Call(Path(path), (Ref(links[0].source),))
    merged = Assign(
        (target,), call, last.temporary if isinstance(last, Assign) else True, Path(path), links[0].source
    )
    body = [
        merged if i == links[-1].index else stmt
        for i, stmt in enumerate(draft.body)
        if i not in gone or i == links[-1].index
    ]
    return replace(draft, body=tuple(body))
