"""Ops that a row can't say: what depends on shapes, and what has a shorter form in a common case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from dlc.emit.checks import Check, asked
from dlc.emit.draft import DONE, Say, dim_of
from dlc.emit.forms import (
    ONE,
    ZERO,
    Axes,
    alias,
    alike,
    between,
    call,
    counted_from_end,
    element,
    entries,
    index,
    method,
    moved,
    of_truths,
    parameter,
    partition,
    sizes,
    sliced,
    stackable,
    told,
    unit_matrix,
    vector_product,
    whole_rows,
    words,
)
from dlc.emit.origins import OPEN, expression, size
from dlc.emit.statements import Store
from dlc.emit.tree import At, Binary, Call, Cut, Dot, Expr, Keyword, Num, Path, Seq, Text, Unary, Word
from dlc.ir.nodes import Op
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.terms import said
from dlc_jax import rows
from dlc_jax.drafter import JaxDrafter

# Parameters and constants


def param(d: JaxDrafter, op: Op) -> Expr:
    """Read where it is used; a buffer that is updated is read where the spec reads it."""
    path = op.text("path")
    return Path(path, tensor=True) if path in d.updated else parameter(d, op)


def update(d: JaxDrafter, op: Op) -> Expr:
    d.body.append(Store(Path(op.text("path"), tensor=True), d.tensor(op.inputs[0])))
    return DONE


def require(d: JaxDrafter, op: Op) -> Expr:
    """What must hold: a condition on sizes, or a call of the library's `require`."""
    (name,) = op.inputs
    check = asked(d.value(name), op)
    if name not in d.host:
        message = str(op.attr("message") or "a requirement does not hold")
        check = Check(call("require", d.value(name), Text(message)), "")
    d.body.append(check)
    return DONE


def const(d: JaxDrafter, op: Op) -> Expr:
    """A constant that is no scalar."""
    dtype = d.dtype_of(op.out.name)
    if op.out.type.is_empty:  # a nested list of nothing has neither a shape nor a dtype
        return call("jnp.zeros", Seq(sizes(op.out.type.axes)), d.dtype_word(dtype))
    written = dict(op.given).get("value")
    value = d.constant(op.attr("value"), dtype) if written is None else expression(written)
    return call("jnp.array", value, *d.dtype_argument(dtype))


def cast(d: JaxDrafter, op: Op) -> Expr:
    """`x.astype(dtype)`, but `jnp.arange(n, dtype=dtype)`."""
    (name,) = op.inputs
    source = d.producers.get(name)
    if d.dtype_of(name) == d.dtype_of(op.out.name):
        return alias(d, op, name)
    if source is not None and source.op == "arange" and len(d.readers[name]) == 1:
        return arange(d, Op("arange", (), op.outputs, source.attrs))
    dtype, n = d.dtype_word(op.out.type.dtype), unit_matrix(d, name)
    exact = op.out.type.is_float and d.dtype_of(name) == "bool" and is_factor(d, op.out.name)
    if n is not None:
        eye = call("jnp.eye", size(n), Keyword("dtype", Word("bool") if exact else dtype))
        return call("indicator", eye, dtype) if exact else eye
    x = d.tensor(name)
    return call("indicator", x, dtype) if exact else method(x, "astype", dtype)


# What elements go through as they are, and what makes others of them that XLA knows nothing of.
_MOVES = frozenset(
    {"reshape", "permute", "broadcast", "slice", "concat", "stop_gradient", "flip", "neg", "cast", "take"}
)
_ENDS = frozenset(
    {
        "sum",
        "mean",
        "add",
        "sub",
        "max",
        "min",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "argmax",
        "argmin",
        "where",
    }
)


def is_factor(d: JaxDrafter, name: str) -> bool:
    """Whether a value may become the factor of a product, here or where the function is called."""
    stack, seen = [name], {name}
    while stack:
        value = stack.pop()
        if _goes_on(d, value):
            return True
        for reader in d.readers.get(value, ()):
            if reader.op in _MOVES:
                further = {out.name for out in reader.outputs} - seen
                stack, seen = [*stack, *further], seen | further
            elif reader.op not in _ENDS and not _by_number(d, reader):
                return True
    return False


def _goes_on(d: JaxDrafter, value: str) -> bool:
    """Whether a turn or a function hands the value to others, which may multiply it."""
    is_last = d.function.name == d.program.entry or d.function.kind in ("init", "model")
    handed = d.uses[value] - len(d.readers.get(value, ()))
    return handed > (sum(value == each for _, each in d.function.outputs) if is_last else 0)


