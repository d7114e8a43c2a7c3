"""Ops on shapes and places, said as a person would: `flatten`, `unflatten`, `transpose`, `x[:, 0]`,
`unbind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.emit.tree import At, Binary, Call, Cut, Dot, Expr, Keyword, Num, Ref, Seq, Word, size
from dlc.ir.nodes import Op, Value
from dlc.types.dims import Dim
from dlc_torch.draft import DONE, Drafter, Say, plain

Axes = tuple[Dim, ...]


def method(base: Expr, name: str, *args: Expr) -> Expr:
    """`base.name(args)`."""
    return Call(Dot(base, name), args)


def words(values: Sequence[int]) -> tuple[Expr, ...]:
    return tuple(Word(str(value)) for value in values)


def alias(d: Drafter, op: Op, name: str) -> Expr:
    """The result is another name for a value."""
    found = d.inline[op.out.name] = d.value(name)
    if name in d.host:
        d.host.add(op.out.name)
    elif isinstance(found, Ref) and d.uses[name] == 1 and not d.temporary(op.out.name):
        d.better[found.value] = op.out.name
    return DONE


# --- reshape ------------------------------------------------------------------------------------------------


def reshape(d: Drafter, op: Op) -> Expr:
    (name,) = op.inputs
    before, after = d.types[name].axes, op.out.type.axes
    if before == after:
        return alias(d, op, name)
    indexed = _indexed(d, name, before, after)
    if indexed is not None:
        return indexed
    x = d.tensor(name)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if name in d.host:
        return filled(d, op, d.inline[name])
    return _change(d, x, start, old, new, len(before)) or method(x, "reshape", *sizes(after))


def _common(a: Axes, b: Axes) -> int:
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    return count


def _change(d: Drafter, x: Expr, at: int, old: Axes, new: Axes, rank: int) -> Expr | None:
    """The change of the axes `old`, which begin at axis `at`, to `new`; None where no method says it."""
    if len(old) >= 2 and len(new) == 1:
        last = at + len(old) - 1
        return method(x, "flatten", *words((at,) if last == rank - 1 else (at, last)))
    if len(old) == 1 and len(new) >= 2 and new[0].constant != 1:
        return method(x, "unflatten", d.axis(at, rank), Seq(sizes(new, "part")))
    if not old:
        return _with_axes(x, at, len(new), rank)
    if not new:
        return method(
            x, "squeeze", *(words((at,)) if len(old) == 1 else (Seq(words(range(at, at + len(old)))),))
        )
    return None


def _with_axes(x: Expr, at: int, count: int, rank: int) -> Expr:
    """`x.unsqueeze(1)`, or `x[:, None, None]` for several new axes."""
    if count == 1:
        return method(x, "unsqueeze", Word("-1" if at == rank and rank else str(at)))
    none: tuple[Expr, ...] = (Word("None"),) * count
    if at == rank and rank > 1:
        return At(x, (Word("..."), *none))
    return At(x, ((Cut(),) * at) + none)


def sizes(axes: Sequence[Dim], role: str = "size") -> tuple[Expr, ...]:
    return tuple(size(axis, role) for axis in axes)


def _indexed(d: Drafter, name: str, before: Axes, after: Axes) -> Expr | None:
    """`x[:, 0]`, where the value is a slice of one element and this takes its axis away."""
    source = d.producers.get(name)
    if source is None or source.op != "slice":
        return None
    start, stop, _ = _bounds(source)
    single = [i for i in range(len(before)) if (stop[i] - start[i]).constant == 1]
    whole = d.types[source.inputs[0]].axes
    single = [i for i in single if whole[i].constant != 1]
    if not single or tuple(axis for i, axis in enumerate(before) if i not in single) != after:
        return None
    items = [
        _place(start[i], whole[i]) if i in single else _cut(d, start[i], stop[i], 1, whole[i])
        for i in range(len(before))
    ]
    return at(d.tensor(source.inputs[0]), items)


def _place(index: Dim, whole: Dim) -> Expr:
    back = (index - whole).constant
    return Word(str(back)) if back is not None and index.constant is None else size(index, "index")


# --- slice --------------------------------------------------------------------------------------------------


def _bounds(op: Op) -> tuple[tuple[Dim, ...], tuple[Dim, ...], tuple[int, ...]]:
    return op.sizes("start"), op.sizes("stop"), op.integers("step")


def _list(op: Op, name: str) -> tuple[int | Dim, ...]:
    value = op.attr(name)
    assert isinstance(value, tuple)
    return value  # type: ignore[return-value]


def slice_(d: Drafter, op: Op) -> Expr:
    (name,) = op.inputs
    whole = d.types[name].axes
    start, stop, step = _bounds(op)
    items = [_cut(d, *each) for each in zip(start, stop, step, whole, strict=True)]
    if all(item == Cut() for item in items):
        return alias(d, op, name)
    return at(d.tensor(name), items)


def at(base: Expr, items: Sequence[Expr]) -> Expr:
    """`x[:, :k]`, or `x[..., :k]` where only the last axis is cut."""
    kept = list(items)
    if len(kept) > 2 and all(item == Cut() for item in kept[:-1]):
        return At(base, (Word("..."), kept[-1]))
    while len(kept) > 1 and kept[-1] == Cut():
        kept.pop()
    return At(base, tuple(kept))


def _cut(d: Drafter, start: Dim, stop: Dim, step: int, whole: Dim) -> Expr:
    return Cut(
        None if start.constant == 0 else _bound(start, whole),
        None if stop == whole else _bound(stop, whole),
        None if step == 1 else Word(str(step)),
    )


def _bound(value: Dim, whole: Dim) -> Expr:
    back = (value - whole).constant
    if value.constant is None and back is not None and back < 0:
        return Num(back, "index")
    return size(value, "index")


def partition(d: Drafter, op: Op) -> bool:
    """Say a group of slices that divides a value along an axis at once: `q, k, v = x.unbind(0)`, `x.chunk(2,
    dim=-1)`, `x.split((3, 5), dim=1)`. `op` is its first slice; False where there is no such group."""
    parts = [each for each in d.readers.get(op.inputs[0], ()) if each.op == "slice"]
    axis = _divided(d, parts)
    if axis is None or parts[0] is not op:
        return False
    rank = d.types[op.inputs[0]].rank
    x = d.tensor(op.inputs[0])
    bare = [_unsqueezed(d, each, axis) for each in parts]
    if all(bare):
        outputs = [each.out for each in bare if each is not None]
        expr = method(x, "unbind", *(() if axis == 0 else (d.axis(axis, rank),)))
    else:
        outputs = [each.out for each in parts]
        expr = _split(d, x, [each.type.axes[axis] for each in outputs], d.axis(axis, rank))
    d.assign(op, expr, outputs)
    d.skip.update(each.name for each in outputs)
    d.skip.update(each.out.name for each in parts)
    return True


def _divided(d: Drafter, parts: list[Op]) -> int | None:
    """The axis that slices of one value divide without gap or overlap, in order."""
    if len(parts) < 2 or len({d.block[part.out.name] for part in parts}) > 1:
        return None
    whole = d.types[parts[0].inputs[0]].axes
    bounds = [_bounds(each) for each in parts]
    cut = {i for s, e, _ in bounds for i in range(len(whole)) if s[i].constant != 0 or e[i] != whole[i]}
    if len(cut) != 1 or any(step != 1 for _, _, steps in bounds for step in steps):
        return None
    (axis,) = cut
    edges = [Dim.of(0), *(e[axis] for _, e, _ in bounds)]
    fits = all(s[axis] == edge for (s, _, _), edge in zip(bounds, edges, strict=False))
    return axis if fits and edges[-1] == whole[axis] else None


def _unsqueezed(d: Drafter, part: Op, axis: int) -> Op | None:
    """The only reader of a slice, if it takes the axis (of size 1) away."""
    readers = d.readers.get(part.out.name, ())
    axes = part.out.type.axes
    if (
        len(readers) != 1
        or d.uses[part.out.name] != 1
        or readers[0].op != "reshape"
        or axes[axis].constant != 1
    ):
        return None
    return readers[0] if readers[0].out.type.axes == (*axes[:axis], *axes[axis + 1 :]) else None


def _split(d: Drafter, x: Expr, parts: Sequence[Dim], axis: Expr) -> Expr:
    if len(set(parts)) == 1:
        return method(x, "chunk", Word(str(len(parts))), Keyword("dim", axis))
    return method(x, "split", Seq(sizes(parts)), Keyword("dim", axis))


def slice_or_part(d: Drafter, op: Op) -> Expr:
    return DONE if partition(d, op) else slice_(d, op)


# --- others -------------------------------------------------------------------------------------------------


def permute(d: Drafter, op: Op) -> Expr:
    (name,) = op.inputs
    axes = op.integers("axes")
    rank = len(axes)
    moved = [i for i, axis in enumerate(axes) if i != axis]
    x = d.tensor(name)
    if not moved:
        return alias(d, op, name)
    if rank == 2:
        return Dot(x, "T")
    if len(moved) == 2:
        return method(x, "transpose", *(words((-2, -1)) if moved == [rank - 2, rank - 1] else words(moved)))
    return method(x, "permute", *words(axes))


def broadcast(d: Drafter, op: Op) -> Expr:
    (name,) = op.inputs
    before, after = d.types[name].axes, op.out.type.axes
    if name in d.host:
        return filled(d, op, d.inline[name])
    if before == after:
        return alias(d, op, name)
    new = len(after) - len(before)
    kept = (
        Word("-1") if i >= new and axis == before[i - new] else size(axis) for i, axis in enumerate(after)
    )
    return method(d.tensor(name), "expand", *kept)


def filled(d: Drafter, op: Op, value: Expr) -> Expr:
    """A tensor that holds one number everywhere: zeros, ones or full."""
    dtype = d.dtype_of(op.out.name)
    shape = sizes(op.out.type.axes)
    if isinstance(value, Num):
        value = Num(plain(value.value, dtype), value.role)
    if isinstance(value, Num) and value.value in (0, 1):
        shape = shape or (Seq(()),)
        return d.create("torch.zeros" if not value.value else "torch.ones", shape, dtype, "f32")
    natural = "f32" if isinstance(value, Num) and isinstance(value.value, float) else ""
    return d.create("torch.full", (Seq(shape), value), dtype, natural)


def full(d: Drafter, op: Op) -> Expr:
    value = op.attr("value")
    assert isinstance(value, int | float)
    return filled(d, op, Num(value))


def concat(d: Drafter, op: Op) -> Expr:
    """`torch.cat`, or `torch.stack` where every part only has the axis for it."""
    axis = op.integer("axis")
    bare = [_before_unsqueeze(d, name, axis) for name in op.inputs]
    dim = Keyword("dim", d.axis(axis, op.out.type.rank))
    if all(bare):
        parts = Seq(tuple(d.tensor(name) for name in bare if name), "[]")
        return Call(Word("torch.stack"), (parts,) if axis == 0 else (parts, dim))
    return Call(
        Word("torch.cat"), (Seq(tuple(map(d.tensor, op.inputs)), "[]"), *(() if axis == 0 else (dim,)))
    )


def _before_unsqueeze(d: Drafter, name: str, axis: int) -> str | None:
    op = d.producers.get(name)
    if op is None or op.op != "reshape" or d.uses[name] != 1:
        return None
    axes = op.out.type.axes
    plain_axes = (*axes[:axis], *axes[axis + 1 :])
    fits = axes[axis].constant == 1 and d.types[op.inputs[0]].axes == plain_axes
    return op.inputs[0] if fits and op.inputs[0] not in d.host else None


def pad(d: Drafter, op: Op) -> Expr:
    value = op.attr("value")
    assert isinstance(value, int | float)
    pairs = list(zip(_list(op, "before"), _list(op, "after"), strict=True))
    return padded(d.tensor(op.inputs[0]), pairs, plain(value, d.dtype_of(op.out.name)))


def padded(x: Expr, pairs: Sequence[tuple[int | Dim, int | Dim]], value: float) -> Expr:
    """`F.pad` lists the last axis first and leaves out leading axes that get nothing."""
    kept = list(pairs)
    while kept and all(Dim.of(each).constant == 0 for each in kept[0]):
        kept.pop(0)
    amounts = tuple(size(each, "padding") for pair in reversed(kept) for each in pair)
    args: list[Expr] = [x, Seq(amounts)]
    if value:
        args.append(Keyword("value", Num(value)))
    return Call(Word("F.pad"), tuple(args))


def arange(d: Drafter, op: Op) -> Expr:
    start, stop, step = (Dim.of(op.attr(name)) for name in ("start", "stop", "step"))  # type: ignore[arg-type]
    bounds = [size(start), size(stop)] if start.constant != 0 or step.constant != 1 else [size(stop)]
    if step.constant != 1:
        bounds.append(size(step, "step"))
    return d.create("torch.arange", bounds, d.dtype_of(op.out.name), "i64")


def take(d: Drafter, op: Op) -> Expr:
    x, index = op.inputs
    axis = op.integer("axis")
    place = _listed(d, index) or d.value(index)
    return At(d.tensor(x), ((Cut(),) * axis) + (place,))


def _listed(d: Drafter, index: str) -> Expr | None:
    """A short constant list of places, as Python writes it."""
    op = d.producers.get(index)
    value = op.attr("value") if op is not None and op.op == "const" else None
    if not isinstance(value, tuple) or len(value) > 16 or any(isinstance(each, tuple) for each in value):
        return None
    return Seq(tuple(Word(str(each)) for each in value), "[]")


def update_slice(d: Drafter, op: Op) -> Expr:
    x, values, start = op.inputs
    axis = op.integer("axis")
    count = size(d.types[values].axes[axis])
    first = d.value(start)
    if start in d.host:
        end = Binary("+", first, count)
        return method(d.tensor(x), "slice_scatter", d.tensor(values), *words((axis,)), first, end)
    places = Binary("+", first, d.create("torch.arange", (count,), "i64", "i64"))
    return method(d.tensor(x), "index_copy", *words((axis,)), places, d.tensor(values))


def top_k(d: Drafter, op: Op) -> Expr:
    """A stable sort: `torch.topk` promises no order among equal elements."""
    (name,) = op.inputs
    axis, rank = op.integer("axis"), d.types[name].rank
    whole = d.types[name]
    ordered, order = (Value(f"{out.name}_sorted", out.type.with_axes(whole.axes)) for out in op.outputs)
    keywords = (
        Keyword("dim", d.axis(axis, rank)),
        Keyword("descending", Word("True")),
        Keyword("stable", Word("True")),
    )
    d.assign(op, method(d.tensor(name), "sort", *keywords), (ordered, order))
    for source, out in zip((ordered, order), op.outputs, strict=True):
        cut = Cut(None, size(out.type.axes[axis], "k"))
        d.types[source.name] = source.type
        items: list[Expr] = [*[Cut()] * axis, cut, *[Cut()] * (rank - axis - 1)]
        d.assign(op, at(d.value(source.name), items), (out,))
    return DONE


SAY: Mapping[str, Say] = {
    "reshape": reshape,
    "slice": slice_or_part,
    "permute": permute,
    "broadcast": broadcast,
    "full": full,
    "concat": concat,
    "pad": pad,
    "arange": arange,
    "take": take,
    "update_slice": update_slice,
    "top_k": top_k,
}
