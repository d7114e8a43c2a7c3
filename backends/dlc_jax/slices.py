"""Slices as indices, and groups of them that divide a value: `q, k, v = jnp.split(x, 3, axis=-1)`."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.emit.body import Step, comment_of
from dlc.emit.tree import At, Call, Cut, Expr, Keyword, Num, Seq, Word, size
from dlc.ir.nodes import Op
from dlc.types.dims import Dim
from dlc_jax.sketch import Sketcher

ZERO, ONE = Dim.of(0), Dim.of(1)


def slice_(s: Sketcher, op: Op) -> Expr:
    (name,) = op.inputs
    whole = s.types[name].axes
    items = [part(*each) for each in zip(*bounds(op), whole, strict=True)]
    return s.value(name) if all(item == Cut() for item in items) else at(s.array(name), items)


def at(base: Expr, items: Sequence[Expr]) -> Expr:
    """`x[:, :k]`, or `x[..., :k]` where only the last of several axes is cut."""
    if len(items) > 2 and items[-1] != Cut() and all(item == Cut() for item in items[:-1]):
        return At(base, (Word("..."), items[-1]))
    return At(base, cut(items))


def bounds(op: Op) -> tuple[tuple[Dim, ...], tuple[Dim, ...], tuple[int, ...]]:
    return op.sizes("start"), op.sizes("stop"), op.integers("step")


def entries(op: Op, name: str) -> tuple[int | Dim, ...]:
    value = op.attr(name)
    assert isinstance(value, tuple)
    return value  # type: ignore[return-value]


def part(start: Dim, stop: Dim, step: int, whole: Dim) -> Cut:
    return Cut(
        None if start == Dim.of(0) else place(start, whole),
        None if stop == whole else place(stop, whole),
        None if step == 1 else Num(step, "step"),
    )


def place(value: Dim, whole: Dim) -> Expr:
    """A place counted from the end where that needs no size."""
    back = (value - whole).constant
    return (
        Num(back, "stop") if value.constant is None and back is not None and back < 0 else size(value, "stop")
    )


def cut(items: Sequence[Expr]) -> tuple[Expr, ...]:
    """The items of an index without trailing `:`."""
    kept = list(items)
    while len(kept) > 1 and kept[-1] == Cut():
        kept.pop()
    return tuple(kept)


# Groups


def partition(s: Sketcher, op: Op) -> Step | None:
    """All slices that divide a value along an axis as one step, if `op` is the first of such a group.
    Where each is then freed of that axis, of size 1, the parts are those."""
    name = op.inputs[0]
    parts = [each for each in s.readers[name] if each.op == "slice"]
    axis = _divided(s, parts)
    if axis is None or parts[0] is not op or name in s.host:
        return None
    bare = [_freed(s, each, axis) for each in parts]
    freed = [each for each in bare if each is not None]
    outputs = [each.out for each in (freed if len(freed) == len(parts) else parts)]
    s.skip.update(each.out.name for each in (*parts, *(freed if len(freed) == len(parts) else ())))
    rank = s.types[name].rank
    if len(freed) != len(parts):
        value = _split(s.array(name), [part.out.type.axes[axis] for part in parts], s.axes(axis, rank))
    elif axis == 0:
        value = s.array(name)
    else:
        value = Call(Word("jnp.unstack"), (s.array(name), Keyword("axis", s.axes(axis, rank))))
    group = Op("unpack", (name,), tuple(outputs), span=op.span)
    return Step(
        group, value, tuple(comment_of(each.type) for each in outputs), frozenset(("slice", "reshape"))
    )


def _divided(s: Sketcher, parts: Sequence[Op]) -> int | None:
    """The axis that slices of one value divide without gap or overlap, in order."""
    if len(parts) < 2 or len({s.block[each.out.name] for each in parts}) > 1:
        return None
    whole = s.types[parts[0].inputs[0]].axes
    ranges = [bounds(each) for each in parts]
    changed = {i for a, b, _ in ranges for i in range(len(whole)) if a[i] != ZERO or b[i] != whole[i]}
    if len(changed) != 1 or any(step != 1 for *_, steps in ranges for step in steps):
        return None
    (axis,) = changed
    edges = [ZERO, *(stop[axis] for _, stop, _ in ranges)]
    whole_axis = all(start[axis] == edge for (start, *_), edge in zip(ranges, edges, strict=False))
    return axis if whole_axis and edges[-1] == whole[axis] else None


def _freed(s: Sketcher, part: Op, axis: int) -> Op | None:
    """The only reader of a slice, if it takes the axis of size 1 away."""
    readers = s.readers.get(part.out.name, [])
    axes = part.out.type.axes
    if len(readers) != 1 or readers[0].op != "reshape" or axes[axis] != ONE or part.out.name in s.results:
        return None
    return readers[0] if readers[0].out.type.axes == (*axes[:axis], *axes[axis + 1 :]) else None


def _split(x: Expr, sizes: Sequence[Dim], axis: Expr) -> Expr:
    """`jnp.split` into equal parts, or at places."""
    if len(set(sizes)) == 1:
        where: Expr = Word(str(len(sizes)))
    else:
        places, total = [], ZERO
        for each in sizes[:-1]:
            total = total + each
            places.append(size(total, "stop"))
        where = Seq(tuple(places), "[]")
    return Call(Word("jnp.split"), (x, where, Keyword("axis", axis)))
