"""Forms that backends share: what is the same in NumPy's, PyTorch's and JAX's way to say it. Slices as indices,
groups of slices that divide a value, other names for a value, parameters, constants."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from typing import Any

from dlc.emit.checks import asked
from dlc.emit.draft import DONE, LIST, Drafter, dim_of
from dlc.emit.origins import size
from dlc.emit.statements import Assign
from dlc.emit.tree import (
    At,
    Binary,
    Call,
    Conditional,
    Cut,
    Dot,
    Expr,
    Formatted,
    Num,
    Path,
    Ref,
    Seq,
    Splat,
    Text,
    Word,
    parse,
    text,
    transform,
)
from dlc.ir.index import INDEX, factor_of, is_computed, offset_of, split
from dlc.ir.loops import LOOP, Loop, Stacked
from dlc.ir.nodes import Op
from dlc.ir.nodes import walk as walk_ops
from dlc.records import replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import INTS
from dlc.types.terms import said

Axes = tuple[Dim, ...]
ZERO, ONE = Dim.of(0), Dim.of(1)


# --- expressions --------------------------------------------------------------------------------------------


def method(base: Expr, name: str, *args: Expr) -> Expr:
    """`base.name(args)`."""
    return Call(Dot(base, name), args)


def call(name: str, *args: Expr) -> Expr:
    """`name(args)`."""
    return Call(Word(name), args)


def words(values: Sequence[int]) -> tuple[Expr, ...]:
    return tuple(Word(str(value)) for value in values)


def sizes(axes: Sequence[Dim], role: str = "size") -> tuple[Expr, ...]:
    return tuple(size(axis, role) for axis in axes)


def entries(op: Op, name: str) -> tuple[int | Dim, ...]:
    """A list of sizes among an op's attributes."""
    value = op.attr(name)
    assert isinstance(value, tuple)
    return value  # type: ignore[return-value]


def told(axes: Axes) -> Axes:
    """Axes that are told apart where they are the same by chance: `heads` is not 1, though there be one head."""
    return tuple(map(said, axes))


# --- values -------------------------------------------------------------------------------------------------


def alias(d: Drafter, op: Op, name: str) -> Expr:
    """The result is another name for a value."""
    found = d.inline[op.out.name] = d.value(name)
    if name in d.host:
        d.host.add(op.out.name)
    elif isinstance(found, Ref) and d.uses[name] == 1 and not d.temporary(op.out.name):
        d.better[found.value] = op.out.name
    return DONE


def between(d: Drafter, op: Op) -> tuple[str, str, str] | None:
    """x and the bounds of `maximum(minimum(x, high), low)`, of integers: for floats a clamp has another derivative at its bounds."""
    bounded = _bounded(d, op)
    if bounded is None or op.out.type.is_float:
        return None
    inner = d.producers.get(bounded[0])
    within = _bounded(d, inner) if inner is not None and inner.op != op.op else None
    if within is None or d.uses[bounded[0]] != 1:
        return None
    low, high = (bounded[1], within[1]) if op.op == "maximum" else (within[1], bounded[1])
    return (within[0], low, high) if _number(d, low) <= _number(d, high) else None


def _bounded(d: Drafter, op: Op) -> tuple[str, str] | None:
    """What `minimum` or `maximum` compares with a whole number, and that number."""
    if op.op not in ("minimum", "maximum"):
        return None
    numbers = [each for each in op.inputs if isinstance(_number(d, each), int)]
    others = [each for each in op.inputs if each not in numbers]
    return (others[0], numbers[0]) if len(numbers) == len(others) == 1 else None


def _number(d: Drafter, name: str) -> Any:
    made = d.producers.get(name)
    return made.attr("value") if made is not None and made.op == "const" and name in d.host else None


