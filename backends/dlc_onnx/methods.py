"""Primitive ops that a row can't say: what depends on shapes, and windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx

from dlc.ir.nodes import Attr, Op
from dlc.types.dims import Dim
from dlc_onnx import rows
from dlc_onnx.body import Body
from dlc_onnx.integers import without_lone_axes
from dlc_onnx.naming import FIRST, LAST
from dlc_onnx.running import cumprod
from dlc_onnx.saying import Say, Writer
from dlc_onnx.template import Ref, evaluate


def dims(value: Attr) -> tuple[Dim, ...]:
    assert isinstance(value, tuple)
    return tuple(Dim.of(each) for each in value if isinstance(each, int | Dim))


def ints(value: Attr) -> list[int]:
    assert isinstance(value, tuple)
    return [each for each in value if isinstance(each, int)]


# Shapes


def reshape(w: Writer, op: Op) -> Ref:
    """Gather for one place of an axis that goes (`picks`), Squeeze or Unsqueeze where only axes of size 1 come or go; else Reshape,
    by a constant shape if possible."""
    if op.attr("place") is not None:
        return pick(w, op)
    x, source, target = w.value(op.inputs[0]), w.type(op.inputs[0]).axes, dims(op.attr("shape"))
    if source == target:
        return x
    dropped = inserted(target, source)
    if dropped:
        return w.body.one("Squeeze", x, dropped)
    added = inserted(source, target)
    if added:
        return w.body.one("Unsqueeze", x, added)
    constant = constant_shape(w, source, target)
    if constant is not None:
        return w.body.one("Reshape", x, constant)
    return w.body.one("Reshape", x, w.sizes.vector(target), allowzero=1)


def pick(w: Writer, op: Op) -> Ref:
    """`x[2]`: what stands at one place of an axis."""
    axis = op.integer("axis")
    place = from_end(_dim(op, "place"), w.type(op.inputs[0]).axes[axis])
    return w.body.one("Gather", w.value(op.inputs[0]), w.sizes.scalar(place), axis=axis)


def inserted(short: Sequence[Dim], long: Sequence[Dim]) -> list[int]:
    """The axes of size 1 that `long` has beyond `short`; none if there is another difference."""
    axes: list[int] = []
    for i, size in enumerate(long):
        place = i - len(axes)
        if place < len(short) and short[place] == size:
            continue
        if size.constant != 1:
            return []
        axes.append(i)
    return axes if len(long) - len(axes) == len(short) else []


def constant_shape(w: Writer, source: Sequence[Dim], target: Sequence[Dim]) -> list[int] | None:
    """A shape for Reshape in which 0 keeps the axis of the same place and one -1 takes what is left; None where that
    can't say it."""
    shape: list[int] = []
    for i, size in enumerate(target):
        if size.constant is not None:
            shape.append(size.constant)
        else:
            shape.append(0 if i < len(source) and source[i] == size else -1)
    others = [size for size, entry in zip(target, shape, strict=True) if entry != -1]
    if any(size.constant == 0 for size in target) or shape.count(-1) > 1:
        return None
    # Nothing is left over where another size is 0.
    if -1 in shape and not w.sizes.are_positive(others):
        return None
    return shape


def broadcast(w: Writer, op: Op) -> Ref:
    """Expand; sizes that x has already may be given as 1."""
    x, source, target = w.value(op.inputs[0]), w.type(op.inputs[0]).axes, dims(op.attr("shape"))
    if source == target:
        return x
    if op.out.type.is_empty:  # onnxruntime takes out an Expand to 0
        return zeros(w, op)
    offset = len(target) - len(source)
    same = [i >= offset and source[i - offset] == size for i, size in enumerate(target)]
    shape = [Dim.of(1) if kept else size for kept, size in zip(same, target, strict=True)]
    return w.body.one("Expand", x, w.sizes.vector(shape))


def slice_(w: Writer, op: Op) -> Ref:
    """Slice over the axes that are cut; a place counted from the end is a negative constant."""
    x, axes = w.value(op.inputs[0]), w.type(op.inputs[0]).axes
    entries = zip(axes, dims(op.attr("start")), dims(op.attr("stop")), ints(op.attr("step")), strict=True)
    cut = [
        (axis, from_end(start, size), LAST if stop == size else from_end(stop, size), step)
        for axis, (size, start, stop, step) in enumerate(entries)
        if start != Dim.of(0) or stop != size or step != 1
    ]
    if not cut:
        return x
    places, starts, stops, steps = zip(*cut, strict=True)
    return w.body.one("Slice", x, bounds(w, starts), bounds(w, stops), places, steps)


