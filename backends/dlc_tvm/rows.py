"""How each operation of dlc is said in Relax. A row is a function of its operands and its attributes by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx
from tvm.relax import op as R
from tvm.sym import Analyzer

from dlc_tvm.sizes import Sizes

Row = Callable[..., Any]


class Emission:
    """What a row may need besides operands: the builder, the sizes of dims, and the result's shape and dtype."""

    def __init__(self, builder: relax.BlockBuilder, sizes: Sizes) -> None:
        self.builder = builder
        self.sizes = sizes
        self.shape: list[Any] = []
        self.dtype = ""

    def emit(self, value: Any) -> Any:
        return self.builder.emit(value)

    def compute(self, body: Callable[..., Any], *operands: Any, name: str) -> Any:
        return self.builder.emit_te(body, *operands, primfunc_name_hint=name)

    def const(self, value: Any, dtype: str) -> Any:
        return relax.const(value, dtype)


def _simple(function: Callable[..., Any]) -> Row:
    return lambda e, *operands: function(*operands)


def _reduce(function: Callable[..., Any]) -> Row:
    def row(e: Emission, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        if not axis:
            return x
        return function(x, axis=list(axis), keepdims=keepdims)

    return row


def _any(function: Callable[..., Any]) -> Row:
    """Bools are reduced as bytes: TVM has no reduction of bools."""

    def row(e: Emission, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        if not axis:
            return x
        found = e.emit(function(e.emit(R.astype(x, "int8")), axis=list(axis), keepdims=keepdims))
        return R.astype(found, "bool")

    return row


def _elementwise(name: str, body: Callable[[Any], Any]) -> Row:
    """An elementwise function written in TIR."""

    def row(e: Emission, x: Any) -> Any:
        def compute(t: te.Tensor) -> te.Tensor:
            return te.compute(t.shape, lambda *i: body(t(*i)), name=name)

        return e.compute(compute, x, name=name)

    return row


def _log1p(x: Any) -> Any:
    """log(1 + x) without loss near 0: log(u) * x / (u - 1) with u = 1 + x (Kahan)."""
    one = tirx.const(1.0, x.dtype)
    u = x + one
    tiny = u == one
    safe = tirx.Select(tiny, one, u - one)
    infinite = tirx.isinf(u)
    return tirx.Select(tirx.any(tiny, infinite), tirx.Select(tiny, x, tirx.log(u)), tirx.log(u) * x / safe)


def _expm1(x: Any) -> Any:
    """e**x - 1 without loss near 0: 2 * sinh(x/2) * e**(x/2), by tanh: expm1(x) = t * (e**x + 1), t = tanh(x/2)."""
    half = tirx.const(0.5, x.dtype)
    one = tirx.const(1.0, x.dtype)
    small = tirx.abs(x) < half
    return tirx.Select(small, tirx.tanh(x * half) * (tirx.exp(x) + one), tirx.exp(x) - one)


def _concat(e: Emission, *xs: Any, axis: int) -> Any:
    return R.concat(list(xs), axis=axis)


def _slice(e: Emission, x: Any, start: Any, stop: Any, step: Any) -> Any:
    shape = x.ty.shape
    begin, end = e.sizes.all(start), e.sizes.all(stop)
    kept = [
        axis
        for axis in range(len(begin))
        if not (_is(begin[axis], 0) and step[axis] == 1 and _same(end[axis], shape[axis]))
    ]
    if not kept:
        return x
    pick = lambda values: [values[axis] for axis in kept]  # noqa: E731
    return R.strided_slice(x, kept, pick(begin), pick(end), pick(list(step)), assume_inbound=True)


def _is(value: Any, number: int) -> bool:
    return isinstance(value, int | tirx.IntImm) and int(value) == number


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    return bool(Analyzer().can_prove_equal(a, b))


def _pad(e: Emission, x: Any, before: Any, after: Any, value: float) -> Any:
    low, high = e.sizes.all(before), e.sizes.all(after)

    def compute(t: te.Tensor) -> te.Tensor:
        shape = [size + a + b for size, a, b in zip(t.shape, low, high, strict=True)]

        def body(*index: Any) -> Any:
            inside = [
                condition
                for i, a, size in zip(index, low, t.shape, strict=True)
                for condition in (i >= a, i < a + size)
            ]
            source = [i - a for i, a in zip(index, low, strict=True)]
            return tirx.if_then_else(tirx.all(*inside), t(*source), tirx.const(value, t.dtype))

        return te.compute(shape, body, name="pad")

    return e.compute(compute, x, name="pad")


def _take(e: Emission, x: Any, index: Any, axis: int) -> Any:
    """Rows by index; a scalar index is taken as a list of one."""
    return R.take(x, index, axis=axis)


def _arange(e: Emission, start: Any, stop: Any, step: int, dtype: str) -> Any:
    low = e.sizes.one(start)

    def compute() -> te.Tensor:
        return te.compute(e.shape, lambda i: (low + i * step).astype(_tvm_dtype(dtype)), name="arange")

    if all(isinstance(size, int | tirx.IntImm) for size in e.shape) and isinstance(low, int):
        import numpy as np

        return relax.const(np.arange(low, low + int(e.shape[0]) * step, step, dtype=_tvm_dtype(dtype)))
    # A symbolic bound is passed along as a shape, since a kernel sees only what it is given.
    if isinstance(low, int):
        return R.arange(low, low + e.shape[0] * step, step, _tvm_dtype(dtype))
    counted = e.emit(R.arange(0, e.shape[0] * step, step, _tvm_dtype(dtype)))
    return R.add(counted, e.emit(_size_value(e, low, _tvm_dtype(dtype))))


def _tvm_dtype(dtype: str) -> str:
    from dlc_tvm.sizes import DTYPES

    return DTYPES.get(dtype, dtype)


def _size_value(e: Emission, size: Any, dtype: str) -> Any:
    """A symbolic size as a scalar tensor: the only element of arange(size, size + 1)."""
    one = e.emit(R.arange(size, size + 1, 1, dtype))
    return R.reshape(one, [])


def _size(e: Emission, dim: Any) -> Any:
    size = e.sizes.one(dim)
    return relax.const(size, "int64") if isinstance(size, int) else _size_value(e, size, "int64")


def _full(e: Emission, shape: Any, value: Any, dtype: str) -> Any:
    return R.full(e.sizes.all(shape), relax.const(value, _tvm_dtype(dtype)), _tvm_dtype(dtype))


def _flip(e: Emission, x: Any, axes: tuple[int, ...]) -> Any:
    for axis in axes:
        x = e.emit(R.flip(x, axis))
    return x


def _flat(padding: Any) -> list[int]:
    """((top, bottom), (left, right)) -> [top, left, bottom, right]."""
    return [pair[0] for pair in padding] + [pair[1] for pair in padding]


def _conv(e: Emission, x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    function = (R.nn.conv1d, R.nn.conv2d, R.nn.conv3d)[len(stride) - 1]
    return function(
        x, w, strides=list(stride), padding=_flat(padding), dilation=list(dilation), groups=groups
    )


def _conv_transpose(
    e: Emission, x: Any, w: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: int
) -> Any:
    function = (R.nn.conv1d_transpose, R.nn.conv2d_transpose, R.nn.conv3d_transpose)[len(stride) - 1]
    return function(
        x,
        w,
        strides=list(stride),
        padding=_flat(padding),
        output_padding=list(output_padding),
        dilation=list(dilation),
        groups=groups,
    )


def _windows(e: Emission, x: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    """Index arithmetic of pooling: for an output index and a window offset, the input's index."""
    count = len(kernel)

    def source(index: Any, offset: Any) -> list[Any]:
        return [index[2 + k] * stride[k] + offset[k] - padding[k][0] for k in range(count)]

    return source


def _max_pool(e: Emission, x: Any, kernel: Any, stride: Any, padding: Any, ceil: bool) -> Any:
    source, shape = _windows(e, x, kernel, stride, padding), list(e.shape)

    def compute(t: te.Tensor) -> te.Tensor:
        reduce = [te.reduce_axis((0, k), name=f"k{i}") for i, k in enumerate(kernel)]
        low = tirx.min_value(t.dtype)

        def body(*index: Any) -> Any:
            at = source(index, reduce)
            inside = [c for i, size in zip(at, t.shape[2:], strict=True) for c in (i >= 0, i < size)]
            value = t(*index[:2], *at)
            plain = not ceil and all(pair == (0, 0) for pair in map(tuple, padding))
            return te.max(value if plain else tirx.if_then_else(tirx.all(*inside), value, low), axis=reduce)

        return te.compute(shape, body, name="max_pool")

    return e.compute(compute, x, name="max_pool")


def _avg_pool(e: Emission, x: Any, kernel: Any, stride: Any, padding: Any, ceil: bool, count_padding: bool) -> Any:
    """The sum of each window over the number of its elements; PyTorch counts padding, but not what `ceil` adds behind it."""
    source, shape = _windows(e, x, kernel, stride, padding), list(e.shape)

    def total(t: te.Tensor) -> te.Tensor:
        reduce = [te.reduce_axis((0, k), name=f"k{i}") for i, k in enumerate(kernel)]

        def body(*index: Any) -> Any:
            at = source(index, reduce)
            inside = [c for i, size in zip(at, t.shape[2:], strict=True) for c in (i >= 0, i < size)]
            value = t(*index[:2], *at)
            plain = not ceil and all(pair == (0, 0) for pair in map(tuple, padding))
            zero = tirx.const(0.0, t.dtype)
            return te.sum(value if plain else tirx.if_then_else(tirx.all(*inside), value, zero), axis=reduce)

        summed = te.compute(shape, body, name="window_sum")
        return te.compute(shape, lambda *i: summed(*i) / _count(t, i, kernel, stride, padding, count_padding), name="avg_pool")

    return e.compute(total, x, name="avg_pool")


def _count(t: te.Tensor, index: Any, kernel: Any, stride: Any, padding: Any, count_padding: bool) -> Any:
    count: Any = tirx.const(1, "int64")
    for k, size in enumerate(t.shape[2:]):
        before, after = padding[k]
        low = index[2 + k] * stride[k] - before
        high = low + kernel[k]
        if count_padding:
            count = count * (tirx.min(high, size + after) - low)
        else:
            count = count * (tirx.min(high, size) - tirx.max(low, 0))
    return count.astype(t.dtype)


def _top_k(e: Emission, x: Any, k: int, axis: int) -> Any:
    """By a stable descending sort, so that of equal elements the first comes first."""
    order = e.emit(R.argsort(x, axis=axis, descending=True, dtype="int64"))
    first = e.emit(R.strided_slice(order, [axis], [0], [k]))
    values = e.emit(R.gather_elements(x, first, axis=axis))
    return (values, first)


def _update_slice(e: Emission, x: Any, values: Any, start: Any, axis: int) -> Any:
    def compute(t: te.Tensor, v: te.Tensor, at: te.Tensor) -> te.Tensor:
        def body(*index: Any) -> Any:
            offset = index[axis] - at()
            inside = tirx.all(offset >= 0, offset < v.shape[axis])
            source = [offset if i == axis else each for i, each in enumerate(index)]
            return tirx.if_then_else(inside, v(*source), t(*index))

        return te.compute(t.shape, body, name="update_slice")

    return e.compute(compute, x, values, start, name="update_slice")


def _floor_ops(kind: str) -> Row:
    """Python's // and %: rounding towards minus infinity, on floats too."""

    def row(e: Emission, a: Any, b: Any) -> Any:
        if str(a.ty.dtype).startswith(("int", "uint")):
            return R.floor_divide(a, b) if kind == "floordiv" else R.floor_mod(a, b)
        quotient = e.emit(R.floor(e.emit(R.divide(a, b))))
        return quotient if kind == "floordiv" else R.subtract(a, e.emit(R.multiply(quotient, b)))

    return row


def _pow(e: Emission, x: Any, y: Any) -> Any:
    return R.power(x, y)


def _round(e: Emission, x: Any) -> Any:
    """Half to even, as NumPy and PyTorch do."""

    def compute(t: te.Tensor) -> te.Tensor:
        return te.compute(t.shape, lambda *i: tirx.nearbyint(t(*i)), name="round")

    return e.compute(compute, x, name="round")


def _logical(function: Callable[..., Any]) -> Row:
    return lambda e, *operands: function(*operands)


def _compare_bools(function: Callable[..., Any]) -> Row:
    def row(e: Emission, a: Any, b: Any) -> Any:
        if str(a.ty.dtype) == "bool":
            a, b = (e.emit(R.astype(x, "int8")) for x in (a, b))
        return function(a, b)

    return row


def _reshape(e: Emission, x: Any, shape: Any) -> Any:
    return R.reshape(x, relax.ShapeExpr(e.sizes.all(shape)))


def _broadcast(e: Emission, x: Any, shape: Any) -> Any:
    return R.broadcast_to(x, relax.ShapeExpr(e.sizes.all(shape)))


def _cast(e: Emission, x: Any, dtype: str) -> Any:
    """To bool by comparing: a number is true where it is not 0."""
    if dtype == "bool":
        return R.not_equal(x, relax.const(0, str(x.ty.dtype)))
    return R.astype(x, _tvm_dtype(dtype))


def _softmax(e: Emission, x: Any, axis: int) -> Any:
    return R.nn.softmax(x, axis)


ROWS: dict[str, Row] = {
    **{name: _simple(getattr(R, name)) for name in (
        "exp", "log", "sqrt", "rsqrt", "sin", "cos", "tan", "tanh", "sigmoid", "erf", "floor", "ceil", "abs", "sign",
        "isnan", "isfinite", "logical_not", "minimum", "maximum", "logical_and", "logical_or", "where", "matmul",
    )},
    "expm1": _elementwise("expm1", _expm1),
    "log1p": _elementwise("log1p", _log1p),
    "round": _round,
    "neg": _simple(R.negative),
    "add": _simple(R.add),
    "sub": _simple(R.subtract),
    "mul": _simple(R.multiply),
    "div": _simple(R.divide),
    "pow": _pow,
    "floordiv": _floor_ops("floordiv"),
    "mod": _floor_ops("mod"),
    "eq": _compare_bools(R.equal),
    "ne": _compare_bools(R.not_equal),
    "lt": _simple(R.less),
    "le": _simple(R.less_equal),
    "gt": _simple(R.greater),
    "ge": _simple(R.greater_equal),
    "cast": _cast,
    "sum": _reduce(R.sum),
    "max": _reduce(R.max),
    "min": _reduce(R.min),
    "prod": _reduce(R.prod),
    "any": _any(R.max),
    "all": _any(R.min),
    "argmax": lambda e, x, axis, keepdims: R.argmax(x, axis, keepdims),
    "argmin": lambda e, x, axis, keepdims: R.argmin(x, axis, keepdims),
    "cumsum": lambda e, x, axis: R.cumsum(x, axis, str(x.ty.dtype)),
    "cumprod": lambda e, x, axis: R.cumprod(x, axis, str(x.ty.dtype)),
    "einsum": lambda e, *xs, pattern: R.einsum(list(xs), pattern),
    "reshape": _reshape,
    "permute": lambda e, x, axes: R.permute_dims(x, list(axes)),
    "broadcast": _broadcast,
    "concat": _concat,
    "slice": _slice,
    "pad": _pad,
    "flip": _flip,
    "take": _take,
    "take_along": lambda e, x, index, axis: R.gather_elements(x, index, axis=axis),
    "scatter": lambda e, x, index, values, axis: R.scatter_elements(x, index, values, axis=axis),
    "scatter_add": lambda e, x, index, values, axis: R.scatter_elements(x, index, values, axis=axis, reduction="add"),
    "update_slice": _update_slice,
    "top_k": _top_k,
    "argsort": lambda e, x, axis, descending: R.argsort(x, axis=axis, descending=descending, dtype="int64"),
    "arange": _arange,
    "full": _full,
    "size": _size,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "stop_gradient": lambda e, x: x,
    "softmax": _softmax,
    "relu": lambda e, x: R.nn.relu(x),
}  # fmt: skip
