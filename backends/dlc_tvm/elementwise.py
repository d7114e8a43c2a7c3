"""Elementwise operations that TVM has no name for, or means otherwise than NumPy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tvm import te, tirx
from tvm.ir import Constant
from tvm.relax import op as R

from dlc_tvm.emission import NARROW, Emission, Row, constant
from dlc_tvm.schedule.loops import loop, loops
from dlc_tvm.turns import OPAQUE

POWERS = 63
"""Exponents that are written, up to which x is multiplied so often."""


def simple(function: Callable[..., Any]) -> Row:
    """An operation that TVM has under some name."""
    return lambda e, *operands: function(*operands)


def broadcasting(function: Callable[..., Any]) -> Row:
    """The same of operands that broadcast. Values by channel, [C, 1, 1], get the rank of images: of other operands TVM can't
    turn the layout round."""
    return lambda e, *operands: function(*(_as_image(e, x) for x in operands))


def _as_image(e: Emission, x: Any) -> Any:
    shape = [constant(size) for size in x.ty.shape]
    by_channel = len(e.shape) == 4 and len(shape) == 3 and shape[1:] == [1, 1]
    return e.emit(R.expand_dims(x, 0)) if by_channel else x


def wide(row: Row) -> Row:
    """The operation computed in f32 and rounded once, where its operands are narrow floats."""

    def computed(e: Emission, *operands: Any, **attrs: Any) -> Any:
        if str(operands[0].ty.dtype) not in NARROW:
            return row(e, *operands, **attrs)
        return e.cast(e.emit(row(e, *(e.wide(x) for x in operands), **attrs)), e.dtype)

    return computed


def pointwise(name: str, scalar: Callable[..., Any]) -> Row:
    """A function of scalars, applied to operands that broadcast."""

    def row(e: Emission, *operands: Any) -> Any:
        def compute(*tensors: te.Tensor) -> te.Tensor:
            return te.compute(tensors[0].shape, lambda *i: scalar(*(t(*i) for t in tensors)), name=name)

        return e.kernel(name, compute, *(e.broadcast(x) for x in operands))

    return row


def log1p(x: Any) -> Any:
    """log(1 + x) without loss near 0: log(u) * x / (u - 1) with u = 1 + x (Kahan)."""
    one = tirx.const(1.0, x.ty.dtype)
    u = x + one
    near = tirx.abs(x) < tirx.const(0.5, x.ty.dtype)
    exact = u == one
    ratio = tirx.log(u) * x / tirx.Select(exact, one, u - one)
    return tirx.Select(near, tirx.Select(exact, x, ratio), tirx.log(u))


def expm1(x: Any) -> Any:
    """e**x - 1 without loss near 0: the error of u = e**x is that of log(u), so (u - 1) * x / log(u) (Kahan)."""
    one = tirx.const(1.0, x.ty.dtype)
    u = tirx.exp(x)
    near = tirx.abs(x) < tirx.const(0.5, x.ty.dtype)
    exact = u == one
    ratio = (u - one) * x / tirx.Select(exact, one, tirx.log(u))
    return tirx.Select(near, tirx.Select(exact, x, ratio), u - one)


def negative(e: Emission, x: Any) -> Any:
    """TVM's own takes no unsigned numbers."""
    return R.subtract(e.const(0), x) if e.dtype == "uint8" else R.negative(x)


def sign(x: Any) -> Any:
    zero, one = tirx.const(0, x.ty.dtype), tirx.const(1, x.ty.dtype)
    if str(x.ty.dtype) == "uint8":
        return tirx.min(x, one)
    return tirx.Select(x > zero, one, tirx.Select(x < zero, -one, x))


def divide(e: Emission, a: Any, b: Any) -> Any:
    """TVM's simplifier stops at a constant 0 below; over it is what times infinity is, nan for 0 too. What has a 0 among several
    constants TVM leaves as it is."""
    zero = _zero(b)
    if zero is None:
        several = isinstance(b, Constant) and not b.value.numpy().astype(bool).all()
        return (_quotient if several else broadcasting(R.divide))(e, a, b)
    return broadcasting(R.multiply)(e, e.broadcast(a), e.const(math.copysign(math.inf, zero)))


_quotient = pointwise("divide", lambda a, b: a / b)


def _zero(x: Any) -> float | None:
    """The 0 that a constant is, with its sign; None for anything else."""
    if not isinstance(x, Constant) or x.value.numpy().size != 1:
        return None
    value = float(x.value.numpy().item())
    return value if value == 0.0 else None


def float_mod(a: Any, b: Any) -> Any:
    """The rest with the sign of b: C's fmod, and b more where the signs differ."""
    rest, apart = _rest(a, b)
    return tirx.Select(apart, rest + b, rest)


def _rest(a: Any, b: Any) -> tuple[Any, Any]:
    """C's rest, and whether its sign is not that of b."""
    dtype = str(a.ty.dtype)
    rest = tirx.call_pure_extern(dtype, "fmod" if dtype == "float64" else "fmodf", a, b)
    zero = tirx.const(0.0, dtype)
    return rest, tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))


def float_floordiv(a: Any, b: Any) -> Any:
    """a less its rest divides by b without one, so the quotient is near a whole number, from either side; one less where C's rest
    is on the other side of 0 than b."""
    rest, apart = _rest(a, b)
    half, one = tirx.const(0.5, a.ty.dtype), tirx.const(1.0, a.ty.dtype)
    quotient = tirx.floor((a - rest) / b + half)
    whole = tirx.Select(apart, quotient - one, quotient)
    return tirx.Select(b == tirx.const(0.0, a.ty.dtype), a / b, whole)