def unit_matrix(d: Drafter, name: str) -> Dim | None:
    """The number of rows of `eye(n)`, if a value is one that has no dtype yet: numbers of rows that are compared with those of columns."""
    same = d.producers.get(name)
    if same is None or same.op != "eq":
        return None
    rows, columns = (d.producers.get(each) for each in same.inputs)
    if rows is None or rows.op != "reshape":
        return None
    counted = d.producers.get(rows.inputs[0]), columns
    sizes = [dim_of(each.attr("stop")) for each in counted if each is not None and _counts_from_0(each)]
    if len(sizes) != 2:
        return None
    n, columns_too = map(Dim.of, sizes)
    return n if told(rows.out.type.axes) == told((n, ONE)) and said(columns_too) == said(n) else None


def _counts_from_0(op: Op) -> bool:
    return op.op == "arange" and (op.attr("start"), op.attr("step")) in ((ZERO, ONE), (0, 1))


def parameter(d: Drafter, op: Op) -> Expr:
    """A parameter is read where it is used."""
    d.inline[op.out.name] = Path(op.text("path"), tensor=True)
    return DONE


def reduced(op: Op, rank: int) -> tuple[int, ...]:
    """The axes that are reduced, as non-negative numbers."""
    axis = op.attr("axis")
    if axis is None:
        return tuple(range(rank))
    return tuple(int(str(each)) % rank for each in (axis if isinstance(axis, tuple) else (axis,)))


def stackable(d: Drafter, op: Op, lists: Container[str] = ()) -> list[str]:
    """What the parts of a concatenation were before each got the axis for it, `lists` as they are; none if one did not."""
    axis = op.integer("axis")
    found = [name if name in lists else _before_unsqueeze(d, name, axis) for name in op.inputs]
    return [name for name in found if name] if all(found) else []


def _before_unsqueeze(d: Drafter, name: str, axis: int) -> str | None:
    op = d.producers.get(name)
    if op is None or op.op != "reshape" or d.uses[name] != 1 or op.inputs[0] in d.host:
        return None
    axes = op.out.type.axes
    fits = axes[axis] == ONE and d.types[op.inputs[0]].axes == (*axes[:axis], *axes[axis + 1 :])
    return op.inputs[0] if fits else None


def list_kept(d: Drafter, name: str, axis: int) -> Expr | None:
    """`*states_list` for what a loop over layers keeps of each, where nothing else reads it than what puts it in a row with others."""
    op = d.producers.get(name)
    if op is None or op.op != LOOP or d.uses[name] != 1 or axis or op.attr("shared"):
        return None
    stacked = next((each for each in Loop.of(op).stacked if each.out.name == name), None)
    return Splat(Ref(d.list_of(stacked.out, LIST).name)) if stacked else None


def layers(d: Drafter, op: Op, stack: str, empty: Callable[[Stacked], Expr] | None = None) -> Expr | None:
    """Layers one after another, as a loop, and what is kept of each, which the function `stack` makes one tensor, or `empty` where there may
    be no layers; None for a loop that is none of layers."""
    found = d.loop(op)
    if found is None:
        return None
    d.body.append(found)
    for stacked, (held, _) in zip(Loop.of(op).stacked, found.kept, strict=True):
        items = Ref(held.name)
        whole: Expr = call(stack, items)
        if empty is not None and _stands_beside_others(d, stacked.out.name):
            whole = Conditional(items, whole, empty(stacked))
        d.body.append(Assign((d.target(stacked.out),), whole))
    return DONE


def _stands_beside_others(d: Drafter, name: str) -> bool:
    """Whether what layers keep is put in a row with something else: then there may be no layers."""
    rows = {
        name,
        *(
            each.out.name
            for each in walk_ops(d.function.body)
            if each.op == "reshape" and name in each.inputs
        ),
    }
    return any(each.op == "concat" and not rows.isdisjoint(each.inputs) for each in walk_ops(d.function.body))


def of_truths(d: Drafter, op: Op) -> Op:
    """A sum of truth values that the spec casts to integers first, as one of these themselves: frameworks count them."""
    made = d.producers.get(op.inputs[0])
    if op.op == "sum" and made is not None and made.op == "cast" and d.dtype_of(made.inputs[0]) == "bool":
        return replace(op, inputs=made.inputs) if d.dtype_of(op.out.name) == "i64" else op
    return op


