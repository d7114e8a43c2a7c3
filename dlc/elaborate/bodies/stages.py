"""What a turn of a loop does under one label, a loop among it, as a module of its own: a stage of blocks. For emission only.

for s, depth in enumerate(depths) {                     module Layer(depth: int, channels: int, width: int)(x: [B, C, H, W]) {
    for i in range(depth) {                                 for i in range(depth) {
        x = x |> Block(channels, widths[s])                     x = x |> Block(channels, width) as "{i}"
            as "layer{s + 1}.{i}"                     ->        channels = width
        channels = widths[s]                                } return x }
    }                                                   for s, depth in enumerate(depths) {
}                                                           x = x |> Layer(depth, channels, widths[s]) as "layer{s + 1}"
                                                            for i in range(depth) { channels = widths[s] } }

A parameter has the same path either way. So turns of the outer loop, of which each has as many blocks as it says, do the same. Whoever emits
looks whether that is so, and whether it says more (`dlc/runtime/family.py`)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from dlc.elaborate.base.trees import assigned, below, loop_names, mentioned
from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import Builtin, Tensor, is_plain
from dlc.elaborate.state.body import Body
from dlc.elaborate.types.static import inner_text
from dlc.records import dataclass, fields, replace
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.terms import said

AXES = {1: "B", 2: "BC", 3: "BTC", 4: "BCHW", 5: "BCDHW"}
"""What the axes of a tensor are called, by their number; where a static parameter says its channels, the others without C."""
NAMED, UNNAMED = 1, 2
"""How axes of what stages are given are called: as static parameters that say their sizes, or all by letters. What is the size of a
parameter in one turn may not be in another."""
FAR = 1_000_000
"""A column that no text has."""
_UNFIT = (ast.Return, ast.ParamStmt, ast.InitRule, ast.Entry, ast.Update, ast.Scan, ast.Yield, ast.Require)
Segment = tuple[Any, ...]
Statements = tuple[ast.Stmt, ...]


Header = tuple[tuple[ast.Field, ...], tuple[ast.Field, ...], tuple[ast.Field, ...]]


class _Unfit(Exception):
    """A stage that can't be a module."""


# --- which statements -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Statements of a turn, one after another, that are a stage; of none, with no `prefix`, as they are."""

    statements: Statements
    prefix: tuple[Segment, ...] = ()


def parts(node: ast.For) -> list[Part]:
    """The body of a loop in stages and what stands around them."""
    names, body = loop_names(node.target), node.body
    found: list[Part] = []
    k = 0
    while k < len(body):
        end, prefix = _stage(body, k, names)
        found.append(Part(body[k:end], prefix))
        k = end
    return found


def _stage(body: Statements, first: int, names: frozenset[str]) -> tuple[int, tuple[Segment, ...]]:
    """The end of the stage that begins at a statement, and what all its labels begin with."""
    if not _labelled(body[first]):
        return first + 1, ()
    ends = [k + 1 for k in range(first, len(body)) if _labelled(body[k])]
    for end in reversed(ends):
        statements = body[first:end]
        prefix = _prefix(statements, names)
        loops = any(isinstance(each, ast.For) and _labelled(each) for each in statements)
        if prefix and loops and not any(below(statements, kind) for kind in _UNFIT):
            return end, prefix
    return first + 1, ()


def _labelled(statement: ast.Stmt) -> list[ast.Label]:
    """The labels in a statement that paths begin with: of a loop with one, its own."""
    found: list[ast.Label] = []
    stack: list[Any] = [statement]
    while stack:
        match stack.pop():
            case ast.Label() as label:
                found.append(label)
            case ast.For(label=ast.Label() as label):
                found.append(label)
            case each:
                stack += ast.children(each)
    return found


