"""The body of one method or function: its variables, the sizes that it reads, its lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from dlc.emit.draft import Dialect
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import TURN, Variables, base, identifier, plain, unique
from dlc.emit.nesting import END, Nesting, last_reads
from dlc.emit.sizes import readable, shape_of, solved
from dlc.emit.statements import HELD, Draft, If, Loop, Stmt
from dlc.emit.tree import (
    Arg,
    Call,
    Expr,
    Ref,
    Size,
    Word,
    names_turns,
    need_name,
    refs,
    text,
    transform,
    walk,
)
from dlc.emit.write import Writer, shape_text
from dlc.types.dims import Dim

Lines = list[str]
UNNAMED = re.compile(r"output(_\d+)?")


class Body:
    """The lines of a body, and the names of its inputs. `taken` are names that the body can't use; `words` tell
    how a static argument is read, where not by its name; `told` are those that there are, of which comments may speak."""

    def __init__(
        self,
        draft: Draft,
        dialect: Dialect,
        indent: int = 1,
        taken: Iterable[str] = (),
        words: Mapping[str, str] | None = None,
        writer: Callable[..., Writer] = Writer,
        told: Iterable[str] = (),
    ) -> None:
        draft = _telling(draft, set(told))
        if words:
            draft = draft.rewritten(lambda expr: with_words(expr, words))
        self.draft, self.dialect = draft, dialect
        reads = Counter(name for expr in draft.expressions() for name in refs(expr))
        nesting = Nesting(reads, dialect.is_layer, draft.draws)
        body, self.results = nesting.block(draft.body, draft.results, indent)
        self.last_note = "\n".join(nesting.notes)
        """What the spec says of what is returned."""
        self.body: Sequence[Stmt] = body
        loops = _loop_variables(body)
        counted = TURN in loops or names_turns(draft.expressions())
        self.reserved = dialect.reserved if counted else dialect.reserved - {TURN}
        self.variables = Variables(last_reads(body, self.results), _hints(draft), self.reserved)
        self.variables.taken |= {
            *taken,
            *loops,
            *map(need_name, draft.needs),
            *_called(draft),
        }
        self.sizes = self._size_names(needed_sizes(draft.expressions()), taken)
        self.inputs = [
            self.variables.give(target.name, (base(target.name, ()),), 0) for target in draft.inputs
        ]
        self._read_in_place()
        self.writer = writer(self.variables, indent, dialect.is_generated, self.inputs, self.sizes)
        for target, name in zip(draft.inputs, self.inputs, strict=True):
            self.writer.shapes[name] = shape_text(target)
            self.writer.dtypes[target.name] = target.dtype

    def _size_names(self, symbols: Sequence[str], taken: Iterable[str]) -> dict[str, str]:
        needs = (need_name(each) for each in self.draft.needs if each not in symbols)
        inputs = {*taken, *needs, *(target.name for target in self.draft.inputs)}
        names: dict[str, str] = {}
        for symbol in symbols:
            own = identifier(symbol, "n")
            others = inputs | set(names.values())
            needed = symbol in self.draft.needs
            names[symbol] = own if needed else unique(plain(own, self.reserved), others)
        self.variables.taken |= set(names.values())
        return names

    def _read_in_place(self) -> None:
        """A size of an input that may be absent is read where it is needed: there the input is there."""
        known, function = readable(self.draft.function), self.draft.function
        self.in_place = frozenset(
            symbol
            for symbol in self.sizes
            if symbol not in self.draft.needs
            and function.inputs[known[symbol].input].name in function.optional
        )
        for symbol in self.in_place:
            source = known[symbol]
            read = solved(source, symbol, shape_of(self.inputs[source.input], source.axis))
            self.sizes[symbol] = text(read) if source.size == Dim.symbol(symbol) else f"({text(read)})"
            self.variables.last[function.inputs[source.input].name] = END

    def lines(self) -> Lines:
        self.writer.lines += self._prelude()
        last = self.extra
        self.writer.write(self.body if last is None else self.body[:-1])
        if last is not None:
            self._early(last)
        returned = self.writer.returned(self.usual)
        if returned and not self._returns_choice(returned):
            self.writer.remark(self.last_note)
            self.writer.line(f"return {returned}")
        return [line.rstrip() for line in self.writer.lines]

    def _returns_choice(self, returned: str) -> bool:
        """Return what a choice in one line gives, where that is all that is returned."""
        lines, head = self.writer.lines, f"{INDENT * self.writer.indent}{returned} = "
        chosen = lines[-1].removeprefix(head) if lines and lines[-1].startswith(head) else ""
        line = f"return {chosen}"
        if " if " not in chosen or not isinstance(self.body[-1] if self.body else None, If) or self.last_note:
            return False
        if len(INDENT) * self.writer.indent + len(line) > WIDTH:
            return False
        lines.pop()
        self.writer.line(line)
        return True

    @property
    def extra(self) -> If | None:
        """The last statement of a model, if it is a choice that only adds results: losses of classifiers that compute in training.
        Who calls a module takes all of its results, whichever there are."""
        if self.draft.function.kind != "model":
            return None
        last = self.body[-1] if self.body else None
        if not isinstance(last, If) or last.otherwise or any(each is not None for each in last.others):
            return None
        names = {target.name for target in last.outputs}
        reads = [list(refs(each)) for each in self.results]
        alone = all(
            not names.intersection(read) or each == Ref(read[0])
            for each, read in zip(self.results, reads, strict=True)
        )
        return last if names and alone and self.usual_of(last) else None

    @property
    def usual(self) -> Sequence[Expr]:
        """The results that are always there."""
        return self.results if self.extra is None else self.usual_of(self.extra)

    def usual_of(self, extra: If) -> Sequence[Expr]:
        more = {target.name for target in extra.outputs}
        return [each for each in self.results if not more.intersection(refs(each))]

    def _early(self, extra: If) -> None:
        """`if self.training:`, and there the whole of the results."""
        writer, found = (
            self.writer,
            dict(zip((target.name for target in extra.outputs), extra.results, strict=True)),
        )
        writer.line(f"if {writer.text(extra.condition)}:")
        writer.indent += 1
        writer.write(extra.then)
        results = [found.get(each.value) if isinstance(each, Ref) else each for each in self.results]
        whole = [own if each is None else each for own, each in zip(self.results, results, strict=True)]
        writer.line(f"return {writer.returned(whole)}")
        writer.indent -= 1

    def _prelude(self) -> Lines:
        """`B, T, _ = x.shape` for the dims that are read."""
        known = readable(self.draft.function)
        by_input: dict[int, dict[int, str]] = {}
        rest: list[str] = []
        for symbol, name in self.sizes.items():
            if symbol in self.draft.needs or symbol in self.in_place:
                continue
            source = known[symbol]
            if source.size == Dim.symbol(symbol):
                by_input.setdefault(source.input, {})[source.axis] = name
            else:
                read = shape_of(self.inputs[source.input], source.axis)
                rest.append(f"{name} = {text(solved(source, symbol, read))}")
        lines = [self._unpacked(i, axes) for i, axes in by_input.items()]
        return [line for each in (*lines, *rest) for line in layout(each, self.writer.indent)]

    def _unpacked(self, input: int, axes: Mapping[int, str]) -> str:
        rank = len(self.draft.inputs[input].axes)
        if len(axes) == 1:
            ((axis, name),) = axes.items()
            return f"{name} = {self.inputs[input]}.shape[{axis}]"
        return f"{', '.join(axes.get(i, '_') for i in range(rank))} = {self.inputs[input]}.shape"


def _called(draft: Draft) -> set[str]:
    """The functions that are called by a bare name: a variable of that name would hide one."""
    nodes = (node for expr in draft.expressions() for node in walk(expr))
    words = (
        node.function.text for node in nodes if isinstance(node, Call) and isinstance(node.function, Word)
    )
    return {word for word in words if word.isidentifier()}


def with_words(expr: Expr, words: Mapping[str, str]) -> Expr:
    """The expression with static arguments as the function reads them: by name, or `self.heads`."""

    def change(node: Expr) -> Expr:
        match node:
            case Arg(name) | Size(name) if name in words:
                return Word(words[name])
        return node

    return transform(expr, change)


def needed_sizes(exprs: Iterable[Expr]) -> list[str]:
    """The dims that expressions read, in order."""
    return list(dict.fromkeys(_symbols(exprs)))


def _symbols(exprs: Iterable[Expr]) -> Iterator[str]:
    return (node.symbol for expr in exprs for node in walk(expr) if isinstance(node, Size))


def _loop_variables(body: Iterable[Stmt]) -> set[str]:
    found: set[str] = set()
    for stmt in body:
        if isinstance(stmt, Loop):
            found.update(re.findall(r"[A-Za-z]\w*", stmt.variable))
            found |= _loop_variables(stmt.body)
        if isinstance(stmt, If):
            found |= _loop_variables((*stmt.then, *stmt.otherwise))
    return found


def _hints(draft: Draft) -> dict[str, list[str]]:
    """Names that suit each value: the operand that it becomes where that has a telling name, then its own."""
    names = {value.name for value in draft.function.inputs} | set(draft.function.types())
    numbered = names | {"y"}  # which results of calls have until the spec names them
    return {name: [*draft.roles.get(name, ()), base(name, numbered)] for name in (*names, *draft.roles)}


def _telling(draft: Draft, told: set[str]) -> Draft:
    """The draft whose comments compute with arguments that are `told`, and with sizes that a comment introduces; `_` is what
    depends on another, which the source doesn't have."""
    shapes = [target.axes for target in draft.targets()]
    told |= {axis.name for axes in shapes for axis in axes if isinstance(axis, Arg)}

    def axis(size: Expr) -> Expr:
        return (
            Word("_") if any(isinstance(node, Arg) and node.name not in told for node in walk(size)) else size
        )

    return draft.reshaped(iter([tuple(map(axis, axes)) for axes in shapes]))


