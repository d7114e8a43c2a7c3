"""What a loop of the spec goes over: how often it turns, with which numbers, and what has to be there for that.

for i in range(dense, layers)          layers - dense turns, from dense on by 1
for width in widths                    len(widths) turns; what else they read by their number has as many elements"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlc.emit.by_turn import ByTurn
from dlc.emit.turning import (
    Segment,
    terms_of,
)
from dlc.ir.loops import LOOP
from dlc.ir.nodes import Function, Op, Turn, walk
from dlc.types.dims import Dim
from dlc.types.terms import as_dim, evaluate, length_of, said, settled, term
from dlc.types.terms import names as names_in
from dlc.types.traced import Term, TracedInt


def turn_of(op: Op) -> Turn | None:
    """The loop of the spec that an operation is a turn of, or that a loop holds turns of."""
    if op.loops:
        return op.loops[0]
    first = op.region.body[0] if op.op == LOOP and op.region is not None and op.region.body else None
    return first.loops[0] if first is not None and first.loops else None


def long_enough(ops: Sequence[Op], variable: str, count: Term) -> Iterator[Term]:
    """That lists which turns read an element of, and the loop does not go over, have as many as there are turns."""
    wanted: dict[str, int] = {}
    for told in (each for op in walk(ops) for each in terms_of(op)):
        for part in told.parts():
            found = _read_by_turn(part, variable) if isinstance(part, Term) and part.op == "index" else None
            if found is not None:
                wanted[found[0]] = max(found[1], wanted.get(found[0], found[1]))
    for name, more in wanted.items():
        length = length_of(Term("param", (name,)))
        if name not in names_in(count):  # (what the loop goes over, or a part of it)
            yield Term(">=", (length, settled(Term("+", (count, Term("const", (more,)))) if more else count)))


def _read_by_turn(element: Term, variable: str) -> tuple[str, int] | None:
    """The list of which a turn reads an element, and by how much that is ahead of the turn's number."""
    base, place = element.args
    ahead = 0
    match place:
        case Term("+" | "-" as op, (Term("each", (name,)), Term("const", (int(offset),)))) if (
            name == variable
        ):
            ahead = offset if op == "+" else -offset
        case Term("each", (name,)) if name == variable:
            pass
        case _:
            return None
    match base:
        case Term("tuple", (_, Term("star", (Term("param", (name,)),)))):
            return str(name), ahead - 1
        case Term("param", (name,)) | Term("cut", (Term("param", (name,)), *_)):
            return str(name), ahead
    return None


def goes_over_a_list(over: Term) -> bool:
    """Whether a loop goes over the numbers of the elements of a list, or of several."""
    match over:
        case Term("call", ("range", Term("call", ("len" | "min", *_)))):
            return True
        case Term("call", ("range", Term("-", (Term("call", ("len", *_)), Term("const"))))):
            return True
    return False


def _turns_over(length: Term) -> Dim:
    """How many elements a loop goes over: of a list, or all but so many of it."""
    match length:
        case Term("-", (Term() as whole, Term("const", (int(less),)))):
            return Dim.opaque(whole) - less
    return Dim.opaque(length)


Span = tuple[int, int, int]
"""How many turns a loop has, the number of the first, and by how much it goes on."""


def span_of(over: Term, total: int, first: int, static: Mapping[str, Any]) -> Span | None:
    """The numbers of the whole loop's turns; None if the run is not all of it: what a turn does that nothing reads is gone."""
    start, step = Dim.of(0), 1
    stop: Dim | None
    match over:
        case Term("call", ("range", end)) if goes_over_a_list(over):
            stop = _turns_over(end)
        case Term("call", ("range", end)):
            stop = _whole_number(end)
        case Term("call", ("range", begin, end, *by)):
            known = _whole_number(begin), _whole_number(by[0]) if by else Dim.of(1)
            stop = _whole_number(end)
            if known[0] is None or known[1] is None or known[1].constant is None:
                return None
            start, step = known[0], int(known[1].constant)
        case _:
            return None
    if stop is None or not step:
        return None
    length = (stop - start + step - 1) // step if step > 0 else (start - stop - step - 1) // -step
    if _known(length, static) not in (total, None) or _known(start, static) not in (first, None):
        return None
    return _traced(total, length), _traced(first, start), step


def _whole_number(told: Term) -> Dim | None:
    inner = as_dim(told.args[0]) if told.op == "neg" else None
    return as_dim(told) if inner is None else -inner


def _traced(value: int, size: Dim) -> int:
    return TracedInt(value, size) if size.constant is None else value


def telling(turns: Sequence[Segment], turn: Turn, span: Span, static: Mapping[str, Any]) -> ByTurn:
    """What tells the numbers of the turns; the static parameters that say how many there are have their values in it."""
    computed = dict.fromkeys(each for segment in turns for op in segment.ops for each in _computed(op))
    counts = {name: static[name] for name in names_in(turn.over) if isinstance(static.get(name), int)}
    count, start, step = span
    first = said(Dim.of(start))
    last = first + (said(Dim.of(count)) - 1) * step
    return ByTurn([each.index for each in turns], step, first, last, turn.variable, tuple(computed), counts)


def _computed(op: Op) -> Iterator[Term]:
    """What a turn computes of its number, and what it gives to modules by that."""
    yield from op.loops[0].numbers if op.loops else ()
    yield from (told for _, told in op.given if told.holds("turn"))


def _known(length: Dim, static: Mapping[str, Any]) -> int | None:
    """A length at a function's static parameters; None where it speaks of others."""
    try:
        return int(evaluate(length, static))
    except (KeyError, TypeError, ValueError):
        return None


def bounds(function: Function) -> Iterator[Term]:
    """What must hold for a loop that was taken apart where its turns begin to differ: `dense <= layers` for one of `layers - dense`
    turns, which would be none less than none; `1 <= layers` where the first turn stands by itself."""
    for op in walk(function.body):
        count = op.attr("count") if op.op == LOOP else None
        size = said(Dim.of(count)) if isinstance(count, int | Dim) else Dim({})
        taken = Dim({power: -factor for power, factor in size.terms.items() if factor < 0})
        if taken.constant is None or (taken.constant and _is_apart(op, function)):
            yield (
                Term("<=", (term(taken), term(size + taken)))
                if taken.constant is None
                else Term(">=", (term(size + taken), term(taken)))
            )


def _is_apart(loop: Op, function: Function) -> bool:
    """Whether other turns of the spec's loop stand beside it, in this choice or in another."""
    turn, inside = turn_of(loop), set(map(id, walk((loop,))))
    others = (turn_of(op) for op in walk(function.body) if id(op) not in inside)
    return turn is not None and any(each is not None and each.loop == turn.loop for each in others)
