"""Ops on shapes and places, said as a person would: `flatten`, `unflatten`, `transpose`, `x[:, 0]`,
`unbind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.emit.draft import DONE, Say
from dlc.emit.forms import (
    Axes,
    alias,
    alike,
    at,
    element,
    entries,
    list_kept,
    listed,
    method,
    moved,
    partition,
    sizes,
    sliced,
    stackable,
    told,
    vector_product,
    words,
)
from dlc.emit.origins import size
from dlc.emit.statements import Assign, Target
from dlc.emit.tree import At, Binary, Call, Conditional, Cut, Dot, Expr, Keyword, Num, Seq, Word
from dlc.ir.nodes import Op, Value
from dlc.passes.held_numbers import LARGEST
from dlc.types.dims import Dim
from dlc.types.tensor import FLOATS
from dlc_torch.drafter import TorchDrafter


def reshape(d: TorchDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    before, after = d.types[name].axes, op.out.type.axes
    if told(before) == told(after):
        return alias(d, op, name)
    said = element(d, op) or vector_product(d, op)
    if said is not None:
        return said
    x = d.tensor(name)
    start = _common(told(before), told(after))
    end = _common(told(before[start:][::-1]), told(after[start:][::-1]))
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if name in d.host:
        return filled(d, op, d.inline[name])
    # Of nothing any axes can become any others: what is left between equal ones need not be as many elements.
    empty = any(each.constant == 0 for each in (*before, *after))
    if not empty and start == 0 and len(old) == 1 and (parted := _parted_further(d, name, new)) is not None:
        return parted
    changed = None if empty else _change(d, x, start, old, new, len(before))
    return changed or method(x, "reshape", *sizes(after))


def _parted_further(d: TorchDrafter, name: str, new: Axes) -> Expr | None:
    """`x.unflatten(0, (B, T, k))` where `x.unflatten(0, (B * T, k))` is made for nothing else than to have its first axis in parts."""
    match last_made(d, name):
        case Call(Dot(x, "unflatten"), (Num(0) as first, Seq(parts))):
            taken_back(d, name)
            return method(x, "unflatten", first, Seq((*sizes(new, "part"), *parts[1:])))
    return None


def last_made(d: TorchDrafter, name: str) -> Expr | None:
    """What a temporary is, which the last statement makes and nothing else will read."""
    match d.body[-1:]:
        case [Assign(targets=(Target(made),), temporary=True, expr=expr, note="")] if (
            made == name and d.uses[name] == 1
        ):
            return expr
    return None


def taken_back(d: TorchDrafter, name: str) -> Expr | None:
    """The same, without the statement."""
    expr = last_made(d, name)
    if expr is not None:
        d.body.pop()
    return expr


def _common(a: Axes, b: Axes) -> int:
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    return count


def _change(d: TorchDrafter, x: Expr, at: int, old: Axes, new: Axes, rank: int) -> Expr | None:
    """The change of the axes `old`, which begin at axis `at`, to `new`; None where no method says it."""
    if len(old) >= 2 and len(new) == 1:
        last = at + len(old) - 1
        return method(x, "flatten", *words((at,) if last == rank - 1 else (at, last)))
    if len(old) == 1 and len(new) >= 2 and told(new)[0].constant != 1:
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


# --- others -------------------------------------------------------------------------------------------------


def divided(x: Expr, parts: Sequence[Dim], axis: int, dim: Expr) -> Expr:
    """`x.unbind(0)`, `x.chunk(2, dim=-1)`, `x.split((3, 5), dim=1)`."""
    if not parts:
        return method(x, "unbind", *(() if axis == 0 else (dim,)))
    if alike(parts):
        return method(x, "chunk", Word(str(len(parts))), Keyword("dim", dim))
    return method(x, "split", Seq(sizes(parts)), Keyword("dim", dim))


def slice_(d: TorchDrafter, op: Op) -> Expr:
    return DONE if partition(d, op, divided) else sliced(d, op)


def permute(d: TorchDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    axes, changed = moved(op)
    rank = len(axes)
    x = d.tensor(name)
    if not changed:
        return alias(d, op, name)
    if rank == 2:
        return Dot(x, "T")
    if len(changed) == 2:
        last = changed == [rank - 2, rank - 1]
        return method(x, "transpose", *(words((-2, -1)) if last else words(changed)))
    return method(x, "permute", *words(axes))


def broadcast(d: TorchDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    before, after = d.types[name].axes, op.out.type.axes
    if name in d.host:
        return filled(d, op, d.inline[name])
    if told(before) == told(after):
        return alias(d, op, name)
    new = len(after) - len(before)
    same = [i >= new and told((axis,)) == told((before[i - new],)) for i, axis in enumerate(after)]
    kept = (Word("-1") if same[i] else size(axis) for i, axis in enumerate(after))
    return method(d.tensor(name), "expand", *kept)


def filled(d: TorchDrafter, op: Op, value: Expr) -> Expr:
    """A tensor that holds one number everywhere: zeros, ones or full; where the op has an operand, in its dtype."""
    dtype = d.dtype_of(op.out.name)
    shape = sizes(op.out.type.axes)
    if isinstance(value, Num):
        value = d.constant(value.value, dtype, value.role)
    plain = {"0.0": "zeros", "1.0": "ones"}.get(str(float(value.value))) if isinstance(value, Num) else None
    if op.inputs:
        d.better[op.out.name] = op.out.name
        if overflows(value):  # `new_full` refuses such a number in f16, and in f32 it is none; a cast rounds
            made = Call(Word("torch.full"), (Seq(shape), value))
            return method(made, "to", d.tensor(op.inputs[0]))
        whole = (shape or (Seq(()),)) if plain else (Seq(shape), value)
        return method(d.tensor(op.inputs[0]), f"new_{plain or 'full'}", *whole)
    if plain:
        return d.create(f"torch.{plain}", shape or (Seq(()),), dtype, "f32")
    natural = "f32" if isinstance(value, Num) and isinstance(value.value, float) else ""
    return d.create("torch.full", (Seq(shape), value), dtype, natural)


def overflows(value: Expr) -> bool:
    """Whether a number is beyond those of f16, which methods that take it as one refuse there."""
    number = value.value if isinstance(value, Num) else 0.0
    return isinstance(number, float) and LARGEST < abs(number) < float("inf")


def full(d: TorchDrafter, op: Op) -> Expr:
    value = op.attr("value")
    assert isinstance(value, int | float)
    return filled(d, op, Num(value))


def concat(d: TorchDrafter, op: Op) -> Expr:
    """`torch.cat`, or `torch.stack` where every part only has the axis for it."""
    axis = op.integer("axis")
    dim = Keyword("dim", d.axis(axis, op.out.type.rank))
    lists = {name: kept for name in op.inputs if (kept := list_kept(d, name, axis)) is not None}
    bare = stackable(d, op, lists)
    if bare:
        parts = Seq(tuple(lists.get(name) or d.tensor(name) for name in bare), "[]")
        return Call(Word("torch.stack"), (parts,) if axis == 0 else (parts, dim))
    return Call(
        Word("torch.cat"), (Seq(tuple(map(d.tensor, op.inputs)), "[]"), *(() if axis == 0 else (dim,)))
    )


def pad(d: TorchDrafter, op: Op) -> Expr:
    value = op.attr("value")
    assert isinstance(value, int | float)
    pairs = list(zip(entries(op, "before"), entries(op, "after"), strict=True))
    whole = d.dtype_of(op.out.name) not in FLOATS
    return padded(d.tensor(op.inputs[0]), pairs, int(value) if whole else float(value))


def padded(x: Expr, pairs: Sequence[tuple[int | Dim, int | Dim]], value: float) -> Expr:
    """`F.pad` lists the last axis first and leaves out leading axes that get nothing."""
    kept = list(pairs)
    while kept and all(Dim.of(each).constant == 0 for each in kept[0]):
        kept.pop(0)
    amounts = tuple(size(each, "padding") for pair in reversed(kept) for each in pair)
    args: list[Expr] = [x, Seq(amounts)]
    if overflows(Num(value)):
        infinite = Word("torch.inf" if value > 0 else "-torch.inf")
        is_half = Binary("==", Dot(x, "dtype"), Word("torch.float16"))
        args.append(Keyword("value", Conditional(is_half, infinite, Num(value))))
    elif value or str(value) == "-0.0":
        args.append(Keyword("value", Num(value)))
    return Call(Word("F.pad"), tuple(args))


def arange(d: TorchDrafter, op: Op) -> Expr:
    start, stop, step = (Dim.of(op.attr(name)) for name in ("start", "stop", "step"))  # type: ignore[arg-type]
    bounds = [size(start), size(stop)] if start.constant != 0 or step.constant != 1 else [size(stop)]
    if step.constant != 1:
        bounds.append(size(step, "step"))
    return d.create("torch.arange", bounds, d.dtype_of(op.out.name), "i64")


def take(d: TorchDrafter, op: Op) -> Expr:
    x, index = op.inputs
    axis = op.integer("axis")
    place = listed(d, index) or d.value(index)
    return At(d.tensor(x), ((Cut(),) * axis) + (place,))


def update_slice(d: TorchDrafter, op: Op) -> Expr:
    x, values, start = op.inputs
    axis = op.integer("axis")
    count = size(d.types[values].axes[axis])
    first = d.value(start)
    if start in d.host:
        end = Binary("+", first, count)
        return method(d.tensor(x), "slice_scatter", d.tensor(values), *words((axis,)), first, end)
    places = Binary("+", first, d.create("torch.arange", (count,), "i64", "i64"))
    return method(d.tensor(x), "index_copy", *words((axis,)), places, d.tensor(values))


def top_k(d: TorchDrafter, op: Op) -> Expr:
    """A stable sort: `torch.topk` promises no order among equal elements."""
    (name,) = op.inputs
    axis, whole = op.integer("axis"), d.types[name]
    keywords = (
        Keyword("dim", d.axis(axis, whole.rank)),
        Keyword("descending", Word("True")),
        Keyword("stable", Word("True")),
    )

    def best(ordered: Expr, out: Value) -> Expr:
        items: list[Expr] = [*[Cut()] * axis, Cut(None, size(out.type.axes[axis], "k"))]
        return at(ordered, [*items, *[Cut()] * (whole.rank - len(items))])

    values, places = op.outputs
    if not d.uses[values.name]:
        d.assign(op, best(method(d.tensor(name), "argsort", *keywords), places), (places,))
        return DONE
    ordered = method(d.tensor(name), "sort", *keywords)
    if not d.uses[places.name]:
        d.assign(op, best(Dot(ordered, "values"), values), (values,))
        return DONE
    both = [Value(f"{out.name}_sorted", out.type.with_axes(whole.axes)) for out in op.outputs]
    d.types.update((each.name, each.type) for each in both)
    d.better.update((each.name, out.name) for each, out in zip(both, op.outputs, strict=True))
    d.assign(op, ordered, both)
    for source, out in zip(both, op.outputs, strict=True):
        d.assign(op, best(d.value(source.name), out), (out,))
    return DONE


SAY: Mapping[str, Say] = {
    "reshape": reshape,
    "slice": slice_,
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
