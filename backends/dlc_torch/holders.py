"""Labels with dots become small classes that hold parts, as a checkpoint has them.

    x |> rms_norm as layer.0.layer_norm            class BlockAttention(nn.Module):
    Attention(d)(x) as layer.0.attention               def __init__(self, d): self.layer_norm = …; self.attention = …
                                         ->
                                                   self.layer = nn.ModuleList([BlockAttention(d), …])
                                                   x = self.layer[0].attention(x)

A holder takes those static parameters of its owner that it reads. What it does stands in its owner's methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from dlc.emit.names import camel, told_apart
from dlc.emit.tree import Arg, Expr, Gen, Word, transform, walk
from dlc.ir.index import INDEX
from dlc.ir.nodes import Child, Function, Op, Setting
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.terms import rooted
from dlc.types.traced import Term
from dlc_torch.drafter import Instance
from dlc_torch.structure import Builder, Init, Node, anyhow, variables


@dataclass(frozen=True)
class Holder:
    """A class that holds parts: its function has neither inputs nor a body."""

    function: Function
    root: Node
    inits: tuple[Init, ...]
    turns: Sequence[str]
    """The variables of the owner's loops that its parts depend on."""


@dataclass
class Holders:
    """Makes holders of the containers in the tree of `owner`. `taken` are names that are no holder's."""

    owner: Function
    builder: Builder
    taken: Callable[[], Iterable[str]]
    made: list[Holder] = field(default_factory=list)

    def settle(self, root: Node) -> None:
        """Make every container below `root` that is none of PyTorch's own an instance of a holder."""
        held = [node for node in root.items.values() if _is_held(node)]
        words = [_word(node, root) for node in held]
        for node in root.items.values():
            if node.is_container:
                self.settle(node)
        for node, word in zip(held, words, strict=True):
            self._hold(node, word)

    def _hold(self, node: Node, word: str) -> None:
        conditions = {each.when for each in node.items.values()}
        if len(conditions) == 1:
            (node.when,) = conditions
            node.items = {key: replace(each, when=None) for key, each in node.items.items()}
        root = Node(items=node.items)
        inits = tuple(self.builder.statements(root))
        turns = tuple(dict.fromkeys(name for init in inits for name in variables(init.expr)))
        holder = self._same(inits) or self._new(node.label, word, root, inits, turns)
        node.function, node.items = holder.function.name, {}
        node.made = Instance(holder.function.name, self._call(holder.function.name, turns))

    def _same(self, inits: Sequence[Init]) -> Holder | None:
        """A holder of the same parts, made in the same way."""
        return next((each for each in self.made if _keys(each.inits) == _keys(inits)), None)

    def _new(
        self, label: str, word: str, root: Node, inits: tuple[Init, ...], turns: Sequence[str]
    ) -> Holder:
        names = {each.function.source for each in self.made} | set(self.taken())
        owner = camel(self.owner.source) if self.owner.library else self.owner.source.strip("_")
        source = camel(word)
        if "_" not in word.strip("_") or source in names:  # two words tell enough
            source = told_apart(owner, [source], names, is_class=True)
        nodes = list(_nodes(root))
        function = Function(
            name=f"{source} of {self.owner.name}",
            source=source,
            kind="module",
            doc=f"Parts of {self.owner.source}{f', under `{label}`' if label == word else ''}.",
            inputs=(),
            outputs=(),
            body=(),
            params=tuple(each.param for each in nodes if each.param is not None),
            children=tuple(Child(each.label, each.function) for each in nodes if each.function),
            static=self.owner.static,
            settings=(
                *(replace(each, default=None) for each in self.owner.settings),
                *(Setting(name, "int") for name in turns),
            ),
            sizes=self.owner.sizes,
        )
        own = tuple(replace(each, expr=with_arguments(each.expr, turns)) for each in inits)
        self.made.append(Holder(function, root, own, turns))
        return self.made[-1]

    def _call(self, name: str, turns: Sequence[str]) -> Op:
        """What says the arguments of a holder: its owner's own, under their names."""
        given = [(each.name, Term("param", (each.name,))) for each in self.owner.settings]
        given += [(turn, Term("each", (turn,))) for turn in turns]
        known = tuple((size, Dim.of(rooted(size, value))) for size, value in self.owner.sizes)
        return Op("call", (), (), callee=name, given=tuple(given), known=known)


def _is_held(node: Node) -> bool:
    """Whether a container is none that PyTorch has."""
    return node.is_container and node.layers is None and not node.is_sequence and not node.is_mapping


def with_arguments(expr: Expr, turns: Sequence[str]) -> Expr:
    """An expression that is said outside the loop whose variables are `turns`."""
    own = {node.variable for node in walk(expr) if isinstance(node, Gen)}

    def change(node: Expr) -> Expr:
        if isinstance(node, Word) and node.text in turns and node.text not in own:
            return Arg(node.text)
        return node

    return transform(expr, change)


def _word(node: Node, above: Node) -> str:
    """What a holder is called: its label; in a list, the part that it has and the others lack, or one of the list where it is alone."""
    label = INDEX.sub("", node.label).strip("_")
    if label and not label.isdigit():
        return label
    others = [each for each in above.items.values() if each is not node]
    shared = {label for other in others for label in _labels(other)}
    own = [label for label in _labels(node) if label not in shared and not label.isdigit()]
    telling = [label for label in own if not node.items or not _is_norm(label)]
    word = next(iter((*telling, *own)), above.label) if others else above.label
    return word[:-1] if word == above.label and word.endswith("s") else word


def _is_norm(label: str) -> bool:
    return label.lower().startswith(("norm", "ln", "bn", "layer_norm", "layernorm"))


def _labels(node: Node) -> list[str]:
    return [INDEX.sub("", each.label) for each in node.items.values()]


def _keys(inits: Iterable[Init]) -> list[tuple[str, Expr, object]]:
    return [(init.label, transform(init.expr, anyhow), init.when) for init in inits]


def _nodes(root: Node) -> Iterator[Node]:
    """The parameters and instances of a tree."""
    stack = list(root.items.values())
    while stack:
        node = stack.pop(0)
        if node.is_container:
            stack = [*node.items.values(), *stack]
        else:
            yield node
