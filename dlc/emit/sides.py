"""Choices whose sides say the same: parts of two modules that are applied alike.

if self.bottleneck:                     for block in self.layer1:
    for block in self.layer1:     ->        x = block(x)
        x = block(x)
else: …
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dlc.emit.statements import Assign, If, Loop, Stmt, Target, expressions, reshaped, rewritten, targets
from dlc.emit.tree import Binary, Expr, Ref, Word, transform
from dlc.records import replace


def collapsed(body: Iterable[Stmt]) -> tuple[Stmt, ...]:
    """The statements without choices that make no difference."""
    return tuple(each for stmt in body for each in _collapsed(stmt))


def _collapsed(stmt: Stmt) -> Iterator[Stmt]:
    match stmt:
        case Loop():
            yield replace(stmt, body=collapsed(stmt.body))
        case If():
            then, otherwise = collapsed(stmt.then), collapsed(stmt.otherwise)
            stmt = replace(stmt, then=then, otherwise=otherwise)
            same = then and form_of(then, stmt.results) == form_of(otherwise, stmt.others)
            yield from _one(stmt) if same else (_joined(stmt),)
        case _:
            yield stmt


def _joined(stmt: If) -> If:
    """A choice inside a choice, where all else is nothing, as one: `if self.aux and self.training`."""
    inner = stmt.then[0] if len(stmt.then) == 1 else None
    if not isinstance(inner, If) or _else(stmt) or _else(inner):
        return stmt
    made = dict(zip((Ref(each.name) for each in inner.outputs), inner.results, strict=True))
    if any(each not in made for each in stmt.results):
        return stmt
    results = tuple(made[each] for each in stmt.results if isinstance(each, Ref))
    both = Binary("and", stmt.condition, inner.condition)
    return replace(stmt, condition=both, then=inner.then, results=results)


def _else(stmt: If) -> bool:
    return bool(stmt.otherwise) or any(each is not None for each in stmt.others)


def form_of(body: Iterable[Stmt], results: Iterable[Expr | None]) -> Any:
    """What statements do, free of the names of values."""
    names: dict[str, str] = {}
    found = [_stmt_form(stmt, names) for stmt in body]
    return found, [None if each is None else _named(each, names) for each in results]


def _stmt_form(stmt: Stmt, names: dict[str, str]) -> Any:
    if isinstance(stmt, Loop):
        head = (
            stmt.start,
            stmt.step,
            *(_named(each, names) for each in (stmt.count, stmt.source, *stmt.inputs)),
        )
        _enter(stmt.args, names)
        inner = [_stmt_form(each, names) for each in stmt.body]
        results = [_named(each, names) for each in stmt.results]
        _enter(stmt.outputs, names)
        return head, _worded([inner, results], {stmt.variable: "turn"})
    exprs = tuple(_named(each, names) for each in expressions((stmt,)))
    made = list(targets((stmt,)))
    _enter(made, names)
    return type(stmt).__name__, exprs, tuple(each.dtype for each in made)


def _worded(form: Any, words: Mapping[str, str]) -> Any:
    """A form with the variable of its loop under one name."""
    if isinstance(form, list | tuple):
        return type(form)(_worded(each, words) for each in form)
    if not isinstance(form, Expr):
        return form
    return transform(
        form, lambda node: Word(words[node.text]) if isinstance(node, Word) and node.text in words else node
    )


def _enter(made: Iterable[Target], names: dict[str, str]) -> None:
    for each in made:
        names[each.name] = f"%{len(names)}"


def _named(expr: Expr, names: Mapping[str, str]) -> Expr:
    return transform(
        expr, lambda node: Ref(names[node.value]) if isinstance(node, Ref) and node.value in names else node
    )


def _one(stmt: If) -> Iterator[Stmt]:
    """One side for both. A size that is another one on the other side is not told."""
    pairs = zip(targets(stmt.then), targets(stmt.otherwise), strict=True)
    axes = (
        tuple(a if a == b else Word("_") for a, b in zip(mine.axes, theirs.axes, strict=True))
        if len(mine.axes) == len(theirs.axes)
        else mine.axes
        for mine, theirs in pairs
    )
    body = reshaped(stmt.then, axes)
    made = {each.name for each in targets(body)}
    names: dict[str, str] = {}
    last: list[Stmt] = []
    for result, output in zip(stmt.results, stmt.outputs, strict=True):
        if isinstance(result, Ref) and result.value in made and result.value not in names:
            names[result.value] = output.name
        elif result is not None:
            last.append(Assign((output,), _named(result, names)))
    yield from (_renamed(each, names) for each in body)
    yield from last


def _renamed(stmt: Stmt, names: Mapping[str, str]) -> Stmt:
    """A statement with other names for values."""

    def target(each: Target) -> Target:
        return replace(each, name=names.get(each.name, each.name))

    (stmt,) = rewritten((stmt,), lambda expr: _named(expr, names))
    match stmt:
        case Assign():
            return replace(stmt, targets=tuple(map(target, stmt.targets)))
        case Loop():
            args, outputs = tuple(map(target, stmt.args)), tuple(map(target, stmt.outputs))
            return replace(
                stmt, args=args, outputs=outputs, body=tuple(_renamed(each, names) for each in stmt.body)
            )
        case If():
            sides = (tuple(_renamed(each, names) for each in side) for side in (stmt.then, stmt.otherwise))
            then, otherwise = sides
            return replace(stmt, then=then, otherwise=otherwise, outputs=tuple(map(target, stmt.outputs)))
    return stmt