def from_end(place: int | Dim, size: Dim) -> Dim:
    """A place of an axis, as the negative number that counts from its end if only that is known."""
    place = Dim.of(place)
    gap = (place - size).constant
    return Dim.of(gap) if place.constant is None and gap is not None and gap < 0 else place


def bounds(w: Writer, places: Sequence[Dim | int]) -> Ref:
    return w.sizes.vector([Dim.of(each) for each in places])


def pad(w: Writer, op: Op) -> Ref:
    pads = (*dims(op.attr("before")), *dims(op.attr("after")))
    x, value = w.value(op.inputs[0]), op.attr("value")
    assert isinstance(value, int | float)
    if all(size == Dim.of(0) for size in pads):
        return x
    fill = w.body.const(value, op.out.type.dtype)
    return w.body.one("Pad", x, w.sizes.vector(pads), fill)


def flip(w: Writer, op: Op) -> Ref:
    x, axes = w.value(op.inputs[0]), ints(op.attr("axes"))
    if not axes:
        return x
    count = len(axes)
    return w.body.one("Slice", x, [-1] * count, [FIRST] * count, axes, [-1] * count)


# Making tensors


def cast(w: Writer, op: Op) -> Ref:
    return w.body.cast(w.value(op.inputs[0]), op.out.type.dtype)


def arange(w: Writer, op: Op) -> Ref:
    start, stop, step = (
        w.sizes.scalar(Dim.of(each)) for each in (_dim(op, "start"), _dim(op, "stop"), _dim(op, "step"))
    )
    return w.body.cast(w.body.one("Range", start, stop, step), op.out.type.dtype)


def _dim(op: Op, name: str) -> int | Dim:
    value = op.attr(name)
    assert isinstance(value, int | Dim)
    return value


def full(w: Writer, op: Op) -> Ref:
    shape = dims(op.attr("shape"))
    value = w.body.const(op.attr("value"), op.out.type.dtype)
    return w.body.one("Expand", value, w.sizes.vector(shape)) if shape else value


def einsum(w: Writer, op: Op) -> Ref:
    """onnxruntime divides by 0 where an operand is empty, and the process ends."""
    equation = op.text("pattern")
    sizes = dict.fromkeys(size for name in op.inputs for size in w.type(name).axes)
    operands = w.operands(op)
    if not op.out.type.is_float:
        equation, operands = without_lone_axes(w.body, equation, operands)
    return _product(w, op, sizes, lambda body: body.one("Einsum", *operands, equation=equation))


def matmul(w: Writer, op: Op) -> Ref:
    """Of matrices with axes before them that broadcast onnxruntime takes none to be 0, and makes no zeros of a sum of nothing."""
    a, b = (w.type(name).axes for name in op.inputs)
    operands = w.operands(op)
    if len(b) == 2 and len(a) > 2:
        return rows_by_matrix(w, op, *operands)
    contracted = a[-1:] if len(a) > 2 else ()  # of several sums of nothing, onnxruntime makes one
    sizes = contracted if a[:-2] == b[:-2] else dict.fromkeys((*a, *b))
    return _product(w, op, sizes, lambda body: body.one("MatMul", *operands))


def rows_by_matrix(w: Writer, op: Op, x: Ref, matrix: Ref) -> Ref:
    """The rows of an op's first operand, with axes before them, by one matrix. What is turned before becomes one node with the
    product in onnxruntime (FusedMatMul), which takes none of these axes to be 0; it doesn't where the product is under an If."""
    sizes = dict.fromkeys(w.type(op.inputs[0]).axes) if _is_turned(w.body, x) else ()
    return _product(w, op, sizes, lambda body: body.one("MatMul", x, matrix))


def _is_turned(body: Body, name: str) -> bool:
    """Whether a value is transposed, also before a cast or a factor: onnxruntime moves these out of the way."""
    node = body.maker(name)
    while node is not None and node.op_type in ("Cast", "Mul", "Div"):
        node = body.maker(node.input[0])
    return node is not None and node.op_type == "Transpose"


