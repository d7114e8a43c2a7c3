"""Classes and functions as Python source."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from dlc.emit.arguments import Argument, by_name
from dlc.emit.asked import EXACT, Lengths, asked_lines, at_least, lengths, taken_apart
from dlc.emit.body import Body, Lines, shapes_text, tensors, with_words
from dlc.emit.checks import opposite
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import identifier, unique
from dlc.emit.origins import expression
from dlc.emit.own import Own
from dlc.emit.python import docstring, filled, wrapped
from dlc.emit.sides import collapsed
from dlc.emit.statements import NOWHERE, Assign, Draft, If, Loop, Stmt, expressions
from dlc.emit.tree import (
    Arg,
    At,
    Binary,
    Call,
    Conditional,
    Dot,
    Expr,
    Heavy,
    Keyword,
    Num,
    Path,
    Word,
    need_name,
    text,
    the,
    transform,
    walk,
)
from dlc.emit.write import Writer
from dlc.ir.nodes import Function
from dlc.ir.paths import Paths
from dlc.records import dataclass, field, replace
from dlc_torch import rows
from dlc_torch.checkpoint_names import renaming
from dlc_torch.classes import Class, as_function
from dlc_torch.conditions import conditions, said_with_holders
from dlc_torch.drafter import Device, Instance, Training, part_of
from dlc_torch.fused import refusal
from dlc_torch.init_weights import InitWeights
from dlc_torch.initial import bounds, put
from dlc_torch.loops import Looping, joined, led
from dlc_torch.methods import DIALECT
from dlc_torch.neural import native_layer
from dlc_torch.reach import follow, locate, reach
from dlc_torch.results import Results
from dlc_torch.structure import Init, Node, attribute_name, is_attribute, method_name, renamed


class Statements(Writer):
    """Tensors are made where the inputs are; what a method returns has names."""

    results: Results | None = None
    stored: tuple[int, int] = (-1, 0)
    """The end of the last block that changes buffers, and how far in it stands."""
    whole: Sequence[Expr] = ()
    """All that the method returns where every result is there."""

    def returned(self, results: Sequence[Expr]) -> str:
        if self.results is None:
            return super().returned(results)
        found: list[str | None] = [self.text(each) for each in results]
        if len(found) < len(self.whole):
            found = [self.text(each) if each in results else None for each in self.whole]
        return self.results.returned(found)

    def leaf(self, node: Expr) -> Expr:
        return Word(f"{self.inputs[0]}.device") if isinstance(node, Device) else super().leaf(node)

    def text(self, expr: Expr) -> str:
        return super().text(transform(expr, _compared))

    def assign(self, stmt: Assign, goals: Mapping[str, str]) -> None:
        """What nothing is derived of is computed without a graph, where a layer is part of it."""
        match stmt.expr:
            case Call(Dot(value, "detach"), ()) if any(map(_is_layer_call, walk(value))):
                self.line("with torch.no_grad():")
                self.indent += 1
                super().assign(replace(stmt, expr=value), goals)
                self.indent -= 1
            case _:
                super().assign(stmt, goals)

    def store(self, path: Expr, value: Expr) -> None:
        """Buffers are changed in place, those one after another in one block."""
        if self.stored != (len(self.lines), self.indent):
            self.line("with torch.no_grad():")
        self.indent += 1
        self.line(self.text(value))
        self.indent -= 1
        self.stored = len(self.lines), self.indent


def _is_layer_call(node: Expr) -> bool:
    return isinstance(node, Call) and (isinstance(node.function, Heavy) or node.function == Word("self"))


def _given_functions(argument: Argument) -> Argument:
    """An argument of a plain function, which makes no layers: functions are given as such."""
    if argument.type != rows.CALLABLES.type:
        return argument
    return replace(argument, type=rows.FUNCTION, default=argument.default and as_function(argument.default))


def _compared(node: Expr) -> Expr:
    """`mask.ne(0)[:, None]`: type checkers take a comparison for what may be a bool."""
    match node:
        case At(Binary("!=" | "==" as operator, left, right), items):
            return At(Call(Dot(left, "ne" if operator == "!=" else "eq"), (right,)), items)
    return node


@dataclass
class Source:
    """Writes the classes of one program. `native` tells whether an IR function is one of PyTorch's own
    layers."""

    classes: Mapping[str, Class]
    roots: Mapping[str, Node]
    functions: Mapping[str, Function]
    entry: str
    init_weights: InitWeights | None = None
    is_folded: bool = False
    """Whether norms are folded into layers."""
    final: Lines = field(default_factory=list)
    helpers: frozenset[str] = frozenset()
    """The names of functions of static values."""

    named: list[Results] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    """The names of what is returned, of all classes: `vae` and `Vae` would have the same."""
    """The NamedTuples of the class that is being written."""
    lengths: Lengths = EXACT
    defaults: bool = True
    """Whether a model's defaults are written out: without, the same source comes from other settings."""

    def write(self, made: Class) -> Lines:
        self.named = []
        lines = self._class(made) if made.is_class else self._function(made)
        before = [line for each in self.named for line in (*each.definition(), "", "")]
        return [*before, *lines]

    def native(self, name: str) -> bool:
        return name in self.functions and native_layer(self.functions[name]) is not None

    # --- classes --------------------------------------------------------------------------------------------

    def _class(self, made: Class) -> Lines:
        unit = made
        parent = (
            "nn.Sequential" if unit.layers is not None else "nn.ModuleList" if unit.is_list else "nn.Module"
        )
        doc = _doc(unit.function, 1) if not unit.function.entry else []
        lines = [f"class {made.name}({parent}):", *doc, *([""] if doc else [])]
        is_main = self.entry in unit.names
        drafts = [self._prepared(made, draft) for draft in unit.drafts]
        attributes = self._attributes(made, drafts, is_main)
        if unit.layers is not None:
            return [*lines, *self._sequential(made, unit.layers, is_main)]
        annotations = self._annotations(unit)
        if annotations:
            lines += [*annotations, ""]
        lines += self._constructor(made, attributes, is_main)
        for draft in drafts if not made.is_holder else ():
            lines += ["", *self._method(made, draft, attributes)]
        return [*lines, *self._own_methods(attributes, is_main)]

    def _annotations(self, unit: Class) -> Lines:
        """Attributes whose types the constructor does not show: buffers, and parts that another class puts in."""
        lines = [f"{INDENT}{init.annotation}: Tensor" for init in unit.inits if init.annotation]
        order = list(dict.fromkeys(map(id, self.classes.values())))
        for label, (made, owners) in unit.late.items():
            makers = dict.fromkeys(self.classes[owner].name for owner in owners)
            kind = self._kind(made, lambda other: order.index(id(other)) > order.index(id(unit)))
            lines.append(f"{INDENT}{label}: {kind}  # put here by {' and '.join(makers)}")
        return lines

    def _kind(self, made: Expr, is_later: Callable[[Class], bool]) -> str:
        """The type of what an expression makes."""
        if not isinstance(made, Instance):
            return text(made.function if isinstance(made, Call) else made)
        other = self.classes[made.function]
        return f'"{other.name}"' if is_later(other) else other.name

    def _own_methods(self, attributes: Mapping[str, str], is_main: bool) -> Lines:
        """What a model has besides the spec's computations."""
        more = refusal() if is_main and self.is_folded else []
        return [*more, *self._init_method(attributes, is_main)]

    def _init_method(self, attributes: Mapping[str, str], is_main: bool) -> Lines:
        if not is_main or self.init_weights is None:
            return []
        names = {name: f"self.{attribute}" for name, attribute in attributes.items()}
        other = any(renamed(each.root) for each in self.classes.values())
        entry = self.classes[self.entry]

        def settle(expr: Expr) -> Expr:
            return _made(with_words(self._reached(expr, entry), names))

        return ["", *self.init_weights.lines(settle, renamed=other)]

    def _sequential(self, made: Class, layers: Sequence[Expr], is_main: bool) -> Lines:
        lines = layout(f"def __init__({', '.join(['self', *self._signature(made)])}) -> None:", 1)
        lines += self._asked(made)
        inner = ", ".join(text(by_name(_made(layer))) for layer in layers)
        lines += layout(f"super().__init__({inner})", 2)
        attributes = self._attributes(made, [], is_main)
        lines += _held(made, attributes)
        lines += _made_parts(made.inits)
        lines += self._last(is_main)
        return [*lines, *self._own_methods(attributes, is_main)]

    def _prepared(self, made: Class, draft: Draft) -> Draft:
        """The draft with its loops over what the class holds."""
        chosen = _chosen(made.inits)
        alone = {when: each for when, each in chosen.items() if opposite(when) not in chosen}
        parts = {when: inits[0].label for when, inits in alone.items() if _is_optional(inits)}

        def change(stmt: Stmt) -> Stmt:
            return self._looped(_where_present(stmt, parts), made.root)

        draft = replace(draft, body=joined(collapsed(_within(draft.body, change))))
        return led(draft, lambda expr: self._reached(expr, made))

    def _attributes(self, made: Class, drafts: Sequence[Draft], is_main: bool) -> dict[str, str]:
        """The attributes that hold the constructor's arguments which methods read."""
        read: dict[str, None] = {}
        exprs = [expr for draft in drafts for expr in draft.expressions()]
        exprs += [expr for own in made.own.values() for expr in own.expressions()]
        exprs += self.init_weights.reads() if is_main and self.init_weights is not None else []
        for node in (node for expr in exprs for node in walk(expr)):
            if isinstance(node, Arg):
                read.setdefault(node.name)
        labels = {attribute_name(node.label) for node in made.root.items.values()}
        taken = labels | {method_name(draft.function.entry) for draft in made.drafts}
        return {each.name: _attribute(each.name, taken) for each in made.arguments if each.name in read}

    def _constructor(self, made: Class, attributes: Mapping[str, str], is_main: bool) -> Lines:
        signature = ", ".join(["self", *self._signature(made)])
        lines = layout(f"def __init__({signature}) -> None:", 1)
        lines += [] if made.is_list else [f"{INDENT * 2}super().__init__()"]
        lines += self._asked(made) if not made.is_holder else []
        if made.is_list:
            lines += _made_parts(made.inits[:1])
        lines += _held(made, attributes)
        inits = made.inits[1:] if made.is_list else made.inits
        taken = {each.name for each in made.arguments}
        for bound in dict.fromkeys(bounds(init.expr for init in inits if init.when is None)):
            name = unique("bound", taken)
            taken.add(name)
            lines += layout(f"{name} = {text(by_name(bound))}", 2)
            inits = [replace(init, expr=put(init.expr, bound, Word(name))) for init in inits]
        lines += _made_parts(inits)
        lines += renaming(renamed(made.root))
        return [*lines, *self._last(is_main)]

    def _last(self, is_main: bool) -> Lines:
        """The end of a model's constructor."""
        if not is_main:
            return []
        # Initial values are drawn in f32, which all draws are made in, and rounded.
        own = ["self.init_weights()"] if self.init_weights is not None else []
        # What is folded is for inference: there is no other mode.
        mode = ["self.eval()"] if self.is_folded else []
        return [INDENT * 2 + line for line in (*own, *self.final, *mode)]

    def _signature(self, made: Class) -> list[str]:
        defaults = self.defaults or self.entry not in made.names
        taken = made.arguments if made.is_class else map(_given_functions, made.arguments)
        return [each.signature(defaults) for each in taken]

    def _asked(self, made: Class) -> Lines:
        """What the spec asks of the arguments, and defaults that are computed."""
        lines: Lines = []
        names = {each.spec: each.name for each in made.arguments}
        for each in made.arguments:
            if each.computed is not None:
                value = text(by_name(each.computed, names))
                lines += layout(f"{each.name} = {value} if {each.name} is None else {each.name}", 2)
        lists = list(taken_apart(made.arguments, made.function, said_with_holders(made, self.classes)))
        is_main = self.entry in made.names
        lines += lengths(self.lengths.of(lists, is_main))
        lines += at_least(self.lengths.at_least(lists, is_main))
        asked = map(expression, conditions(made, self.functions, self.classes))
        for first, *rest in asked_lines(asked, lists, names):
            lines += [first, *rest] if first not in lines else []  # a list's length is asked once
        return lines

    # --- methods and functions ------------------------------------------------------------------------------

    def _method(self, made: Class, draft: Draft, attributes: Mapping[str, str]) -> Lines:
        leaves: dict[type[Expr], str] = {Training: "self.training"}
        if not draft.inputs:
            leaves[Device] = f"next(self.{self._tensors(draft.function)}()).device"
        draft = draft.rewritten(lambda expr: _settled(self._reached(expr, made), leaves))
        words = {name: f"self.{attribute}" for name, attribute in attributes.items()}
        name = method_name(draft.function.entry)
        doc = _doc(draft.function, 2) if draft.function.entry else []
        own = made.own.get(draft.function.name, Own())
        taken = self._names() | {each.name for each in own.arguments}
        told = {each.spec for each in (*made.arguments, *own.arguments)}
        body = Body(draft, DIALECT, 2, taken, words, Statements, told)
        sizes = sorted(draft.needs.intersection(draft.function.dims))
        more = [*(f"{identifier(each)}: int" for each in sizes), *own.signature(self.defaults)]
        lead = own.apart(draft.function, draft.expressions()).lines(2, words)
        return self._def(body, name, ["self"], doc, more, made=made, lead=lead)

    def _tensors(self, function: Function) -> str:
        """What a module of this function surely has, if it has anything: parameters, or buffers alone."""
        if function.name not in self.functions:
            return "parameters"
        kinds = {param.kind for _, param in Paths(self.functions).expand(function.name)}
        return "buffers" if kinds == {"buffer"} else "parameters"

    def _function(self, made: Class) -> Lines:
        draft = self._prepared(made, made.drafts[0])
        leaves: dict[type[Expr], str] = {Training: "training"}
        if not draft.inputs:
            leaves[Device] = "device"
        draft = draft.rewritten(lambda expr: _settled(self._reached(expr, made), leaves))
        taken = self._names() | {each.name for each in made.arguments}
        told = {each.spec for each in made.arguments}
        body = Body(draft, DIALECT, 1, taken, writer=Statements, told=told)
        needs = sorted(draft.needs, key=lambda need: (need == the("device"), need_name(need)))
        more = [f"{identifier(part_of(need) or need_name(need))}: {self._need(need, made)}" for need in needs]
        if draft.function.name == self.entry:  # nothing else calls it
            more = [f"{each} = False" if each == "training: bool" else each for each in more]
        doc = _doc(draft.function, 1)
        more = sorted([*self._signature(made), *more], key=lambda each: " = " in each)
        return self._def(body, made.name, [], doc, more, made)

    def _need(self, need: str, made: Class) -> str:
        """The type of what a function is passed besides its operands."""
        if not (part := part_of(need)):
            return _NEEDS.get(need, "int")
        node = made.root.items[part]
        if node.param is not None:
            return "Tensor"
        native = native_layer(self.functions[node.function]) if node.function in self.functions else None
        if isinstance(native, Call):
            return text(native.function)
        return self.classes[node.function].name if node.function in self.classes else "nn.Module"

    def _names(self) -> set[str]:
        return {each.name for each in self.classes.values()} | self.helpers

    def _def(
        self,
        body: Body,
        name: str,
        first: list[str],
        doc: Lines,
        more: Sequence[str] = (),
        made: Class | None = None,
        lead: Sequence[str] = (),
    ) -> Lines:
        """A `def` with its body, which begins with `lead`."""
        draft, indent = body.draft, body.writer.indent
        operands = tensors(draft, body.inputs, "Tensor")
        # What must be given can't follow by place what may be left out; calls give it by name.
        may_lack, must_have = any(" = " in each for each in operands), any(" = " not in each for each in more)
        by_name = ["*"] if may_lack and must_have else []
        signature = ", ".join([*first, *operands, *by_name, *more])
        result = self._named(body, made).annotation(body)
        note = shapes_text(draft, body.inputs)
        lines = layout(f"def {name}({signature}) -> {result}:", indent - 1, comment=note)
        if note and not lines[-1].endswith(note):
            doc = [*doc, *_wrapped(note, indent)]
        before, rest = [*doc, *lead], body.lines()
        if before and before[-1].lstrip().startswith("#") and rest[0].lstrip().startswith("#"):
            before.append("")  # what the spec says is not about the shapes
        return [*lines, *before, *rest]

    def _named(self, body: Body, made: Class | None) -> Results:
        """What the body returns: with a class of its own for a module's outputs, and those of the model."""
        assert made is not None and isinstance(body.writer, Statements)
        results = Results.of(body, made.name)
        if not made.is_class and body.draft.function.name != self.entry:
            return replace(results, name="")
        if results.name:
            results = replace(results, name=unique(results.name, self._names() | self.given))
            self.given.add(results.name)
            self.named.append(results)
            body.writer.results, body.writer.whole = results, body.results
        return results

    # --- paths ----------------------------------------------------------------------------------------------

    def _reached(self, expr: Expr, unit: Class) -> Expr:
        root = unit.root

        def change(node: Expr) -> Expr:
            if not isinstance(node, Path):
                return node
            labels = node.path.split(".")
            below = locate(root, labels, self.roots)
            if unit.is_class:
                reached = reach(root, node.path, self.roots)
            else:
                part = Word(identifier(labels[0]))
                reached = follow(part, root.items[labels[0]], labels[1:], self.roots)
            heavy = below is not None and not node.tensor and not self._is_small(below)
            return Heavy(reached) if heavy else reached

        return transform(expr, change)

    def _is_small(self, node: Node) -> bool:
        return node.param is not None or self.native(node.function)

    def _looped(self, stmt: Stmt, root: Node) -> Stmt:
        """A loop with what it runs over, and its paths in terms of the loop's variables."""
        if not isinstance(stmt, Loop):
            return stmt
        return Looping(stmt, root, self.roots, self.classes).run()


