"""Elementwise ops: each result element depends on one element of every operand. Operands broadcast as in
NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.ops import calls
from dlc.ops.calls import Arg, X, form
from dlc.ops.definition import LazyModule, OpDef, Sample, op
from dlc.ops.derivatives import binary, no_gradient, unary, unbroadcast
from dlc.ops.rules import check_dtype, present
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

if TYPE_CHECKING:
    import numpy as np

    from dlc.ir.builder import Builder
    from dlc.ir.nodes import Op, Value
    from dlc.ops.arrays import Array
    from dlc.ops.derivatives import Gradients, Unary
else:
    np = LazyModule("numpy")


# --- references that NumPy has no name for ------------------------------------------------------------------


def _quiet(function: str) -> Any:
    """NumPy's function without its warnings: log(0) is -inf and 0/0 nan, as IEEE 754 has it."""

    def reference(*arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            result: Array = getattr(np, function)(*arrays)
            return result

    return reference


def _power(a: Array, b: Array) -> Array:
    """IEEE 754's: of one exponent for all, NumPy takes roots, which are others of -inf and -0.0."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    if b.size == 1 and abs(b.item()) == 0.5:
        a, b = (np.array(np.broadcast_to(each, shape)).reshape(-1) for each in (a, b))
    result: Array = _quiet("power")(a, b)
    return result.reshape(shape)


def _erf(x: Array) -> Array:
    values = np.fromiter(map(math.erf, np.ravel(x).tolist()), np.float64, np.size(x))
    return values.reshape(np.shape(x)).astype(x.dtype)


def _sigmoid(x: Array) -> Array:
    # Each branch's exponent is <= 0, so nothing overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


def _rsqrt(x: Array) -> Array:
    with np.errstate(all="ignore"):
        return (1 / np.sqrt(x)).astype(x.dtype)


def _cast(x: Array, *, dtype: str) -> Array:
    from dlc.ops.arrays import numpy_dtype

    with np.errstate(all="ignore"):
        return x.astype(numpy_dtype(dtype))


# --- families -----------------------------------------------------------------------------------------------

_SHAPES = (
    Sample(("f32[2, 3]",)),
    Sample(("f32[]",)),
    Sample(("f32[0, 3]",)),
    Sample(("f32[1, 2, 1, 5]",)),
)


# Where a static number is given, the result is one.
_NUMBERS: Mapping[str, Callable[[float], float]] = {
    "sqrt": math.sqrt, "log": math.log, "exp": math.exp, "abs": abs, "floor": math.floor, "ceil": math.ceil,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "tanh": math.tanh,
    "atan": math.atan,
}  # fmt: skip


def _round_number(x: float, digits: int | None) -> Any:
    if not math.isfinite(x):
        return NotImplemented
    return round(x) if digits is None else round(x, digits)


def _unary(
    name: str, doc: str, reference: Any, rule: Unary | None, cost: int, *samples: Sample, **facts: Any
) -> OpDef:
    facts.setdefault("vjp", no_gradient if rule is None else unary(rule))
    flops = f"{cost} * size(x)" if cost != 1 else "size(x)"
    facts.setdefault("call", form(X, number=_NUMBERS.get(name), whole=name in ("floor", "ceil")))
    all_samples = (*(samples or _SHAPES),)
    return op(f"{name}(x: [*S]) -> [*S]", doc, reference, flops=flops, samples=all_samples, **facts)


def _at(*values: float, grad: bool = True) -> Sample:
    """A sample of exactly these values."""
    return Sample((list(values),), grad=grad)


def _between(low: float, high: float) -> tuple[Sample, ...]:
    """The usual shapes with values from a function's domain."""
    return tuple(Sample(sample.inputs, low=low, high=high) for sample in _SHAPES)


_EXTREME = _at(-1e30, -90.0, -1e-30, 0.0, 1e-30, 90.0, 1e30, grad=False)
_INFINITE = _at(math.inf, -math.inf, math.nan, 0.0, -0.0, grad=False)
_HALVES = _at(-2.5, -1.5, -0.5, -0.2, 0.0, 0.2, 0.5, 1.5, 2.5, 1e20, grad=False)
_OFF_STEPS = Sample(([-1.7, -0.3, 0.4, 2.2],))
_STEPS = (_OFF_STEPS, _HALVES, *_SHAPES[1:3])

# Costs count a transcendental function as the 10 or so operations that its polynomial takes.
UNARY = (
    _unary("exp", "e to the power x.", _quiet("exp"), lambda b, dy, x, y: b.mul(dy, y), 10, *_SHAPES,
           _at(-1e30, -90.0, 0.0, 80.0, 1e30, grad=False)),
    _unary("expm1", "e to the power x, less 1; exact near 0.", _quiet("expm1"),
           lambda b, dy, x, y: b.mul(dy, b.add(y, 1.0)), 10, *_SHAPES,
           _at(-1e30, -1e-7, 0.0, 1e-7, 80.0, grad=False)),
    _unary("log", "The natural logarithm; -inf at 0, nan below.", _quiet("log"),
           lambda b, dy, x, y: b.div(dy, x), 10, *_between(0.3, 4.0), _at(0.0, 1e-30, 1.0, 1e30, grad=False)),
    _unary("log1p", "The natural logarithm of 1 + x; exact near 0.", _quiet("log1p"),
           lambda b, dy, x, y: b.div(dy, b.add(x, 1.0)), 10, *_between(-0.6, 4.0),
           _at(-1.0, -1e-7, 0.0, 1e-7, 1e30, grad=False)),
    _unary("sqrt", "The square root; nan below 0.", _quiet("sqrt"),
           lambda b, dy, x, y: b.div(b.mul(dy, 0.5), y), 4, *_between(0.3, 4.0),
           _at(0.0, 1e-30, 1e30, grad=False)),
    _unary("rsqrt", "One over the square root; inf at 0.", _rsqrt,
           lambda b, dy, x, y: b.mul(b.mul(dy, -0.5), b.div(y, x)), 5, *_between(0.3, 4.0),
           _at(1e-30, 1.0, 1e30, grad=False)),
    _unary("sin", "The sine of x in radians.", _quiet("sin"),
           lambda b, dy, x, y: b.mul(dy, b.op("cos", x)), 10, *_SHAPES, _at(-100.0, 0.0, 1e3, grad=False)),
    _unary("cos", "The cosine of x in radians.", _quiet("cos"),
           lambda b, dy, x, y: b.neg(b.mul(dy, b.op("sin", x))), 10, *_SHAPES,
           _at(-100.0, 0.0, 1e3, grad=False)),
    _unary("tan", "The tangent of x in radians.", _quiet("tan"),
           lambda b, dy, x, y: b.mul(dy, b.add(b.mul(y, y), 1.0)), 10, *_between(-1.2, 1.2)),
    _unary("atan", "The angle in radians whose tangent is x, between -pi/2 and pi/2.", _quiet("arctan"),
           lambda b, dy, x, y: b.div(dy, b.add(b.mul(x, x), 1.0)), 10, *_SHAPES, _EXTREME),
    _unary("tanh", "The hyperbolic tangent.", _quiet("tanh"),
           lambda b, dy, x, y: b.mul(dy, b.sub(1.0, b.mul(y, y))), 10, *_SHAPES, _EXTREME),
    _unary("sigmoid", "The logistic function 1 / (1 + e**-x).", _sigmoid,
           lambda b, dy, x, y: b.mul(dy, b.mul(y, b.sub(1.0, y))), 12, *_SHAPES, _EXTREME),
    _unary("erf", "The error function 2/sqrt(pi) times the integral of e**-t**2 from 0 to x.", _erf,
           lambda b, dy, x, y: b.mul(b.mul(dy, 2 / math.sqrt(math.pi)), b.exp(b.neg(b.mul(x, x)))), 15,
           *_SHAPES, _EXTREME),
    _unary("floor", "The greatest whole number <= x.", _quiet("floor"), None, 1, *_STEPS),
    _unary("ceil", "The least whole number >= x.", _quiet("ceil"), None, 1, *_STEPS),
    _unary("round", "The nearest whole number; halves go to the even one (IEEE 754).", _quiet("round"), None,
           1, *_STEPS, call=form(X, Arg("digits", "int", None), number=_round_number, attrs=lambda types, read: {})),
    _unary("neg", "-x.", _quiet("negative"), lambda b, dy, x, y: b.neg(dy), 1, *_SHAPES, Sample(("i64[3]",)),
           dtypes="number", call=None),
    _unary("abs", "x without its sign.", _quiet("abs"), lambda b, dy, x, y: b.mul(dy, b.op("sign", x)), 1,
           Sample(([-2.0, -0.1, 0.3, 7.0],)), _EXTREME, _INFINITE, Sample(("i64[3]",)), dtypes="number"),
    _unary("sign", "-1, 0 or 1: the sign of x.", _quiet("sign"), None, 1, _OFF_STEPS,
           _at(-1e30, -0.0, 0.0, 1e-30, grad=False), Sample(("i64[3]",)), dtypes="number"),
)  # fmt: skip


def _dx_minmax(op_name: str, mine: int) -> Any:
    """The gradient of `minimum`/`maximum` to one side; equal operands get half each, so that they sum to
    dy."""
    strictly = {"minimum": "lt", "maximum": "gt"}[op_name]

    def rule(b: Builder, dy: Value, x: Value, y: Value, out: Value) -> Value:
        chosen, other = (x, y) if mine == 0 else (y, x)
        half = b.where(b.op("eq", x, y), b.mul(dy, 0.5), 0.0)
        return b.where(b.op(strictly, chosen, other), dy, half)

    return rule


def _dx_pow(b: Builder, dy: Value, x: Value, y: Value, out: Value) -> Value:
    # Where the exponent is 0 the derivative is 0, also at x == 0, where the formula would say 0 * inf.
    slope = b.mul(y, b.op("pow", x, b.sub(y, 1.0)))
    return b.mul(dy, b.where(b.op("eq", y, 0.0), 0.0, slope))


def _dy_pow(b: Builder, dy: Value, x: Value, y: Value, out: Value) -> Value:
    # d/dy x**y = x**y * log(x), which tends to 0 as x does (for y > 0); no derivative exists for x < 0: nan.
    safe = b.where(b.op("eq", x, 0.0), 1.0, x)
    return b.mul(dy, b.mul(out, b.op("log", safe)))


def _dy_div(b: Builder, dy: Value, x: Value, y: Value, out: Value) -> Value:
    return b.neg(b.div(b.mul(dy, out), y))


def _dy_mod(b: Builder, dy: Value, x: Value, y: Value, out: Value) -> Value:
    return b.neg(b.mul(dy, b.op("floordiv", x, y)))


_PAIRS = (
    Sample(("f32[2, 3]", "f32[2, 3]")),
    Sample(("f32[2, 3]", "f32[3]")),
    Sample(("f32[2, 1, 3]", "f32[4, 1]")),
    Sample(("f32[]", "f32[1, 2]")),
    Sample(("f32[0, 3]", "f32[1, 3]")),
)


def _int_pair(a: list[int], b: list[int]) -> Sample:
    """Two lists of integers as operands."""
    return Sample((a, b), grad=False)


def _binary(
    name: str, doc: str, reference: Any, first: Any, second: Any, *samples: Sample, **facts: Any
) -> OpDef:
    return op(
        f"{name}(a: [*S], b: [*S]) -> [*S]",
        doc,
        reference,
        flops=f"{facts.pop('cost', 1)} * size()",
        vjp=binary(first, second),
        samples=(*(samples or _PAIRS), *facts.pop("more", ())),
        broadcast=True,
        **{"dtypes": "number", "call": None, **facts},
    )


_SIGNS = _int_pair([7, -7, 7, -7, 0], [2, 2, -2, -2, 5])
_NONZERO = tuple(Sample(each.inputs, low=0.4, high=2.0) for each in _PAIRS)
_REMAINDERS = Sample(([7.5, -7.5, 7.5, -7.5, 0.3], [2.0, 2.0, -2.0, -2.0, 5.0]))
_TIES = Sample(([0.0, 1.0, -1.0], [0.0, 1.0, 1.0]), grad=False)

BINARY = (
    _binary("add", "a + b.", _quiet("add"), lambda b, dy, x, y, z: dy, lambda b, dy, x, y, z: dy,
            more=(Sample(("i64[2, 3]", "i64[3]")),)),
    _binary("sub", "a - b.", _quiet("subtract"), lambda b, dy, x, y, z: dy, lambda b, dy, x, y, z: b.neg(dy)),
    _binary("mul", "a * b.", _quiet("multiply"), lambda b, dy, x, y, z: b.mul(dy, y),
            lambda b, dy, x, y, z: b.mul(dy, x), more=(Sample(("i64[2, 3]", "i64[3]")),)),
    _binary("div", "a / b, of floats; inf or nan where b is 0.", _quiet("divide"),
            lambda b, dy, x, y, z: b.div(dy, y), _dy_div, *_NONZERO, dtypes="float",
            more=(Sample(([1.0, -1.0, 0.0], [0.0, 0.0, 0.0]), grad=False),)),
    _binary("floordiv", "a / b rounded down, as Python's //. Integers must not be divided by 0.",
            _quiet("floor_divide"), None, None, _REMAINDERS, _SIGNS),
    _binary("mod", "a - (a // b) * b: the rest with the sign of b, as Python's %. Integers: b must not be 0.",
            _quiet("remainder"), lambda b, dy, x, y, z: dy, _dy_mod, _REMAINDERS, _SIGNS),
    _binary("pow", "a to the power b. nan for finite a < 0 and broken b; integers need b >= 0.", _power,
            _dx_pow, _dy_pow, *_NONZERO, cost=20,
            call=form(Arg("x", "pair", fills="a"), Arg("exponent", "pair", fills="b")),
            more=(Sample(([0.0, 0.0, -2.0, 2.0], [0.0, 2.0, 3.0, -1.0]), grad=False),
                  _int_pair([2, -3, 0], [5, 3, 0]), _int_pair([3, -7, 127], [39, 21, 12]),
                  _int_pair([3, 127], [8]))),
    _binary("minimum", "The lesser of a and b; nan if either is.", _quiet("minimum"),
            _dx_minmax("minimum", 0), _dx_minmax("minimum", 1), call=calls.PAIR, more=(_TIES, _int_pair([3, -3], [2, -2]))),
    _binary("maximum", "The greater of a and b; nan if either is.", _quiet("maximum"),
            _dx_minmax("maximum", 0), _dx_minmax("maximum", 1), call=calls.PAIR, more=(_TIES, _int_pair([3, -3], [2, -2]))),
)  # fmt: skip


# --- comparisons and logic ----------------------------------------------------------------------------------

_COMPARED = (
    Sample(([[1.0, 2.0, 2.0], [0.0, -0.0, 3.0]], [[1.0, 3.0, 1.0], [0.0, 0.0, -3.0]]), grad=False),
    Sample(("f32[2, 1, 3]", "f32[4, 1]"), grad=False),
    Sample(([math.nan, math.inf, -math.inf], [math.nan, math.inf, math.inf]), grad=False),
    Sample(("i64[5]", "i64[1]"), grad=False),
)


def _compare(name: str, doc: str, function: str) -> OpDef:
    return op(
        f"{name}(a: [*S], b: [*S]) -> bool[*S]",
        doc,
        _quiet(function),
        flops="size()",
        samples=_COMPARED,
        call=None,
        dtypes="any",
        broadcast=True,
        differentiable=False,
    )


COMPARISONS = (
    _compare("eq", "Whether a equals b; nan equals nothing.", "equal"),
    _compare("ne", "Whether a differs from b; nan does from everything.", "not_equal"),
    _compare("lt", "Whether a < b.", "less"),
    _compare("le", "Whether a <= b.", "less_equal"),
    _compare("gt", "Whether a > b.", "greater"),
    _compare("ge", "Whether a >= b.", "greater_equal"),
)


def _logic(name: str, doc: str) -> OpDef:
    samples = (
        Sample(([True, True, False, False], [True, False, True, False])),
        Sample(("bool[2, 1]", "bool[3]")),
    )
    return op(
        f"{name}(a: bool[*S], b: bool[*S]) -> bool[*S]",
        doc,
        _quiet(name),
        flops="size()",
        samples=samples,
        call=None,
        dtypes="any",
        broadcast=True,
        differentiable=False,
    )


def _test(name: str, doc: str) -> OpDef:
    return op(
        f"{name}(x: [*S]) -> bool[*S]",
        doc,
        _quiet(name),
        flops="size(x)",
        samples=(_INFINITE, Sample(("f32[2, 0]",)), Sample(("f32[]",))),
        call=calls.UNARY,
        differentiable=False,
    )


LOGIC = (
    _logic("logical_and", "Whether both are true."),
    _logic("logical_or", "Whether one or both are true."),
    op("logical_not(x: bool[*S]) -> bool[*S]", "Whether x is false.", _quiet("logical_not"), flops="size(x)",
       call=None,
       samples=(Sample(([True, False],)), Sample(("bool[2, 1, 3]",))), dtypes="any", differentiable=False),
    _test("isnan", "Whether x is not a number."),
    _test("isfinite", "Whether x is neither infinite nor nan."),
)  # fmt: skip


# --- choice and conversion ----------------------------------------------------------------------------------


def _where_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (condition, x, y) = grads[0], operands
    if dy is None:
        return [None, None, None]
    dx, dz = b.where(condition, dy, 0.0), b.where(condition, 0.0, dy)
    return [None, unbroadcast(b, dx, x), unbroadcast(b, dz, y)]


def _cast_infer(
    facts: Facts, inputs: Sequence[TensorType | None], attrs: Mapping[str, Any]
) -> tuple[TensorType, ...]:
    (x,) = present(inputs)
    return (x.with_dtype(check_dtype("cast", attrs["dtype"])),)


def _cast_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy = grads[0]
    if dy is None or not outputs[0].type.is_float or not operands[0].type.is_float:
        return [None]
    return [b.cast(dy, operands[0].type.dtype)]


CHOICE = (
    op("where(condition: bool[*S], a: [*S], b: [*S]) -> [*S]", "a where the condition is true, b elsewhere.",
       lambda condition, a, b: np.where(condition, a, b),
       call=form(Arg("cond", fills="condition"), Arg("a", "choice"), Arg("b", "choice")), flops="size()", vjp=_where_vjp, dtypes="any",
       broadcast=True,
       samples=(Sample(("bool[2, 3]", "f32[2, 3]", "f32[2, 3]")), Sample(("bool[2, 1]", "f32[3]", "f32[]")),
                Sample(([True, False], [1.0, 2.0], [math.nan, math.inf]), grad=False),
                Sample(("bool[3]", "i64[3]", "i64[1]")))),
    op("cast(x: [*S], dtype: str) -> [*S]",
       "x converted to another dtype. Floats become integers by cutting off the fraction; bool becomes 0 or"
       " 1, and a number becomes true unless it is 0. What the dtype can't hold (300 in i8, nan in i64)"
       " becomes anything.",
       _cast,
       call=form(X, Arg("dtype", "dtype"), same=lambda types, read: types[0].dtype == read["dtype"]),
       infer=_cast_infer, flops="size(x)", vjp=_cast_vjp, dtypes="any",
       samples=(Sample(("f32[2, 3]",), {"dtype": "f64"}),
                Sample(([-1.7, -0.2, 0.0, 1.7],), {"dtype": "i64"}, grad=False),
                Sample(([0.0, 0.5, -1.0, math.nan],), {"dtype": "bool"}, grad=False),
                Sample(("bool[2, 3]",), {"dtype": "f32"}, grad=False),
                Sample(("i64[3]",), {"dtype": "i32"}, grad=False))),
)  # fmt: skip

OPS: tuple[OpDef, ...] = (*UNARY, *BINARY, *COMPARISONS, *LOGIC, *CHOICE)
