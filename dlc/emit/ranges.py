"""What loops over the parts of a network go over, as Python's `range`."""

from __future__ import annotations

from dlc.emit.origins import size
from dlc.emit.tree import Binary, Call, Expr, Num, Word
from dlc.types.dims import Atom, Dim, sole_atom
from dlc.types.terms import origin_free, said


def over(count: Expr, start: int, step: int) -> Expr:
    """`range` over the indices of a loop."""
    if start == 0 and step == 1:
        return Call(Word("range"), (count,))
    by = () if step == 1 else (Word(str(step)),)
    return Call(Word("range"), (Word(str(start)), _stop(count, start, step), *by))


def numbers(count: int | Dim, start: int, step: int) -> Expr:
    """`range` over the indices of a loop, of which static parameters may say where it begins."""
    if step == 1 and origin_free(start):
        return over(size(count, "count"), start, step)
    bounds = size(start, "index"), size(_end(count, start, step), "index")
    return Call(Word("range"), (*bounds, *(() if step == 1 else (Word(str(step)),))))


def _end(count: int | Dim, start: int, step: int) -> Dim:
    """Where the indices end: as the spec has it where the count is a quotient of that."""
    told = said(Dim.of(count))
    rest = Dim.of(told.terms.get((), 0))
    turns = sole_atom(told - rest)
    if isinstance(turns, Atom) and turns.op == "//" and turns.args[1].constant == abs(step):
        way = turns.args[0] + rest * abs(step) - abs(step) + 1
        # (A number, so that all that is named in it is an argument.)
        return Dim({}).said(said(Dim.of(start)) + (way if step > 0 else -way))
    return Dim.of(start) + Dim.of(count) * step


def _stop(count: Expr, start: int, step: int) -> Expr:
    match count:
        case Num(value):
            stop = start + step * value
            return Word(str(stop)) if origin_free(stop) else Num(stop, count.role)
        case Binary("-", whole, Num(value)) if step == 1 and value == start:
            return whole
    turns = count if step == 1 else Binary("*", Word(str(step)), count)
    return Binary("+", Word(str(start)), turns)
