"""A class's parameters and instances as a tree of paths: how its constructor makes them, how its methods
reach them.

    "h.{i}"               self.h = nn.ModuleList(Block(d, heads) for _ in range(layers))
                          self.h[3]
    "embeddings.words"    self.embeddings = nn.ModuleDict({"words": nn.Embedding(v, d)})
                          self.embeddings["words"]
    "encoder.positions"   self.encoder.register_parameter("positions", nn.Parameter(...))
                          self.encoder.get_parameter("positions")

Names in checkpoints are the spec's paths in every case.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from dlc.emit.merge import negated
from dlc.emit.origins import expression
from dlc.emit.tree import (
    At,
    Call,
    Conditional,
    DictGen,
    Dot,
    Expr,
    Gen,
    Keyword,
    Num,
    Pairs,
    Seq,
    Splat,
    Text,
    Word,
    walk,
)
from dlc.ir.index import INDEX, has_index, mark, offset_of, split
from dlc.ir.nodes import Child, Param
from dlc.records import dataclass, field, replace
from dlc.types.traced import Term

# Attributes that every nn.Module has: a part of that name has to be registered by hand. (Checked by a test.)
TAKEN = frozenset(
    [
        "T_destination",
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "training",
        "type",
        "xpu",
        "zero_grad",
        "init_weights",
    ]
)
# What nn.ModuleDict has besides.
TAKEN_IN_DICT = TAKEN | {"clear", "items", "keys", "pop", "popitem", "setdefault", "update", "values"}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


def is_taken(label: str, among: frozenset[str] = TAKEN) -> bool:
    """Whether nn.Module may have an attribute of that name: its private ones begin with an underscore."""
    return label in among or label.startswith("_")


def is_attribute(label: str) -> bool:
    """Whether `self.label` can be written and is not one of nn.Module's own attributes."""
    return bool(_NAME.match(label)) and label not in TAKEN and not keyword.iskeyword(label)


@dataclass
class Node:
    """A place in the tree: an instance of `function`, a parameter, or a container of `items`. `turns` are
    (count, start, step) of the numbers that the label stands for, where it holds the index of a loop;
    `layers` is what an `nn.Sequential` here holds."""

    label: str = ""
    function: str = ""
    param: Param | None = None
    turns: tuple[int, int, int] | None = None
    items: dict[str, Node] = field(default_factory=dict)
    layers: tuple[Expr, ...] | None = None
    made: Expr = field(default_factory=lambda: Word(""))
    """The constructor of the instance."""
    when: Term | None = None
    """The condition on static parameters under which it is there."""

    @property
    def is_container(self) -> bool:
        return not self.function and self.param is None

    @property
    def kind(self) -> str:
        """What the container is made as: "sequential", "list", "parameters" or "dict"."""
        if self.layers is not None:
            return "sequential"
        nodes, indices = list(self.items.values()), self.indices()
        if indices and sorted(indices) == list(range(len(indices))):
            if all(node.param is not None for node in nodes):
                return (
                    "parameters"
                    if all(node.param.kind == "param" for node in nodes if node.param)
                    else "dict"
                )
            if not any(node.param is not None for node in nodes):
                return "list"
        return "dict"

    def indices(self) -> list[int]:
        """The list indices that the items take, as far as their labels are numbers; [-1] if one is none."""
        found: list[int] = []
        for node in self.items.values():
            if node.turns and INDEX.fullmatch(node.label):
                found += turns_of(node.turns)
            elif node.label.isdigit() and str(int(node.label)) == node.label:
                found.append(int(node.label))
            else:
                return [-1]
        return found


def turns_of(turns: tuple[int, int, int]) -> list[int]:
    count, start, step = turns
    return [start + step * turn for turn in range(count)]


def tree(
    children: Iterable[Child],
    params: Iterable[tuple[Param, tuple[int, int, int] | None]],
    made: Callable[[Child], Expr] = lambda child: Word(""),
) -> Node:
    """The tree of a class's paths; `made` says an instance."""
    root = Node()
    for param, turns in params:
        node = _place(root, param.name, turns)
        node.param, node.when = param, param.when
    for child in children:
        node = _place(root, child.path, (child.count, child.start, child.step) if child.count else None)
        if not node.function:
            node.function, node.made, node.when = child.function, made(child), child.when
        elif node.when is not None and child.when == negated(node.when):
            node.made = Conditional(expression(node.when), node.made, made(child))
            node.when = None
    return root


