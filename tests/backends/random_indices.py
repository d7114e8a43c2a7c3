"""Moves that read and write at computed indices, and what is made of nothing."""

from __future__ import annotations

from random_kinds import (
    added,
    has_axes,
    is_index,
    is_number,
    is_working,
)
from random_text import Body, Type, Var

from dlc.types.dims import Dim

# --- indices ------------------------------------------------------------------------------------------------


def inside(b: Body, index: Var, n: Dim) -> str:
    """An index that is made to lie on an axis of n elements."""
    form = b.rng.randrange(4)
    if form == 0:
        return f"minimum(maximum({index}, 0), {n} - 1)"
    if form == 1:
        return f"clamp({index}, 0, {n - 1})"
    return f"{index} % ({n})" if not n.is_constant else f"{index} % {n}"


def gathered(b: Body) -> bool:
    x = b.pick(has_axes)
    if x is None:
        return False
    i = b.rng.randrange(x.rank)
    n = x.axes[i]
    axis = b.rng.choice([i, i - x.rank])
    kind = b.rng.randrange(4)
    if kind == 0:
        text = b.rng.choice(["arange({n})", "{n} - 1 - arange({n})", "arange({n}) // 2"]).format(n=f"({n})")
        b.made(f"take({x}, {text}, axis={axis})", x.type)
        return True
    if kind == 1 and x.type.exact and is_number(x.type):
        b.made(f"take_along({x}, argsort({x}, axis={i}), {axis})", x.type) if "(" not in str(x) else None
        return "(" not in str(x)
    index = b.pick(
        lambda t: is_index(t) and t.top < 30 and b.fits(x.type.at([*x.axes[:i], *t.axes, *x.axes[i + 1 :]]))
    )
    if index is None or b.low(n) < 1:
        return False
    b.made(
        f"take({x}, {inside(b, index, n)}, axis={axis})",
        x.type.at([*x.axes[:i], *index.axes, *x.axes[i + 1 :]]),
    )
    return True


def written(b: Body) -> bool:
    """Values put into x along its first axis, or added there."""
    x = b.pick(lambda t: t.rank > 0 and is_number(t) and b.low(t.axes[0]) >= 1)
    index = x and b.pick(lambda t: is_index(t) and t.rank == 1 and t.top < 30)
    if not x or not index:
        return False
    values = b.pick(lambda t: t.dtype == x.type.dtype and t.axes == (*index.axes, *x.axes[1:]))
    if values is None:
        fill = "ones" if b.chance(0.5) else "zeros"
        dtype = "" if x.type.dtype == "float" else f", dtype={x.type.dtype}"
        sizes = ", ".join(map(str, (*index.axes, *x.axes[1:])))
        values = Var(f"{fill}([{sizes}]{dtype})", Type(x.type.dtype, (*index.axes, *x.axes[1:]), 1, 0))
    place = inside(b, index, x.axes[0])
    spread = f"({place})[{', '.join([':', *['none'] * (x.rank - 1)])}]" if x.rank > 1 else place
    name = b.rng.choice(["scatter_add", "scatter_add", "scatter_max"])
    top, frac = added(x.type, values.type)
    b.made(
        f"{name}({x}, {spread}, {values}, axis=0)",
        Type(x.type.dtype, x.axes, top + 4, frac, x.type.plain and values.type.plain),
    )
    return True


def segments(b: Body) -> bool:
    x = b.pick(lambda t: t.rank > 0 and is_working(t) and t.plain)
    ids = x and b.pick(lambda t: is_index(t) and t.axes == x.axes[:1] and t.top < 30)
    if not x or not ids:
        return False
    count = b.rng.choice([Dim.of(2), Dim.of(3), *(Dim.symbol(d) for d, low in b.minima.items() if low)])
    place = inside(b, ids, count)
    name = b.rng.choice(["segment_sum", "segment_mean", "segment_softmax", "segment_max", "segment_min"])
    if name == "segment_softmax":
        b.made(f"{name}({x}, {place}, {count})", x.type.rounded())
        return True
    keeps = name in ("segment_sum", "segment_max", "segment_min")
    plain = name in ("segment_sum", "segment_mean")
    type = Type("float", (count, *x.axes[1:]), x.type.top + 4, x.type.frac if keeps else None, plain)
    b.made(f"{name}({x}, {place}, {count})", type)
    return True


def hot(b: Body) -> bool:
    x = b.pick(lambda t: is_index(t) and t.rank < 4)
    if x is None:
        return False
    n = Dim.of(b.rng.choice([0, 1, 2, 3, *map(Dim.symbol, sorted(b.minima))]))
    index = (
        f"{x} % {n}"
        if n == Dim.of(2) or n == Dim.of(3)
        else f"arange({x.axes[0]})"
        if x.rank == 1 and x.axes[0] == n
        else None
    )
    type = Type("i64", (*x.axes, n), 1, 0)
    if index is None or not b.fits(type):
        return False
    b.made(f"one_hot({index}, {n})", type)
    return True


def updated(b: Body) -> bool:
    x = b.pick(lambda t: t.rank > 0 and is_number(t))
    if x is None:
        return False
    i = b.rng.randrange(x.rank)
    part = b.pick(lambda t: t.dtype == x.type.dtype and t.rank == x.rank and all(
        m == n or (j == i and b.low(n - m) >= 0) for j, (m, n) in enumerate(zip(t.axes, x.axes, strict=True))
    ))  # fmt: skip
    index = b.pick(lambda t: is_index(t) and t.rank == 0 and t.top < 30)
    if part is None:
        return False
    room = x.axes[i] - part.axes[i]
    start = f"{index} % ({room + 1})" if index is not None else "0"
    top, frac = added(x.type, part.type)
    b.made(
        f"update_slice({x}, {part}, {start}, axis={i})",
        Type(x.type.dtype, x.axes, top, frac, x.type.plain and part.type.plain),
    )
    return True


def triangle(b: Body) -> bool:
    x = b.pick(lambda t: t.rank >= 2)
    if x is None:
        return False
    diagonal = b.rng.choice(["", ", 1", ", -1", ", diagonal=2"])
    b.made(f"{b.rng.choice(['tril', 'triu'])}({x}{diagonal})", x.type)
    return True


def created(b: Body) -> bool:
    sizes = [
        Dim.of(b.rng.choice([0, 1, 2, 3, *map(Dim.symbol, sorted(b.minima))]))
        for _ in range(b.rng.choice([1, 1, 2]))
    ]
    shape = f"[{', '.join(map(str, sizes))}]"
    n = sizes[0]
    text, dtype, axes = b.rng.choice([
        (f"zeros({shape})", "float", sizes), (f"ones({shape}, dtype=i64)", "i64", sizes), (f"full({shape}, 0.5)", "float", sizes),
        (f"arange({n})", "i64", [n]), (f"arange({n}, dtype=float)", "float", [n]), (f"arange({n} + 3, step=2)", "i64", [(n + 4) // 2]),
        (f"eye({n})", "float", [n, n]), ("tensor([1.5, -0.25, 0.0])", "float", [Dim.of(3)]), ("tensor([2, 0])", "i64", [Dim.of(2)]),
        (f"arange(1, {n} + 1)", "i64", [n]),
    ])  # fmt: skip
    type = Type(dtype, tuple(axes), 3, 2 if dtype == "float" else 0)
    if not b.fits(type):
        return False
    b.made(text, type)
    return True
