"""Moves that go along axes: reductions, places of elements, products."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from random_kinds import (
    ONE,
    has_axes,
    is_number,
    is_working,
    joined,
)
from random_text import Body, Type, Var

from dlc.types.dims import Dim

# --- along axes ---------------------------------------------------------------------------------------------


def along(b: Body, x: Var) -> tuple[str, list[int]]:
    """Some axes, as they are written, and which they are."""
    kind = b.rng.randrange(4)
    if kind == 0 and x.rank > 1:
        found = sorted(b.rng.sample(range(x.rank), 2))
        return f", axis=[{', '.join(str(b.rng.choice([i, i - x.rank])) for i in found)}]", found
    if kind == 1:
        return "", list(range(x.rank))
    i = b.rng.randrange(x.rank)
    return f", axis={b.rng.choice([i, i - x.rank])}", [i]


def reduced(b: Body) -> bool:
    x = b.pick(has_axes)
    if x is None:
        return False
    axis, found = along(b, x)
    one_or_more = all(b.low(x.axes[i]) >= 1 for i in found)
    names = ["all", "any", "sum", "mean"] if x.type.dtype == "bool" else ["sum", "prod", "sum"]
    if is_working(x.type):
        names += ["mean", "mean", "norm"] if x.type.top < 16 else []
        names += ["var", "std", "logsumexp"] if one_or_more and x.type.top < 8 else []
    if is_number(x.type) and one_or_more:
        names += ["max", "min"]
    name = b.rng.choice(names)
    elements = prod(max(b.high(x.axes[i]), 1) for i in found)
    bits = max(elements, 1).bit_length()
    top, frac = x.type.top + bits, x.type.frac
    if name == "prod":
        if x.type.top * elements > 30:
            return False
        top, frac = x.type.top * elements, None if frac is None else frac * elements
    elif name in ("max", "min"):
        top = x.type.top
    elif name in ("mean", "norm", "var", "std", "logsumexp"):
        top, frac = x.type.top * 2 + 2, None
    dtype = x.type.dtype
    if dtype == "bool":
        dtype, top = {"sum": ("i64", 10), "mean": ("float", 1)}.get(name, ("bool", 1))
        frac = None if name == "mean" else 0
    keep = b.chance(0.4)
    axes = [ONE if i in found else n for i, n in enumerate(x.axes) if keep or i not in found]
    b.made(
        f"{name}({x}{axis}{', keepdims=true' if keep else ''})",
        Type(dtype, tuple(axes), top, frac, x.type.plain),
    )
    return True


def accumulated(b: Body) -> bool:
    """What keeps the shape, along an axis."""
    x = b.pick(lambda t: t.rank > 0 and is_number(t))
    if x is None:
        return False
    i = b.rng.randrange(x.rank)
    n = x.axes[i]
    bits = max(b.high(n), 1).bit_length()
    names = {
        "cumsum": (x.type.top + bits, x.type.frac),
        "cumprod": (
            x.type.top * max(b.high(n), 1),
            None if x.type.frac is None else x.type.frac * max(b.high(n), 1),
        ),
    }
    names["sort"] = (x.type.top, x.type.frac)
    if is_working(x.type) and x.type.top < 16:
        names |= {"softmax": (0, None), "log_softmax": (x.type.top + 3, None), "normalize": (0, None)}
        if b.low(n) < 1:
            names.pop("softmax"), names.pop("log_softmax")
    name = b.rng.choice(list(names))
    top, frac = names[name]
    if top > 30:
        return False
    down = ", descending=true" if name == "sort" and b.chance(0.5) else ""
    b.made(
        f"{name}({x}, axis={b.rng.choice([i, i - x.rank])}{down})",
        Type(x.type.dtype, x.axes, top, frac, x.type.plain),
    )
    return True


def places(b: Body) -> bool:
    """Where something is: argmax and the like, of what no rounding changes."""
    x = b.pick(lambda t: t.rank > 0 and is_number(t) and t.exact)
    if x is None:
        return False
    i = b.rng.randrange(x.rank)
    n = x.axes[i]
    if b.low(n) >= 1 and b.chance(0.6):
        name = b.rng.choice(["argmax", "argmin"])
        if b.chance(0.3):
            b.made(
                f"{name}({x}, axis={i}, keepdims=true)",
                Type("i64", (*x.axes[:i], ONE, *x.axes[i + 1 :]), 4, 0),
            )
        else:
            b.made(f"{name}({x}, axis={i - x.rank})", Type("i64", (*x.axes[:i], *x.axes[i + 1 :]), 4, 0))
        return True
    if b.chance(0.5):
        down = ", descending=true" if b.chance(0.5) else ""
        b.made(f"argsort({x}, axis={i}{down})", Type("i64", x.axes, 4, 0))
        return True
    if b.low(n) < 1:
        return False
    k = b.rng.randrange(1, b.low(n) + 1)
    axes = (*x.axes[:i], Dim.of(k), *x.axes[i + 1 :])
    b.bind(f"top_k({x}, {k}, axis={i - x.rank})", x.type.at(axes), Type("i64", axes, 4, 0))
    return True


# --- products -----------------------------------------------------------------------------------------------


def product_type(b: Body, x: Type, y: Type, axes: Sequence[Dim], over: Sequence[Dim]) -> Type:
    bits = prod(max(b.high(n), 1) for n in over).bit_length()
    frac = None if x.frac is None or y.frac is None else x.frac + y.frac
    return Type(x.dtype, tuple(axes), x.top + y.top + bits, frac, x.plain and y.plain)


def multiplied(b: Body) -> bool:
    x = b.pick(lambda t: is_working(t) and t.rank >= 1 and t.plain)
    if x is None:
        return False
    k = x.axes[-1]
    y = (
        b.pick(lambda t: is_working(t) and t.plain and t.rank >= 2 and t.axes[-2] == k)
        if x.rank >= 2
        else None
    )
    if y is not None:
        batch = joined(x.axes[:-2], y.axes[:-2])
        if batch is None:
            return False
        type = product_type(b, x.type, y.type, [*batch, x.axes[-2], y.axes[-1]], [k])
        text = f"{x} @ {y}"
    elif x.rank >= 2 and "(" not in str(x):
        type = product_type(b, x.type, x.type, [*x.axes[:-2], x.axes[-2], x.axes[-2]], [k])
        text = f"{x} @ {x}.T"
    else:
        return False
    if not b.fits(type):
        return False
    b.made(text, type)
    return True


def contracted(b: Body) -> bool:
    """An einsum of two: axes that are equal share a letter, some of them are summed."""
    x = b.pick(lambda t: is_working(t) and t.plain and 1 <= t.rank <= 3)
    y = x and b.pick(lambda t: is_working(t) and t.plain and 1 <= t.rank <= 3)
    if not x or not y:
        return False
    left = [f"a{i}" for i in range(x.rank)]
    right: list[str] = []
    for i, n in enumerate(y.axes):
        same = [letter for letter, m in zip(left, x.axes, strict=True) if m == n and letter not in right]
        right.append(b.rng.choice(same) if same and b.chance(0.7) else f"c{i}")
    sizes = dict(zip([*left, *right], [*x.axes, *y.axes], strict=True))
    kept = [letter for letter in sizes if b.chance(0.6)]
    b.rng.shuffle(kept)
    over = [n for letter, n in sizes.items() if letter not in kept]
    type = product_type(b, x.type, y.type, [sizes[each] for each in kept], over)
    if not b.fits(type):
        return False
    b.made(f'einsum({x}, {y}, "{" ".join(left)}, {" ".join(right)} -> {" ".join(kept)}")', type)
    return True
