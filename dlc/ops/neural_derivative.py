"""Derivatives of convolutions and pooling, as IR.

They need no division of sizes to be exact: where a stride leaves a rest of unknown size, the gradient is made
a little longer than needed and cut to the operand's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlc.ops.shape import ints_of, part
from dlc.records import dataclass, replace
from dlc.types.dims import Dim

if TYPE_CHECKING:
    from dlc.ir.builder import Builder
    from dlc.ir.nodes import Op, Value
    from dlc.ops.derivatives import Gradients

Pairs = tuple[tuple[int, ...], ...]


def _pairs(op: Op) -> Pairs:
    padding = op.attr("padding")
    assert isinstance(padding, tuple)
    return tuple(ints_of(pair) for pair in padding)


# --- convolutions -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Conv:
    """The attributes that a convolution and its transpose share."""

    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int

    @staticmethod
    def of(op: Op) -> _Conv:
        groups = op.attr("groups")
        assert isinstance(groups, int)
        return _Conv(ints_of(op.attr("stride")), _pairs(op), ints_of(op.attr("dilation")), groups)

    def forward(self, b: Builder, x: Value, w: Value) -> Value:
        return b.op(
            "conv", x, w, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups
        )

    def transpose(self, b: Builder, x: Value, w: Value, extra: Sequence[int]) -> Value:
        return b.op(
            "conv_transpose",
            x,
            w,
            stride=self.stride,
            padding=self.padding,
            output_padding=tuple(extra),
            dilation=self.dilation,
            groups=self.groups,
        )


def conv_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (x, w), conv = grads[0], operands, _Conv.of(op)
    if dy is None:
        return [None, None]
    return [_image_gradient(b, conv, dy, w, x), _kernel_gradient(b, conv, x, dy, w)]


def conv_transpose_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    # The transpose of the transpose; the kernels see x and dy in each other's place.
    dy, (x, w), conv = grads[0], operands, _Conv.of(op)
    if dy is None:
        return [None, None]
    dx = _cut(b, conv.forward(b, dy, w), (0,) * len(conv.stride), x.type.axes[2:])
    return [dx, _kernel_gradient(b, conv, dy, x, w)]


def _image_gradient(b: Builder, conv: _Conv, dy: Value, w: Value, x: Value) -> Value:
    """The gradient of x: each window's gradient goes back to its window. [B, o, *places] -> as x."""
    sizes = zip(x.type.axes[2:], w.type.axes[2:], conv.stride, conv.padding, conv.dilation, strict=True)
    rests = [_rest(b, *each) for each in sizes]
    exact = [rest for rest in rests if rest is not None]
    # A transpose has an element at least: of an image without any, what it would be is cut off again.
    filled = all(b.facts.prove_ge(size, 1) is True for size in x.type.axes[2:])
    if filled and len(exact) == len(rests):
        return conv.transpose(b, dy, w, exact)
    uncut = replace(conv, padding=tuple((0, 0) for _ in conv.padding))
    full = uncut.transpose(b, dy, w, [s - 1 for s in conv.stride])
    return _cut(b, full, [before for before, _ in conv.padding], x.type.axes[2:])


def _rest(
    b: Builder, size: Dim, kernel: Dim, stride: int, padding: Sequence[int], dilation: int
) -> int | None:
    """How many elements at the end no window reaches, where that is known."""
    room = size + sum(padding) - (kernel - 1) * dilation - 1
    return b.facts.simplify(room % stride).constant


def _cut(b: Builder, x: Value, starts: Sequence[int], sizes: Sequence[Dim]) -> Value:
    """`x[:, :, start : start + size, …]`."""
    for i, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        if start or x.type.axes[2 + i] != size:
            x = part(b, x, 2 + i, start, size + start)
    return x


def _kernel_gradient(b: Builder, conv: _Conv, x: Value, dy: Value, w: Value) -> Value:
    """The gradient of the kernels: x convolved with dy, batch and channels changing places, strides and
    dilations too.

    Per group, channels of x stand as the batch and the batch as channels to be summed over."""
    images = _batch_as_channels(b, x, conv.groups)  # [i/g, g * B, *space]
    kernels = b.permute(dy, (1, 0, *range(2, dy.type.rank)))  # [o, B, *places]
    swapped = replace(conv, stride=conv.dilation, dilation=conv.stride)
    found = swapped.forward(b, images, kernels)  # [i/g, o, *K or more]
    found = _cut(b, found, (0,) * len(conv.stride), w.type.axes[2:])
    return b.permute(found, (1, 0, *range(2, w.type.rank)))