def tensors(draft: Draft, names: Sequence[str], type: str) -> list[str]:
    """The inputs of a function with their type; those that may be left out behind the others have None as default."""
    optional = [value.name in draft.function.optional for value in draft.function.inputs]
    found = []
    for i, name in enumerate(names):
        default = " = None" if all(optional[i:]) else ""
        kind = f"list[{type}]" if draft.inputs[i].dtype == HELD else type
        found.append(f"{name}: {kind} | None{default}" if optional[i] else f"{name}: {kind}")
    return found


def shapes_text(draft: Draft, names: Sequence[str], *, always: bool = False) -> str:
    """`[B, T, d] -> [B, T, d]`, with names where there are several inputs or outputs, or `always`."""
    pairs = zip(names, draft.inputs, strict=True)
    given = [(name, shape_text(target)) for name, target in pairs if target.dtype != HELD]
    outputs = zip(draft.function.outputs, draft.outputs, strict=True)
    made = [("" if UNNAMED.fullmatch(name) else name, shape_text(target)) for (name, _), target in outputs]
    sides = [_named_shapes(each, always or len(each) > 1) for each in (given, made)]
    return " -> ".join(sides).strip()


def _named_shapes(shapes: Sequence[tuple[str, str]], named: bool) -> str:
    return ", ".join(f"{name}: {shape}" if named and name else shape for name, shape in shapes)