def _prefix(statements: Statements, names: frozenset[str]) -> tuple[Segment, ...]:
    """What the labels of statements have in common, up to where they name what the statements bind; it has to name the turn."""
    own = frozenset().union(*map(assigned, statements))
    labels = [_segments(each) for statement in statements for each in _labelled(statement)]
    loops = [each for each in statements if isinstance(each, ast.For)]
    whole = {_segments(each.label) for each in _loops(statements) if each.label is not None}
    found: list[Segment] = []
    for k, column in enumerate(zip(*labels, strict=False)):
        ends = any(len(each) == k + 1 and each not in whole for each in labels)
        if len(set(column)) > 1 or ends or any(mentioned(part, own) for part in column[0]):
            break
        found.append(column[0])
    said = any(mentioned(part, names) for segment in found for part in segment)
    return tuple(found) if said and loops else ()


def _loops(statements: Statements) -> Iterator[ast.For]:
    """The loops whose labels are no part of those of others."""
    stack: list[Any] = [*statements]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.For) and each.label is not None:
            yield each
        else:
            stack += ast.children(each)


def _segments(label: ast.Label) -> tuple[Segment, ...]:
    found: list[list[Any]] = [[]]
    for part in label.parts:
        if not isinstance(part, str):
            found[-1].append(part)
            continue
        first, *rest = part.split(".")
        found[-1] += [first] if first else []
        found += [[each] if each else [] for each in rest]
    return tuple(map(tuple, found))


def _label(segments: Sequence[Segment]) -> ast.Label:
    made: list[Any] = []
    for k, segment in enumerate(segments):
        for part in (*((".",) if k else ()), *segment):
            if made and isinstance(part, str) and isinstance(made[-1], str):
                made[-1] += part
            else:
                made.append(part)
    return ast.Label(tuple(made), True)


# --- as a module ----------------------------------------------------------------------------------------------------


def run_stages(
    body: Body, node: ast.For, before: Container[str], later: Callable[[ast.For], frozenset[str]]
) -> None:
    """Run a turn of a loop, its stages as modules. `before` has the names that were there before the loop, and `later` tells which are read
    behind it."""
    own: set[str] = set()
    for part in parts(node):
        if body.emission.has_returned:
            return
        stale = frozenset(name for name in body.scope.names if name not in before and name not in own)
        stale -= loop_names(node.target)
        own |= frozenset().union(*map(assigned, part.statements))
        made = _module_of(body, part, node, stale, later) if part.prefix else None
        if made is None:
            body.run(part.statements)
            continue
        definition, statements = made
        body.scope = body.scope.bind(definition.name, definition)
        body.run(statements)
        body.scope = body.scope.without(definition.name)


def _module_of(
    body: Body, part: Part, node: ast.For, stale: frozenset[str], later: Callable[[ast.For], frozenset[str]]
) -> tuple[Definition, Statements] | None:
    try:
        return _Stage(body, part, node, stale, later(node) | _read_again(node, part)).made()
    except _Unfit:
        return None


def _read_again(node: ast.For, part: Part) -> set[str]:
    """The names that a turn, or the next one, reads but for those in a stage itself."""
    others = [each for each in node.body if all(each is not own for own in part.statements)]
    return {each.id for each in below(tuple(others), ast.Name)}


