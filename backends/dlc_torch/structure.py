"""A class's parameters and instances as a tree of paths, and how its constructor makes them (`reach.py`: how methods
reach them).

    "h.{i}"               self.h = nn.ModuleList(Block(d, heads) for _ in range(layers))
    "mlp.0", "mlp.2"      self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
    "embeddings.words"    self.embeddings = GPTEmbeddings(v, d)        # a class of its own: `holders.py`
    "layers.layer_{i}"    self.layers = nn.ModuleDict({f"layer_{i}": Block(d, heads) for i in range(layers)})

Names in checkpoints are the spec's paths in every case.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce

from dlc.emit.alike import origin_key
from dlc.emit.forms import indexed, labelled
from dlc.emit.origins import expression, size
from dlc.emit.ranges import numbers
from dlc.emit.tree import (
    Binary,
    Call,
    Conditional,
    DictGen,
    Each,
    Expr,
    Gen,
    Keyword,
    Num,
    Pairs,
    Seq,
    Splat,
    Text,
    Word,
    transform,
    walk,
)
from dlc.ir.index import INDEX, at_number, factor_of, has_index, is_computed, mark, offset_of
from dlc.ir.nodes import Child, Op, Param
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.terms import negated, origin_free, said, term
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
# The kind of a parameter that is a table of numbers of the spec: a buffer that is in no state dict.
CONSTANT = "constant"
# What nn.ModuleDict has besides.
TAKEN_IN_DICT = TAKEN | {"clear", "items", "keys", "pop", "popitem", "setdefault", "update", "values"}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


def is_taken(label: str, among: frozenset[str] = TAKEN) -> bool:
    """Whether nn.Module may have an attribute of that name: its private ones begin with an underscore. What begins like a taken one
    and has only underscores behind is what such a part is called."""
    return label.startswith("_") or any(each in among for each in _stems(label))


def _stems(label: str) -> Iterator[str]:
    """A label, and what it is without each underscore at its end."""
    yield label
    while label.endswith("_"):
        label = label[:-1]
        yield label


def is_attribute(label: str) -> bool:
    """Whether `self.label` can be written and is not one of nn.Module's own attributes."""
    taken = any(each in TAKEN or keyword.iskeyword(each) for each in _stems(label))
    return bool(_NAME.match(label)) and not taken


def is_numbered(label: str) -> bool:
    """Whether no attribute of that name can be written, though nn.Module has none: `0`."""
    return not is_attribute(label) and not is_taken(label)


def attribute_name(label: str) -> str:
    """The attribute of a class that has a part of that label: the label, or one like it where Python or nn.Module have taken it."""
    if is_attribute(label):
        return label
    name = re.sub(r"\W+", "_", label)
    if name[:1].isalpha():
        return f"{name}_"
    return f"part{name}" if name.startswith("_") else f"part_{name}"


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
    late: dict[str, Node] = field(default_factory=dict)
    """Of a class: parts that other classes put into its instances."""

    @property
    def is_container(self) -> bool:
        return not self.function and self.param is None

    @property
    def is_open(self) -> bool:
        """Whether it stands for so many instances, or containers of some, as a setting says."""
        return self.turns is not None and self.param is None and not origin_free(self.turns[0])

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

    @property
    def is_sequence(self) -> bool:
        """Whether parts are reached by a number."""
        return self.kind in ("sequential", "list", "parameters")

    @property
    def is_mapping(self) -> bool:
        """Whether it is a container with names that a loop makes (`encoder_layer_{i}`), or with numbers that leave some out."""
        if not self.is_container or self.kind != "dict" or not self.items or not self.label:
            return False
        nodes = self.items.values()
        named = any(each.turns and not INDEX.fullmatch(each.label) for each in nodes)
        plain = all(each.param is None and not is_taken(each.label, TAKEN_IN_DICT) for each in nodes)
        return plain and (named or all(each.label.isdigit() or each.turns for each in nodes))

    def indices(self) -> list[int]:
        """The list indices that the items take, as far as their labels are numbers; [-1] if one is none."""
        found: list[int] = []
        for node in self.items.values():
            if node.turns and INDEX.fullmatch(node.label) and not is_computed(node.label):
                found += turns_of(node.turns)
            elif node.label.isdigit() and str(int(node.label)) == node.label:
                found.append(int(node.label))
            else:
                return [-1]
        return found


def turns_of(turns: tuple[int, int, int]) -> list[int]:
    count, start, step = turns
    return [start + step * turn for turn in range(count)]


def labels_of(node: Node) -> list[str]:
    """The labels of a place in the tree: those of all turns where it stands for the parts of a loop."""
    if not node.turns:
        return [node.label]
    return [at_number(node.label, number) for number in turns_of(node.turns)]


