"""Whether rows of a batch know of each other: what a network computes of a row then depends on the batch that it stands in.

Norms over the batch do so in training, and losses that compare each row with every other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dlc.ir.loops import LOOP, Loop
from dlc.ir.needed import only
from dlc.ir.nodes import Function, Op, Program
from dlc.ir.routing import ROUTED
from dlc.records import dataclass, field
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

_ORDERED = frozenset({"cumsum", "cumprod", "argsort", "top_k", "take", "take_along", "scatter"})


def mixing(program: Program, sizes: frozenset[str], output: str) -> Op | None:
    """The first operation that mixes rows of a batch, whose sizes have these names, of those that an output of the program is computed
    by; layers and losses of the library are told as they are called."""
    main = program.main
    needed = only(main, [value for name, value in main.outputs if name == output])
    return _Search(program.functions).function(needed, sizes, [True] * len(main.inputs))[1]


Answer = tuple[tuple[bool, ...], Op | None]


@dataclass(slots=True)
class _Search:
    functions: Mapping[str, Function]
    known: dict[tuple[str, frozenset[str], tuple[bool, ...]], Answer] = field(default_factory=dict)

    def function(self, function: Function, sizes: frozenset[str], given: Sequence[bool]) -> Answer:
        """Which outputs depend on the batch, and what mixes its rows. `given` are the inputs that depend on it."""
        key = (function.name, sizes, tuple(given))
        if key not in self.known:
            frame = _Frame(self, sizes)
            for value, depends in zip(function.inputs, given, strict=True):
                frame.enter(value.name, value.type, depends)
            found = frame.run(function.body)
            outputs = tuple(frame.depends(name) for _, name in function.outputs)
            self.known[key] = (outputs, found)
        return self.known[key]


@dataclass(slots=True)
class _Frame:
    """One function: its values that depend on the batch, and of these the ones that have no rows any more."""

    search: _Search
    sizes: frozenset[str]
    types: dict[str, TensorType] = field(default_factory=dict)
    of_batch: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)

    def enter(self, name: str, type: TensorType, depends: bool) -> None:
        self.types[name] = type
        if depends:
            self.of_batch.add(name)
            if not type.symbols & self.sizes:
                self.whole.add(name)

    def depends(self, name: str) -> bool:
        return name in self.of_batch

    def run(self, body: Iterable[Op]) -> Op | None:
        found: Op | None = None
        for op in body:
            depends, inside = self._results(op)
            for value, each in zip(op.outputs, depends, strict=True):
                self.enter(value.name, value.type, each)
            found = found or inside or (op if self._mixes(op) else None)
        return found

    def _results(self, op: Op) -> tuple[Sequence[bool], Op | None]:
        if op.op == LOOP:
            return self._loop(Loop.of(op))
        if op.callee and op.op != ROUTED:
            return self._call(op)
        depends = any(map(self.depends, op.inputs)) or (op.op == "size" and bool(self._named(op.attr("dim"))))
        return [depends] * len(op.outputs), None

    def _call(self, op: Op) -> tuple[Sequence[bool], Op | None]:
        callee = self.search.functions[op.callee]
        sizes = frozenset(name for name, size in op.dims if size.symbols & self.sizes)
        given = [self.depends(name) for name in op.inputs if name]
        outputs, inside = self.search.function(callee, sizes, given)
        return outputs, op if inside is not None and callee.library else inside

    def _loop(self, loop: Loop) -> tuple[Sequence[bool], Op | None]:
        for sliced in loop.sequences:
            self.enter(sliced.arg.name, sliced.arg.type, self.depends(sliced.source))
        depends = [self.depends(each.first) for each in loop.carried]
        while True:
            for each, known in zip(loop.carried, depends, strict=True):
                self.enter(each.arg.name, each.arg.type, known)
            found = self.run(loop.body)
            after = [
                known or self.depends(each.next) for each, known in zip(loop.carried, depends, strict=True)
            ]
            if after == depends:
                return [*depends, *(self.depends(each.item) for each in loop.stacked)], found
            depends = after

    def _mixes(self, op: Op) -> bool:
        if op.callee or op.region is not None:
            return False
        outputs = [each.type for each in op.outputs if each.type.symbols & self.sizes]
        read = [self.types[name] for name in op.inputs if name in self.types]
        if read and self._reorders(op, read[0]):
            return True
        if not outputs:
            return False
        joined = max(map(self._rows, outputs)) > max([1, *map(self._rows, read)])
        return joined or any(name in self.whole for name in op.inputs)

    def _reorders(self, op: Op, type: TensorType) -> bool:
        """Whether rows come to stand where others stood."""
        rows = [axis for axis, size in enumerate(type.axes) if self._named(size)]
        if op.op in _ORDERED:
            return op.integer("axis") % max(1, type.rank) in rows
        if op.op == "flip":
            return any(axis % type.rank in rows for axis in op.integers("axes"))
        if op.op == "slice":  # a half of the batch is rows as they are, all but the first are not
            ends = zip(op.sizes("start"), op.sizes("stop"), strict=True)
            none = dict.fromkeys(self.sizes, Dim.of(0))
            parts = [each for i, pair in enumerate(ends) if i in rows for each in pair]
            return any(each.substitute(none).constant != 0 for each in parts)
        return False

    def _rows(self, type: TensorType) -> int:
        return sum(bool(self._named(axis)) for axis in type.axes)

    def _named(self, value: object) -> frozenset[str]:
        return value.symbols & self.sizes if isinstance(value, Dim) else frozenset()
