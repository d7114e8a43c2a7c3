"""A function in which a loop of the spec has one turn, as the one in which it has more: `Block(d) @ 0` is the loop over `depth` blocks too.

Of one turn nobody can tell what others do. Where another call of the module has more turns, what these do is known; that one turn of them is what is there is
looked at, operation by operation, with what they compute at these settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlc.diagnostics import Span
from dlc.emit.alike import place_of
from dlc.ir.index import at_turn
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op
from dlc.once import once
from dlc.records import replace
from dlc.types.dims import Dim
from dlc.types.terms import evaluate, said


@once
def lengthened(function: Function, *others: Function) -> Function:
    """The function with the loops that others of the same source have, where it is one of these at its settings."""
    if any(op.op == LOOP for op in function.body) or not any(op.loops for op in function.body):
        return function
    found = next((each for each in others if _is_of(function, each)), None)
    if found is None:
        return function
    return replace(
        found,
        name=function.name,
        static=function.static,
        decisions=function.decisions,
        sizes=function.sizes,
        training=function.training,
        modal=function.modal,
    )


def _is_of(short: Function, whole: Function) -> bool:
    """Whether a function is another one at its own settings, with one turn of each loop."""
    if _header(short) != _header(whole):
        return False
    variables = {op.loops[0].loop: (op.loops[0].variable, op.loops[0].index) for op in short.body if op.loops}
    body = list(_one_turn(whole, variables))
    if len(body) != len(short.body):
        return False
    names = {a.name: b.name for a, b in zip(short.inputs, whole.inputs, strict=True)}
    static = {**dict(short.sizes), **dict(short.static)}
    for own, (op, turn) in zip(short.body, body, strict=True):
        if not _alike(own, op, {**static, **turn}) or [names.get(each, each) for each in own.inputs] != [
            *op.inputs
        ]:
            return False
        names |= {a.name: b.name for a, b in zip(own.outputs, op.outputs, strict=True)}
    results = [(name, names.get(value, value)) for name, value in short.outputs]
    return results == _results(whole)


def _header(function: Function) -> Any:
    inputs = [(each.name, each.type.dtype, each.type.rank) for each in function.inputs]
    params = [(each.name, each.kind) for each in function.params]
    return function.entry, function.settings, inputs, params


def _one_turn(
    whole: Function, variables: Mapping[Span, tuple[str, int]]
) -> Iterator[tuple[Op, Mapping[str, int]]]:
    """The operations of a function with one turn of its loops, and what the variable of the loop is in it."""
    now: dict[str, str] = {}
    for op in whole.body:
        place = place_of(op)
        if op.op != LOOP or place not in variables:
            yield op.renamed(now), {}
            continue
        variable, index = variables[place]
        loop = Loop.of(op)
        now |= {each.arg.name: now.get(each.first, each.first) for each in loop.carried}
        for inner in loop.body:
            yield replace(inner.renamed(now), path=at_turn(inner.path, index)), {variable: index}
        now |= {each.out.name: now.get(each.next, each.next) for each in loop.carried}


def _results(whole: Function) -> list[tuple[str, str]]:
    out = {each.out.name: each.next for op in whole.body if op.op == LOOP for each in Loop.of(op).carried}
    return [(name, out.get(value, value)) for name, value in whole.outputs]


def _alike(own: Op, op: Op, static: Mapping[str, Any]) -> bool:
    """Whether an operation is another one at these settings."""
    if own.region is not None or op.region is not None:
        return False
    if (own.op, own.callee, own.path, own.span) != (op.op, op.callee, op.path, op.span):
        return False
    if [name for name, _ in own.attrs] != [name for name, _ in op.attrs] or len(own.outputs) != len(
        op.outputs
    ):
        return False
    given, known = dict(op.given), dict(op.known)
    attrs = all(
        key == "draw" or _at(given.get(key, value), static) == mine
        for (key, mine), (_, value) in zip(own.attrs, op.attrs, strict=True)
    )
    return attrs and all(_at(known.get(name), static) == size.constant for name, size in own.known)


def _at(told: Any, static: Mapping[str, Any]) -> Any:
    """What an expression is at settings; None where these do not tell."""
    value = said(told) if isinstance(told, Dim) else getattr(told, "origin", told)
    try:
        found = evaluate(value, static)
    except (ArithmeticError, KeyError, LookupError, TypeError, ValueError):
        return None
    return found.constant if isinstance(found, Dim) else found


def all_lengthened(functions: Sequence[Function]) -> list[Function]:
    """Functions of one source, those of one turn as those of more; and a loop that is whole in one stands where the spec's does in
    all."""
    loops = [op for each in functions for op in each.body if op.op == LOOP]
    if not loops:
        return list(functions)
    whole = frozenset(op.span for op in loops if place_of(op) == op.span)
    placed = [_placed(each, whole) for each in functions] if whole else functions
    others = tuple({id(each): each for each in placed if any(op.op == LOOP for op in each.body)}.values())
    return [lengthened(each, *others) for each in placed]


@once
def _placed(function: Function, whole: frozenset[Span]) -> Function:
    """A function whose loops stand where those of the spec do, of these."""
    if not any(op.op == LOOP and place_of(op) in whole - {op.span} for op in function.body):
        return function
    body = (
        replace(op, span=place_of(op)) if op.op == LOOP and place_of(op) in whole else op
        for op in function.body
    )
    return replace(function, body=tuple(body))
