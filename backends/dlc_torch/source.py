"""Classes and functions as Python source."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc.emit.layout import INDENT, layout
from dlc.emit.names import base, identifier, snake, unique
from dlc.emit.python import docstring, number
from dlc.emit.tree import (
    At,
    Binary,
    Call,
    Cut,
    Dot,
    Expr,
    Keyword,
    Num,
    Path,
    Size,
    Word,
    refs,
    size,
    text,
    transform,
    walk,
)  # fmt: skip
from dlc.ir.nodes import Function
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc_torch.classes import Class, Unit
from dlc_torch.draft import (
    NOWHERE,
    Assign,
    Check,
    Draft,
    Loop,
    Stmt,
    Target,
    Training,
    expressions,
    rewritten,
)
from dlc_torch.init_weights import InitWeights
from dlc_torch.neural import native_layer
from dlc_torch.sizes import readable, shape_of, solved
from dlc_torch.solve import Arg
from dlc_torch.structure import Node, find, is_attribute, looked_up, over, reach, tensor_kind
from dlc_torch.write import Heavy, Nesting, Variables, Writer, last_reads, needed_sizes, safe, shape_text

Lines = list[str]


@dataclass
class Source:
    """Writes the classes of one program. `native` tells whether an IR function is one of PyTorch's own layers."""

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

    # --- classes -------------------------------------------------------------------------------------------------

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
        return ["", *self.init_weights.lines(lambda expr: _named(expr, names))]

    def _sequential(self, made: Class, layers: Sequence[Expr], is_main: bool) -> Lines:
        lines = layout(f"def __init__({', '.join(['self', *_signature(made, is_main)])}) -> None:", 1)
        inner = ", ".join(text(_named(layer, {})) for layer in layers)
        lines += layout(f"super().__init__({inner})", 2)
        attributes = self._attributes(made, [], is_main)
        lines += [f"{INDENT * 2}self.{attribute} = {name}" for name, attribute in attributes.items()]
        if is_main and self.init_weights is not None:
            lines.append(f"{INDENT * 2}self.init_weights()")
        return [*lines, *self._init_method(attributes, is_main)]

    def _prepared(self, made: Class, draft: Draft) -> Draft:
        """The draft with its checks in front, and with loops over what the class holds."""
        body = (*_checks(_facts(self, made, draft)), *draft.body)
        return replace(draft, body=tuple(self._looped(stmt, made.unit.root) for stmt in body))

    def _attributes(self, made: Class, drafts: Sequence[Draft], is_main: bool) -> dict[str, str]:
        """The attributes that hold the constructor's arguments which methods read."""
        read: dict[str, None] = {}
        exprs = [expr for draft in drafts for expr in _all(draft)]
        exprs += self.init_weights.reads() if is_main and self.init_weights is not None else []
        for node in (node for expr in exprs for node in walk(expr)):
            if isinstance(node, Arg):
                read.setdefault(node.name)
        labels = {node.label for node in made.unit.root.items.values()}
        taken = labels | {draft.function.entry or "forward" for draft in made.unit.drafts}
        return {name: _attribute(name, taken) for name in made.solution.arguments if name in read}

    def _constructor(self, made: Class, attributes: Mapping[str, str], is_main: bool) -> Lines:
        signature = ", ".join(["self", *_signature(made, is_main)])
        lines = [*layout(f"def __init__({signature}) -> None:", 1), f"{INDENT * 2}super().__init__()"]
        lines += [f"{INDENT * 2}self.{attribute} = {name}" for name, attribute in attributes.items()]
        for init in made.unit.inits:
            expr = text(_named(init.expr, {}))
            target = init.label if init.local else f"self.{init.label}"
            lines += layout(f"{target} = {expr}" if init.label else expr, 2)
        if is_main:
            lines += [INDENT * 2 + line for line in self.final]
            if self.init_weights is not None:
                lines.append(f"{INDENT * 2}self.init_weights()")
        return lines

    # --- methods and functions -----------------------------------------------------------------------------------

    def _method(self, made: Class, draft: Draft, attributes: Mapping[str, str]) -> Lines:
        def settle(expr: Expr) -> Expr:
            return _named(
                self._reached(expr, made.unit),
                {name: f"self.{attribute}" for name, attribute in attributes.items()},
            )

        draft = replace(draft, body=rewritten(draft.body, settle), results=tuple(map(settle, draft.results)))
        name = draft.function.entry or "forward"
        doc = _doc(draft.function, 2) if draft.function.entry else []
        return self._def(made, draft, name, ["self"], doc, 1)

    def _function(self, made: Class) -> Lines:
        draft = made.unit.drafts[0]

        def settle(expr: Expr) -> Expr:
            return transform(
                _named(expr, {}), lambda node: Word("training") if isinstance(node, Training) else node
            )

        draft = replace(draft, body=rewritten(draft.body, settle), results=tuple(map(settle, draft.results)))
        return self._def(made, draft, made.name, [], _doc(draft.function, 1), 0, _signature(made, False))

    def _def(
        self,
        made: Class,
        draft: Draft,
        name: str,
        first: list[str],
        doc: Lines,
        indent: int,
        more: Sequence[str] = (),
    ) -> Lines:
        """A `def` with its body."""
        written = _Body(draft, indent + 1, set(made.solution.arguments) if not first else set())
        needs = sorted(draft.needs, key=lambda need: (need == "device", need)) if not first else []
        extra = [f"{need}: {_NEEDS.get(need, 'int')}" for need in needs]
        inputs = [f"{each}: Tensor" for each in written.inputs]
        signature = ", ".join([*first, *inputs, *more, *extra])
        result = (
            "Tensor" if len(draft.results) == 1 else f"tuple[{', '.join(['Tensor'] * len(draft.results))}]"
        )
        head = f"def {name}({signature}) -> {result}:"
        note = types_text(draft, written.inputs)
        lines = layout(head, indent, comment=note)
        if note and not lines[-1].endswith(note):
            doc = [*doc, *_wrapped(note, indent + 1)]
        return [*lines, *doc, *written.lines()]

    # --- paths ---------------------------------------------------------------------------------------------------

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
        return Looping(self, stmt, root).run()


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