def require(d: Drafter, op: Op) -> Expr:
    """What the spec asks for, checked where it stands."""
    d.body.append(asked(d.value(op.inputs[0]), op, whole=_is_whole(d, op.inputs[0])))
    return DONE


def _is_whole(d: Drafter, name: str) -> bool:
    """Whether a condition compares integers: its opposite is a comparison, as that of floats is not (nan)."""
    made = d.producers.get(name)
    return (
        made is not None and made.op in _COMPARISONS and all(d.dtype_of(each) in INTS for each in made.inputs)
    )


_COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))


# --- vectors ------------------------------------------------------------------------------------------------


def vector_product(d: Drafter, op: Op) -> Expr | None:
    """`w @ v`, where a reshape takes the axis away that made a matrix of a vector; None for other reshapes."""
    product = d.producers.get(op.inputs[0])
    if product is None or product.op != "matmul" or d.uses[op.inputs[0]] != 1:
        return None
    row, column = (_vector(d, name, axis) for name, axis in zip(product.inputs, (-2, -1), strict=True))
    axes = list(product.out.type.axes)
    if column:
        axes.pop()
    if row:
        axes.pop(-1 if column else -2)
    if not (row or column) or tuple(axes) != op.out.type.axes:
        return None
    a, b = product.inputs
    return Binary("@", d.tensor(row or a), d.tensor(column or b))


def _vector(d: Drafter, name: str, axis: int) -> str:
    """The vector that got an axis to be a matrix; "" where it is none."""
    source = d.producers.get(name)
    if source is None or source.op != "reshape" or source.inputs[0] in d.host:
        return ""
    (vector,) = source.inputs
    axes, rank = source.out.type.axes, d.types[vector].rank
    return vector if rank == 1 and len(axes) == 2 and axes[axis] == ONE else ""


# --- slices -------------------------------------------------------------------------------------------------


def bounds(op: Op) -> tuple[tuple[Dim, ...], tuple[Dim, ...], tuple[int, ...]]:
    """Start, stop and step of a slice, by axis."""
    return op.sizes("start"), op.sizes("stop"), op.integers("step")


def sliced(d: Drafter, op: Op) -> Expr:
    """`x[:, :k]`."""
    (name,) = op.inputs
    items = [_part(*each) for each in zip(*bounds(op), d.types[name].axes, strict=True)]
    return alias(d, op, name) if all(item == Cut() for item in items) else at(d.tensor(name), items)


def at(base: Expr, items: Sequence[Expr]) -> Expr:
    """`x[:, :k]`, or `x[..., :k]` where only the last of several axes is cut."""
    kept = list(items)
    if len(kept) > 2 and kept[-1] != Cut() and all(item == Cut() for item in kept[:-1]):
        return At(base, (Word("..."), kept[-1]))
    return At(base, index(kept))


def index(items: Sequence[Expr]) -> tuple[Expr, ...]:
    """The items of an index without trailing `:`."""
    kept = list(items)
    while len(kept) > 1 and kept[-1] == Cut():
        kept.pop()
    return tuple(kept)


def _part(start: Dim, stop: Dim, step: int, whole: Dim) -> Cut:
    # (At other settings too: a size may only happen to be that number in one of several calls.)
    return Cut(
        None if said(start) == ZERO else _place(start, whole),
        None if said(stop) == said(whole) else _place(stop, whole),
        None if step == 1 else Word(str(step)),
    )


def _place(value: Dim, whole: Dim) -> Expr:
    """A place, counted from the end where that needs no size, and where it is before the end at all settings: `[: -0]` is empty."""
    back = (value - whole).constant
    if value.constant is None and back is not None and back < 0:
        _, most = Facts().bounds(said(value - whole))
        if most is not None and most < 0:
            return Num(back, "index")
    return size(value, "index")