def _product(w: Writer, op: Op, sizes: Iterable[Dim], write: Callable[[Body], Ref]) -> Ref:
    """What is made of these sizes; under an If, with zeros on the other side, where one of the sizes may be 0."""
    open_sizes = [size for size in sizes if not w.facts.prove_ge(size, 1)]
    if not open_sizes:
        return write(w.body)
    some = w.body.one("Greater", w.sizes.scalar(prod(open_sizes, start=Dim.of(1))), 0)
    nothing = zeros(w, op)
    result = w.body.define(f"{w.body.scope}/If", op.out.type.dtype)
    branches = [
        branch(w.body, "some", write),
        branch(w.body, "none", lambda body: body.one("Identity", nothing)),
    ]
    w.body.append("If", [some], [result], {"then_branch": branches[0], "else_branch": branches[1]})
    return result


def branch(body: Body, called: str, write: Callable[[Body], Ref]) -> Any:
    """A graph inside another one, with a single result."""
    from onnx import helper

    from dlc_onnx.rows import TYPES

    inner = body.nested()
    name = write(inner)
    output = helper.make_tensor_value_info(name, TYPES[inner.dtypes[name]], None)
    return helper.make_graph(inner.nodes, f"{body.scope}/{called}", [], [output])


def zeros(w: Writer, op: Op) -> Ref:
    """A result that is 0 all over, or empty."""
    zero, shape = w.body.const(0, op.out.type.dtype), op.out.type.axes
    return w.body.one("Expand", zero, w.sizes.vector(shape)) if shape else zero


def size(w: Writer, op: Op) -> Ref:
    return w.sizes.scalar(Dim.of(_dim(op, "dim")))


# Order and places


def argsort(w: Writer, op: Op) -> Ref:
    """TopK of all: equal elements come in the order of their places."""
    axis = op.integer("axis")
    count = w.sizes.size(w.type(op.inputs[0]).axes[axis])
    largest = int(op.attr("descending") is True)
    _, places = w.body.node("TopK", sorted_by(w, op), count, axis=axis, largest=largest)
    return Ref(places)


def sorted_by(w: Writer, op: Op) -> Ref:
    """What TopK can sort as the elements are ordered: nan, which it leaves anywhere, counts as greater than inf."""
    x = w.value(op.inputs[0])
    if not w.type(op.inputs[0]).is_float:
        return x
    row = "Where(IsNaN(x), inf, Clip(Cast(x, to=DOUBLE), -LARGEST, LARGEST))"
    found: Ref = evaluate(row, {"x": x}.__getitem__, w.body)
    return found


def top_k(w: Writer, op: Op) -> tuple[Ref, Ref] | Ref:
    """Equal elements come in the order of their places, in ONNX too."""
    x, axis = w.value(op.inputs[0]), op.integer("axis")
    key = sorted_by(w, op)
    k = w.sizes.vector([Dim.of(_dim(op, "k"))])
    values, places = w.body.node("TopK", key, k, axis=axis)
    if key == x:
        return Ref(values), Ref(places)
    return w.body.one("GatherElements", x, places, axis=axis), Ref(places)


def update_slice(w: Writer, op: Op) -> Ref:
    """What stands before, the new values, what stands behind."""
    x, values, start = w.operands(op)
    axis = op.integer("axis")
    begin = w.body.one("Unsqueeze", start, [0])
    end = w.body.one("Add", begin, w.sizes.size(w.type(op.inputs[1]).axes[axis]))
    before = w.body.one("Slice", x, [0], begin, [axis])
    after = w.body.one("Slice", x, end, [LAST], [axis])
    return w.body.one("Concat", before, values, after, axis=axis)


# Windows


def spatial(op: Op, *, dilation: bool = True) -> dict[str, Any]:
    """Attributes of Conv and of pooling: pads are first all at the front, then all at the back."""
    padding = op.attr("padding")
    assert isinstance(padding, tuple)
    pairs = [ints(pair) for pair in padding]
    found: dict[str, Any] = {
        "strides": ints(op.attr("stride")),
        "pads": [a for a, _ in pairs] + [b for _, b in pairs],
    }
    if dilation:
        found |= {"dilations": ints(op.attr("dilation")), "group": op.attr("groups")}
    return found


