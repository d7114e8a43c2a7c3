"""`prepare(params, state)`: tensors that passes compute once from the spec's parameters (weights with a norm folded in), by the
structure of the modules. What they were computed of goes where `apply` does not read it.

    params["conv1_folded_weight"] = folded_weight(params["conv1"]["weight"], state["bn1"]["running_var"], …)
    del params["conv1"], params["bn1"]
    params["layer1"]["1:"] = jax.vmap(prepare_bottleneck)(params["layer1"]["1:"], state["layer1"]["1:"])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import snake, unique
from dlc.emit.tree import Word, text
from dlc.ir.nodes import Child, Param, walk
from dlc.ir.splice import path_of
from dlc.records import dataclass, field
from dlc_jax.places import Layout, at
from dlc_jax.units import Units

Lines = list[str]


@dataclass
class Prepare:
    """`prepare` of a program, and the functions that it calls."""

    units: Units
    taken: set[str]
    names: dict[str, str] = field(default_factory=dict)
    functions: list[Lines] = field(default_factory=list)

    @property
    def is_needed(self) -> bool:
        return self._prepares(self.units.program.entry)

    def lines(self) -> Lines:
        """The function `prepare`; those that it calls are in `functions`."""
        return self._function(self.units.program.entry, "prepare")

    def takes_state(self, name: str) -> bool:
        """Whether a buffer goes into what is prepared for an instance."""
        layout = self._layout(name)
        own = any(
            found.param is not None and found.param.kind == "buffer"
            for param in _prepared(layout)
            for source in param.sources
            if (found := self.units.places.find(name, source)) is not None
        )
        return own or any(self.takes_state(child.function) for child in self._children(name))

    def _layout(self, name: str) -> Layout:
        return self.units.places.layout(name)

    def _prepares(self, name: str) -> bool:
        below = (child for same in self._layout(name).children.values() for child in same)
        return bool(_prepared(self._layout(name))) or any(self._prepares(child.function) for child in below)

    def _children(self, name: str) -> list[Child]:
        """The instances for which something is prepared."""
        same = (each[0] for each in self._layout(name).children.values())
        return [child for child in same if self._prepares(child.function)]

    def _function(self, name: str, called: str) -> Lines:
        lines = list(self._statements(name))
        depth = max((line.partition(" = ")[0].count("[") for line in lines if " = " in line), default=1)
        copy = "dict(params)" if depth == 1 else "jax.tree.map(lambda leaf: leaf, params)"
        state = ", state: State" if self.takes_state(name) else ""
        return [
            *layout(f"def {called}(params: Params{state}) -> Params:"),
            f'{INDENT}"""The parameters that `apply` reads: what is computed of others once is in their place."""',
            f"{INDENT}params = {copy}",
            *lines,
            f"{INDENT}return params",
        ]

    def _statements(self, name: str) -> Iterator[str]:
        for param in _prepared(self._layout(name)):
            unit = self.units.add(param.init)
            read = ", ".join(self._read(name, source) for source in param.sources)
            yield from layout(f"{self._read(name, param.name)} = {unit.name}({read})", 1)
        gone = [self._read(name, path) for path in self._gone(name)]
        yield from _deleted(gone)
        for child in self._children(name):
            here = self._read(name, child.path)
            made = self._maker(child.function)
            made = f"jax.vmap({made})" if child.count else made
            state = f", {self._read(name, child.path, 'state')}" if self.takes_state(child.function) else ""
            indent = 1
            if child.when is not None:
                around, _, key = here.rpartition("[")
                yield f"{INDENT}if {key[:-1]} in {around}:"
                indent = 2
            yield from layout(f"{here} = {made}({here}{state})", indent)

    def _gone(self, name: str) -> Iterator[str]:
        """The instances that only went into what is prepared here: nobody applies them, nor reads what lies in them."""
        own = self.units.places.groups[name]
        applied = {op.path for function in own for op in walk(function.body) if op.callee}
        sources = [source for param in _prepared(self._layout(name)) for source in param.sources]
        for path in dict.fromkeys(source.rpartition(".")[0] for source in sources):
            here = self._layout(name).children.get(path, ())
            held = any(
                param.kind != "buffer"
                for each in here
                for param in self._layout(each.function).params.values()
            )
            if here and held and path not in applied and not self._is_reached(path):
                yield path

    def _is_reached(self, path: str) -> bool:
        """Whether some function reads a tensor in an instance of this path, from wherever."""
        inside = f".{path}."
        return any(inside in f".{each}" for each in self._reached)

    @cached_property
    def _reached(self) -> set[str]:
        bodies = (walk(function.body) for function in self.units.program.functions.values())
        return {path_of(op) for body in bodies for op in body if not op.callee and path_of(op)}

    def _read(self, name: str, path: str, tree: str = "params") -> str:
        found = self.units.places.find(name, path)
        assert found is not None, path
        if found.param is not None and found.param.kind == "buffer":
            tree = "state"
        return text(at(Word(tree), found.keys, tensor=found.param is not None))

    def _maker(self, name: str) -> str:
        group = self.units.places.groups[name][0]
        if group.name not in self.names:
            taken = {*self.taken, *self.names.values(), *(each.name for each in self.units.by_name.values())}
            self.names[group.name] = unique(f"prepare_{snake(group.source.strip('_'))}", taken)
            self.functions.append(self._function(name, self.names[group.name]))
        return self.names[group.name]


def _prepared(layout: Layout) -> list[Param]:
    return [param for param in layout.params.values() if param.kind == "prepared"]


def _deleted(gone: Sequence[str]) -> Iterator[str]:
    """`del` of so many at once as fit in a line."""
    line = ""
    for each in gone:
        longer = f"{line}, {each}" if line else f"{INDENT}del {each}"
        if line and len(longer) > WIDTH:
            yield line
            longer = f"{INDENT}del {each}"
        line = longer
    yield from [line] if line else []
