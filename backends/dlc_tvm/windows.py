"""Convolutions and pooling.

TVM's own operations are used where there is one, since `dlc_tvm.layout` turns those into channels-last ones. Shapes come from the
IR where TVM's rule is another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import te, tirx, topi
from tvm.relax import op as R

from dlc_tvm.emission import NARROW, Emission

Pairs = Sequence[Sequence[int]]
Ints = Sequence[int]

CONVS = (R.nn.conv1d, R.nn.conv2d, R.nn.conv3d)
MAX_POOLS = (R.nn.max_pool1d, R.nn.max_pool2d, R.nn.max_pool3d)
AVG_POOLS = (R.nn.avg_pool1d, R.nn.avg_pool2d, R.nn.avg_pool3d)


def _sides(padding: Pairs) -> list[int]:
    """((top, bottom), (left, right)) -> [top, left, bottom, right]."""
    return [before for before, _ in padding] + [after for _, after in padding]


def conv(e: Emission, x: Any, w: Any, stride: Ints, padding: Pairs, dilation: Ints, groups: int) -> Any:
    narrow = e.dtype in NARROW
    found = CONVS[len(stride) - 1](
        x,
        w,
        strides=list(stride),
        padding=_sides(padding),
        dilation=list(dilation),
        groups=groups,
        out_dtype="float32" if narrow else None,
    )
    return R.astype(e.emit(found), e.dtype) if narrow else found


def conv_transpose(
    e: Emission,
    x: Any,
    w: Any,
    stride: Ints,
    padding: Pairs,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
) -> Any:
    """The convolution of x, spread by `stride` and bordered with zeros, with the kernels turned round.

    Output element p gets x[q] * w[k] where q * stride + k * dilation - before == p."""
    kernel = list(w.ty.shape)[2:]
    reach = [(k - 1) * d for d, k in zip(dilation, kernel, strict=True)]
    before = [r - a for r, (a, _) in zip(reach, padding, strict=True)]
    after = [r - b + extra for r, (_, b), extra in zip(reach, padding, output_padding, strict=True)]
    spread = e.emit(_spread(e, x, stride, before, after))
    turned = e.emit(_turned(e, w, groups))
    return conv(e, spread, turned, [1] * len(stride), [(0, 0)] * len(stride), dilation, groups)


def _spread(e: Emission, x: Any, stride: Ints, before: list[Any], after: list[Any]) -> Any:
    """x with stride - 1 zeros between neighbours and a border, which may also cut (where it is negative)."""

    def compute(t: te.Tensor, before: list[Any], after: list[Any]) -> te.Tensor:
        space = [
            (n - 1) * s + 1 + a + b for n, s, a, b in zip(t.shape[2:], stride, before, after, strict=True)
        ]

        def body(b: Any, c: Any, *index: Any) -> Any:
            at = [i - a for i, a in zip(index, before, strict=True)]
            whole = [tirx.floormod(i, s) == 0 for i, s in zip(at, stride, strict=True) if s > 1]
            source = [tirx.floordiv(i, s) for i, s in zip(at, stride, strict=True)]
            inside = [each for i, n in zip(source, t.shape[2:], strict=True) for each in (i >= 0, i < n)]
            return tirx.if_then_else(tirx.all(*whole, *inside), t(b, c, *source), tirx.const(0, t.dtype))

        return te.compute([*t.shape[:2], *space], body, name="spread")

    return e.kernel("spread", compute, x, sizes=(before, after))


def _turned(e: Emission, w: Any, groups: int) -> Any:
    """[i, o/g, *K] -> [o, i/g, *K], mirrored along the spatial axes."""

    def compute(t: te.Tensor) -> te.Tensor:
        inputs, outputs, *kernel = t.shape
        part = tirx.floordiv(inputs, groups)

        def body(o: Any, i: Any, *index: Any) -> Any:
            mirrored = [k - 1 - j for k, j in zip(kernel, index, strict=True)]
            return t(tirx.floordiv(o, outputs) * part + i, tirx.floormod(o, outputs), *mirrored)

        return te.compute([outputs * groups, part, *kernel], body, name="turned")

    return e.kernel("turned", compute, w)


def max_pool(e: Emission, x: Any, kernel: Ints, stride: Ints, padding: Pairs, ceil: bool) -> Any:
    """Of narrow floats in f32."""
    return e.cast(e.emit(_max_pool(e, e.wide(x), kernel, stride, padding, ceil)), e.dtype)


def _max_pool(e: Emission, x: Any, kernel: Ints, stride: Ints, padding: Pairs, ceil: bool) -> Any:
    if not ceil:
        return MAX_POOLS[len(kernel) - 1](x, list(kernel), list(stride), _sides(padding))

    def compute(t: te.Tensor, shape: Any) -> te.Tensor:
        window = Window(t, kernel, stride, padding, _least(t))
        return te.compute(shape, lambda *i: _greatest(t)(window(i), axis=window.axes), name="max_pool")

    return e.kernel("max_pool", compute, x, sizes=(e.shape,))


def legal_max_pool(builder: Any, call: Any) -> Any:
    """A pool as a kernel, in whatever layout. TVM's own passes over nan, and has a number for the greatest of -inf."""
    attrs = call.attrs

    def compute(x: te.Tensor) -> te.Tensor:
        return _pooled(x, str(attrs.layout), attrs.pool_size, attrs.strides, attrs.padding)

    return builder.call_te(compute, call.args[0], primfunc_name_hint="max_pool")


