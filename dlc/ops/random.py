"""Ops that draw. Each carries `draw`, an identity that keeps two draws apart; the reference takes `rng`, a
NumPy Generator. Draws are made in f64 and rounded, so that a seed gives the same numbers at every
precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.ops.calls import Arg, form
from dlc.ops.creation import infer_shape
from dlc.ops.definition import LazyModule, OpDef, OpError, Sample, op
from dlc.types.facts import Facts
from dlc.types.tensor import FLOATS, TensorType

if TYPE_CHECKING:
    import numpy as np

    from dlc.ops.arrays import Array
else:
    np = LazyModule("numpy")

Types = Sequence[TensorType | None]
Attrs = Mapping[str, Any]


def _rounded(values: Array, dtype: str) -> Array:
    from dlc.ops.arrays import numpy_dtype

    return np.asarray(values).astype(numpy_dtype(dtype))


def _normal(*, shape: Sequence[int], dtype: str, rng: np.random.Generator) -> Array:
    return _rounded(rng.standard_normal(tuple(shape)), dtype)


def _uniform(*, shape: Sequence[int], dtype: str, rng: np.random.Generator) -> Array:
    # Rounding to f32 could give 1.0, which is outside; 24 bits are exact in f32 and f64.
    from dlc.ops.arrays import numpy_dtype

    bits = {"f16": 11, "bf16": 8, "f8e4m3": 4, "f8e5m2": 3}.get(dtype, 24)
    whole = rng.integers(0, 1 << 24, tuple(shape)) >> (24 - bits)
    return (whole * 2.0**-bits).astype(numpy_dtype(dtype))


def _truncated_normal(
    *, shape: Sequence[int], low: float, high: float, dtype: str, rng: np.random.Generator
) -> Array:
    values = np.empty(math.prod(shape))
    missing = np.arange(values.size)
    while missing.size:
        drawn, kept = _propose(missing.size, low, high, rng)
        values[missing[kept]] = drawn[kept]
        missing = missing[~kept]
    return _rounded(values.reshape(tuple(shape)), dtype)


def _propose(size: int, low: float, high: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Candidates, and which of them to keep: normal ones where most fall inside, else uniform ones thinned
    out."""
    inside = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if inside > 0.2:
        drawn = rng.standard_normal(size)
        return drawn, (drawn >= low) & (drawn <= high)
    peak = min(max(low, 0.0), high)
    low, high = max(low, peak - 12), min(high, peak + 12)
    drawn = rng.uniform(low, high, size)
    return drawn, rng.random(size) < np.exp((peak**2 - drawn**2) / 2)


def _randint(*, shape: Sequence[int], low: int, high: int, rng: np.random.Generator) -> Array:
    return rng.integers(low, high, tuple(shape), dtype=np.int64)


def _orthogonal(*, shape: Sequence[int], dtype: str, rng: np.random.Generator) -> Array:
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return _rounded((q if rows >= columns else q.T).reshape(tuple(shape)), dtype)


def _infer_between(name: str, allowed: Sequence[str]) -> Any:
    shaped = infer_shape(name, allowed)

    def infer(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        if not attrs["low"] < attrs["high"]:
            raise OpError(f"`{name}` needs low < high, not {attrs['low']} and {attrs['high']}", kind="value")
        result: tuple[TensorType, ...] = shaped(facts, inputs, attrs)
        return result

    return infer


def _infer_orthogonal(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    if len(attrs["shape"]) < 2:
        raise OpError("`orthogonal` needs a shape of 2 or more axes", kind="value")
    result: tuple[TensorType, ...] = infer_shape("orthogonal", FLOATS)(facts, inputs, attrs)
    return result


def _draw(
    signature: str, doc: str, reference: Any, infer: Any, *attrs: dict[str, Any], **facts: Any
) -> OpDef:
    samples = tuple(Sample((), each, grad=False) for each in attrs)
    return op(
        signature,
        doc,
        reference,
        infer=infer,
        samples=samples,
        random=True,
        differentiable=False,
        flops="10 * size()",
        dtypes="any",
        **facts,
    )


_SIZES = Arg("sizes", "sizes", fills="shape")
_DRAWN = form(_SIZES, Arg("dtype", "dtype", None))

OPS: tuple[OpDef, ...] = (
    _draw(
        'normal(shape: list[dim], dtype: str = "float") -> [*S]',
        "Draws of the standard normal distribution.",
        _normal,
        infer_shape("normal", FLOATS),
        {"shape": (2, 3), "dtype": "f32"},
        {"shape": (), "dtype": "f64"},
        {"shape": (0,), "dtype": "f32"},
        call=_DRAWN,
    ),
    _draw(
        'uniform(shape: list[dim], dtype: str = "float") -> [*S]',
        "Uniform draws from [0, 1).",
        _uniform,
        infer_shape("uniform", FLOATS),
        {"shape": (2, 3), "dtype": "f32"},
        {"shape": (1,), "dtype": "f64"},
        call=_DRAWN,
    ),
    _draw(
        'truncated_normal(shape: list[dim], low: float = -2.0, high: float = 2.0, dtype: str = "float") ->'
        " [*S]",
        "Draws of the standard normal distribution restricted to [low, high].",
        _truncated_normal,
        _infer_between("truncated_normal", FLOATS),
        {"shape": (4, 3), "low": -2.0, "high": 2.0, "dtype": "f32"},
        {"shape": (5,), "low": 3.0, "high": 4.0, "dtype": "f32"},
        call=None,  # an initial value
    ),
    _draw(
        "randint(shape: list[dim], low: int, high: int) -> i64[*S]",
        "Uniform draws of the integers low <= n < high.",
        _randint,
        _infer_between("randint", ("i64",)),
        {"shape": (2, 3), "low": 0, "high": 5},
        {"shape": (), "low": -3, "high": -2},
        call=form(_SIZES, Arg("low", "int"), Arg("high", "int")),
    ),
    _draw(
        'orthogonal(shape: list[dim], dtype: str = "float") -> [*S]',
        "A random matrix with orthonormal rows or columns, whichever are fewer; axes after the first count as"
        " columns. For initial values only.",
        _orthogonal,
        _infer_orthogonal,
        {"shape": (3, 5), "dtype": "f32"},
        {"shape": (4, 1, 2), "dtype": "f64"},
        call=None,  # an initial value
        source="Saxe, McClelland and Ganguli, 2013",
    ),
)
