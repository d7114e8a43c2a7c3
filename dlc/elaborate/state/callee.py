"""What is called, what it is called with, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlc.diagnostics import Span
from dlc.elaborate.base.units import Definition, entries, own_statics
from dlc.elaborate.base.values import Instance
from dlc.elaborate.types.written import WrittenType
from dlc.records import dataclass, field
from dlc.syntax import ast
from dlc.types.axes import Lookup
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc.types.tensor import TensorType


@dataclass(slots=True)
class Callee:
    """What is called: its header, and the static values it is called with."""

    definition: Definition
    static: dict[str, Any]
    inputs: tuple[ast.Field, ...]
    outputs: tuple[ast.Field, ...]
    where: tuple[ast.Expr, ...]
    body: tuple[ast.Stmt, ...]
    entry: str = ""
    places: dict[str, Span] = field(default_factory=dict)  # of the arguments that were written at the call
    terms: dict[str, Any] = field(
        default_factory=dict
    )  # what those stand for, over the caller's static parameters
    sizes: tuple[ast.Field, ...] = ()
    """Of what a module's header has among the inputs: the sizes that no tensor has. Their values are static arguments."""
    own: tuple[ast.Field, ...] = ()
    """The static parameters of an entry's own list."""

    @property
    def name(self) -> str:
        return f"{self.definition.name}.{self.entry}" if self.entry else self.definition.name

    @property
    def is_module(self) -> bool:
        return isinstance(self.definition.node, ast.ModuleDef)


def way_in(definition: Definition, static: Mapping[str, Any], entry: str = "") -> Callee:
    """A module's main computation, or one of its entries, with these static arguments."""
    node = definition.node
    assert isinstance(node, ast.ModuleDef)
    header = entries(definition)[entry] if entry else node
    sizes = tuple(each for each in header.inputs if is_size(each))
    tensors = tuple(each for each in header.inputs if each not in sizes)
    return Callee(
        definition,
        dict(static),
        tensors,
        header.outputs,
        header.where,
        header.body,
        entry,
        sizes=sizes,
        own=own_statics(definition, entry),
    )


def is_size(item: ast.Field) -> bool:
    """Whether an input is a size by itself: `G: dim`."""
    return isinstance(item.type, ast.NamedTypeExpr) and item.type.name == "dim"


@dataclass(slots=True)
class Bound:
    """Tensor arguments matched to inputs: values by input name (None where absent), and the dims they bind, in the
    caller's terms and in the callee's."""

    values: dict[str, Any] = field(default_factory=dict)
    outer: dict[str, Dim | tuple[Dim, ...]] = field(default_factory=dict)
    inner: dict[str, Dim | tuple[Dim, ...]] = field(default_factory=dict)
    names: dict[str, Dim] = field(default_factory=dict)  # callee symbol -> caller's size
    static: dict[str, Any] = field(
        default_factory=dict
    )  # the static arguments, their sizes in the callee's terms
    written: dict[tuple[str, int], WrittenType] = field(default_factory=dict)
    types: dict[str, list[TensorType]] = field(default_factory=dict)
    known: Lookup = lambda name: None
    float_dtype: str = "float"
    traced: bool = False
    empty: tuple[str, ...] = ()
    """The callee's symbols for sizes that may be 0 here. All others are 1 or more."""
    sizes: dict[str, Dim] = field(default_factory=dict)
    """Of what the callee's inputs bind, the sizes that are numbers at the call, by the name that they have inside."""

    def terms(self, static: Mapping[str, Any]) -> Mapping[str, Any]:
        """The callee's symbols in the caller's terms: dims, and for origins known sizes and static parameters."""
        if not self.traced:
            return self.names
        return {**dict(flat_statics(static)), **self.sizes, **self.names}


def flat_statics(static: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Static values by name, the elements of lists each by its own, `widths[0]`, and what modules are made with: `inner_d`."""
    stack = list(static.items())
    while stack:
        name, value = stack.pop()
        yield name, value
        if isinstance(value, list | tuple):
            stack += ((f"{name}[{i}]", each) for i, each in enumerate(value))
        elif isinstance(value, Instance):
            stack += ((f"{name}_{key}", each) for key, each in value.static.items())


def size_of(value: Any) -> Dim | None:
    """A static value as a size, if it is one."""
    return Dim.of(value) if isinstance(value, int | Dim) and not isinstance(value, bool) else None


@dataclass(slots=True)
class Instantiation:
    """An elaborated function: its IR name and its results, by structure: a type, None, or a tuple, list or group of them."""

    function: str
    results: Any
    broken: bool = False
    static_result: Any = None
    needs: tuple[Relation, ...] = ()
    """What a body of the library took from the facts of its first caller, and every other must prove."""
    kept: Any = None
    """The same, kept for other sessions (`kept.py`)."""
