"""exp, log, tanh and erf as arithmetic, so that they run in vector lanes.

LLVM calls the C library once per lane for these, which costs more than a whole matrix product's epilogue should.
Errors stay within a few units in the last place of float32; infinities, NaNs, overflow and gradual underflow come
out as the C library's would. Halves are computed in float32. float64 keeps the C library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm_ffi
from tvm import IRModule, tirx
from tvm.ir import Call

ROUND = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits of the sum
ROUND_BITS = 0x4B400000

# Coefficients, highest power first. exp and log are Cephes' (Moshier, 1989); tanh and erf are Eigen's rationals.
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
TANH_OVER = (
    *(-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08),
    *(1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
)
TANH_UNDER = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
ERF_OVER = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
ERF_UNDER = (
    *(-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03),
    -1.42647390514189e-02,
)


def vectorizable_math(mod: IRModule) -> IRModule:
    """Say the functions above as arithmetic in every kernel of `mod`."""
    functions = dict(mod.functions_items())
    for var, func in functions.items():
        if isinstance(func, tirx.PrimFunc):
            functions[var] = func.with_body(tvm_ffi.structural_map(func.body, (Call, _rewrite)))
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def _rewrite(call: Any) -> Any:
    formula = FORMULAS.get(getattr(call.op, "name", ""))
    dtype = str(call.ty)
    if formula is None or dtype not in ("float32", "float16", "bfloat16"):
        return call
    return tirx.Cast(dtype, _bind(tirx.Cast("float32", call.args[0]), formula))


def _bind(value: Any, body: Callable[[Any], Any]) -> Any:
    """`body(x)` with `x` computed once."""
    var = tirx.Var("x", "float32")
    return tirx.Let(var, value, body(var))


def _float(value: float) -> Any:
    return tirx.const(value, "float32")


def _horner(x: Any, coefficients: Sequence[float]) -> Any:
    total = _float(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + _float(coefficient)
    return total


def _clamp(x: Any, low: float, high: float) -> Any:
    """`x` between two bounds; written so that NaN stays NaN."""
    x = tirx.Select(x < _float(low), _float(low), x)
    return tirx.Select(x > _float(high), _float(high), x)


def _power_of_two(exponent: Any) -> Any:
    return tirx.reinterpret("float32", (exponent + 127) << 23)


def _exp(x: Any) -> Any:
    """2**n * e**r with |r| <= log(2) / 2. The scale is applied in halves: 2**n alone may overflow or underflow."""

    def scaled(r: Any, n: Any) -> Any:
        half = n >> 1
        series = _horner(r, EXP) * (r * r) + r + _float(1.0)
        return series * _power_of_two(half) * _power_of_two(n - half)

    def reduced(x: Any, shifted: Any) -> Any:
        whole = shifted - _float(ROUND)
        n = tirx.reinterpret("int32", shifted) - tirx.const(ROUND_BITS, "int32")
        r = x - whole * _float(0.693359375) - whole * _float(-2.12194440e-4)
        return _bind(r, lambda r: scaled(r, n))

    bounded = _clamp(x, -104.0, 89.0)
    return _bind(
        bounded,
        lambda b: _bind(b * _float(1.44269504088896341) + _float(ROUND), lambda s: reduced(b, s)),
    )


def _log(x: Any) -> Any:
    """e * log(2) + log(m), x = 2**e * m, m between sqrt(1/2) and sqrt(2)."""
    tiny = x < _float(1.17549435e-38)
    bits = tirx.reinterpret("int32", tirx.Select(tiny, x * _float(8388608.0), x))
    exponent = (bits - tirx.const(0x3F3504F3, "int32")) >> 23
    mantissa = tirx.reinterpret("float32", bits - (exponent << 23)) - _float(1.0)
    power = tirx.Cast("float32", exponent) - tirx.Select(tiny, _float(23.0), _float(0.0))

    def series(f: Any) -> Any:
        rest = _horner(f, LOG) * (f * f * f) + power * _float(-2.12194440e-4) - _float(0.5) * (f * f)
        return f + rest + power * _float(0.693359375)

    infinite = tirx.const(float("inf"), "float32")
    finite = tirx.Select(x.equal(infinite), x, _bind(mantissa, series))
    edge = tirx.Select(x.equal(_float(0.0)), -infinite, tirx.const(float("nan"), "float32"))
    return tirx.Select(x > _float(0.0), finite, edge)


def _rational(bound: float, over: Sequence[float], under: Sequence[float]) -> Callable[[Any], Any]:
    def formula(x: Any) -> Any:
        def ratio(b: Any) -> Any:
            return _bind(b * b, lambda square: b * _horner(square, over) / _horner(square, under))

        return _bind(_clamp(x, -bound, bound), ratio)

    return formula


def _sigmoid(x: Any) -> Any:
    return _float(1.0) / (_float(1.0) + _exp(-x))


FORMULAS: dict[str, Callable[[Any], Any]] = {
    "tirx.exp": _exp,
    "tirx.log": _log,
    "tirx.tanh": _rational(7.90531110763549805, TANH_OVER, TANH_UNDER),
    "tirx.erf": _rational(4.0, ERF_OVER, ERF_UNDER),
    "tirx.sigmoid": _sigmoid,
}