@dataclass
class _Stage:
    body: Body
    part: Part
    node: ast.For
    stale: frozenset[str]
    """Names that an earlier turn has bound, and each binds anew."""
    later: frozenset[str] | set[str]

    def __post_init__(self) -> None:
        depth, scope = len(self.part.prefix), self.body.scope
        self.statements = tuple(_without_prefix(each, depth) for each in self.part.statements)
        self.bound = frozenset().union(*map(assigned, self.statements))
        read = [each.id for each in _names(self.statements) if each.id not in self.stale & self.bound]
        known = {name: scope.names[name] for name in dict.fromkeys(read) if name in scope.names}
        self.tensors = {name: value for name, value in known.items() if isinstance(value, Tensor)}
        self.carried = [name for name in self.tensors if name in self.bound]
        self.static = {name: value for name, value in known.items() if name not in self.tensors}
        # (A type may bind sizes: `x: [B, height, width, c] = x`.)
        types = [each.type for each in below(self.statements, ast.NameTarget)]
        binds = {each.id for type in types for each in below(type, ast.Name)} | self.bound
        self.static |= {
            name: scope.dims[name]
            for name in dict.fromkeys(read)
            if name in scope.dims and name not in known and name not in binds
        }

    def made(self) -> tuple[Definition, Statements]:
        """The module, and the statements that call it."""
        again = self._static_alone()
        if not self.carried or not self._is_whole():
            raise _Unfit
        inside, given = _elements(self.body, self.statements, self.static, self.bound)
        definition = self._definition(self._header(given), inside)
        span = self.part.statements[0].span
        # (What arguments stand for is known by their places.)
        arguments = tuple(
            ast.Arg(replace(told, span=replace(span, column=FAR + k, end_column=FAR + k)), name)
            for k, (name, (_, told)) in enumerate(given.items())
        )
        called = ast.Call(ast.Name(definition.name, span=span), arguments, span=span)
        values = tuple(ast.Arg(ast.Name(name, span=span)) for name in self.tensors)
        label = replace(_label(self.part.prefix), span=span)
        placed = ast.Labeled(ast.Call(called, values, span=span), label, span=span)
        targets = tuple(ast.NameTarget(name, span=span) for name in self.carried)
        target = targets[0] if len(targets) == 1 else ast.TupleTarget(targets, span=span)
        return definition, (ast.Assign(target, placed, span=span), *again)

    def _is_whole(self) -> bool:
        """Whether what is read later of what the statements bind is a tensor that they are given, or a static value."""
        known = self.body.scope.names
        later = self.bound & self.later
        return all(name in self.carried or is_plain(known.get(name, self)) for name in later)

    def _header(self, given: Mapping[str, tuple[Any, ast.Expr]]) -> Header:
        """The static parameters, inputs and outputs of the module."""
        static = tuple(ast.Field(name, self._type(name, value)) for name, (value, _) in given.items())
        axes = zip(self.tensors.items(), self._axes(given), strict=True)
        inputs = tuple(
            ast.Field(name, ast.TensorTypeExpr(_dtype(value), each)) for (name, value), each in axes
        )
        outputs = tuple(
            ast.Field(
                name if len(self.carried) > 1 else None,
                ast.TensorTypeExpr(_dtype(value), (ast.Wildcard(),) * value.type.rank),
            )
            for name, value in self.tensors.items()
            if name in self.carried
        )
        return static, inputs, outputs

    def _type(self, name: str, value: Any) -> ast.TypeExpr:
        """The static type of a parameter: that of the owner's, or of its value."""
        definition = self.body.context.definition
        own = (
            definition.node.static
            if definition is not None and isinstance(definition.node, ast.ModuleDef)
            else ()
        )
        declared = next((each.type for each in own if each.name == name), None)
        if declared is not None and inner_text(declared) not in ("module", "dim"):
            return declared
        match value:
            case bool():
                return ast.NamedTypeExpr("bool")
            case int():
                return ast.NamedTypeExpr("int")
            case Dim() if value.is_constant:
                return ast.NamedTypeExpr("int")
            case float():
                return ast.NamedTypeExpr("float")
            case str():
                return ast.NamedTypeExpr("str")
            case list() if value and all(type(self._type("", each)) is ast.NamedTypeExpr for each in value):
                return ast.NamedTypeExpr("list", (self._type("", value[0]),))
            case Builtin():
                return ast.NamedTypeExpr("fn")
            case Definition(node=ast.FnDef()):
                return ast.NamedTypeExpr("fn")
        raise _Unfit

    def _axes(self, given: Mapping[str, tuple[Any, ast.Expr]]) -> Iterator[tuple[ast.Expr, ...]]:
        """Names for the axes of tensors: static parameters that say their sizes; names of the body stay, and the same size has one
        name."""
        own = {size: name for name, size in self.body.scope.dims.items() if isinstance(size, Dim)}
        static = {
            said(Dim.of(value)): name
            for name, (value, _) in reversed(list(given.items()))
            if self.body.context.session.staged == NAMED
            and isinstance(value, int | Dim)
            and not isinstance(value, bool)
        }
        known: dict[Any, str] = {}
        used = {*given, *self.bound, *self.tensors}
        for tensor in self.tensors.values():
            axes = tensor.type.axes
            told = [static.get(said(axis)) if axis.is_constant else known.get(axis) for axis in axes]
            wanted = [own.get(axis) if len(axis.symbols) == 1 else None for axis in axes]
            letters = iter(_letters(told, wanted))
            found: list[ast.Expr] = []
            for name, own_name, axis in zip(told, wanted, axes, strict=True):
                if name is None:
                    name = _free(own_name or next(letters), used)
                    used.add(name)
                    if not axis.is_constant:
                        known[axis] = name
                found.append(ast.Name(name))
            yield tuple(found)

    def _definition(self, header: Header, inside: Statements) -> Definition:
        """The module, the same for all turns and programs where its header is."""
        unit, staged = self.body.context.unit, self.body.context.session.staged
        key = (staged, id(self.part.statements[0]), len(self.part.statements), header)
        if key in unit.stages:
            return unit.stages[key]
        names = tuple(map(ast.Name, self.carried))
        result = ast.Return(names[0] if len(names) == 1 else ast.TupleExpr(names))
        owner = self.body.context.name
        label = "".join(each if isinstance(each, str) else "{…}" for each in _label(self.part.prefix).parts)
        node = ast.ModuleDef(
            self._name({each.name for (way, *_), each in unit.stages.items() if way == staged}),
            *header,
            (),
            (*inside, result),
            doc=f"A stage of {owner}, under `{label}`.",
            span=self.part.statements[0].span,
        )
        unit.stages[key] = Definition(node.name, node, unit)
        return unit.stages[key]

    def _name(self, made: set[str]) -> str:
        """What the module is called: as the label, or the list that it is an element of."""
        words = [
            "".join(each for each in segment if isinstance(each, str)).strip("_")
            for segment in self.part.prefix
        ]
        told = [word for word in words if len(word) > 2 and word.isidentifier()]
        word = told[-1] if told else "stage"
        word = word[:-1] if word.endswith("s") and not words[-1] else word
        name = "".join(each.capitalize() for each in word.split("_") if each)
        unit = self.body.context.unit
        used = {*unit.names, *made}
        vocabulary = self.body.context.session.vocabulary
        for candidate in (name, f"{self.body.context.name}{name}"):
            if candidate not in used and candidate not in vocabulary:
                return candidate
        return _free(f"{self.body.context.name}{name}", used)

    def _static_alone(self) -> Statements:
        """What the statements make of static values that the next turn takes, or something behind the loop reads."""
        wanted = {name for name in self.bound if name in self.later or name in self.static}
        wanted -= {*self.carried, *loop_names(self.node.target)}
        assigns = below(self.part.statements, ast.Assign)
        _closed(wanted, assigns, lambda each: {name.id for name in below(each.value, ast.Name)} & self.bound)
        held = set(self.tensors)
        for each in assigns:
            if below(each.value, ast.Labeled):
                held |= assigned(each)
        before = -1
        while before != len(held):
            before = len(held)
            for each in assigns:
                held |= assigned(each) if mentioned(each.value, frozenset(held)) else set()
        if wanted & held:
            raise _Unfit
        return tuple(_making(self.part.statements, wanted)) if wanted else ()


