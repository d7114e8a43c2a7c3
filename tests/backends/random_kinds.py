"""Kinds of values that moves of a random program ask for, and what is known of two together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from random_text import Body, Type, Var

from dlc.types.dims import Dim

Move = Callable[[Body], bool]
"""Goes on with a body, or says that it can't here."""

ONE = Dim.of(1)


def is_float(type: Type) -> bool:
    return type.is_float


def is_working(type: Type) -> bool:
    return type.dtype == "float"


def is_number(type: Type) -> bool:
    return type.dtype != "bool"


def is_bool(type: Type) -> bool:
    return type.dtype == "bool"


def is_index(type: Type) -> bool:
    return type.dtype == "i64"


def has_axes(type: Type) -> bool:
    return type.rank > 0


def joined(a: Sequence[Dim], c: Sequence[Dim]) -> tuple[Dim, ...] | None:
    """The shape that two broadcast to, if they do for all sizes."""
    rank = max(len(a), len(c))
    left, right = ((ONE,) * (rank - len(x)) + tuple(x) for x in (a, c))
    if not all(m in (n, ONE) or n == ONE for m, n in zip(left, right, strict=True)):
        return None
    return tuple(n if m == ONE else m for m, n in zip(left, right, strict=True))


def partner(b: Body, x: Var, wanted: Callable[[Type], bool]) -> Var | None:
    """Something that broadcasts with x."""
    return b.pick(lambda t: wanted(t) and (axes := joined(x.axes, t.axes)) is not None and b.fits(t.at(axes)))


def anything(type: Type) -> bool:
    return True


def pair(
    b: Body, wanted: Callable[[Type], bool], other: Callable[[Type], bool] = anything
) -> tuple[Var, Var, tuple[Dim, ...]] | None:
    """Two values of one dtype, and the shape that they broadcast to."""
    x = b.pick(wanted)
    y = x and partner(b, x, lambda t: t.dtype == x.type.dtype and other(t))
    axes = joined(x.axes, y.axes) if x and y else None
    return (x, y, axes) if x and y and axes is not None else None


def added(x: Type, y: Type) -> tuple[int, int | None]:
    return max(x.top, y.top) + 1, None if x.frac is None or y.frac is None else max(x.frac, y.frac)
