"""Choices whose sides say the same: parts of two modules that are applied alike, calls that pass on what may be absent.

if self.bottleneck:                     for block in self.layer1:
    for block in self.layer1:     ->        x = block(x)
        x = block(x)
else: …
if keep is not None:
    y = self.rnn(x, keep)         ->    y = self.rnn(x, keep)
else:
    y = self.rnn(x)
if h is not None:
    y, (h, c) = self.lstm(x, (h, c))        ->    y, (h, c) = self.lstm(x, (h, c) if h is not None else None)
else:
    y, (h, c) = self.lstm(x)
if self.causal:
    y = attend(q, k, v, is_causal=True)     ->    y = attend(q, k, v, is_causal=self.causal)
else:
    y = attend(q, k, v)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from dlc.emit.statements import Assign, If, Loop, Stmt, Target, expressions, reshaped, rewritten, targets
from dlc.emit.tree import Binary, Call, Conditional, Expr, Heavy, Keyword, Path, Ref, Seq, Word, transform
from dlc.records import replace

Side = tuple[tuple[Stmt, ...], tuple[Expr | None, ...]]
SWITCHES = frozenset(("is_causal",))
"""Arguments of foreign functions that are False where they are not given."""


def collapsed(body: Iterable[Stmt]) -> tuple[Stmt, ...]:
    """The statements without choices that make no difference."""
    absent: set[tuple[Expr, str]] = set()
    return tuple(each for stmt in body for each in _collapsed(stmt, absent))


def _collapsed(stmt: Stmt, absent: set[tuple[Expr, str]]) -> Iterator[Stmt]:
    """`absent` are the values before that are None where a condition does not hold."""
    match stmt:
        case Loop():
            yield replace(stmt, body=collapsed(stmt.body))
        case If():
            then, otherwise = collapsed(stmt.then), collapsed(stmt.otherwise)
            stmt = _switched(_present_first(replace(stmt, then=then, otherwise=otherwise)))
            others = zip(stmt.outputs, stmt.others, strict=True)
            absent |= {(stmt.condition, out.name) for out, other in others if other is None}
            same = stmt.then and _without(stmt, absent) == form_of(stmt.otherwise, stmt.others)
            yield from _one(_with_pairs(stmt, absent)) if same else (_joined(stmt),)
        case _:
            yield stmt


def _present_first(stmt: If) -> If:
    """`if x is not None` for the other way round, where both sides have something to say."""
    match stmt.condition:
        case Binary("is", left, Word("None") as none) if stmt.then and stmt.otherwise:
            condition = Binary("is not", left, none)
            return If(
                condition, stmt.otherwise, stmt.others, stmt.then, stmt.results, stmt.outputs, stmt.note
            )
    return stmt


def _switched(stmt: If) -> If:
    """With the condition as the argument of a call that is switched on where it holds, if all else is the same."""

    def with_switches(side: Iterable[Stmt], results: Iterable[Expr | None], value: Expr | None) -> Side:
        def change(node: Expr) -> Expr:
            if not isinstance(node, Call):
                return node
            args = [arg for arg in node.args if value is not None or not _is_on(arg)]
            if value is not None:
                args = [replace(arg, value=value) if _is_on(arg) else arg for arg in args]
            return Call(node.function, tuple(args))

        done = tuple(None if each is None else transform(each, change) for each in results)
        return rewritten(tuple(side), lambda expr: transform(expr, change)), done

    whole, plain = (stmt.then, stmt.results), with_switches(stmt.then, stmt.results, None)
    if plain == whole or form_of(*plain) != form_of(stmt.otherwise, stmt.others):
        return stmt
    then, results = with_switches(*whole, stmt.condition)
    otherwise = reshaped(then, (each.axes for each in targets(stmt.otherwise)))
    return replace(stmt, then=then, results=results, otherwise=otherwise, others=results)


def _is_on(arg: Expr) -> TypeGuard[Keyword]:
    return isinstance(arg, Keyword) and arg.name in SWITCHES and arg.value == Word("True")


def _without(stmt: If, absent: set[tuple[Expr, str]]) -> Any:
    """The form of the first side, whose calls of ours leave out what is None on the other: there they might as well pass it."""
    lacking = _lacking(stmt, absent)

    def given(arg: Expr) -> bool:
        value = arg.value if isinstance(arg, Keyword) else arg
        return not (isinstance(value, Ref) and value.value in lacking)

    def change(node: Expr) -> Expr:
        match node:
            case Call(Path() | Heavy() | Word() as function, args) if not _is_foreign(function):
                pairs = [arg for arg in args if isinstance(function, Path) and _is_pair(arg, lacking)]
                return Call(function, tuple(arg for arg in args if given(arg) and arg not in pairs))
        return node

    if not lacking:
        return form_of(stmt.then, stmt.results)
    results = (None if each is None else transform(each, change) for each in stmt.results)
    return form_of(rewritten(stmt.then, lambda expr: transform(expr, change)), results)


def _lacking(stmt: If, absent: set[tuple[Expr, str]]) -> set[str]:
    """The values that are None on the second side."""
    lacking = {name for condition, name in absent if condition == stmt.condition}
    match stmt.condition:
        case Binary("is not", Ref(name), Word("None")):
            lacking.add(name)
    return lacking


def _is_pair(arg: Expr, lacking: set[str]) -> TypeGuard[Seq]:
    """Whether it is several values in one argument that are there together or not at all: the states of an LSTM."""
    return isinstance(arg, Seq) and any(isinstance(each, Ref) and each.value in lacking for each in arg.items)


def _with_pairs(stmt: If, absent: set[tuple[Expr, str]]) -> If:
    """With None for such pairs where the first side does not hold."""
    lacking = _lacking(stmt, absent)

    def change(node: Expr) -> Expr:
        match node:
            case Call(Path() as function, args):
                pairs: dict[Expr, Expr] = {
                    arg: Conditional(stmt.condition, arg, Word("None"))
                    for arg in args
                    if _is_pair(arg, lacking)
                }
                return Call(function, tuple(pairs.get(arg, arg) for arg in args))
        return node

    return replace(stmt, then=rewritten(stmt.then, lambda expr: transform(expr, change)))


def _is_foreign(function: Expr) -> bool:
    """Whether it is a function of the library that code is emitted for: what these take, they want."""
    return isinstance(function, Word) and "." in function.text


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
        results = [_named(each, names) for each in (*stmt.results, *(item for _, item in stmt.kept))]
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