_NEEDS = {the("device"): "torch.device | None = None", the("training"): "bool"}


def _doc(function: Function, indent: int) -> Lines:
    margin = len(INDENT) * indent
    return docstring("\n".join(wrapped(function.doc, WIDTH - margin - 6)), margin)


def _attribute(name: str, taken: Container[str]) -> str:
    if name not in taken and is_attribute(name):
        return name
    return unique(f"n_{name}", taken)


def _made_parts(inits: Sequence[Init]) -> Lines:
    """The statements of the constructor that make the parts. Those that there are at some arguments only stand behind an `if`; a
    single one that something else takes no place of is None otherwise."""
    lines: Lines = []
    chosen = _chosen(inits)
    done: set[Expr] = set()
    for init in inits:
        if init.when is None:
            lines += _made_part(init, 2)
        elif init.when not in done:
            other = opposite(init.when)
            done |= {init.when, other}
            group, others = chosen[init.when], chosen.get(other, [])
            if _is_optional(group) and not others:
                expr = Conditional(by_name(init.when), by_name(_made(init.expr)), Word("None"))
                lines += layout(f"self.{init.label} = {text(expr)}", 2)
                continue
            lines += layout(f"if {text(by_name(init.when))}:", 2)
            lines += [line for each in group for line in _made_part(each, 3)]
            if others:
                lines.append(f"{INDENT * 2}else:")
                lines += [line for each in others for line in _made_part(each, 3)]
    return lines


