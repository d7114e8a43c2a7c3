"""Moves that cut, join and reorder axes."""

from __future__ import annotations

from math import prod

from random_kinds import (
    ONE,
    added,
    has_axes,
)
from random_text import Body, Type

from dlc.types.dims import Dim

# --- shapes -------------------------------------------------------------------------------------------------


def plain_size(size: Dim) -> bool:
    """One whose halves and parts are worth asking for: no part of a part."""
    return all(isinstance(atom, str) for atom in size.atoms())


def piece(b: Body, n: Dim) -> tuple[str, Dim | None]:
    """An index of one axis, and what is left of it; None where it is gone."""
    low = b.low(n)
    options: list[tuple[str, Dim | None]] = [(":", n)] * 3
    if plain_size(n):
        options += [("::2", (n + 1) // 2), ("::3", (n + 2) // 3)]
        options += [
            (f":({n}) // 2", n // 2),
            (f"({n}) // 2:", n - n // 2),
            (f"({n}) // 2::2", (n - n // 2 + 1) // 2),
        ]
    for k in range(min(low, 3) + 1):
        options += [(f"{k}:", n - k), (f":{k}", Dim.of(k)), (f":{k}", Dim.of(k))]
        if k:
            options += [(f"-{k}:", Dim.of(k)), (f":-{k}", n - k), (f"-{k}", None), (f"{k - 1}", None)]
            options += [(f"{k}::2", (n - k + 1) // 2), (f"{k - 1}:{k}", ONE)]
            if not n.is_constant:
                options += [(f":{n} - {k}", n - k), (f"{n} - {k}:", Dim.of(k)), (f"{n} - {k}", None)]
    return b.rng.choice(options)


def sliced(b: Body) -> bool:
    x = b.pick(has_axes)
    if x is None:
        return False
    pieces = [piece(b, n) for n in x.axes]
    texts = [text for text, _ in pieces]
    axes = [n for _, n in pieces if n is not None]
    if b.chance(0.25):
        at = b.rng.randrange(len(pieces) + 1)
        texts.insert(at, "none")
        axes.insert(sum(n is not None for _, n in pieces[:at]), ONE)
    if b.chance(0.15):
        while texts and texts[0] == ":":
            texts.pop(0)
        texts.insert(0, "...")
    while len(texts) > 1 and texts[-1] == ":" and "..." not in texts:
        texts.pop()
    type = x.type.at(axes)
    if not b.fits(type):
        return False
    b.made(f"{x}[{', '.join(texts)}]", type)
    return True


def shaped(b: Body) -> bool:
    x = b.pick(has_axes)
    if x is None:
        return False
    axes = list(x.axes)
    kind = b.rng.randrange(6)
    if kind == 0 and len(axes) > 1:
        i = b.rng.randrange(len(axes) - 1)
        new = [*axes[:i], axes[i] * axes[i + 1], *axes[i + 2 :]]
        written = [str(n) for n in new]
        if b.chance(0.4) and all(b.low(n) > 0 for j, n in enumerate(new) if j != i):
            written[i] = "-1"
        b.made(f"reshape({x}, [{', '.join(written)}])", x.type.at(new))
    elif kind == 1:
        sizes = [i for i, n in enumerate(axes) if n.is_constant and n.constant in (2, 4, 6, 9)]
        if not sizes:
            return False
        i = b.rng.choice(sizes)
        whole = int(axes[i].constant or 0)
        part = b.rng.choice([k for k in (2, 3) if whole % k == 0])
        new = [*axes[:i], Dim.of(whole // part), Dim.of(part), *axes[i + 1 :]]
        b.made(f"reshape({x}, [{', '.join(map(str, new))}])", x.type.at(new))
    elif kind == 2:
        b.made(f"flatten({x}, 0)", x.type.at([prod(axes, start=ONE)]))
    elif kind == 3:
        i = b.rng.randrange(len(axes) + 1)
        new = [*axes[:i], ONE, *axes[i:]]
        b.made(f"reshape({x}, [{', '.join(map(str, new))}])", x.type.at(new))
    elif kind == 4 and any(n == ONE for n in axes):
        i = b.rng.choice([i for i, n in enumerate(axes) if n == ONE])
        b.made(
            f"squeeze({x}, {i if b.chance(0.5) else i - len(axes)})", x.type.at([*axes[:i], *axes[i + 1 :]])
        )
    else:
        new = list(axes)
        b.rng.shuffle(new)
        if prod(new, start=ONE) != prod(axes, start=ONE):
            return False
        b.made(f"reshape({x}, [{', '.join(map(str, new))}])", x.type.at(new))
    return True


def ordered(b: Body) -> bool:
    """Axes in another order."""
    x = b.pick(lambda t: t.rank >= 2)
    if x is None:
        return False
    order = list(range(x.rank))
    b.rng.shuffle(order)
    new = [x.axes[i] for i in order]
    kind = b.rng.randrange(4)
    if kind == 0:
        b.made(f"{x}.T", x.type.at([*x.axes[:-2], x.axes[-1], x.axes[-2]]))
    elif kind == 1:
        i, j = b.rng.sample(range(x.rank), 2)
        swapped = list(x.axes)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        b.made(f"transpose({x}, {i}, {j - x.rank})", x.type.at(swapped))
    elif kind == 2:
        b.made(f"permute({x}, {order})", x.type.at(new))
    else:
        letters = [f"a{i}" for i in range(x.rank)]
        right = [letters[i] for i in order]
        if b.chance(0.5):
            i = b.rng.randrange(x.rank - 1)
            right[i : i + 2] = [f"({right[i]} {right[i + 1]})"]
            new[i : i + 2] = [new[i] * new[i + 1]]
        b.made(f'rearrange({x}, "{" ".join(letters)} -> {" ".join(right)}")', x.type.at(new))
    return True


def repeated(b: Body) -> bool:
    x = b.pick(has_axes)
    if x is None:
        return False
    i, k = b.rng.randrange(x.rank), b.rng.choice([0, 1, 2, 3, 2])
    n = x.axes[i]
    kind = b.rng.randrange(6)
    letters = [f"a{j}" for j in range(x.rank)]
    axes = list(x.axes)
    if kind == 0:
        counts = ["1"] * x.rank
        counts[i], axes[i] = str(k), n * k
        text = f"tile({x}, [{', '.join(counts)}])"
    elif kind == 1:
        text = f'repeat({x}, "{" ".join(letters)} -> {" ".join([*letters[:i], "r", *letters[i:]])}", r={k})'
        axes.insert(i, Dim.of(k))
    elif kind == 2:
        front = Dim.of(b.rng.choice([0, 1, 2, *map(Dim.symbol, sorted(b.minima))]))
        axes.insert(0, front)
        stretched = [Dim.of(b.rng.choice([0, 2])) if m == ONE and b.chance(0.5) else m for m in axes]
        axes = [axes[0], *stretched[1:]]
        text = f"broadcast({x}, [{', '.join(map(str, axes))}])"
    elif kind == 3:
        before, after = b.rng.choice([0, 1, 2]), b.rng.choice([0, 1])
        value = "" if x.type.dtype == "bool" else f", value={b.rng.choice([0, 1])}"
        axes[i] = n + before + after
        text = f"pad({x}, {i}, {before}, {after}{value})"
    elif kind == 4 and b.low(n):
        shift = b.rng.randrange(1, b.low(n) + 1)
        text = f"roll({x}, {b.rng.choice([shift, -shift])}, {b.rng.choice([i, i - x.rank])})"
    else:
        text = f"flip({x}, {b.rng.choice([i, i - x.rank])})"
    type = x.type.at(axes)
    if not b.fits(type):
        return False
    b.made(text, type)
    return True


def together(b: Body) -> bool:
    x = b.pick(has_axes)
    if x is None:
        return False
    if b.chance(0.4):
        y = b.pick(lambda t: t.dtype == x.type.dtype and t.axes == x.axes) or x
        i = b.rng.randrange(x.rank + 1)
        top, frac = added(x.type, y.type)
        type = Type(
            x.type.dtype, (*x.axes[:i], Dim.of(2), *x.axes[i:]), top, frac, x.type.plain and y.type.plain
        )
        text = f"stack([{x}, {y}], axis={i})"
    else:
        i = b.rng.randrange(x.rank)

        def beside(t: Type) -> bool:
            return (
                t.dtype == x.type.dtype
                and t.rank == x.rank
                and all(m == n or j == i for j, (m, n) in enumerate(zip(t.axes, x.axes, strict=True)))
            )

        others = [each for _ in range(b.rng.choice([1, 1, 2])) if (each := b.pick(beside))] or [x]
        top = max(each.type.top for each in [x, *others])
        fracs = [each.type.frac for each in [x, *others]]
        frac = None if None in fracs else max(each or 0 for each in fracs)
        axes = list(x.axes)
        axes[i] = sum((each.axes[i] for each in others), x.axes[i])
        type = Type(x.type.dtype, tuple(axes), top, frac, all(each.type.plain for each in [x, *others]))
        text = f"concat([{', '.join(map(str, [x, *others]))}], axis={b.rng.choice([i, i - x.rank])})"
    if not b.fits(type):
        return False
    b.made(text, type)
    return True


def apart(b: Body) -> bool:
    x = b.pick(has_axes)
    if x is None:
        return False
    i = b.rng.randrange(x.rank)
    n = x.axes[i]

    def with_size(size: Dim) -> Type:
        return x.type.at([*x.axes[:i], size, *x.axes[i + 1 :]])

    if n.is_constant and n.constant in (2, 4, 6) and b.chance(0.5):
        b.bind(f"chunk({x}, 2, axis={i})", *[with_size(n // 2)] * 2)
    elif b.low(n) >= 1:
        k = b.rng.randrange(b.low(n) + 1)
        b.bind(f"split({x}, [{k}, {n - k}], axis={i})", with_size(Dim.of(k)), with_size(n - k))
    elif i == 0 and n.is_constant and n.constant in (2, 3):
        b.bind(str(x), *[x.type.at(x.axes[1:])] * int(n.constant or 0))
    else:
        return False
    return True
