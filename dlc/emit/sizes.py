"""Where a function's dims are read: `B, T, _ = x.shape`."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.emit.tree import At, Binary, Dot, Expr, Num, Word
from dlc.ir.nodes import Function
from dlc.records import dataclass
from dlc.types.dim_solve import slope_and_rest
from dlc.types.dims import Dim


@dataclass(frozen=True, slots=True)
class Source:
    """A dim stands in axis `axis` of input number `input`; `size` is that axis in terms of the dim."""

    input: int
    axis: int
    size: Dim


def readable(function: Function) -> Mapping[str, Source]:
    """For each dim that can be read from an input's shape, where: an axis that is the dim alone is
    preferred to one that is linear in it, and an input that is always there to one that may be absent."""
    plain: dict[str, Source] = {}
    linear: dict[str, Source] = {}
    for i, value in sorted(enumerate(function.inputs), key=lambda each: each[1].name in function.optional):
        for j, axis in enumerate(value.type.axes):
            if len(axis.symbols) != 1:
                continue
            (symbol,) = axis.symbols
            if axis == Dim.symbol(symbol):
                plain.setdefault(symbol, Source(i, j, axis))
            elif axis.linear_in(symbol) is not None:
                linear.setdefault(symbol, Source(i, j, axis))
    return {**linear, **plain}


def solved(source: Source, symbol: str, read: Expr) -> Expr:
    """The dim, where `read` is the size of the axis: `(x.shape[1] - 1) // 2` for an axis of `2*n + 1`."""
    factor, rest = slope_and_rest(source.size, symbol)
    if rest:
        read = Binary("-", read, Num(rest)) if rest > 0 else Binary("+", read, Num(-rest))
    return Binary("//", read, Num(factor)) if factor != 1 else read


def shape_of(variable: str, axis: int) -> Expr:
    return At(Dot(Word(variable), "shape"), (Word(str(axis)),))
