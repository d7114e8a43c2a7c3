"""Statements of a draft: what a method does, as trees, before values have variables and parts have places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dlc.emit.checks import Check
from dlc.emit.tree import Expr, Word
from dlc.ir.nodes import Function


@dataclass(frozen=True, slots=True)
class Device(Expr):
    """The device that the function's inputs are on."""


@dataclass(frozen=True, slots=True)
class Training(Expr):
    """Whether the module is in training mode."""


NOWHERE = Word("")


@dataclass(frozen=True, slots=True)
class Target:
    """A value that a statement computes; `axes` are its sizes, for the comment behind it."""

    name: str
    dtype: str
    axes: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Assign:
    """`layer` is the same as a layer for `nn.Sequential`, if there is one; it would be applied to `through`.
    A value without a name of its own in the spec (`temporary`) may be nested where it is used."""

    targets: tuple[Target, ...]
    expr: Expr
    temporary: bool = False
    layer: Expr | None = None
    through: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """`args` are the carried values at the start of a turn, `inputs` before the first, `results` after one,
    `outputs` after the last. `variable` and `source` are what the loop runs over, once paths are settled."""

    count: Expr
    start: int
    step: int
    args: tuple[Target, ...]
    inputs: tuple[Expr, ...]
    body: tuple[Stmt, ...]
    results: tuple[Expr, ...]
    outputs: tuple[Target, ...]
    variable: str = "_"
    source: Expr = NOWHERE


@dataclass(frozen=True, slots=True)
class Store:
    """A buffer's new value."""

    path: Expr
    value: Expr


Stmt = Assign | Loop | Check | Store


@dataclass(frozen=True, slots=True)
class Draft:
    function: Function
    inputs: tuple[Target, ...]
    body: tuple[Stmt, ...]
    results: tuple[Expr, ...]
    needs: frozenset[str] = frozenset()
    """What a plain function is passed besides its operands: "device", "training", and dims that no input
    has."""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Telling names of operands that values become: `q` of an attention."""


def expressions(body: Iterable[Stmt]) -> Iterable[Expr]:
    """Every expression of the statements, in order."""
    for stmt in body:
        match stmt:
            case Assign(expr=expr):
                yield expr
            case Check():
                yield stmt.condition
                yield from stmt.shown
            case Store(path, value):
                yield path
                yield value
            case Loop():
                yield stmt.count
                yield stmt.source
                yield from stmt.inputs
                yield from expressions(stmt.body)
                yield from stmt.results


def rewritten(body: Iterable[Stmt], change: Callable[[Expr], Expr]) -> tuple[Stmt, ...]:
    """The statements with every expression changed, in the order of `expressions`."""
    return tuple(_rewritten(stmt, change) for stmt in body)


def _rewritten(stmt: Stmt, change: Callable[[Expr], Expr]) -> Stmt:
    match stmt:
        case Assign():
            return replace(stmt, expr=change(stmt.expr))
        case Check():
            return Check(change(stmt.condition), stmt.message, tuple(map(change, stmt.shown)))
        case Store():
            return Store(change(stmt.path), change(stmt.value))
        case Loop():
            count, source = change(stmt.count), change(stmt.source)
            inputs = tuple(map(change, stmt.inputs))
            body = rewritten(stmt.body, change)
            results = tuple(map(change, stmt.results))
            return replace(stmt, count=count, source=source, inputs=inputs, body=body, results=results)
