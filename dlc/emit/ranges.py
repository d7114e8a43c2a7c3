"""What loops over the parts of a network go over, as Python's `range`."""

from __future__ import annotations

from dlc.emit.origins import size
from dlc.emit.tree import Binary, Call, Expr, Num, Word
from dlc.types.dims import Dim
from dlc.types.terms import origin_free


def over(count: Expr, start: int, step: int) -> Expr:
    """`range` over the indices of a loop."""
    if start == 0 and step == 1:
        return Call(Word("range"), (count,))
    by = () if step == 1 else (Word(str(step)),)
    return Call(Word("range"), (Word(str(start)), _stop(count, start, step), *by))


def numbers(count: int | Dim, start: int, step: int) -> Expr:
    """`range` over the indices of a loop, of which static parameters may say where it begins."""
    if origin_free(start):
        return over(size(count, "count"), start, step)
    bounds = size(start, "index"), size(Dim.of(start) + Dim.of(count) * step, "index")
    return Call(Word("range"), (*bounds, *(() if step == 1 else (Word(str(step)),))))


def _stop(count: Expr, start: int, step: int) -> Expr:
    match count:
        case Num(value):
            stop = start + step * value
            return Word(str(stop)) if origin_free(stop) else Num(stop, count.role)
        case Binary("-", whole, Num(value)) if step == 1 and value == start:
            return whole
    turns = count if step == 1 else Binary("*", Word(str(step)), count)
    return Binary("+", Word(str(start)), turns)