def _chosen(inits: Sequence[Init]) -> dict[Expr, list[Init]]:
    """The parts that there are at some arguments only, by the condition."""
    found: dict[Expr, list[Init]] = {}
    for init in inits:
        if init.when is not None:
            found.setdefault(init.when, []).append(init)
    return found


def _is_optional(group: Sequence[Init]) -> bool:
    return len(group) == 1 and bool(group[0].label) and not group[0].local


def _made_part(init: Init, indent: int) -> Lines:
    """A statement of the constructor."""
    if init.over is not None:
        head = layout(f"for {init.turn} in {text(by_name(init.over))}:", indent)
        return [*head, *_made_part(replace(init, over=None), indent + 1)]
    expr = by_name(_made(init.expr))
    target = init.label if init.local else f"self.{init.label}"
    return layout(f"{target} = {text(expr)}" if init.label else text(expr), indent)


def _where_present(stmt: Stmt, parts: Mapping[Expr, str]) -> Stmt:
    """A choice on what decides whether there is a part asks for that: `if self.downsample is not None`."""
    label = parts.get(stmt.condition, "") if isinstance(stmt, If) else ""
    held = (
        (node.path for expr in expressions([stmt]) for node in walk(expr) if isinstance(node, Path))
        if label
        else ()
    )
    if (
        not isinstance(stmt, If)
        or not is_attribute(label)
        or not any(path.split(".")[0] == label for path in held)
    ):
        return stmt
    return replace(stmt, condition=Binary("is not", Word(f"self.{label}"), Word("None")))