def _pooled(x: te.Tensor, layout: str, kernel: Ints, stride: Ints, padding: Ints) -> te.Tensor:
    places = {layout.index(each): i for i, each in enumerate("DHW"[-len(kernel) :])}
    count = len(kernel)
    before, after = ([0] * len(x.shape) for _ in range(2))
    for axis, i in places.items():
        before[axis], after[axis] = padding[i], padding[count + i]
    if any([*before, *after]):
        x = topi.nn.pad(x, before, after, pad_value=_least(x), name="pad_temp")
    window = [te.reduce_axis((0, tirx.const(int(k), "int64")), name=f"k{i}") for i, k in enumerate(kernel)]
    shape = [
        tirx.floordiv(n - kernel[places[axis]], stride[places[axis]]) + 1 if axis in places else n
        for axis, n in enumerate(x.shape)
    ]

    def body(*index: Any) -> Any:
        at = [
            i * stride[places[axis]] + window[places[axis]] if axis in places else i
            for axis, i in enumerate(index)
        ]
        return _greatest(x)(x(*at), axis=window)

    return te.compute(shape, body, name="pool_max", tag="pool_max")


def _least(x: te.Tensor) -> Any:
    return tirx.const(-math.inf, x.dtype) if "float" in str(x.dtype) else tirx.min_value(x.dtype)


def _greatest(x: te.Tensor) -> Any:
    """The reduction to the greatest element, which is nan where there is one."""
    if "float" not in str(x.dtype):
        return te.max

    def kept(a: Any, b: Any) -> Any:
        return tirx.Select(a <= a, tirx.Max(a, b), a)  # TVM's is b where b is nan; only nan is not a <= a

    return te.comm_reducer(kept, lambda dtype: tirx.const(-math.inf, dtype), name="greatest")


def avg_pool(
    e: Emission, x: Any, kernel: Ints, stride: Ints, padding: Pairs, ceil: bool, count_padding: bool
) -> Any:
    """The sum of each window over the number of its elements; PyTorch counts padding, but not what `ceil` adds to it."""
    if not ceil and e.dtype not in NARROW:
        return AVG_POOLS[len(kernel) - 1](
            x, list(kernel), list(stride), _sides(padding), count_include_pad=count_padding
        )

    def compute(t: te.Tensor, shape: Any) -> te.Tensor:
        window = Window(t, kernel, stride, padding, tirx.const(0, t.dtype))
        total = te.compute(
            shape, lambda *i: te.sum(window(i).astype(_sum_dtype(t)), axis=window.axes), name="window_sum"
        )
        return te.compute(
            shape,
            lambda *i: (total(*i) / _count(t, i, kernel, stride, padding, count_padding)).astype(t.dtype),
            name="avg_pool",
        )

    return e.kernel("avg_pool", compute, x, sizes=(e.shape,))


def _sum_dtype(t: te.Tensor) -> str:
    return "float32" if str(t.dtype) in NARROW else str(t.dtype)


class Window:
    """The elements of a pooling window: for an output's index, the element at an offset over `axes`; `outside` beyond x."""

    def __init__(self, t: te.Tensor, kernel: Ints, stride: Ints, padding: Pairs, outside: Any) -> None:
        self.t, self.stride, self.padding, self.outside = t, stride, padding, outside
        self.axes = [te.reduce_axis((0, tirx.const(k, "int64")), name=f"k{i}") for i, k in enumerate(kernel)]

    def __call__(self, index: Any) -> Any:
        sizes = self.t.shape[2:]
        at = [
            i * s + offset - before
            for i, s, offset, (before, _) in zip(index[2:], self.stride, self.axes, self.padding, strict=True)
        ]
        inside = [each for i, n in zip(at, sizes, strict=True) for each in (i >= 0, i < n)]
        return tirx.if_then_else(tirx.all(*inside), self.t(*index[:2], *at), self.outside)


def _count(t: te.Tensor, index: Any, kernel: Ints, stride: Ints, padding: Pairs, count_padding: bool) -> Any:
    """How many elements of a window count."""
    count: Any = tirx.const(1, "int64")
    for i, s, k, (before, after), size in zip(index[2:], stride, kernel, padding, t.shape[2:], strict=True):
        low = i * s - before
        if count_padding:
            count = count * (tirx.min(low + k, size + after) - low)
        else:
            count = count * (tirx.min(low + k, size) - tirx.max(low, 0))
    return count.astype(_sum_dtype(t))
