"""What specs write for several ops that move elements: the axis is one, the ops take a list with an entry for each."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Builtin, Tensor, Turns, type_name
from dlc.elaborate.builtins.call import Call, builtin, check_count
from dlc.elaborate.builtins.reads import tensors
from dlc.elaborate.names.origins import noted
from dlc.ops.calls import REQUIRED
from dlc.types.dims import Dim
from dlc.types.terms import term
from dlc.types.traced import Term


def _transpose(call: Call) -> Tensor:
    x = call.tensor("x")
    a, b = call.axis("a", x.type.rank), call.axis("b", x.type.rank)
    order = list(range(x.type.rank))
    order[a], order[b] = b, a
    return call.emit("permute", x, axes=tuple(order))


def _flatten(call: Call) -> Tensor:
    x = call.tensor("x")
    if x.type.rank == 0:
        return call.emit("reshape", x, shape=(1,))
    start = call.axis("start", x.type.rank) if call["start"] != x.type.rank else x.type.rank - 1
    total = Dim.of(1)
    for axis in x.type.axes[start:]:
        total = total * axis
    return call.emit("reshape", x, shape=(*x.type.axes[:start], total))


def _squeeze(call: Call) -> Tensor:
    x = call.tensor("x")
    axes = call.axes("axis", x.type.rank) if call["axis"] is not None else tuple(
        i for i, axis in enumerate(x.type.axes) if axis.constant == 1
    )  # fmt: skip
    for axis in axes:
        if call.body.emission.facts.prove_eq(x.type.axes[axis], Dim.of(1)) is not True:
            message = f"`squeeze`: axis {axis} of {x.type} is {x.type.axes[axis]}, not 1"
            call.fail(problems.SHAPE, "axis", message=message)
    return call.emit("reshape", x, shape=tuple(a for i, a in enumerate(x.type.axes) if i not in axes))


def _stack(call: Call) -> Tensor:
    if isinstance(xs := call["xs"], list) and any(isinstance(each, Turns) for each in xs):
        return _stack_of_turns(call, xs)
    parts = tensors(call, "xs")
    axis = call.axis("axis", parts[0].type.rank + 1)
    rows = []
    for each in parts:
        shape = (*each.type.axes[:axis], Dim.of(1), *each.type.axes[axis:])
        rows.append(call.emit("reshape", each, shape=shape))
    return rows[0] if len(rows) == 1 else call.emit("concat", *rows, axis=axis)


def _stack_of_turns(call: Call, xs: list[Any]) -> Tensor:
    """What turns of a loop have added to a list is one tensor by then."""
    rows = [each.tensor if isinstance(each, Turns) else each for each in xs]
    last = next(each.tensor.type for each in xs if isinstance(each, Turns)).rank - 1
    axis = call.axis("axis", last + 1)
    if not any(isinstance(each, Tensor) for each in xs):  # there is no list of nothing
        count = sum((each.type.axes[0] for each in rows), Dim.of(0))
        noted(call.body, Term(">=", (term(count), term(1))), True, call.node.span)
    for k, each in enumerate(xs):
        if isinstance(each, Tensor):
            rows[k] = call.emit("reshape", each, shape=(Dim.of(1), *each.type.axes))
    whole: Tensor = rows[0] if len(rows) == 1 else call.emit("concat", *rows, axis=0)
    return (
        call.emit("permute", whole, axes=(*range(1, axis + 1), 0, *range(axis + 1, last + 1)))
        if axis
        else whole
    )


def _slice_axis(call: Call, x: Tensor, axis: int, start: Dim, stop: Dim) -> Tensor:
    starts = tuple(start if i == axis else Dim.of(0) for i in range(x.type.rank))
    stops = tuple(stop if i == axis else size for i, size in enumerate(x.type.axes))
    return call.emit("slice", x, start=starts, stop=stops, step=(1,) * x.type.rank)


def _split(call: Call) -> tuple[Tensor, ...]:
    x = call.tensor("x")
    axis = call.axis("axis", x.type.rank)
    if not isinstance(call["sizes"], list | tuple):
        call.fail(
            problems.STATIC_TYPE,
            "sizes",
            callee="split",
            name="sizes",
            expected="a list of sizes",
            found=type_name(call["sizes"]),
            help="`chunk(x, n)` cuts into n equal parts",
        )
    sizes = call.sizes("sizes")
    check_count(call, "the number of parts", len(sizes), 10_000)
    total = Dim.of(0)
    for size in sizes:
        total = total + size
    if call.body.emission.facts.prove_eq(total, x.type.axes[axis]) is not True:
        message = f"`split`: the sizes add up to {total}, axis {axis} of {x.type} is {x.type.axes[axis]}"
        call.fail(problems.SHAPE, "sizes", message=message)
    parts, start = [], Dim.of(0)
    for size in sizes:
        parts.append(_slice_axis(call, x, axis, start, start + size))
        start = start + size
    return tuple(parts)


def _chunk(call: Call) -> tuple[Tensor, ...]:
    x = call.tensor("x")
    axis, n = call.axis("axis", x.type.rank), call.integer("n")
    check_count(call, "the number of parts", n, 10_000)
    size = x.type.axes[axis]
    if n < 1 or call.body.emission.facts.prove_divisible(size, Dim.of(n)) is not True:
        help = f"state it: `where {size} % {n} == 0`" if size.constant is None else ""
        message = f"`chunk`: axis {axis} of {x.type} does not cut into {n} equal parts"
        call.fail(problems.UNPROVED_SHAPE if help else problems.SHAPE, "n", message=message, help=help)
    width = call.body.emission.facts.simplify(size // n)
    return tuple(_slice_axis(call, x, axis, width * i, width * (i + 1)) for i in range(n))


def _roll(call: Call) -> Tensor:
    """Along one axis, or along each of several by a shift of its own."""
    x = call.tensor("x")
    axis, shift = call["axis"], call["shift"]
    if not isinstance(axis, list | tuple) and not isinstance(shift, list | tuple):
        return _rolled(call, x, call.axis("axis", x.type.rank), call.integer("shift"))
    shifts, found = call.integers("shift"), [call.axis("axis", x.type.rank, each) for each in _list(axis)]
    if len(shifts) != len(found):
        message = f"`roll`: {len(shifts)} shifts for {len(found)} axes"
        call.fail(
            problems.AXIS,
            "axis",
            message=message,
            help="one shift for each axis: `roll(x, [1, -1], axis=[1, 2])`",
        )
    for at, each in zip(found, shifts, strict=True):
        x = _rolled(call, x, at, each)
    return x


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _rolled(call: Call, x: Tensor, axis: int, shift: int) -> Tensor:
    size = x.type.axes[axis]
    if size == Dim.of(0):
        return x
    known = size.constant is not None and not (abs(shift) == 1 < size.constant)
    if known:
        cut = Dim.of(shift) % size
    else:  # one place is no more than any axis has
        cut = Dim.of(shift) if shift >= 0 else size + shift
    if cut == Dim.of(0):
        return x
    tail = _slice_axis(call, x, axis, size - cut, size)
    return call.emit("concat", tail, _slice_axis(call, x, axis, Dim.of(0), size - cut), axis=axis)


def _tile(call: Call) -> Tensor:
    x = call.tensor("x")
    counts = call.sizes("counts")
    if len(counts) != x.type.rank:
        call.fail(problems.AXIS, "counts", message=f"`tile` needs a count for each axis of {x.type}")
    split = [size for axis, count in zip(x.type.axes, counts, strict=True) for size in (Dim.of(1), axis)]
    full = [size for axis, count in zip(x.type.axes, counts, strict=True) for size in (count, axis)]
    y = call.emit("broadcast", call.emit("reshape", x, shape=tuple(split)), shape=tuple(full))
    return call.emit("reshape", y, shape=tuple(a * c for a, c in zip(x.type.axes, counts, strict=True)))


def _argsort(call: Call) -> Tensor:
    x = call.tensor("x")
    return call.emit("argsort", x, axis=call.axis("axis", x.type.rank), descending=call.flag("descending"))


def _sort(call: Call) -> Tensor:
    x = call.tensor("x")
    return call.emit("take_along", x, _argsort(call), axis=call.axis("axis", x.type.rank))


BUILTINS: tuple[Builtin, ...] = (
    builtin("transpose", {"x": REQUIRED, "a": -1, "b": -2}, _transpose),
    builtin("flatten", {"x": REQUIRED, "start": 1}, _flatten),
    builtin("squeeze", {"x": REQUIRED, "axis": None}, _squeeze),
    builtin("stack", {"xs": REQUIRED, "axis": 0}, _stack),
    builtin("split", {"x": REQUIRED, "sizes": REQUIRED, "axis": -1}, _split),
    builtin("chunk", {"x": REQUIRED, "n": REQUIRED, "axis": -1}, _chunk),
    builtin("roll", {"x": REQUIRED, "shift": REQUIRED, "axis": REQUIRED}, _roll),
    builtin("tile", {"x": REQUIRED, "counts": REQUIRED}, _tile),
    builtin("sort", {"x": REQUIRED, "axis": -1, "descending": False}, _sort),
)