def _within(body: Iterable[Stmt], change: Callable[[Stmt], Stmt]) -> tuple[Stmt, ...]:
    """The statements changed, those inside choices and steps too."""
    done = []
    for stmt in body:
        if isinstance(stmt, If):
            stmt = replace(stmt, then=_within(stmt.then, change), otherwise=_within(stmt.otherwise, change))
        if isinstance(stmt, Loop) and stmt.source != NOWHERE:
            # a scan, whose body has loops over layers of its own
            done.append(change(replace(stmt, body=_within(stmt.body, change))))
            continue
        stmt = change(stmt)
        if isinstance(stmt, Loop):  # a loop inside has no parts but those that the turn around it has
            stmt = replace(stmt, body=_loops_within(stmt.body, change))
        done.append(stmt)
    return tuple(done)


def _held(made: Class, attributes: Mapping[str, str]) -> Lines:
    """Arguments as attributes; of what makes a layer, the layer."""
    makes = {each.name for each in made.arguments if each.type.startswith("Callable")}
    called = {name: f"{name}()" if name in makes else name for name in attributes}
    return [f"{INDENT * 2}self.{attribute} = {called[name]}" for name, attribute in attributes.items()]


def _loops_within(body: Iterable[Stmt], change: Callable[[Stmt], Stmt]) -> tuple[Stmt, ...]:
    return _within(body, lambda stmt: change(stmt) if isinstance(stmt, Loop) else stmt)