def _by_number(d: JaxDrafter, op: Op) -> bool:
    """Whether the other factor is a number: what comes out is no cast any more."""
    return op.op in ("mul", "div") and any(name in d.host for name in op.inputs)


def full(d: JaxDrafter, op: Op) -> Expr:
    return filled(d, op, d.constant(op.attr("value"), d.dtype_of(op.out.name)))


def filled(d: JaxDrafter, op: Op, value: Expr) -> Expr:
    """An array that holds one number everywhere."""
    shape = Seq(sizes(op.out.type.axes))
    dtype = (d.dtype_word(op.out.type.dtype),)
    plain = (
        {"0.0": "jnp.zeros", "1.0": "jnp.ones"}.get(str(float(value.value)))
        if isinstance(value, Num)
        else None
    )
    if plain:
        return call(plain, shape, *dtype)
    return call("jnp.full", shape, value, *dtype)


def arange(d: JaxDrafter, op: Op) -> Expr:
    start, stop, step = (size(dim_of(op.attr(name)), name) for name in ("start", "stop", "step"))
    bounds = (stop,) if start == Num(0, "start") and step == Num(1, "step") else (start, stop)
    by = () if step == Num(1, "step") else (step,)
    dtype = (Keyword("dtype", each) for each in d.dtype_argument(op.out.type.dtype))
    return call("jnp.arange", *bounds, *by, *dtype)


# Shapes


