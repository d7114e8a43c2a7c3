"""Statements of a draft: what a function does, as trees, before values have variables and parts have places."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dlc.emit.checks import Check
from dlc.emit.tree import Expr, Word, walk
from dlc.ir.nodes import Function
from dlc.records import dataclass, field, replace

NOWHERE = Word("")
HELD = "list"
"""The dtype of what is a list of tensors."""


@dataclass(frozen=True, slots=True)
class Target:
    """A value that a statement computes; `axes` are its sizes, for the comment behind it."""

    name: str
    dtype: str
    axes: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Assign:
    """`layer` is the same as a layer for a chain of layers, if there is one; it would be applied to `through`.
    A value without a name of its own in the spec (`temporary`) may be nested where it is used."""

    targets: tuple[Target, ...]
    expr: Expr
    temporary: bool = False
    layer: Expr | None = None
    through: str = ""
    pattern: str = ""
    """How the targets stand to the left of `=`, where not as a list: `{}, ({}, {})`."""
    note: str = field(default="", compare=False)
    """What the spec says of it in a comment."""


@dataclass(frozen=True, slots=True)
class Loop:
    """`args` are the carried values at the start of a turn, `inputs` before the first, `results` after one,
    `outputs` after the last. `variable` and `source` are what the loop runs over, once paths are settled; `slices` are the
    values that the loop's variables are, where it runs over tensors. `kept` lists gain an item at each turn.
    A backend may have more `results` than `args`: what it keeps of every turn. `turns` is the number that `count` says, where
    that is a number."""

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
    slices: tuple[Target, ...] = ()
    kept: tuple[tuple[Target, Expr], ...] = ()
    turns: int | None = None
    recompute: bool = False
    """Whether a turn is computed again on the way back, instead of kept."""
    numbers: Expr = NOWHERE
    """What its number goes over, where static parameters say where that begins."""
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class If:
    """`outputs` are `results` where `condition` holds, else `others`; None for a value that is not there then."""

    condition: Expr
    then: tuple[Stmt, ...]
    results: tuple[Expr | None, ...]
    otherwise: tuple[Stmt, ...]
    others: tuple[Expr | None, ...]
    outputs: tuple[Target, ...]
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Store:
    """A buffer's new value."""

    path: Expr
    value: Expr
    note: str = field(default="", compare=False)


Stmt = Assign | Loop | If | Check | Store


@dataclass(frozen=True, slots=True)
class Draft:
    """A function as statements. `needs` is what it is passed besides its operands: dims that no input has,
    what the backend's leaves ask for. `roles` are telling names of operands that values become: `q` of an
    attention. `results` may go on after those of the `outputs`, with what a backend gives besides. Where the order of draws matters, `draws` are
    the values of several operations that draw."""

    function: Function
    inputs: tuple[Target, ...]
    body: tuple[Stmt, ...]
    results: tuple[Expr, ...]
    outputs: tuple[Target, ...] = ()
    needs: frozenset[str] = frozenset()
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    draws: frozenset[str] = frozenset()

    def expressions(self) -> Iterator[Expr]:
        """Every expression, in order."""
        yield from expressions(self.body)
        yield from self.results

    def nodes(self) -> Iterator[Expr]:
        """Every node of every expression."""
        return (node for expr in self.expressions() for node in walk(expr))

    def statements(self) -> Iterator[Stmt]:
        """Every statement, those inside of others too."""
        return statements(self.body)

    def targets(self) -> Iterator[Target]:
        """Every value with its shape, in order."""
        yield from self.inputs
        yield from targets(self.body)
        yield from self.outputs

    def rewritten(self, change: Callable[[Expr], Expr]) -> Draft:
        """The draft with every expression changed, in the order of `expressions`."""
        body = rewritten(self.body, change)
        return replace(self, body=body, results=tuple(map(change, self.results)))

    @property
    def computation(self) -> Any:
        """What is computed: equal for drafts that differ in the shapes of their values alone."""
        plain = self.reshaped(itertools.repeat(()))
        return plain.inputs, plain.body, plain.results, plain.needs

    def reshaped(self, shapes: Iterator[tuple[Expr, ...]]) -> Draft:
        """The draft with the axes of its values replaced, in the order of `targets`."""
        inputs = _with_axes(self.inputs, shapes)
        body = reshaped(self.body, shapes)
        return replace(self, inputs=inputs, body=body, outputs=_with_axes(self.outputs, shapes))


def statements(body: Iterable[Stmt]) -> Iterator[Stmt]:
    for stmt in body:
        yield stmt
        match stmt:
            case Loop():
                yield from statements(stmt.body)
            case If():
                yield from statements((*stmt.then, *stmt.otherwise))


