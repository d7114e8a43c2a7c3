"""Ops that a row can't say: what depends on shapes, and what has a shorter form in a common case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.emit.tree import At, Call, Cut, Dot, Expr, Keyword, Num, Path, Seq, Text, Word, size
from dlc.ir.nodes import Attr, Op
from dlc.types.dims import Dim
from dlc_jax import rows
from dlc_jax.sketch import Say, Sketcher, constant, number
from dlc_jax.slices import at, bounds, cut, entries, part, place, slice_

Axes = tuple[Dim, ...]
ONE = Dim.of(1)


def method(base: Expr, name: str, *args: Expr) -> Expr:
    """`base.name(args)`."""
    return Call(Dot(base, name), args)


def call(name: str, *args: Expr) -> Expr:
    return Call(Word(name), args)


def words(values: Sequence[int]) -> tuple[Expr, ...]:
    return tuple(Word(str(value)) for value in values)


def shape_of(axes: Sequence[Dim], role: str = "size") -> Seq:
    return Seq(tuple(size(axis, role) for axis in axes))


# Parameters and constants


def param(s: Sketcher, op: Op) -> Expr:
    path = op.text("path")
    return s.value(s.buffers[path]) if path in s.buffers else Path(path, tensor=True)


def update(s: Sketcher, op: Op) -> Expr:
    s.buffers[op.text("path")] = op.inputs[0]
    return s.array(op.inputs[0])


def const(s: Sketcher, op: Op) -> Expr:
    """A constant that is no scalar."""
    dtype = op.out.type.dtype
    kind = s.dtype(dtype)
    natural: tuple[Expr, ...] = () if kind in ("i64", "bool") else (s.dtype_word(dtype),)
    return call("jnp.array", _nested(op.attr("value"), kind), *natural)


def _nested(value: Attr, dtype: str) -> Expr:
    if isinstance(value, tuple):
        return Seq(tuple(_nested(each, dtype) for each in value), "[]")
    return constant(value, dtype)


def cast(s: Sketcher, op: Op) -> Expr:
    """`x.astype(dtype)`, but `jnp.arange(n, dtype=dtype)`."""
    (name,) = op.inputs
    source = s.producers.get(name)
    if s.dtype(s.types[name].dtype) == s.dtype(op.out.type.dtype):
        return s.value(name)
    if source is not None and source.op == "arange" and len(s.readers[name]) == 1:
        return arange(s, Op("arange", (), op.outputs, source.attrs))
    return method(s.array(op.inputs[0]), "astype", s.dtype_word(op.out.type.dtype))


def full(s: Sketcher, op: Op) -> Expr:
    return filled(s, op, constant(op.attr("value"), s.dtype(op.out.type.dtype)))


def filled(s: Sketcher, op: Op, value: Expr) -> Expr:
    """An array that holds one number everywhere."""
    shape = shape_of(op.out.type.axes)
    dtype = (s.dtype_word(op.out.type.dtype),)
    if isinstance(value, Num) and value.value in (0, 1):
        return call("jnp.ones" if value.value else "jnp.zeros", shape, *dtype)
    return call("jnp.full", shape, value, *dtype)


def arange(s: Sketcher, op: Op) -> Expr:
    start, stop, step = (size(_dim(op.attr(name)), name) for name in ("start", "stop", "step"))
    bounds = (stop,) if start == Num(0, "start") and step == Num(1, "step") else (start, stop)
    by = () if step == Num(1, "step") else (step,)
    dtype = (Keyword("dtype", each) for each in s.dtype_argument(op.out.type.dtype))
    return call("jnp.arange", *bounds, *by, *dtype)


def _dim(value: Attr) -> Dim | int:
    assert isinstance(value, int | Dim)
    return value


# Shapes


def reshape(s: Sketcher, op: Op) -> Expr:
    (name,) = op.inputs
    before, after = s.types[name].axes, op.out.type.axes
    if name in s.host:
        return filled(s, op, s.host[name])
    if before == after:
        return s.value(name)
    added = _new_axes(before, after)
    if added is not None:
        return At(s.array(name), added)
    return _indexed(s, name, after) or method(s.array(name), "reshape", *_sizes(before, after))


def _new_axes(before: Axes, after: Axes) -> tuple[Expr, ...] | None:
    """`x[:, None]`, where all that changes is new axes of size 1."""
    items: list[Expr] = []
    at = 0
    for axis in after:
        if at < len(before) and axis == before[at]:
            items.append(Cut())
            at += 1
        elif axis == ONE:
            items.append(Word("None"))
        else:
            return None
    if at != len(before):
        return None
    tail = next(i for i, item in enumerate(reversed(items)) if item == Cut()) if before else 0
    if tail and len(before) > 1 and tail + len(before) == len(items):
        return (Word("..."), *items[len(before) :])
    return cut(items)


def _indexed(s: Sketcher, name: str, after: Axes) -> Expr | None:
    """`x[:, 0]`, where the value is a slice of one element and this takes its axis away."""
    source = s.producers.get(name)
    if source is None or source.op != "slice" or source.inputs[0] in s.host:
        return None
    whole, rest = s.types[source.inputs[0]].axes, source.out.type.axes
    single = [i for i, (size, of) in enumerate(zip(rest, whole, strict=True)) if size == ONE != of]
    if not single or tuple(axis for i, axis in enumerate(rest) if i not in single) != after:
        return None
    ranges = zip(*bounds(source), whole, strict=True)
    items = [
        place(start, of) if i in single else part(start, stop, step, of)
        for i, (start, stop, step, of) in enumerate(ranges)
    ]
    return at(s.array(source.inputs[0]), items)


def _sizes(before: Axes, after: Axes) -> tuple[Expr, ...]:
    """The new shape, with -1 where that saves reading sizes: for the only symbolic one, for a product, or
    for all that follows the axes that stay, or the last of the parts that follow them."""
    kept = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    open_ = [i for i, axis in enumerate(after) if axis.constant is None]
    products = [
        i for i in open_ if len(after[i].symbols) > 1 or after[i] != Dim.symbol(next(iter(after[i].symbols)))
    ]
    if len(open_) == 1:
        free = open_[0]
    elif len(products) == 1:
        free = products[0]
    elif not products and (kept == len(after) - 1 or kept == len(before) - 1):
        free = len(after) - 1
    else:
        free = -1
    return tuple(Word("-1") if i == free else size(axis) for i, axis in enumerate(after))


def permute(s: Sketcher, op: Op) -> Expr:
    axes = op.integers("axes")
    moved = [i for i, axis in enumerate(axes) if i != axis]
    rank, x = len(axes), s.array(op.inputs[0])
    if not moved:
        return x
    if rank == 2:
        return Dot(x, "T")
    if moved == [rank - 2, rank - 1]:
        return Dot(x, "mT")
    if len(moved) == 2:
        return method(x, "swapaxes", *words(moved))
    return method(x, "transpose", *words(axes))


def broadcast(s: Sketcher, op: Op) -> Expr:
    (name,) = op.inputs
    if name in s.host:
        return filled(s, op, s.host[name])
    if s.types[name].axes == op.out.type.axes:
        return s.value(name)
    return call("jnp.broadcast_to", s.value(name), shape_of(op.out.type.axes))


def concat(s: Sketcher, op: Op) -> Expr:
    """`jnp.concatenate`, or `jnp.stack` where every part only has the axis for it."""
    axis = op.integer("axis")
    bare = [_before_new_axis(s, name, axis) for name in op.inputs]
    function = "jnp.stack" if all(bare) else "jnp.concatenate"
    parts = Seq(
        tuple(
            s.array(inner or name)
            for inner, name in zip(bare if all(bare) else op.inputs, op.inputs, strict=True)
        ),
        "[]",
    )
    where = () if axis == 0 else (Keyword("axis", s.axes(axis, op.out.type.rank)),)
    return call(function, parts, *where)


def _before_new_axis(s: Sketcher, name: str, axis: int) -> str:
    """What a reshape gave the axis of size 1 to."""
    op = s.producers.get(name)
    if op is None or op.op != "reshape" or op.inputs[0] in s.host:
        return ""
    axes = op.out.type.axes
    return (
        op.inputs[0]
        if axes[axis] == ONE and s.types[op.inputs[0]].axes == (*axes[:axis], *axes[axis + 1 :])
        else ""
    )


def pad(s: Sketcher, op: Op) -> Expr:
    pairs = zip(entries(op, "before"), entries(op, "after"), strict=True)
    widths = Seq(tuple(Seq((size(a, "before"), size(b, "after"))) for a, b in pairs))
    value = number(op.attr("value"))
    rest = () if value == Num(0.0) else (Keyword("constant_values", value),)
    return call("jnp.pad", s.array(op.inputs[0]), widths, *rest)


# Indices


def take(s: Sketcher, op: Op) -> Expr:
    x, index = op.inputs
    return At(s.array(x), ((Cut(),) * op.integer("axis")) + (s.value(index),))


def scatter(s: Sketcher, op: Op) -> Expr:
    return _scattered(s, op, "set")


def scatter_add(s: Sketcher, op: Op) -> Expr:
    return _scattered(s, op, "add")


def _scattered(s: Sketcher, op: Op, how: str) -> Expr:
    x, index, values = (s.array(name) for name in op.inputs)
    axis = op.attr("axis")
    places = index if op.out.type.rank == 1 else call("along", index, s.axes(axis, op.out.type.rank))
    return method(At(Dot(x, "at"), (places,)), how, values)


def einsum(s: Sketcher, op: Op) -> Expr:
    return call("jnp.einsum", Text(op.text("pattern")), *map(s.array, op.inputs))


# Reductions: JAX, as NumPy, makes sums of small integers wider.


def widening(s: Sketcher, op: Op) -> Expr:
    plain = s.row(rows.ROWS[op.op], op)
    dtype = s.dtype(op.out.type.dtype)
    if dtype in ("i64", "bool") or op.out.type.is_float or not isinstance(plain, Call):
        return plain
    return Call(plain.function, (*plain.args, Keyword("dtype", s.dtype_word(dtype))))


def where(s: Sketcher, op: Op) -> Expr:
    condition, a, b = op.inputs
    # Two numbers would decide the dtype by themselves.
    first = s.array(a) if a in s.host and b in s.host else s.value(a)
    return call(
        "jnp.where", s.array(condition) if condition in s.host else s.value(condition), first, s.value(b)
    )


def clamp(s: Sketcher, op: Op) -> Expr:
    """`jnp.clip` between two bounds."""
    low, high = op.attr("min"), op.attr("max")
    x = s.array(op.inputs[0])
    if low is None and high is None:
        return x
    if low is None or high is None:
        function, bound = ("jnp.maximum", low) if high is None else ("jnp.minimum", high)
        return call(function, x, _bound(s, bound))
    return call("jnp.clip", x, _bound(s, low), _bound(s, high))


def _bound(s: Sketcher, value: Attr) -> Expr:
    return size(value, "bound") if isinstance(value, Dim) else number(value, "bound")


SAY: Mapping[str, Say] = {
    "param": param,
    "update": update,
    "const": const,
    "cast": cast,
    "full": full,
    "arange": arange,
    "reshape": reshape,
    "permute": permute,
    "broadcast": broadcast,
    "concat": concat,
    "pad": pad,
    "slice": slice_,
    "take": take,
    "scatter": scatter,
    "scatter_add": scatter_add,
    "einsum": einsum,
    "where": where,
    **dict.fromkeys(("sum", "prod", "cumsum", "cumprod"), widening),
}