def _settled(expr: Expr, leaves: Mapping[type[Expr], str]) -> Expr:
    """The expression with what a leaf of a kind stands for, and calls of our own classes as a person passes
    them."""
    return _made(transform(expr, lambda node: Word(leaves[type(node)]) if type(node) in leaves else node))


def _made(expr: Expr) -> Expr:
    """The expression with calls of our own classes as a person passes their arguments."""

    def change(node: Expr) -> Expr:
        match node:
            case Call(Word(function), args) if function[:1].isupper() and "." not in function:
                return Call(Word(function), _positional(args))
        return node

    return transform(expr, change)


def _positional(args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The first two arguments of a constructor by place, and all if each is passed on under its own name. Those that may
    be left out are named."""
    keywords = [arg for arg in args if isinstance(arg, Keyword)]
    same = all(text(each.value) == each.name for each in keywords)
    numbers = len(args) > 4 and all(isinstance(each.value, Num) for each in keywords)
    count = len(args) if (same and len(args) <= 8) or numbers else 2
    return tuple(
        arg.value if isinstance(arg, Keyword) and i < count and arg.default is None else arg
        for i, arg in enumerate(args)
    )


def _wrapped(note: str, indent: int) -> Lines:
    """A comment on lines of its own, broken between operands."""
    margin = f"{INDENT * indent}# "
    parts = re.split(r"(?<=\]) ?(?=->)|(?<=\],) ", note)
    return [f"{margin}{line}"[:WIDTH] for line in filled(parts, WIDTH - len(margin))]