def _named(expr: Expr, attributes: Mapping[str, str]) -> Expr:
    """The expression with the constructor's arguments by name, and calls of our own classes as a person passes them."""

    def change(node: Expr) -> Expr:
        match node:
            case Arg(name):
                return Word(attributes.get(name, name))
            case Training():
                return Word("self.training") if attributes is not None else node
            case Call(Word(function), args) if function[:1].isupper() and "." not in function:
                return Call(Word(function), _positional(args))
        return node

    return transform(expr, change)


def _positional(args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The first two arguments of a constructor by place, and all if each is passed on under its own name."""
    keywords = [arg for arg in args if isinstance(arg, Keyword)]
    same = all(isinstance(each.value, Word) and each.value.text == each.name for each in keywords)
    numbers = len(args) > 4 and all(isinstance(each.value, Num) for each in keywords)
    count = len(args) if same and len(args) <= 6 or numbers else 2
    return tuple(arg.value if isinstance(arg, Keyword) and i < count else arg for i, arg in enumerate(args))


def types_text(draft: Draft, names: Sequence[str]) -> str:
    """`[B, T, d] -> [B, T, d]`, with names where there are several inputs."""
    shapes = [_plain_text(target) for target in draft.inputs]
    if len(shapes) > 1:
        shapes = [f"{name}: {shape}" for name, shape in zip(names, shapes, strict=True)]
    return f"{', '.join(shapes)} -> {', '.join(_result_shapes(draft))}".strip()


def _plain_text(target: Target) -> str:
    return shape_text(replace(target, axes=tuple(_named(axis, {}) for axis in target.axes)))


def _result_shapes(draft: Draft) -> Iterator[str]:
    """Shapes of the results: of the values returned where drafted, else by the function's types."""
    known = {target.name: target for stmt in draft.body for target in _outputs(stmt)}
    known.update((target.name, target) for target in draft.inputs)
    for (name, value), type_ in zip(draft.function.outputs, draft.function.output_types, strict=True):
        shape = _plain_text(known[value]) if value in known else str(type_)
        yield f"{name}: {shape}" if len(draft.results) > 1 else shape


def _outputs(stmt: Stmt) -> tuple[Target, ...]:
    return stmt.targets if isinstance(stmt, Assign) else stmt.outputs if isinstance(stmt, Loop) else ()


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


# --- facts -----------------------------------------------------------------------------------------------------


def _facts(source: Source, made: Class, draft: Draft) -> list[tuple[Expr, str]]:
    """What a model asks of its inputs' sizes, as conditions with messages."""
    if source.entry not in made.unit.names or draft.function.name != source.entry:
        return []
    known = readable(draft.function)
    found: list[tuple[Expr, str]] = []
    for fact in draft.function.facts:
        symbols = fact.left.symbols | fact.right.symbols
        if symbols and symbols <= set(known) and not _trivial(fact):
            found.append((_condition(fact, made), str(fact)))
    return found


def _trivial(fact: Relation) -> bool:
    return str(fact) in {
        f"{bound} {symbol}" for symbol in fact.left.symbols | fact.right.symbols for bound in ("1 <=", "0 <=")
    } | {f"{symbol} >= {least}" for symbol in fact.left.symbols for least in (0, 1)}


def _condition(fact: Relation, made: Class) -> Expr:
    def side(dim: Dim) -> Expr:
        value = dim.constant
        named = [name for name, known in made.solution.arguments.items() if known[0] == value]
        return Arg(named[0]) if value is not None and value >= 16 and len(named) == 1 else size(dim)

    return Binary(fact.op, side(fact.left), side(fact.right))


_WORDS = {
    "<=": "at most",
    "<": "less than",
    ">=": "at least",
    ">": "more than",
    "==": "equal to",
    "!=": "other than",
}


def _checks(facts: Iterable[tuple[Expr, str]]) -> Iterator[Stmt]:
    """`T must be at most {self.context}, not {T}`, and the like."""
    for condition, fact in facts:
        match condition:
            case Binary("==", Binary("%", Size(name) as left, right), Num(0)):
                yield Check(condition, f"{name} must be a multiple of {{}}, not {{}}", (right, left))
            case Binary(operator, Size(name) as left, right):
                yield Check(condition, f"{name} must be {_WORDS[operator]} {{}}, not {{}}", (right, left))
            case _:
                yield Check(condition, f"{fact} must hold")


# --- bodies ----------------------------------------------------------------------------------------------------


class _Body:
    """The lines of a body, and the names of its inputs."""

    def __init__(self, draft: Draft, indent: int, taken: set[str]) -> None:
        self.draft, self.indent = draft, indent
        exprs = list(_all(draft))
        reads = Counter(name for expr in exprs for name in refs(expr))
        body, results = Nesting(reads).block(draft.body, draft.results, indent)
        self.body, self.results = body, results
        self.variables = Variables(last_reads(body, results), _hints(draft))
        self.variables.reserved |= taken | _loop_variables(body) | set(draft.needs)
        self.sizes = self._size_names(needed_sizes(exprs))
        self.inputs = [
            self.variables.give(target.name, (base(target.name, ()),), 0) for target in draft.inputs
        ]

    def _size_names(self, symbols: Sequence[str]) -> dict[str, str]:
        inputs = {target.name for target in self.draft.inputs}
        names: dict[str, str] = {}
        for symbol in symbols:
            wanted = (
                symbol
                if symbol in self.draft.needs
                else unique(safe(identifier(symbol, "n")), inputs | set(names.values()))
            )
            names[symbol] = wanted
        self.variables.reserved |= set(names.values())
        return names

    def lines(self) -> Lines:
        device = f"{self.inputs[0]}.device" if self.inputs else _own_device(self.draft)
        writer = Writer(self.variables, self.indent, device, self.sizes)
        for target, name in zip(self.draft.inputs, self.inputs, strict=True):
            writer.shapes[name] = shape_text(target)
            writer.dtypes[target.name] = target.dtype
        writer.lines += self._prelude()
        writer.write(self.body)
        results = [writer.text(expr) for expr in self.results]
        if results:
            writer.line(f"return {', '.join(results)}")
        return [line.rstrip() for line in writer.lines]

    def _prelude(self) -> Lines:
        """`B, T, _ = x.shape` for the dims that are read."""
        known = readable(self.draft.function)
        by_input: dict[int, dict[int, str]] = {}
        rest: list[str] = []
        for symbol, name in self.sizes.items():
            if symbol in self.draft.needs:
                continue
            source = known[symbol]
            if source.size == Dim.symbol(symbol):
                by_input.setdefault(source.input, {})[source.axis] = name
            else:
                rest.append(
                    f"{name} = {text(solved(source, symbol, shape_of(self.inputs[source.input], source.axis)))}"
                )
        lines = [self._unpacked(i, axes) for i, axes in by_input.items()]
        return [line for each in (*lines, *rest) for line in layout(each, self.indent)]

    def _unpacked(self, input: int, axes: Mapping[int, str]) -> str:
        rank = len(self.draft.inputs[input].axes)
        if len(axes) == 1:
            ((axis, name),) = axes.items()
            return f"{name} = {self.inputs[input]}.shape[{axis}]"
        return f"{', '.join(axes.get(i, '_') for i in range(rank))} = {self.inputs[input]}.shape"


def _all(draft: Draft) -> Iterator[Expr]:
    yield from expressions(draft.body)
    yield from draft.results


def _own_device(draft: Draft) -> str:
    return "device" if "device" in draft.needs else "next(self.parameters()).device"


def _loop_variables(body: Iterable[Stmt]) -> set[str]:
    found: set[str] = set()
    for stmt in body:
        if isinstance(stmt, Loop):
            found.update(re.findall(r"[A-Za-z]\w*", stmt.variable))
            found |= _loop_variables(stmt.body)
    return found


def _hints(draft: Draft) -> dict[str, list[str]]:
    """Names that suit each value: the operand that it becomes where that has a telling name, then its own."""
    hints: dict[str, list[str]] = {}
    names = {value.name for value in draft.function.inputs} | set(draft.function.types())
    for name in (*names, *draft.roles):
        own = base(name, names)
        hints[name] = [*draft.roles.get(name, ()), own]
    return hints


# --- loops -----------------------------------------------------------------------------------------------------


@dataclass
class Looping:
    """Finds what a loop over parts runs over: `for block in self.h`, `for conv, norm in zip(self.convs, self.norms)`, or
    an index where the parts have names of their own."""

    source: Source
    loop: Loop
    root: Node

    def run(self) -> Loop:
        paths = dict.fromkeys(
            node
            for expr in expressions(self.loop.body)
            for node in walk(expr)
            if isinstance(node, Path) and "{i}" in node.path
        )
        if not paths:
            range_ = Call(Word("range"), (self.loop.count,))
            return replace(self.loop, count=NOWHERE, source=range_)
        prefixes = dict.fromkeys(_prefix(node.path) for node in paths)
        sources = {prefix: self._elements(prefix) for prefix in prefixes}
        if all(sources.values()):
            return self._over(paths, {prefix: each for prefix, each in sources.items() if each is not None})
        return self._indexed(paths)

    def _elements(self, prefix: str) -> Expr | None:
        """The container that holds the parts at `prefix`, cut to this loop's turns."""
        container, _, label = prefix.rpartition(".")
        node = find(self.root, container.split(".")) if container else None
        if node is None or label != "{i}" or node.kind not in ("list", "parameters", "sequential"):
            return self._named_elements(node, container, label)
        base = reach(self.root, container, False, self.source.roots, self.source.native)
        return _cut(base, self.loop, len(node.indices()))

    def _named_elements(self, node: Node | None, container: str, label: str) -> Expr | None:
        """`self.layers.children()` where a container holds just this loop's parts under names."""
        if (
            node is None
            or len(node.items) != 1
            or next(iter(node.items.values())).label != label
            or not node.is_container
        ):
            return None
        base = reach(self.root, container, False, self.source.roots, self.source.native)
        return Call(Dot(base, "children"))

    def _over(self, paths: Iterable[Path], sources: Mapping[str, Expr]) -> Loop:
        variables: dict[str, str] = {}
        for prefix in sources:
            variables[prefix] = unique(self._variable(prefix), set(variables.values()))
        body = tuple(
            rewritten(
                self.loop.body, lambda expr: self._replaced(expr, lambda path: self._below(path, variables))
            )
        )
        if len(sources) == 1:
            source = next(iter(sources.values()))
        else:
            source = Call(Word("zip"), (*sources.values(), Keyword("strict", Word("True"))))
        return replace(
            self.loop, count=NOWHERE, body=body, variable=", ".join(variables.values()), source=source
        )

    def _below(self, path: Path, variables: Mapping[str, str]) -> Expr:
        prefix = _prefix(path.path)
        rest = path.path[len(prefix) + 1 :]
        variable = Word(variables[prefix])
        kind = tensor_kind(self.root, path.path.split("."), self.source.roots) if path.tensor else "submodule"
        return looked_up(variable, rest.split("."), kind) if rest else variable

    def _indexed(self, paths: Iterable[Path]) -> Loop:
        def reached(path: Path) -> Expr:
            kind = (
                tensor_kind(self.root, path.path.split("."), self.source.roots)
                if path.tensor
                else "submodule"
            )
            return Call(Word(f"self.get_{kind}"), (Word(f'f"{path.path}"'),))

        body = tuple(rewritten(self.loop.body, lambda expr: self._replaced(expr, reached)))
        source = over(self.loop.count, self.loop.start, self.loop.step)
        return replace(self.loop, count=NOWHERE, body=body, variable="i", source=source)

    def _replaced(self, expr: Expr, change: Callable[[Path], Expr]) -> Expr:
        return transform(
            expr, lambda node: change(node) if isinstance(node, Path) and "{i}" in node.path else node
        )

    def _variable(self, prefix: str) -> str:
        """`block` for instances of Block; the singular of the container's name for PyTorch's own layers."""
        labels = prefix.split(".")
        node = find(self.root, labels)
        made = self.source.classes.get(node.function) if node is not None else None
        if made is not None:
            return safe(snake(made.unit.function.source))
        label = next((each for each in reversed(labels) if "{i}" not in each and not each.isdigit()), "part")
        return safe(label[:-1] if label.endswith("s") and len(label) > 3 else label)


def _prefix(path: str) -> str:
    """The path up to the part with the loop's index."""
    labels = path.split(".")
    at = next(i for i, label in enumerate(labels) if "{i}" in label)
    return ".".join(labels[: at + 1])


def _cut(base: Expr, loop: Loop, length: int) -> Expr:
    """All elements of a list, or those of the loop's turns."""
    count = int(loop.count.value) if isinstance(loop.count, Num) else length - loop.start
    end = loop.start + loop.step * count
    start = Word(str(loop.start)) if loop.start else None
    stop = Word(str(end)) if end - loop.step + 1 < length else None
    if start is None and stop is None and loop.step == 1:
        return base
    return At(base, (Cut(start, stop, Word(str(loop.step)) if loop.step != 1 else None),))
