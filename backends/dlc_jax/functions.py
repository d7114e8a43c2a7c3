"""A group of drafts as one Python function: its signature, its head, its statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from dlc.emit.body import Body, shapes_text
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import identifier
from dlc.emit.python import docstring, wrapped
from dlc.emit.tree import Make
from dlc.ir.nodes import Function
from dlc.ir.paths import Paths
from dlc_jax.drafter import Traits
from dlc_jax.grouping import Group
from dlc_jax.layers import DIALECT
from dlc_jax.scan import Statements
from dlc_jax.settling import Settling
from dlc_jax.stacking import Stack


@dataclass
class Emission:
    """One emitted function in the making: `traits` say what it takes besides its inputs."""

    group: Group
    name: str
    traits: Traits
    paths: Paths
    entry: bool = False
    doc: str = ""
    nests: bool = True
    """Whether the entry takes the flat parameters."""
    inputs: list[str] = field(default_factory=list)  # the variables that hold its inputs
    written: list[str] = field(default_factory=list)
    error: NotImplementedError | None = None
    stacks: list[Stack] = field(default_factory=list)  # layers that it loops over

    @property
    def function(self) -> Function:
        return self.group.draft.function

    @cached_property
    def called(self) -> frozenset[str]:
        """The functions that the statements call."""
        return frozenset(node.function for node in self.group.draft.nodes() if isinstance(node, Make))

    def lines(self) -> list[str]:
        """The function's source. Raises NotImplementedError for what can't be said in JAX."""
        if self.error is not None:
            raise self.error
        return self.written

    def write(self) -> None:
        """Write the function, which shows what it reads. An error is kept: the function may not be needed."""
        self.stacks.clear()
        try:
            self.written = self._write()
        except NotImplementedError as error:
            self.error = error

    def wrapper(self) -> list[str]:
        """The entry on flat parameters, by way of `stack` and `forward`."""
        passed = ", ".join(["stack(params)", *self.inputs, *(["key"] if self.traits.key else [])])
        return [
            *self._signature(self.inputs),
            *self._docstring(),
            *layout(f"return forward({passed})", 1),
        ]

    def _write(self) -> list[str]:
        settling = Settling(self.function.name, self.paths, self.called, self.stacks)
        count = len(self.function.outputs)
        writer = partial(Statements, count=count, entry=self.entry)
        body = Body(settling.run(self.group.draft), DIALECT, 1, self._taken(), writer=writer)
        self.inputs = body.inputs
        nested = self.entry and self.nests and self.traits.params
        return [
            *self._signature(self.inputs),
            *self._docstring(),
            *([f"{INDENT}params = nest(params)"] if nested else []),
            *body.lines(),
        ]

    def _taken(self) -> set[str]:
        """Names that no value of the function may have."""
        own = ("stack", "forward") * self.entry
        own += ("params",) * (self.traits.params or self.entry) + ("key",) * self.traits.key
        return {*own, *(name for name, _ in self.group.parameters), *self.called}

    # Signature and head

    def _signature(self, inputs: Sequence[str]) -> list[str]:
        arguments = [f"{name}: Array" for name in inputs]
        if self.traits.params or self.entry:
            arguments.insert(0, "params: Params")
        if self.traits.key:
            arguments.append("key: Array")
        keywords = [f"{name}: {_kind(vector)}" for name, vector in self.group.parameters]
        arguments += ["*", *keywords] if keywords else []
        return layout(f"def {self.name}({', '.join(arguments)}) -> {self._result_type()}:")

    def _result_type(self) -> str:
        types = ["Array"] * len(self.function.outputs) + ["Params"] * self.traits.updates
        return types[0] if len(types) == 1 else f"tuple[{', '.join(types)}]"

    def _docstring(self) -> list[str]:
        doc = self.doc.strip()
        names = [identifier(each.name) for each in self.function.inputs]
        shapes = shapes_text(self.group.draft, names, always=True)
        if not doc:
            return docstring(_broken(shapes, WIDTH - 10), 4)
        one = f"{doc if doc.endswith('.') else doc + '.'} {shapes}"
        if "\n" not in doc and len(one) + len(INDENT) + 6 <= WIDTH:
            return docstring(one, 4)
        return docstring("\n".join((*wrapped(doc, WIDTH - 8), "", _broken(shapes, WIDTH - 4))), 4)


def _broken(shapes: str, width: int) -> str:
    """Shapes that are too long for a line, with the results on a line of their own."""
    taken, arrow, given = shapes.rpartition(" -> ")
    return shapes if len(shapes) <= width or not arrow else f"{taken}\n-> {given}"


def _kind(vector: Sequence[int | float]) -> str:
    return "float" if any(isinstance(each, float) for each in vector) else "int"
