"""Classes and functions as Python source."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc.emit.body import Body, Lines, shapes_text, with_words
from dlc.emit.layout import INDENT, layout
from dlc.emit.names import identifier, unique
from dlc.emit.python import docstring, number
from dlc.emit.statements import Draft, Loop, Stmt
from dlc.emit.tree import (
    Arg,
    At,
    Call,
    Expr,
    Heavy,
    Keyword,
    Num,
    Path,
    Word,
    text,
    transform,
    walk,
)
from dlc.emit.write import Writer
from dlc.ir.nodes import Function
from dlc_torch.classes import Class, Unit
from dlc_torch.drafter import Device, Training
from dlc_torch.init_weights import InitWeights
from dlc_torch.loops import Looping
from dlc_torch.methods import DIALECT
from dlc_torch.neural import native_layer
from dlc_torch.structure import Node, find, is_attribute, method_name, reach


class Statements(Writer):
    """Tensors are made where the inputs are; buffers are set where they are registered."""

    def leaf(self, node: Expr) -> Expr:
        return Word(f"{self.inputs[0]}.device") if isinstance(node, Device) else super().leaf(node)

    def store(self, path: Expr, value: Expr) -> None:
        if isinstance(path, Call):  # self.get_buffer("a.b.mean")
            where = text(path.args[0])[1:-1].rpartition(".")
            owner = f'self.get_submodule("{where[0]}")' if where[0] else "self"
            self.line(f'{owner}.register_buffer("{where[2]}", {self.text(value)})')
        else:
            super().store(path, value)


@dataclass
class Source:
    """Writes the classes of one program. `native` tells whether an IR function is one of PyTorch's own
    layers."""

    classes: Mapping[str, Class]
    roots: Mapping[str, Node]
    functions: Mapping[str, Function]
    entry: str
    init_weights: InitWeights | None = None
    final: Lines = field(default_factory=list)

    def write(self, made: Class) -> Lines:
        return self._class(made) if made.unit.is_class else self._function(made)

    def native(self, name: str) -> bool:
        return native_layer(self.functions[name]) is not None

    # --- classes --------------------------------------------------------------------------------------------

    def _class(self, made: Class) -> Lines:
        unit = made.unit
        parent = "nn.Module" if unit.layers is None else "nn.Sequential"
        doc = _doc(unit.function, 1)
        lines = [f"class {made.name}({parent}):", *doc, *([""] if doc else [])]
        is_main = self.entry in unit.names
        drafts = [self._prepared(made, draft) for draft in unit.drafts]
        attributes = self._attributes(made, drafts, is_main)
        if unit.layers is not None:
            return [*lines, *self._sequential(made, unit.layers, is_main)]
        annotations = [f"{INDENT}{init.annotation}: Tensor" for init in unit.inits if init.annotation]
        if annotations:
            lines += [*annotations, ""]
        lines += self._constructor(made, attributes, is_main)
        for draft in drafts:
            lines += ["", *self._method(made, draft, attributes)]
        return [*lines, *self._init_method(attributes, is_main)]

    def _init_method(self, attributes: Mapping[str, str], is_main: bool) -> Lines:
        if not is_main or self.init_weights is None:
            return []
        names = {name: f"self.{attribute}" for name, attribute in attributes.items()}
        return ["", *self.init_weights.lines(lambda expr: _made(with_words(expr, names)))]

    def _sequential(self, made: Class, layers: Sequence[Expr], is_main: bool) -> Lines:
        lines = layout(f"def __init__({', '.join(['self', *_signature(made, is_main)])}) -> None:", 1)
        inner = ", ".join(text(_made(layer)) for layer in layers)
        lines += layout(f"super().__init__({inner})", 2)
        attributes = self._attributes(made, [], is_main)
        lines += [f"{INDENT * 2}self.{attribute} = {name}" for name, attribute in attributes.items()]
        if is_main and self.init_weights is not None:
            lines.append(f"{INDENT * 2}self.init_weights()")
        return [*lines, *self._init_method(attributes, is_main)]

    def _prepared(self, made: Class, draft: Draft) -> Draft:
        """The draft with its loops over what the class holds."""
        return replace(draft, body=tuple(self._looped(stmt, made.unit.root) for stmt in draft.body))

    def _attributes(self, made: Class, drafts: Sequence[Draft], is_main: bool) -> dict[str, str]:
        """The attributes that hold the constructor's arguments which methods read."""
        read: dict[str, None] = {}
        exprs = [expr for draft in drafts for expr in draft.expressions()]
        exprs += self.init_weights.reads() if is_main and self.init_weights is not None else []
        for node in (node for expr in exprs for node in walk(expr)):
            if isinstance(node, Arg):
                read.setdefault(node.name)
        labels = {node.label for node in made.unit.root.items.values()}
        taken = labels | {method_name(draft.function.entry) for draft in made.unit.drafts}
        return {name: _attribute(name, taken) for name in made.solution.arguments if name in read}

    def _constructor(self, made: Class, attributes: Mapping[str, str], is_main: bool) -> Lines:
        signature = ", ".join(["self", *_signature(made, is_main)])
        lines = [*layout(f"def __init__({signature}) -> None:", 1), f"{INDENT * 2}super().__init__()"]
        lines += [f"{INDENT * 2}self.{attribute} = {name}" for name, attribute in attributes.items()]
        for init in made.unit.inits:
            expr = text(_made(init.expr))
            target = init.label if init.local else f"self.{init.label}"
            lines += layout(f"{target} = {expr}" if init.label else expr, 2)
        if is_main:
            lines += [INDENT * 2 + line for line in self.final]
            if self.init_weights is not None:
                lines.append(f"{INDENT * 2}self.init_weights()")
        return lines

    # --- methods and functions ------------------------------------------------------------------------------

    def _method(self, made: Class, draft: Draft, attributes: Mapping[str, str]) -> Lines:
        leaves: dict[type[Expr], str] = {Training: "self.training"}
        if not draft.inputs:
            leaves[Device] = "next(self.parameters()).device"
        draft = draft.rewritten(lambda expr: _settled(self._reached(expr, made.unit), leaves))
        words = {name: f"self.{attribute}" for name, attribute in attributes.items()}
        name = method_name(draft.function.entry)
        doc = _doc(draft.function, 2) if draft.function.entry else []
        return self._def(Body(draft, DIALECT, 2, self._names(), words, Statements), name, ["self"], doc)

    def _function(self, made: Class) -> Lines:
        draft = made.unit.drafts[0]
        leaves: dict[type[Expr], str] = {Training: "training"}
        if not draft.inputs:
            leaves[Device] = "device"
        draft = draft.rewritten(lambda expr: _settled(expr, leaves))
        taken = self._names() | set(made.solution.arguments)
        body = Body(draft, DIALECT, 1, taken, writer=Statements)
        needs = sorted(draft.needs, key=lambda need: (need == "device", need))
        more = [f"{identifier(need)}: {_NEEDS.get(need, 'int')}" for need in needs]
        if draft.function.name == self.entry:  # nothing else calls it
            more = [f"{each} = False" if each == "training: bool" else each for each in more]
        doc = _doc(draft.function, 1)
        return self._def(body, made.name, [], doc, [*_signature(made, False), *more])

    def _names(self) -> set[str]:
        return {each.name for each in self.classes.values()}

    def _def(self, body: Body, name: str, first: list[str], doc: Lines, more: Sequence[str] = ()) -> Lines:
        """A `def` with its body."""
        draft, indent = body.draft, body.writer.indent
        signature = ", ".join([*first, *(f"{each}: Tensor" for each in body.inputs), *more])
        several = ", ".join(["Tensor"] * len(draft.results))
        result = several if len(draft.results) == 1 else f"tuple[{several}]"
        note = shapes_text(draft, body.inputs)
        lines = layout(f"def {name}({signature}) -> {result}:", indent - 1, comment=note)
        if note and not lines[-1].endswith(note):
            doc = [*doc, *_wrapped(note, indent)]
        return [*lines, *doc, *body.lines()]

    # --- paths ----------------------------------------------------------------------------------------------

    def _reached(self, expr: Expr, unit: Unit) -> Expr:
        root = unit.root

        def change(node: Expr) -> Expr:
            if not isinstance(node, Path):
                return node
            if node.path in unit.overlays:
                return Heavy(At(Word(f"self.{unit.overlays[node.path]}"), (Word("0"),)))
            reached = reach(root, node.path, node.tensor, self.roots, self.native)
            below = find(root, node.path.split("."))
            heavy = (
                below is not None
                and not node.tensor
                and (below.is_container or not self.native(below.function))
            )
            return Heavy(reached) if heavy else reached

        return transform(expr, change)

    def _looped(self, stmt: Stmt, root: Node) -> Stmt:
        """A loop with what it runs over, and its paths in terms of the loop's variables."""
        if not isinstance(stmt, Loop):
            return stmt
        return Looping(stmt, root, self.roots, self.native, self.classes).run()


