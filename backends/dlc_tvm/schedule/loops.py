"""Writing loops directly, where a schedule's own moves would leave guards or several copies behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import sym, tirx

from dlc_tvm.schedule.nest import constant


def loop(extent: Any, body: Callable[[Any], Any], kind: Any = tirx.ForKind.SERIAL) -> Any:
    """A loop around what `body` makes of its variable; just that, for a loop of one turn."""
    if constant(extent) == 1:
        return body(integer(0))
    var = tirx.Var("i", "int64")
    return tirx.For(var, integer(0), integer(extent), kind, body(var))


def loops(
    extents: Sequence[Any], body: Callable[[list[Any]], Any], kinds: Sequence[Any] | None = None
) -> Any:
    """Loops, one in another."""
    if not extents:
        return body([])
    kind, *rest = kinds or [tirx.ForKind.SERIAL] * len(extents)
    return loop(extents[0], lambda i: loops(extents[1:], lambda inner: body([i, *inner]), rest), kind)


def integer(value: Any) -> Any:
    """A size or an index as a 64-bit expression."""
    value = constant(value) if constant(value) is not None else value
    return tirx.const(value, "int64") if isinstance(value, int) else value


def simple(value: Any) -> Any:
    return sym.Analyzer().simplify(value)


def product(sizes: Sequence[Any]) -> Any:
    return simple(math.prod(sizes, start=integer(1)))


def ceil(size: Any, step: int) -> Any:
    """How many steps cover `size`."""
    return simple(tirx.floordiv(integer(size) + (step - 1), integer(step)))


def decoded(index: Any, sizes: Sequence[Any]) -> list[Any]:
    """An index into a flat array of `sizes`, by axis."""
    found: list[Any] = []
    for i, size in enumerate(sizes):
        place = simple(tirx.floordiv(index, product(sizes[i + 1 :])))
        found.append(simple(tirx.floormod(place, size)) if i else place)
    return found


def start(tile: Any, step: int, size: Any = None) -> Any:
    """Where a tile begins; with `size`, the last one begins early enough to be whole."""
    size = constant(size) if size is not None else None
    if size is None or size % step == 0:
        return simple(tile * integer(step))
    return simple(tirx.min(tile * integer(step), integer(size - step)))