def expressions(body: Iterable[Stmt]) -> Iterator[Expr]:
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
                yield stmt.numbers
                yield from stmt.inputs
                yield from expressions(stmt.body)
                yield from stmt.results
                yield from (item for _, item in stmt.kept)
            case If():
                yield stmt.condition
                for body, results in ((stmt.then, stmt.results), (stmt.otherwise, stmt.others)):
                    yield from expressions(body)
                    yield from (each for each in results if each is not None)


def rewritten(body: Iterable[Stmt], change: Callable[[Expr], Expr]) -> tuple[Stmt, ...]:
    """The statements with every expression changed, in the order of `expressions`."""
    return tuple(_rewritten(stmt, change) for stmt in body)


def _rewritten(stmt: Stmt, change: Callable[[Expr], Expr]) -> Stmt:
    match stmt:
        case Assign():
            return replace(stmt, expr=change(stmt.expr))
        case Check():
            return replace(stmt, condition=change(stmt.condition), shown=tuple(map(change, stmt.shown)))
        case Store():
            return Store(change(stmt.path), change(stmt.value), stmt.note)
        case Loop():
            count, source, numbers = map(change, (stmt.count, stmt.source, stmt.numbers))
            inputs = tuple(map(change, stmt.inputs))
            body = rewritten(stmt.body, change)
            results = tuple(map(change, stmt.results))
            kept = tuple((held, change(item)) for held, item in stmt.kept)
            return replace(
                stmt,
                count=count,
                source=source,
                numbers=numbers,
                inputs=inputs,
                body=body,
                results=results,
                kept=kept,
            )
        case If():
            condition = change(stmt.condition)
            then, done = rewritten(stmt.then, change), _changed(stmt.results, change)
            otherwise, others = rewritten(stmt.otherwise, change), _changed(stmt.others, change)
            return If(condition, then, done, otherwise, others, stmt.outputs, stmt.note)


def _changed(results: Iterable[Expr | None], change: Callable[[Expr], Expr]) -> tuple[Expr | None, ...]:
    return tuple(None if each is None else change(each) for each in results)


def targets(body: Iterable[Stmt]) -> Iterator[Target]:
    """Every value that the statements compute or carry."""
    for stmt in body:
        match stmt:
            case Assign():
                yield from stmt.targets
            case Loop():
                yield from (*stmt.args, *stmt.slices, *stmt.outputs)
                yield from targets(stmt.body)
            case If():
                yield from targets(stmt.then)
                yield from targets(stmt.otherwise)
                yield from stmt.outputs


def _with_axes(values: Iterable[Target], shapes: Iterator[tuple[Expr, ...]]) -> tuple[Target, ...]:
    return tuple(replace(each, axes=next(shapes)) for each in values)


def reshaped(body: Iterable[Stmt], shapes: Iterator[tuple[Expr, ...]]) -> tuple[Stmt, ...]:
    """The statements with the axes of their values replaced, in the order of `targets`."""
    done: list[Stmt] = []
    for stmt in body:
        match stmt:
            case Assign():
                stmt = replace(stmt, targets=_with_axes(stmt.targets, shapes))
            case Loop():
                args, slices = _with_axes(stmt.args, shapes), _with_axes(stmt.slices, shapes)
                outputs = _with_axes(stmt.outputs, shapes)
                body = reshaped(stmt.body, shapes)
                stmt = replace(stmt, args=args, slices=slices, outputs=outputs, body=body)
            case If():
                then, otherwise = reshaped(stmt.then, shapes), reshaped(stmt.otherwise, shapes)
                stmt = replace(stmt, then=then, otherwise=otherwise, outputs=_with_axes(stmt.outputs, shapes))
        done.append(stmt)
    return tuple(done)


def outline(body: Iterable[Stmt]) -> tuple[object, ...]:
    """The statements' kinds and how many results each has: what drafts share that differ only in their
    expressions."""
    found: list[object] = []
    for stmt in body:
        match stmt:
            case Assign():
                found.append((len(stmt.targets), tuple(each.dtype for each in stmt.targets)))
            case Loop():
                found.append((stmt.start, stmt.step, len(stmt.args), len(stmt.kept), outline(stmt.body)))
            case If():
                there = tuple(each is not None for each in (*stmt.results, *stmt.others))
                found.append((outline(stmt.then), outline(stmt.otherwise), there))
            case _:
                found.append(type(stmt).__name__ + getattr(stmt, "message", ""))
    return tuple(found)


def absent(body: Iterable[Stmt]) -> set[str]:
    """The values that may not be there."""
    found: set[str] = set()
    for stmt in body:
        if isinstance(stmt, If):
            sides = zip(stmt.outputs, stmt.results, stmt.others, strict=True)
            found |= {target.name for target, a, b in sides if a is None or b is None}
            found |= absent(stmt.then) | absent(stmt.otherwise)
    return found