def reshape(d: JaxDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    before, after = d.types[name].axes, op.out.type.axes
    if name in d.host:
        return filled(d, op, d.inline[name])
    if told(before) == told(after):
        return alias(d, op, name)
    added = _new_axes(told(before), told(after))
    if added is not None:
        return At(d.tensor(name), added)
    said = element(d, op) or vector_product(d, op)
    if said is not None:
        return said
    dropped = _dropped_axis(told(before), told(after))
    if dropped is not None:
        return method(d.tensor(name), "squeeze", Word(str(dropped)))
    return method(d.tensor(name), "reshape", *_sizes(before, after))


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
    return index(items)


def _dropped_axis(before: Axes, after: Axes) -> int | None:
    """The axis of size 1 that is no more, where nothing else changes; one of the last two counts from the end."""
    found = (i for i, axis in enumerate(before) if axis == ONE and (*before[:i], *before[i + 1 :]) == after)
    at = next(found, None)
    return at if at is None or not 0 < len(before) - at <= 2 else at - len(before)


def _sizes(before: Axes, after: Axes) -> tuple[Expr, ...]:
    """The new shape, with -1 where that saves reading a size: for the only one that is open. Beside another one that is 0, or may be at
    other settings (`layers - 2`), nothing says what -1 stands for. Rows stay rows: an image of another size is an error then,
    and not a batch of another length."""
    open_ = [i for i, axis in enumerate(after) if axis.constant is None]
    free = open_[0] if len(open_) == 1 and not any(map(_may_be_none, after)) else -1
    if free == 0 and len(before) > len(after) == 2 and before[0] == after[0]:
        free = -1
    return tuple(Word("-1") if i == free else size(axis) for i, axis in enumerate(after))


def _may_be_none(axis: Dim) -> bool:
    low, _ = Facts().bounds(said(axis))
    return axis == ZERO or (low is not None and low < 0)


def permute(d: JaxDrafter, op: Op) -> Expr:
    axes, changed = moved(op)
    rank, x = len(axes), d.tensor(op.inputs[0])
    if not changed:
        return alias(d, op, op.inputs[0])
    if rank == 2:
        return Dot(x, "T")
    if changed == [rank - 2, rank - 1]:
        return Dot(x, "mT")
    if len(changed) == 2:
        return method(x, "swapaxes", *words(changed))
    return method(x, "transpose", *words(axes))


def broadcast(d: JaxDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    if name in d.host:
        return filled(d, op, d.inline[name])
    if told(d.types[name].axes) == told(op.out.type.axes):
        return alias(d, op, name)
    return call("jnp.broadcast_to", d.value(name), Seq(sizes(op.out.type.axes)))


def concat(d: JaxDrafter, op: Op) -> Expr:
    """`jnp.concatenate`, or `jnp.stack` where every part only has the axis for it."""
    axis = op.integer("axis")
    bare = stackable(d, op)
    parts = Seq(tuple(map(d.tensor, bare or op.inputs)), "[]")
    where = () if axis == 0 else (Keyword("axis", d.axis(axis, op.out.type.rank)),)
    return call("jnp.stack" if bare else "jnp.concatenate", parts, *where)


def pad(d: JaxDrafter, op: Op) -> Expr:
    pairs = zip(entries(op, "before"), entries(op, "after"), strict=True)
    widths = Seq(tuple(Seq((size(a, "before"), size(b, "after"))) for a, b in pairs))
    value = d.attribute(op, "value", op.attr("value"))
    rest = (
        ()
        if value == Num(0.0, "value") and str(op.attr("value")) != "-0.0"
        else (Keyword("constant_values", value),)
    )
    return call("jnp.pad", d.tensor(op.inputs[0]), widths, *rest)


# Indices


def divided(x: Expr, parts: Sequence[Dim], axis: int, dim: Expr) -> Expr:
    """`q, k, v = jnp.split(x, 3, axis=-1)`; an array goes apart along its first axis by itself."""
    if not parts:
        return x if axis == 0 else call("jnp.unstack", x, Keyword("axis", dim))
    places = sizes(tuple(accumulate(parts[:-1])), "index")
    where = Word(str(len(parts))) if alike(parts) else Seq(places, "[]")
    return call("jnp.split", x, where, Keyword("axis", dim))


def slice_(d: JaxDrafter, op: Op) -> Expr:
    return DONE if partition(d, op, divided) else sliced(d, op)


def take(d: JaxDrafter, op: Op) -> Expr:
    x, index = op.inputs
    return At(d.tensor(x), ((Cut(),) * op.integer("axis")) + (d.value(index),))


def scatter(d: JaxDrafter, op: Op) -> Expr:
    return _scattered(d, op, "set")


def scatter_add(d: JaxDrafter, op: Op) -> Expr:
    return _scattered(d, op, "add")


def scatter_max(d: JaxDrafter, op: Op) -> Expr:
    return _scattered(d, op, "max")


def _scattered(d: JaxDrafter, op: Op, how: str) -> Expr:
    x, index, values = (d.tensor(name) for name in op.inputs)
    axis = op.attr("axis")
    if rows := whole_rows(d, op):
        return method(At(Dot(x, "at"), ((Cut(),) * op.integer("axis") + (d.tensor(rows),))), how, values)
    places = index if op.out.type.rank == 1 else call("along", index, d.axes(axis, op.out.type.rank))
    return method(At(Dot(x, "at"), (places,)), how, values)


def einsum(d: JaxDrafter, op: Op) -> Expr:
    return call("jnp.einsum", Text(op.text("pattern")), *map(d.tensor, op.inputs))


# Reductions: JAX, as NumPy, makes sums of small integers wider.


def widening(d: JaxDrafter, op: Op) -> Expr:
    plain = d.row(rows.ROWS[op.op], of_truths(d, op))
    dtype = d.dtype(op.out.type.dtype)
    if dtype in ("i64", "bool") or op.out.type.is_float or not isinstance(plain, Call):
        return plain
    return Call(plain.function, (*plain.args, Keyword("dtype", d.dtype_word(dtype))))


def where(d: JaxDrafter, op: Op) -> Expr:
    condition, a, b = op.inputs
    # Two numbers would decide the dtype by themselves.
    first = d.tensor(a) if a in d.host and b in d.host else d.value(a)
    return call(
        "jnp.where", d.tensor(condition) if condition in d.host else d.value(condition), first, d.value(b)
    )


def absolute(d: JaxDrafter, op: Op) -> Expr:
    """The derivative of `jnp.abs` at 0 is 1; of this it is 0."""
    x = d.tensor(op.inputs[0])
    return Binary("*", x, call("jnp.sign", x)) if op.out.type.is_float else call("jnp.abs", x)


# What is never -0.0.
POSITIVE = frozenset({"softmax", "sigmoid", "exp"})


def top_k(d: JaxDrafter, op: Op) -> Expr:
    """`lax.top_k`, or the library's where there may be zeros of both signs."""
    (x,) = op.inputs
    source = d.producers.get(x)
    same = not d.types[x].is_float or (source is not None and source.op in POSITIVE)
    axis, rank = op.integer("axis"), d.types[x].rank
    last = () if axis == rank - 1 else (Keyword("axis", Num(axis)),)
    return call("lax.top_k" if same else "top_k", d.tensor(x), d.attribute(op, "k", op.attr("k")), *last)


def clamp(d: JaxDrafter, op: Op) -> Expr:
    """`jnp.clip` between two bounds. Its derivative at a bound is a half, so floats get the library's `clamp`."""
    low, high = op.attr("min"), op.attr("max")
    x = d.tensor(op.inputs[0])
    if low is None and high is None:
        return alias(d, op, op.inputs[0])
    if op.out.type.is_float:
        return _clamped(d, op, x)
    if low is None or high is None:
        function, bound = ("jnp.maximum", low) if high is None else ("jnp.minimum", high)
        return call(function, x, d.attribute(op, "bound", bound))
    return call("jnp.clip", x, d.attribute(op, "bound", low), d.attribute(op, "bound", high))


def power(d: JaxDrafter, op: Op) -> Expr | None:
    """`x**n`; of integers to powers that are no written numbers the library's."""
    if op.out.type.is_float or op.inputs[1] in d.host:
        return None
    return call("integer_power", *map(d.tensor, op.inputs))


def extremum(d: JaxDrafter, op: Op) -> Expr | None:
    found = between(d, op)
    return None if found is None else call("jnp.clip", d.tensor(found[0]), *map(d.value, found[1:]))


def _clamped(d: JaxDrafter, op: Op, x: Expr) -> Expr:
    bounds = {key: op.attr(key) for key in ("min", "max")}
    if None not in bounds.values():
        return call("clamp", x, *(d.attribute(op, key, value) for key, value in bounds.items()))
    given = [Keyword(key, d.attribute(op, key, value)) for key, value in bounds.items() if value is not None]
    return call("clamp", x, *given)


def resize(d: JaxDrafter, op: Op) -> Expr:
    """`jax.image.resize` for `antialias`, where it means the same, else the library's `interpolate`: of the places that an element is
    made of it reads no others, which may be infinite or nan, and it counts them as PyTorch does."""
    x, axes, mode = d.tensor(op.inputs[0]), op.out.type.axes, op.text("mode")
    if not op.attr("align_corners") and is_whole(op) and op.attr("antialias"):
        name = Text("cubic" if mode == "bicubic" else "linear")
        return call("jax.image.resize", x, Seq(sizes(axes)), name)
    scale = op.attr("scale")
    scales = scale if isinstance(scale, tuple) else (scale,) * (len(axes) - 2)
    steps = Seq(tuple(d.attribute(op, "scale", each) for each in scales))
    keywords = [
        *(() if is_whole(op) else (Keyword("scale", steps),)),
        *(() if mode == "nearest" else (Keyword("mode", Text(mode)),)),
        *((Keyword("align_corners", Word("True")),) if op.attr("align_corners") else ()),
    ]
    return call("interpolate", x, _sizes_of(x, op, scales), *keywords)


def _sizes_of(x: Expr, op: Op, scales: Sequence[Any]) -> Expr:
    """The new sizes; read from what is resized where no function's input tells them, as in the turns of a loop."""
    axes = op.out.type.axes[2:]
    if OPEN not in map(said, axes) or not is_whole(op):
        return Seq(sizes(axes))
    shape = enumerate(scales, start=2)
    return Seq(tuple(Binary("*", Num(int(by)), At(Dot(x, "shape"), (Word(str(k)),))) for k, by in shape))


def is_whole(op: Op) -> bool:
    """Whether the sizes say it all: a scale that is no whole number lays the new elements by itself."""
    scale = op.attr("scale")
    return all(
        each is None or isinstance(each, int) for each in (scale if isinstance(scale, tuple) else (scale,))
    )


def is_resized(op: Op) -> bool:
    """Whether JAX or `interpolate` does it: JAX's own knows no aligned corners, `interpolate` no `antialias`."""
    return not op.attr("antialias") or (is_whole(op) and not op.attr("align_corners"))


def causal_mask(d: JaxDrafter, op: Op) -> Expr | None:
    """`jnp.tri(T, U, U - T, bool)`, with a window without what lies further back, where positions are counted from the end."""
    queries, keys = op.out.type.axes
    if not counted_from_end(d, op):
        return None
    seen = _triangle(queries, keys, keys - queries)
    window = op.attr("window")
    if window is None:
        return seen
    return Binary("&", seen, Unary("~", _triangle(queries, keys, keys - queries - dim_of(window))))


def _triangle(queries: Dim, keys: Dim, diagonal: Dim) -> Expr:
    where = () if diagonal.constant == 0 else (Keyword("k", size(diagonal)),)
    return call("jnp.tri", size(queries), size(keys), *where, Keyword("dtype", Word("bool")))


SAY: Mapping[str, Say] = {
    "param": param,
    "update": update,
    "require": require,
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
    "scatter_max": scatter_max,
    "einsum": einsum,
    "where": where,
    "top_k": top_k,
    "abs": absolute,
    "minimum": extremum,
    "maximum": extremum,
    "pow": power,
    "causal_mask": causal_mask,
    "resize": resize,
    **dict.fromkeys(("sum", "prod", "cumsum", "cumprod"), widening),
}