def end_of(node: Node, label: str) -> Expr | None:
    """The label of the first or the last of a loop's parts, where static parameters say which that is; None for any other."""
    labels = labels_of(node) if node.is_open else []
    if label not in labels or node.turns is None:
        return None
    count, start, step = node.turns
    first = label == labels[0] and not origin_free(start)
    number = Dim.of(start) if first else Dim.of(start) + (Dim.of(count) - 1) * step
    is_told = first or label == labels[-1]
    return labelled(node.label, size(number, "index")) if is_told and number.origin is not None else None


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
        node = _place(root, child.path, child.turns if child.count else None)
        if not node.function:
            node.function, node.made, node.when = child.function, made(child), child.when
        elif node.when is not None and child.when == negated(node.when):
            node.made = Conditional(expression(node.when), node.made, made(child))
            node.when = None
    for node in root.items.values():
        _condition(node)
    return root


def _condition(node: Node) -> None:
    """A container whose parts are all there on one condition is there on that condition itself."""
    for each in node.items.values():
        _condition(each)
    conditions = {each.when for each in node.items.values()}
    if len(conditions) == 1:
        (node.when,) = conditions
        for each in node.items.values():
            each.when = None


def _place(root: Node, path: str, turns: tuple[int, int, int] | None) -> Node:
    node = root
    for label in path.split("."):
        turned = turns if has_index(label) else None
        node = node.items.setdefault(place(label, turned), Node(label, turns=_numbers(label, turned)))
    return node


def place(label: str, turns: tuple[int, int, int] | None) -> str:
    """The key of a part among its container's."""
    return f"{label}@{turns}" if turns and has_index(label) else label