def _place(root: Node, path: str, turns: tuple[int, int, int] | None) -> Node:
    node = root
    for label in path.split("."):
        turned = turns if has_index(label) else None
        node = node.items.setdefault(place(label, turned), Node(label, turns=numbers(label, turned)))
    return node


def place(label: str, turns: tuple[int, int, int] | None) -> str:
    """The key of a part among its container's."""
    return f"{label}@{turns}" if turns and has_index(label) else label


def numbers(label: str, turns: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """The numbers that a label with the index of a loop stands for, which it may be ahead of."""
    return (turns[0], turns[1] + offset_of(label), turns[2]) if turns else None


def find(root: Node, labels: Iterable[str]) -> Node | None:
    """The node at a path without indices of loops, or with the first that has the label."""
    node = root
    for label in labels:
        found = node.items.get(label) or next(
            (each for each in node.items.values() if each.label == label), None
        )
        found = found or next((each for each in node.items.values() if _covers(each, label)), None)
        if found is None:
            return None
        node = found
    return node


def _covers(node: Node, label: str) -> bool:
    if not node.turns or not label.isdigit():
        return False
    return bool(INDEX.fullmatch(node.label)) and int(label) in turns_of(node.turns)


# --- constructor --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Init:
    """A statement of the constructor: `self.label = expr`, without `self.` if it is local, or `expr` alone
    where `label` is empty. `annotation` is a buffer's name, whose type is declared."""

    label: str
    expr: Expr
    annotation: str = ""
    local: bool = False
    when: Expr | None = None
    """The condition under which there is such a part; else the attribute is None."""


@dataclass
class Builder:
    """Writes the constructor of a class. `tensor` says a parameter's or buffer's initial tensor."""

    tensor: Callable[[Param], Expr]

    def statements(self, root: Node) -> Iterator[Init]:
        for node in root.items.values():
            for init in self._top(node):
                yield init if node.when is None else replace(init, when=expression(node.when))

    def _top(self, node: Node) -> Iterator[Init]:
        if node.param is not None:
            yield self._own(node.param, node.label)
            return
        if node.turns and not is_attribute(node.label):
            yield from self._pattern(node)
            return
        made = self._made(node)
        if is_attribute(node.label):
            yield Init(node.label, made)
            yield from self._late(node, Word(f"self.{node.label}"))
        else:
            yield Init("", registered(Word("self"), "module", node.label, made))
            yield from self._late(node, looked_up(Word("self"), [node.label]))

    def _pattern(self, node: Node) -> Iterator[Init]:
        """`down{i}` directly below the class: one attribute per turn."""
        assert node.turns is not None
        for index in turns_of(node.turns):
            label = INDEX.sub(str(index), node.label)
            made = self._made(replace(node, label=label, turns=None))
            yield (
                Init(label, made)
                if is_attribute(label)
                else Init("", registered(Word("self"), "module", label, made))
            )

    def _own(self, param: Param, label: str) -> Init:
        value = self.tensor(param)
        if param.kind != "param":
            return Init(
                "",
                Call(Word("self.register_buffer"), (Text(label), value)),
                label if is_attribute(label) else "",
            )
        if is_attribute(label):
            return Init(label, parameter(param, value))
        return Init("", registered(Word("self"), "parameter", label, parameter(param, value)))

    def _made(self, node: Node) -> Expr:
        """The expression that makes an instance or a container."""
        if node.function:
            return node.made
        if node.param is not None:
            return parameter(node.param, self.tensor(node.param))
        match node.kind:
            case "sequential":
                return Call(Word("nn.Sequential"), node.layers or ())
            case "list":
                return Call(Word("nn.ModuleList"), self._list(node))
            case "parameters":
                return Call(Word("nn.ParameterList"), self._list(node))
        return Call(Word("nn.ModuleDict"), self._dict(node))

    def _list(self, node: Node) -> tuple[Expr, ...]:
        """The elements in order; a run of turns is a generator."""
        items = sorted(node.items.values(), key=lambda each: each.turns[1] if each.turns else int(each.label))
        together = list(_interleaved(items))
        if any(each.turns and each.turns[2] not in (1, len(group)) for group in together for each in group):
            ordered = sorted(_spread(items), key=lambda each: each[0])
            return (Seq(tuple(self._made(each) for _, each in ordered), "[]"),)
        parts = [self._turns(group) if group[0].turns else self._made(group[0]) for group in together]
        if len(parts) == 1 and isinstance(parts[0], Gen):
            return (parts[0],)
        return (Seq(tuple(Splat(part) if isinstance(part, Gen) else part for part in parts), "[]"),)

    def _turns(self, nodes: Sequence[Node]) -> Gen:
        """The parts of a loop's turns, of which a turn may have several."""
        assert nodes[0].turns is not None
        count, _, step = nodes[0].turns
        if step == 1:
            made_each = self._made(nodes[0])
            return Gen(made_each, variable(made_each), Call(Word("range"), (Num(count, "count"),)))
        made = Seq(tuple(map(self._made, nodes)), "()")
        turns = Call(Word("range"), (Word("0"), Num(count * step, "count"), Word(str(step))))
        return Gen(Word("layer"), "_", turns, made)

    def _dict(self, node: Node) -> tuple[Expr, ...]:
        modules = [
            each
            for each in node.items.values()
            if each.param is None and not is_taken(each.label, TAKEN_IN_DICT)
        ]
        if not modules:
            return ()
        if len(modules) == 1 and modules[0].turns:
            (only,) = modules
            assert only.turns is not None
            key = indexed(INDEX.sub(mark(), only.label))
            count, start, step = only.turns
            return (DictGen(key, self._made(only), "i", over(Num(count, "count"), start, step)),)
        pairs: list[tuple[Expr, Expr]] = []
        for each in modules:
            labels = [each.label]
            if each.turns:
                labels = [INDEX.sub(str(index), each.label) for index in turns_of(each.turns)]
            pairs += ((Text(label), self._made(each)) for label in labels)
        return (Pairs(tuple(pairs)),)

    def _late(self, node: Node, base: Expr) -> Iterator[Init]:
        """What is put into a container after it has been made: parameters, parts that a constructor does not
        take."""
        if node.function or node.layers is not None or node.kind == "parameters":
            return
        for each in node.items.values():
            if each.param is not None:
                kind = "parameter" if each.param.kind == "param" else "buffer"
                value = self.tensor(each.param)
                made = parameter(each.param, value) if kind == "parameter" else value
                yield Init("", registered(base, kind, each.label, made))
            elif is_taken(each.label, TAKEN_IN_DICT):
                yield Init("", registered(base, "module", each.label, self._made(each)))
                yield from self._late(each, looked_up(base, [each.label]))
            elif not each.turns:
                yield from self._late(each, _element(base, node, each.label))


def variable(made: Expr) -> str:
    """The variable of a loop that makes instances: the spec's where it is read."""
    terms = (term for node in walk(made) if (op := getattr(node, "op", None)) for _, term in op.given)
    found = [
        each.args[0]
        for term in terms
        for each in term.parts()
        if isinstance(each, Term) and each.op == "each"
    ]
    return found[0] if found else "_"


def _element(base: Expr, node: Node, label: str) -> Expr:
    """A part of a container, which may itself be one: its type is not known, so it is looked up by path."""
    match base:
        case Call(Dot(inner, "get_submodule"), (Text(path),)):
            return Call(Dot(inner, "get_submodule"), (Text(f"{path}.{label}"),))
        case At(inner, (Text(path) | Word(path),)):
            return Call(Dot(inner, "get_submodule"), (Text(f"{path}.{label}"),))
    return At(base, (Word(label) if node.kind == "list" else Text(label),))


def indexed(path: str) -> Expr:
    """A path with the index of a loop, as an f-string over `i`."""
    parts = (
        ascii(part)[1:-1].replace('"', '\\"').replace("{", "{{").replace("}", "}}") for part in split(path)
    )
    offset = offset_of(path)
    return Word('f"' + (f"{{i + {offset}}}" if offset else "{i}").join(parts) + '"')


def method_name(entry: str) -> str:
    """The method of an entry; `forward` for the main computation."""
    if not entry:
        return "forward"
    return entry if is_attribute(entry) else f"{entry}_"


def _interleaved(items: Sequence[Node]) -> Iterator[list[Node]]:
    """The parts of a list in order; those that take turns in one loop, `h.{i}` and `h.{i+1}`, together."""
    group: list[Node] = []
    for each in items:
        first = group[0].turns if group else None
        if first and each.turns == (first[0], first[1] + len(group), first[2]) and len(group) < first[2]:
            group.append(each)
            continue
        if group:
            yield group
        group = [each]
    if group:
        yield group


def _spread(items: Iterable[Node]) -> Iterator[tuple[int, Node]]:
    for each in items:
        yield from ((index, each) for index in (turns_of(each.turns) if each.turns else [int(each.label)]))


def registered(base: Expr, kind: str, label: str, value: Expr) -> Expr:
    """A part put into `base` by hand, also under a name that nn.Module would refuse."""
    if is_taken(label):
        table = {"module": "_modules", "parameter": "_parameters", "buffer": "_buffers"}[kind]
        return Call(Dot(Dot(base, table), "update"), (Pairs(((Text(label), value),)),))
    method = {"module": "add_module", "parameter": "register_parameter", "buffer": "register_buffer"}[kind]
    return Call(Dot(base, method), (Text(label), value))


def parameter(param: Param, value: Expr) -> Expr:
    more = (Keyword("requires_grad", Word("False")),) if param.frozen else ()
    return Call(Word("nn.Parameter"), (value, *more))


def over(count: Expr, start: int, step: int) -> Expr:
    """`range` over the indices of a loop."""
    if start == 0 and step == 1:
        return Call(Word("range"), (count,))
    if isinstance(count, Num):
        bounds: tuple[Expr, ...] = (Word(str(start)), Word(str(start + step * int(count.value))))
        return Call(Word("range"), (*bounds, *(() if step == 1 else (Word(str(step)),))))
    raise ValueError("a loop that does not begin at 0 has a fixed count")


# --- access -------------------------------------------------------------------------------------------------

Roots = Mapping[str, Node]
"""The trees of the classes, by IR function."""


def reach(root: Node, path: str, tensor: bool, roots: Roots, native: Callable[[str], bool]) -> Expr:
    """How a method reads the parameter, buffer or instance at a path of its class.

    Attributes are followed as far as their types are known to a type checker; the rest is looked up by
    name."""
    labels = path.split(".")
    kind = tensor_kind(root, labels, roots) if tensor else "submodule"
    expr: Expr = Word("self")
    node = root
    for i, label in enumerate(labels):
        rest, last = labels[i:], i == len(labels) - 1
        below = find(node, [label])
        if node is root or (node.function and below is not None and node.function in roots):
            if below is None or not is_attribute(label) or below.turns:
                return looked_up(expr, rest, kind)
            expr, node = Dot(expr, label), _entered(below, roots)
        elif node.function:
            known = native(node.function) and last and tensor
            return Dot(expr, label) if known else looked_up(expr, rest, kind)
        elif last and not tensor and not is_taken(label, TAKEN_IN_DICT):
            return At(expr, (Word(label) if node.kind in ("list", "sequential") else Text(label),))
        elif last and node.kind == "parameters":
            return At(expr, (Word(label),))
        else:
            return looked_up(expr, rest, kind)
    return expr


def _entered(node: Node, roots: Roots) -> Node:
    """An instance's own tree, with its function."""
    if node.function not in roots:
        return node
    inside = roots[node.function]
    return Node(node.label, node.function, items=inside.items, layers=inside.layers)


def looked_up(base: Expr, labels: list[str], kind: str = "submodule") -> Expr:
    """`base.get_submodule("a.b")`, `base.get_parameter("a.weight")`. Names that PyTorch does not find so are
    taken from where it keeps them."""
    taken = next((i for i, label in enumerate(labels) if is_taken(label)), None)
    if taken is None:
        return Call(Dot(base, f"get_{kind}"), (Text(".".join(labels)),))
    if taken:
        base = looked_up(base, labels[:taken])
    last = taken == len(labels) - 1
    table = {"parameter": "_parameters", "buffer": "_buffers"}.get(kind, "_modules") if last else "_modules"
    # (`vars` says nothing of types, where `base._modules` would say that the part may be None.)
    found = At(At(Call(Word("vars"), (base,)), (Text(table),)), (Text(labels[taken]),))
    return found if last else looked_up(found, labels[taken + 1 :], kind)


BUFFERS = frozenset({"running_mean", "running_var", "num_batches_tracked"})  # of PyTorch's own layers


def tensor_kind(root: Node, labels: Iterable[str], roots: Roots) -> str:
    """Whether a path names a parameter or a buffer."""
    node, last = root, ""
    for last in labels:
        below = find(node, [last])
        if below is None:
            return "buffer" if last in BUFFERS else "parameter"
        node = roots.get(below.function, below) if below.function else below
    return "parameter" if node.param is None or node.param.kind == "param" else "buffer"