def element(d: Drafter, op: Op) -> Expr | None:
    """`x[:, 0]`, where a reshape takes the axis of a slice of one element away; None for other reshapes."""
    source = d.producers.get(op.inputs[0])
    if source is None or source.op != "slice" or source.inputs[0] in d.host:
        return None
    whole, cut = d.types[source.inputs[0]].axes, source.out.type.axes
    single = [i for i, (size, of) in enumerate(zip(cut, whole, strict=True)) if size == ONE != of]
    if not single or tuple(axis for i, axis in enumerate(cut) if i not in single) != op.out.type.axes:
        return None
    items = [
        _place(start, of) if i in single else _part(start, stop, step, of)
        for i, (start, stop, step, of) in enumerate(zip(*bounds(source), whole, strict=True))
    ]
    return at(d.tensor(source.inputs[0]), items)


Divide = Callable[[Expr, Sequence[Dim], int, Expr], Expr]
"""How a value is divided into parts of these sizes (none: into elements) along an axis, given by number and as
it is counted."""


def alike(parts: Sequence[Dim]) -> bool:
    """Whether sizes are one size, at other settings too: those of two names may only happen to be equal."""
    return len({(part, said(part)) for part in parts}) == 1


def partition(d: Drafter, op: Op, divide: Divide) -> bool:
    """Say a group of slices that divides a value along an axis at once: `q, k, v = x.split((8, 4, 4), dim=-1)`.
    Where each is then freed of that axis, of size 1, the parts are those. `op` is the first of the group; False
    where there is none."""
    name = op.inputs[0]
    parts = [each for each in d.readers.get(name, ()) if each.op == "slice"]
    axis = _divided(d, parts)
    if axis is None or parts[0] is not op or name in d.host:
        return False
    bare = [_freed(d, each, axis) for each in parts]
    freed = [each.out for each in bare if each is not None]
    outputs = freed if len(freed) == len(parts) else [each.out for each in parts]
    lengths = [] if outputs is freed else [each.type.axes[axis] for each in outputs]
    if outputs is freed and (split := _split_before(d, name, axis)):
        name, axis, length = split
        lengths = [length] * len(parts)
    d.assign(op, divide(d.tensor(name), lengths, axis, d.axis(axis, d.types[name].rank)), outputs)
    d.skip.update(each.name for each in (*outputs, *(part.out for part in parts)))
    return True


def _divided(d: Drafter, parts: Sequence[Op]) -> int | None:
    """The axis that slices of one value divide without gap or overlap, in order."""
    if len(parts) < 2 or len({d.block[part.out.name] for part in parts}) > 1:
        return None
    whole = d.types[parts[0].inputs[0]].axes
    ranges = [bounds(each) for each in parts]
    cut = {i for s, e, _ in ranges for i in range(len(whole)) if s[i] != ZERO or e[i] != whole[i]}
    if len(cut) != 1 or any(step != 1 for _, _, steps in ranges for step in steps):
        return None
    (axis,) = cut
    edges = [ZERO, *(stop[axis] for _, stop, _ in ranges)]
    fits = all(start[axis] == edge for (start, _, _), edge in zip(ranges, edges, strict=False))
    return axis if fits and edges[-1] == whole[axis] else None


def _freed(d: Drafter, part: Op, axis: int) -> Op | None:
    """The only reader of a slice, if it takes the axis of size 1 away."""
    readers = d.readers.get(part.out.name, ())
    axes = part.out.type.axes
    if len(readers) != 1 or d.uses[part.out.name] != 1 or readers[0].op != "reshape" or axes[axis] != ONE:
        return None
    return readers[0] if readers[0].out.type.axes == (*axes[:axis], *axes[axis + 1 :]) else None