_NEEDS = {"device": "torch.device | None = None", "training": "bool"}


def _doc(function: Function, indent: int) -> Lines:
    width = 100 - len(INDENT) * indent
    lines = function.doc.strip().splitlines()
    if any(len(line) + 6 > width for line in lines):
        lines = [
            line for paragraph in _paragraphs(lines) for line in (*textwrap.wrap(paragraph, width - 6), "")
        ][:-1]
    return docstring("\n".join(lines), len(INDENT) * indent)


def _paragraphs(lines: Sequence[str]) -> list[str]:
    return " ".join(line.strip() or "\n" for line in lines).split(" \n ")


def _attribute(name: str, taken: Iterable[str]) -> str:
    if name not in taken and is_attribute(name):
        return name
    return unique(f"n_{name}", taken)


def _signature(made: Class, is_main: bool) -> list[str]:
    """The constructor's arguments with their types; a model's have defaults, which are the spec's."""
    found: list[str] = []
    for name, values in made.solution.arguments.items():
        kind = "float" if any(isinstance(value, float) for value in values) else "int"
        default = values[0] if is_main else made.solution.default(name)
        found.append(f"{name}: {kind}" + (f" = {number(default)}" if default is not None else ""))
    return found


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
    lines, line = [], ""
    for part in re.split(r"(?<=\]) ?(?=->)|(?<=\],) ", note):
        if line and len(margin + line + " " + part) > 100:
            lines.append(margin + line)
            line = ""
        line = f"{line} {part}".strip()
    return [each[:100] for each in [*lines, margin + line]]