def _batch_as_channels(b: Builder, x: Value, groups: int) -> Value:
    """[B, g * c, *space] -> [c, g * B, *space]."""
    batch, channels, *space = x.type.axes
    share = b.facts.simplify(channels // groups)
    split = b.reshape(x, (batch, groups, share, *space))
    turned = b.permute(split, (2, 1, 0, *range(3, split.type.rank)))
    return b.reshape(turned, (share, batch * groups, *space))


def _product(sizes: Sequence[Dim]) -> Dim:
    return math.prod(sizes, start=Dim.of(1))


# --- pooling ------------------------------------------------------------------------------------------------


def _border(b: Builder, x: Value, op: Op, value: float) -> Value:
    """x with its padding, and `stride - 1` more at the end: room for what `ceil` lets hang over."""
    stride, ceil = ints_of(op.attr("stride")), op.attr("ceil")
    zero = (Dim.of(0),) * 2
    before = (*zero, *(Dim.of(pair[0]) for pair in _pairs(op)))
    more = [s - 1 if ceil else 0 for s in stride]
    after = (*zero, *(Dim.of(pair[1] + extra) for pair, extra in zip(_pairs(op), more, strict=True)))
    return b.op("pad", x, before=before, after=after, value=value)


def _window_places(b: Builder, size: Dim, kernel: int, stride: int) -> Value:
    """i64[size, kernel]: where along the padded axis element k of window n stands."""
    starts = b.mul(b.op("arange", start=0, stop=size), stride)
    return b.add(b.reshape(starts, (size, 1)), b.op("arange", start=0, stop=kernel))


def max_pool_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    """All of a window's gradient goes to its first greatest element, in row-major order, as in PyTorch."""
    dy, (x,), y = grads[0], operands, outputs[0]
    if dy is None:
        return [None]
    padded = _border(b, x, op, -math.inf)
    kernel, stride = ints_of(op.attr("kernel")), ints_of(op.attr("stride"))
    places = [_window_places(b, n, k, s) for n, k, s in zip(y.type.axes[2:], kernel, stride, strict=True)]
    views = padded
    for i, place in enumerate(places):
        views = b.op("take", views, place, axis=2 + 2 * i)  # [B, c, n1, k1, n2, k2, …]
    rank = len(kernel)
    order = (0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2))
    flat = b.reshape(b.permute(views, order), (*y.type.axes, math.prod(kernel)))
    chosen = _flat_places(b, b.op("argmax", flat, axis=y.type.rank), places, kernel, padded.type.axes[2:])
    grad = _scatter_space(b, dy, chosen, padded)
    return [_cut(b, grad, [pair[0] for pair in _pairs(op)], x.type.axes[2:])]


def _flat_places(
    b: Builder, winner: Value, places: Sequence[Value], kernel: Sequence[int], space: Sequence[Dim]
) -> Value:
    """i64[B, c, *places]: where each window's element number `winner` stands, row-major, in padded space."""
    total: Value | None = None
    rank = len(kernel)
    for i, place in enumerate(places):
        inner = math.prod(kernel[i + 1 :])
        within = b.op("mod", b.op("floordiv", winner, inner), kernel[i])
        start = b.reshape(part(b, place, 1, 0, 1), (place.type.axes[0], *[1] * (rank - 1 - i)))
        along = b.add(within, start)
        total = along if total is None else b.add(b.mul(total, b.size(space[i])), along)
    assert total is not None
    return total


def _scatter_space(b: Builder, dy: Value, places: Value, like: Value) -> Value:
    """Zeros of the shape of `like` with each element of dy added at its row-major place in space."""
    batch, channels, *space = like.type.axes
    windows = _product(dy.type.axes[2:])
    empty = b.op("full", shape=(batch, channels, _product(space)), value=0.0, dtype=dy.type.dtype)
    shape = (batch, channels, windows)
    flat = b.op("scatter_add", empty, b.reshape(places, shape), b.reshape(dy, shape), axis=2)
    return b.reshape(flat, like.type.axes)


def avg_pool_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    """Each window's gradient, over its count, goes to all its elements: the transpose of summing."""
    dy, (x,) = grads[0], operands
    if dy is None:
        return [None]
    kernel, stride = ints_of(op.attr("kernel")), ints_of(op.attr("stride"))
    share = _share(b, op, dy, x)
    batch, channels, *places = share.type.axes
    single = b.reshape(share, (batch * channels, 1, *places))
    ones = b.op("full", shape=(1, 1, *kernel), value=1.0, dtype=dy.type.dtype)
    # No window lies beyond the padding, so `stride - 1` more always reach to the end of x.
    none, apart = tuple((0, 0) for _ in kernel), (1,) * len(kernel)
    full = _Conv(stride, none, apart, groups=1).transpose(b, single, ones, [s - 1 for s in stride])
    grad = _cut(b, full, [pair[0] for pair in _pairs(op)], x.type.axes[2:])
    return [b.reshape(grad, x.type.axes)]


def _share(b: Builder, op: Op, dy: Value, x: Value) -> Value:
    """dy over the number of elements that each window counts."""
    kernel, counted, ceil = ints_of(op.attr("kernel")), op.attr("count_padding"), op.attr("ceil")
    bordered = any(map(any, _pairs(op)))
    if not ceil and (counted or not bordered):
        return b.div(dy, float(math.prod(kernel)))
    rank = len(kernel)
    for i, (size, k, s, (before, after)) in enumerate(
        zip(x.type.axes[2:], kernel, ints_of(op.attr("stride")), _pairs(op), strict=True)
    ):
        low, high = (-before, size + after) if counted else (0, size)
        begin = b.sub(b.mul(b.op("arange", start=0, stop=dy.type.axes[2 + i]), s), before)
        inside = b.sub(b.op("minimum", b.add(begin, k), b.size(high)), b.op("maximum", begin, low))
        counts = b.reshape(inside, (dy.type.axes[2 + i], *[1] * (rank - 1 - i)))
        dy = b.div(dy, b.cast(counts, dy.type.dtype))
    return dy