def conv(w: Writer, op: Op) -> Ref:
    return w.body.one("Conv", *w.operands(op), **spatial(op))


def conv_transpose(w: Writer, op: Op) -> Ref:
    attrs = spatial(op) | {"output_padding": ints(op.attr("output_padding"))}
    return w.body.one("ConvTranspose", *w.operands(op), **attrs)


def pool_attrs(op: Op) -> dict[str, Any]:
    # ONNX's ceil_mode lets no window start behind the input and its front padding, as PyTorch's.
    ceil = int(op.attr("ceil") is True)
    return {"kernel_shape": ints(op.attr("kernel")), "ceil_mode": ceil, **spatial(op, dilation=False)}


ABOVE = frozenset(("Relu", "Abs", "Exp", "Sigmoid", "Softmax", "Softplus", "Tanh", "Elu", "HardSigmoid"))
"""Operations of ONNX that never give -inf."""
PASSING = frozenset(("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool"))
"""Operations that give no number that their first operand has not."""


def _is_above(value: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a value is nowhere -inf, as far as the nodes that make it tell."""
    node = makers.get(value)
    if node is None:
        return False
    match node.op_type:
        case "Concat":
            return all(_is_above(each, makers) for each in node.input)
        case "Where":
            return all(_is_above(each, makers) for each in node.input[1:])
        case "Constant":
            return not np.isneginf(onnx.numpy_helper.to_array(node.attribute[0].t).astype(float)).any()
        case kind if kind in PASSING:
            return _is_above(node.input[0], makers)
        case kind:
            return kind in ABOVE


def max_pool(w: Writer, op: Op) -> Ref:
    """onnxruntime passes over nan, and takes -inf for the lowest number that there is: a second pool says where they are. Behind a ReLU
    there is no -inf."""
    (x,) = w.operands(op)
    kind, said = (
        ("IsNaN(x)", "Where(kind == 1.0, nan, most)")
        if _is_above(x, {name: node for node in w.body.nodes for name in node.output})
        else (
            "Where(IsNaN(x), 2, Where(x == -inf, 0, 1))",
            "Where(kind == 2.0, nan, Where(kind == 1.0, most, -inf))",
        )
    )

    def pooled(body: Body) -> Ref:
        kinds = evaluate(f"Cast({kind}, to=FLOAT)", {"x": x}.__getitem__, body)
        most, found = (body.one("MaxPool", each, **pool_attrs(op)) for each in (x, kinds))
        result: Ref = evaluate(said, {"most": most, "kind": found}.__getitem__, body)
        return result

    return _product(w, op, _channels(w, op), pooled)


def avg_pool(w: Writer, op: Op) -> Ref:
    counted = int(op.attr("count_padding") is True)
    operands = w.operands(op)
    return _product(
        w,
        op,
        _channels(w, op),
        lambda body: body.one("AveragePool", *operands, count_include_pad=counted, **pool_attrs(op)),
    )


def _channels(w: Writer, op: Op) -> tuple[Dim, ...]:
    """Of images, which onnxruntime's pools refuse to be 0."""
    return w.type(op.inputs[0]).axes[1:2]


def over_whole(w: Writer, op: Op) -> Ref:
    """A quotient or its rest. Of integers onnxruntime refuses a divisor of 0 also where it divides nothing."""
    a, b = w.operands(op)
    if op.out.type.is_float:
        row = rows.ROWS[op.op]
    else:
        row = rows.INTEGER_ROWS[op.op]
        if not w.body.is_constant(b):
            b = evaluate("Where(b == 0, 1, b)", {"b": b}.__getitem__, w.body)
    found: Ref = evaluate(row, {"a": a, "b": b}.__getitem__, w.body)
    return found


METHODS: Mapping[str, Say] = {
    "reshape": reshape,
    "broadcast": broadcast,
    "slice": slice_,
    "pad": pad,
    "flip": flip,
    "cast": cast,
    "arange": arange,
    "full": full,
    "size": size,
    "argsort": argsort,
    "top_k": top_k,
    "einsum": einsum,
    "matmul": matmul,
    "update_slice": update_slice,
    "cumprod": cumprod,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "mod": over_whole,
    "floordiv": over_whole,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
}