def untrapped(name: str, function: Callable[..., Any], scalar: Callable[..., Any]) -> Row:
    """A division of integers. Processors end a process that divides by 0, or the least number by -1: divisors that are data go round
    both."""
    plain = broadcasting(function)

    def one(a: Any, b: Any) -> Any:
        zero, safe = tirx.const(0, a.ty.dtype), tirx.const(1, a.ty.dtype)
        if str(a.ty.dtype).startswith("uint"):
            return scalar(a, tirx.Select(b == zero, safe, b))
        minus = b == tirx.const(-1, a.ty.dtype)
        found = scalar(a, tirx.Select(tirx.any(b == zero, minus), safe, b))
        return tirx.Select(minus, -a if name == "floordiv" else zero, found)

    guarded = pointwise(name, one)

    def row(e: Emission, a: Any, b: Any) -> Any:
        return (plain if isinstance(b, Constant) else guarded)(e, a, b)

    return row


def by_dtype(floats: Row, integers: Row) -> Row:
    """One row for floats, another for integers."""

    def row(e: Emission, *operands: Any, **attrs: Any) -> Any:
        return (integers if "int" in str(operands[0].ty.dtype) else floats)(e, *operands, **attrs)

    return row


FLOORDIV = untrapped("floordiv", R.floor_divide, tirx.floordiv)
MOD = untrapped("mod", R.floor_mod, tirx.floormod)


def int_pow(e: Emission, x: Any, y: Any) -> Any:
    """A product of x, y times, which wraps as products do."""
    small = isinstance(y, Constant) and int(y.value.numpy().max(initial=0)) <= POWERS
    operands = e.broadcast(x), e.broadcast(y)
    if small:
        return e.kernel("pow", _by_turns, *operands)
    return e.kernel("pow", _by_squares, *operands, attributes={"op_pattern": OPAQUE})


def _by_turns(a: te.Tensor, b: te.Tensor) -> te.Tensor:
    product = te.comm_reducer(lambda p, q: p * q, lambda dtype: tirx.const(1, dtype), name="product")
    turn = te.reduce_axis((0, tirx.const(POWERS, "int64")), name="turn")
    one = tirx.const(1, a.dtype)

    def body(*i: Any) -> Any:
        return product(tirx.Select(turn < b(*i).astype("int64"), a(*i), one), axis=turn)

    return te.compute(a.shape, body, name="pow")


def _by_squares(a: te.Tensor, b: te.Tensor) -> te.Tensor:
    """From the exponent's first bit to its last: the square of what is there, and once more x where the bit is set."""
    bits, one = int(re.sub(r"\D", "", str(b.dtype))), tirx.const(1, a.dtype)

    def element(x: Any, y: Any, target: Any, i: list[Any]) -> Any:
        def step(turn: Any) -> Any:
            bit = tirx.bitwise_and(y[tuple(i)].astype("int64") >> (bits - 1 - turn), tirx.const(1, "int64"))
            so_far = tirx.BufferLoad(target, i)
            return tirx.BufferStore(
                target, so_far * so_far * tirx.Select(bit > 0, tirx.BufferLoad(x, i), one), i
            )

        return tirx.stmt_seq(tirx.BufferStore(target, one, i), loop(bits, step))

    def body(ins: Any, outs: Any) -> Any:
        x, y = ins
        return loops(list(a.shape), lambda i: element(x, y, outs[0], i))

    return te.extern([a.shape], [a, b], body, dtype=[a.dtype], name="pow")


def is_nan(x: Any) -> Any:
    """Whether an f32 or f64 is nan, by its bits: TVM simplifies `x != x`, and with it `tirx.isnan`, away."""
    dtype, inf = ("int64", 0x7FF << 52) if str(x.ty.dtype) == "float64" else ("int32", 0xFF << 23)
    bits = tirx.reinterpret(dtype, x) & tirx.max_value(dtype)
    return bits > tirx.const(inf, dtype)


def extreme(function: Callable[..., Any]) -> Row:
    """TVM's max(a, b) is `a > b ? a : b`: nan if b is. A constant is never nan and goes first; otherwise a is looked at."""

    def row(e: Emission, a: Any, b: Any) -> Any:
        a, b = _constant_first(a, b)
        found = function(a, b)
        if _is_constant(a) or "float" not in e.dtype:
            return found
        return R.where(e.emit(R.isnan(e.wide(a))), a, e.emit(found))

    return row


def _constant_first(a: Any, b: Any) -> tuple[Any, Any]:
    return (b, a) if _is_constant(b) else (a, b)


def _is_constant(x: Any) -> bool:
    return isinstance(x, Constant)


def compared(function: Callable[..., Any]) -> Row:
    """A comparison; bools are compared as numbers."""

    def row(e: Emission, a: Any, b: Any) -> Any:
        if str(a.ty.dtype) == "bool":
            a, b = e.cast(a, "uint8"), e.cast(b, "uint8")
        return function(a, b)

    return row


def not_equal(e: Emission, a: Any, b: Any) -> Any:
    """TVM's own is false where either is nan."""
    found = compared(R.not_equal)(e, a, b)
    for x in (a, b):
        if "float" in str(x.ty.dtype) and not _is_constant(x):
            found = R.logical_or(e.emit(found), e.emit(R.isnan(e.wide(x))))
    return found


def cast(e: Emission, x: Any, dtype: str) -> Any:
    """To bool by comparing: a number is true unless it is 0."""
    if e.dtype == "bool" and str(x.ty.dtype) != "bool":
        return not_equal(e, x, e.const(0, str(x.ty.dtype)))
    return x if str(x.ty.dtype) == e.dtype else R.astype(x, e.dtype)