def _numbers(label: str, turns: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """The numbers that a label with the index of a loop stands for, which it may be ahead of; those of the turns where it computes
    with them."""
    if turns is None or is_computed(label):
        return turns
    factor, offset = factor_of(label), offset_of(label)
    # (One that says where the loop begins keeps its expression.)
    start = turns[1] if factor == 1 and not offset else factor * turns[1] + offset
    return turns[0], start, factor * turns[2]


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
    return bool(node.turns) and label in labels_of(node)


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
    over: Expr | None = None
    """What `turn` runs over, where the statement is done in every turn of a loop."""
    turn: str = "i"


def renamed(root: Node) -> dict[str, str]:
    """The attributes of a class that have another name in checkpoints, with that."""
    labels: list[str] = []
    for node in (*root.items.values(), *root.late.values()) if not root.is_sequence else ():
        labels += labels_of(node) or [node.label]
    names = {attribute_name(label): label for label in labels if not is_attribute(label)}
    return names | {
        f"{node.label}.{attribute_name(label)}": f"{node.label}.{label}"
        for node in root.items.values()
        if node.function and is_attribute(node.label)
        for label in node.late
        if is_taken(label)
    }


@dataclass
class Builder:
    """Writes the constructor of a class. `tensor` says a parameter's or buffer's initial tensor."""

    tensor: Callable[[Param], Expr]

    def statements(self, root: Node) -> Iterator[Init]:
        for node in root.items.values():
            for init in self._top(node):
                yield init if node.when is None else replace(init, when=expression(node.when))

    def whole(self, root: Node) -> Init:
        """The constructor of a class that is a list of its parts."""
        return Init("", Call(Word("super().__init__"), self._list(root)))

    def _top(self, node: Node) -> Iterator[Init]:
        if node.param is not None:
            yield self._own(node.param, attribute_name(node.label))
        elif node.turns and not is_attribute(node.label):
            yield from self._pattern(node)
        else:
            yield Init(attribute_name(node.label), self.made(node))

    def _pattern(self, node: Node) -> Iterator[Init]:
        """`down{i}` directly below the class: one attribute per turn, in a loop where a setting says how many."""
        assert node.turns is not None
        part = self.made(node)
        if node.is_open or variables(part):
            turn = variable(part, "i")
            made = Call(Word("self.add_module"), (indexed(node.label, turn), part))
            yield Init("", made, over=_turning(node), turn=turn)
            return
        for label in labels_of(node):
            yield Init(attribute_name(label), self.made(replace(node, label=label, turns=None)))

    def _own(self, param: Param, attribute: str) -> Init:
        value = self.tensor(param)
        if param.kind != "param":
            lasting = () if param.kind != CONSTANT else (Keyword("persistent", Word("False")),)
            made = Call(Word("self.register_buffer"), (Text(attribute), value, *lasting))
            return Init("", made, attribute)
        return Init(attribute, parameter(param, value))

    def made(self, node: Node) -> Expr:
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
            return (Seq(tuple(self.made(each) for _, each in ordered), "[]"),)
        parts = [self._turns(group) if group[0].turns else self.made(group[0]) for group in together]
        parts = _as_one(parts, together) or parts
        if len(parts) == 1 and isinstance(parts[0], Gen):
            return (parts[0],)
        if len(parts) > 1 and len({transform(part, anyhow) for part in parts}) == 1:
            return (Gen(parts[0], "_", Call(Word("range"), (Num(len(parts), "count"),))),)
        return (Seq(tuple(Splat(part) if isinstance(part, Gen) else part for part in parts), "[]"),)

    def _turns(self, nodes: Sequence[Node]) -> Gen:
        """The parts of a loop's turns, of which a turn may have several."""
        assert nodes[0].turns is not None
        count, _, step = nodes[0].turns
        if step == 1:
            made_each = self.made(nodes[0])
            return Gen(made_each, variable(made_each), Call(Word("range"), (Num(count, "count"),)))
        made = Seq(tuple(map(self.made, nodes)), "()")
        if factor_of(nodes[0].label) != 1:
            return Gen(Word("layer"), variable(made), Call(Word("range"), (Num(count, "count"),)), made)
        turns = Call(Word("range"), (Word("0"), Num(count * step, "count"), Word(str(step))))
        return Gen(Word("layer"), "_", turns, made)

    def _dict(self, node: Node) -> tuple[Expr, ...]:
        """The parts by name: those of a loop's turns each by itself, unless they are told by the number of the turn."""
        modules = list(node.items.values())
        parts: list[Expr] = []
        pairs: list[tuple[Expr, Expr]] = []
        for each in modules:
            made = self.made(each)
            if each.turns and (len(modules) == 1 or variables(made)):
                parts += [Pairs(tuple(pairs))] if pairs else []
                pairs = []
                turn = variable(made, "i")
                key = keyed(each.label if _is_by_turn(each.label) else INDEX.sub(mark(), each.label), turn)
                parts.append(DictGen(key, made, turn, _turning(each)))
                continue
            pairs += ((Text(label), made) for label in labels_of(each))
        parts += [Pairs(tuple(pairs))] if pairs or not parts else []
        return (reduce(lambda one, other: Binary("|", one, other), parts),)


def _as_one(parts: Sequence[Expr], groups: Sequence[Sequence[Node]]) -> list[Expr] | None:
    """Elements that are all made alike, be it in turns or by themselves, as one generator: of `layers - 1` and the last one `layers`."""
    if not any(isinstance(part, Gen) for part in parts) or any(len(group) != 1 for group in groups):
        return None
    made = [part.element if isinstance(part, Gen) else part for part in parts]
    if any(isinstance(part, Gen) and (part.variable != "_" or part.parts is not None) for part in parts):
        return None
    if len({transform(each, anyhow) for each in made}) != 1:
        return None
    count = sum((group[0].turns[0] if group[0].turns else 1 for group in groups), start=0)
    return [Gen(made[0], "_", Call(Word("range"), (Num(count, "count"),)))]


def _turning(node: Node) -> Expr:
    """What `i` goes over in a loop that makes instances: their numbers, or where a turn takes several, the turns."""
    assert node.turns is not None
    count, start, step = node.turns
    return numbers(count, *((start, step) if factor_of(node.label) == 1 else (0, 1)))


def _is_by_turn(label: str) -> bool:
    """Whether a label is made of the number of a turn, and not of that of the part."""
    return factor_of(label) != 1 or is_computed(label)


def keyed(label: str, turn: str = "i") -> Expr:
    """A label with the index of a loop, as the key of an `nn.ModuleDict`: a text."""
    key = indexed(label, turn)
    return Call(Word("str"), (key,)) if INDEX.fullmatch(label) else key


def anyhow(node: Expr) -> Expr:
    """An instance, whichever operation calls it."""
    op = getattr(node, "op", None)
    if not isinstance(op, Op):
        return node
    sizes = [(name, str(said(size))) for name, size in (*op.known, *op.dims)]
    attrs = [(name, origin_key(value)) for name, value in op.attrs]
    return Word(f"{getattr(node, 'function', '')}{op.given}{sizes}{attrs}")


def variable(made: Expr, other: str = "_") -> str:
    """The variable of a loop that makes instances: the spec's where it is read."""
    return next(iter(variables(made)), other)


def variables(made: Expr) -> list[str]:
    """The variables of loops that constructors read."""
    nodes = list(walk(made))
    bound = {
        each.strip(" ()") for node in nodes if isinstance(node, Gen) for each in node.variable.split(",")
    }
    ops = [op for node in nodes if (op := getattr(node, "op", None))]
    terms = (
        told
        for op in ops
        for told in (*(each for _, each in op.given), *(term(size) for _, size in op.known))
    )
    parts = (each for term in terms for each in term.parts() if isinstance(each, Term))
    found = [str(each.args[0]) for each in parts if each.op == "each"]
    found += [node.text for node in nodes if isinstance(node, Each) and node.text not in bound]
    return found


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


def parameter(param: Param, value: Expr) -> Expr:
    is_fixed = param.frozen or not param.type.is_trained
    more = (Keyword("requires_grad", Word("False")),) if is_fixed else ()
    return Call(Word("nn.Parameter"), (value, *more))