def _split_before(d: Drafter, name: str, axis: int) -> tuple[str, int, Dim] | None:
    """The value, its axis and the length of a part, where an axis was split to take it apart: the halves of `rearrange(x, "N (n k) -> n N k", n=2)`
    are those of x."""
    made = d.producers.get(name)
    if made is not None and made.op == "permute":
        axes, _ = moved(made)
        axis = axes[axis]
        if [each for each in axes if each != axis] != [i for i in range(len(axes)) if i != axis]:
            return None
        made = d.producers.get(made.inputs[0])
    if made is None or made.op != "reshape":
        return None
    old, new = d.types[made.inputs[0]].axes, made.out.type.axes
    if len(new) != len(old) + 1 or (new[:axis], new[axis + 2 :]) != (old[:axis], old[axis + 1 :]):
        return None
    return made.inputs[0], axis, new[axis + 1]


# --- shapes -------------------------------------------------------------------------------------------------


def moved(op: Op) -> tuple[tuple[int, ...], list[int]]:
    """The axes of a permutation, and those that are not in their place."""
    axes = op.integers("axes")
    return axes, [i for i, axis in enumerate(axes) if i != axis]


def listed(d: Drafter, name: str) -> Expr | None:
    """A short constant list of places, as Python writes it."""
    op = d.producers.get(name)
    value = op.attr("value") if op is not None and op.op == "const" else None
    if not isinstance(value, tuple) or len(value) > 16 or any(isinstance(each, tuple) for each in value):
        return None
    return Seq(tuple(Word(str(each)) for each in value), "[]")


def counted_from_end(d: Drafter, op: Op) -> bool:
    """Whether a causal mask is that of all positions, the last query's being the last key's."""
    queries, keys = op.out.type.axes
    places = [d.producers.get(name) for name in op.inputs]
    spans = ((keys - queries, keys), (Dim.of(0), keys))
    return all(
        each is not None
        and each.op == "arange"
        and (each.attr("step") == 1)
        and tuple(Dim.of(each.attr(bound)) for bound in ("start", "stop")) == span  # type: ignore[arg-type]
        for each, span in zip(places, spans, strict=True)
    )


def whole_rows(d: Drafter, op: Op) -> str:
    """The vector that the index of a scatter says again in every column: then it says where whole rows go. "" if it is none."""
    axis, name = op.integer("axis"), op.inputs[1]
    made = d.producers.get(name)
    if made is not None and made.op == "broadcast":
        name = made.inputs[0]
        made = d.producers.get(name)
    alone = all(said(n).constant == 1 for i, n in enumerate(d.types[name].axes) if i != axis)
    if not alone or made is None or made.op != "reshape" or d.types[made.inputs[0]].rank != 1:
        return ""
    return made.inputs[0]


# --- turns of a loop over layers ---------------------------------------------------------------------------


def indexed(path: str, variable: str = "i") -> Expr:
    """A path with the index of a loop, as an f-string over the loop's variable."""
    number = number_of(path, variable)
    if INDEX.fullmatch(path):
        return Word(number)
    parts = (
        ascii(part)[1:-1].replace('"', '\\"').replace("{", "{{").replace("}", "}}") for part in split(path)
    )
    return Word('f"' + f"{{{number}}}".join(parts) + '"')


def number_of(path: str, variable: str) -> str:
    """What stands for the index in a path, over the loop's variable."""
    if is_computed(path):
        return text(_at_number(path, Word(variable)))
    factor, offset = factor_of(path), offset_of(path)
    return (variable if factor == 1 else f"{factor} * {variable}") + (f" + {offset}" if offset else "")


def labelled(label: str, number: Expr) -> Formatted:
    """A label at a number that is told by static parameters, where the index of a loop stands in it."""
    before, behind = split(label)
    made = _at_number(label, number) if is_computed(label) else number
    return Formatted((*([Text(before)] if before else ()), made, *([Text(behind)] if behind else ())))


def _at_number(path: str, number: Expr) -> Expr:
    (inside,) = re.findall(r"\{([^{}]+)\}", path)
    return transform(parse(inside), lambda node: number if node == Word("i") else node)