def _letters(told: Sequence[str | None], wanted: Sequence[str | None]) -> list[str]:
    """Names for the axes that have none, by their places: of one alone that is channels, whichever it is."""
    row = AXES.get(len(told), "n" * len(told))
    others = iter(row.replace("C", "") if any(told) else row)
    by_place = [next(others, "n") if name is None else "" for name in told]
    nameless = [
        letter
        for letter, name, own in zip(by_place, told, wanted, strict=True)
        if name is None and own is None
    ]
    taken = {*told, *wanted}
    if len(nameless) == 1 and not any(told) and "C" in row and "C" not in taken:
        return ["C"]
    free = iter([letter for letter in row if letter not in taken and letter not in nameless])
    return [next(free, letter) if letter in taken else letter for letter in nameless]


def _closed(wanted: set[str], assigns: Sequence[ast.Assign], reads: Callable[[ast.Assign], set[str]]) -> None:
    """Add to names what those are made of that bind them."""
    before = -1
    while before != len(wanted):
        before = len(wanted)
        for each in assigns:
            if assigned(each) & wanted:
                wanted |= reads(each)


def _names(statements: Statements) -> Iterator[ast.Name]:
    """The names that statements read, in their order, but for the variables of comprehensions."""
    stack: list[Any] = [*reversed(statements)]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Name):
            yield each
        elif isinstance(each, ast.ListComp):
            own = loop_names(each.target)
            yield from (
                name
                for part in (each.element, each.iterable, each.condition)
                if part is not None
                for name in below(part, ast.Name)
                if name.id not in own
            )
        else:
            stack += reversed(ast.children(each, "target"))


