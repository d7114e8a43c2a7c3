"""The body of one method or function: its variables, the sizes that it reads, its lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dlc.emit.layout import layout
from dlc.emit.names import base, identifier, unique
from dlc.emit.sizes import readable, shape_of, solved
from dlc.emit.tree import Expr, refs, text
from dlc.types.dims import Dim
from dlc_torch.statements import Draft, Loop, Stmt, expressions
from dlc_torch.write import Nesting, Variables, Writer, last_reads, needed_sizes, safe, shape_text

Lines = list[str]


class Body:
    """The lines of a body, and the names of its inputs."""

    def __init__(self, draft: Draft, indent: int, taken: set[str]) -> None:
        self.draft, self.indent = draft, indent
        exprs = list(all_expressions(draft))
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
            own = identifier(symbol, "n")
            needed = symbol in self.draft.needs
            names[symbol] = own if needed else unique(safe(own), inputs | set(names.values()))
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
                read = shape_of(self.inputs[source.input], source.axis)
                rest.append(f"{name} = {text(solved(source, symbol, read))}")
        lines = [self._unpacked(i, axes) for i, axes in by_input.items()]
        return [line for each in (*lines, *rest) for line in layout(each, self.indent)]

    def _unpacked(self, input: int, axes: Mapping[int, str]) -> str:
        rank = len(self.draft.inputs[input].axes)
        if len(axes) == 1:
            ((axis, name),) = axes.items()
            return f"{name} = {self.inputs[input]}.shape[{axis}]"
        return f"{', '.join(axes.get(i, '_') for i in range(rank))} = {self.inputs[input]}.shape"


def all_expressions(draft: Draft) -> Iterator[Expr]:
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