def _elements(
    body: Body, statements: Statements, static: dict[str, Any], bound: frozenset[str]
) -> tuple[Statements, dict[str, tuple[Any, ast.Expr]]]:
    """The statements, and what they are given by name, as a value and an expression: an element of a list in the place of a list of
    which one is read."""
    given: dict[str, tuple[Any, ast.Expr]] = {}
    names = {each.id for each in _names(statements)}
    for name, value in static.items():
        reads = [each for each in below(statements, ast.Index) if each.value == ast.Name(name)]
        count = sum(each.id == name for each in _names(statements))
        plain = isinstance(value, list) and len(set(reads)) == 1 and len(reads) == count
        element = reads[0] if plain else None
        if element is None or mentioned(element.items, bound) or isinstance(element.items[0], ast.Slice):
            given[name] = value, ast.Name(name)
            continue
        singular = name[:-1] if name.endswith("s") else f"{name}_here"
        free = _free(singular, {*names, *static, *given, *bound})
        given[free] = body.evaluate(element), element
        statements = _changed(statements, _in_place(element, ast.Name(free)))
    left = {each.id for each in _names(statements)}
    return statements, {name: told for name, told in given.items() if name in left}


def _in_place(old: ast.Expr, new: ast.Expr) -> Callable[[Any], Any]:
    return lambda part: new if part == old else part


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _dtype(value: Tensor) -> str | None:
    dtype = value.type.dtype
    return None if dtype == "float" else dtype


def _changed(tree: Any, change: Callable[[Any], Any]) -> Any:
    """A tree in which every node is what `change` makes of it."""
    if isinstance(tree, tuple):
        return tuple(_changed(each, change) for each in tree)
    if not isinstance(tree, ast.Node):
        return tree
    made = {
        each.name: _changed(getattr(tree, each.name), change) for each in fields(tree) if each.name != "span"
    }
    same = all(value is getattr(tree, name) for name, value in made.items())
    return change(tree if same else replace(tree, **made))


def _without_prefix(statement: ast.Stmt, depth: int) -> Any:
    """A statement with its labels inside of the stage."""
    match statement:
        case ast.Label():
            return _label(_segments(statement)[depth:])
        case ast.For(label=ast.Label() as label):  # (labels inside are relative to its own)
            rest = _segments(label)[depth:]
            if rest:
                return replace(statement, label=_label(rest))
            return replace(statement, label=ast.Label((ast.Name(_index(statement)),), True))
        case ast.Node():
            made = {
                each.name: _without_prefix(getattr(statement, each.name), depth)
                for each in fields(statement)
                if each.name != "span"
            }
            return replace(statement, **made)
        case tuple():
            return tuple(_without_prefix(each, depth) for each in statement)
    return statement


def _index(node: ast.For) -> str:
    """The name of the number that paths have of a loop's turn."""
    match node:
        case ast.For(ast.NameTarget(id), ast.Call(ast.Name("range"))) if id != "_":
            return id
        case ast.For(ast.TupleTarget((ast.NameTarget(id), *_)), ast.Call(ast.Name("enumerate"))) if id != "_":
            return id
    raise _Unfit


def _making(statements: Sequence[ast.Stmt], wanted: set[str]) -> Iterator[ast.Stmt]:
    """Of statements those that bind some names."""
    for each in statements:
        match each:
            case ast.Assign() if assigned(each) & wanted:
                yield each
            case ast.If(_, then, otherwise):
                sides = [tuple(_making(side, wanted)) for side in (then, otherwise)]
                if any(sides):
                    yield replace(each, then=sides[0], otherwise=sides[1])
            case ast.For(body=inner):
                left = tuple(_making(inner, wanted))
                if left:
                    yield replace(each, body=left, label=None)
