"""Derivative rules where sizes are symbols: the same numbers as with the sizes filled in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlc.autodiff import gradient, gradient_name
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Program, Value
from dlc.runtime.interpret import run
from dlc.types.dims import parse_dim
from dlc.types.facts import Facts, Relation
from dlc.types.tensor import TensorType

SIZES = {"B": 2, "C": 3, "H": 8, "W": 6, "T": 5, "N": 4}

# Inputs' axes by name (`i` is an index), the op on them, and facts that it needs.
Case = tuple[dict[str, str], Callable[..., Value], tuple[str, ...]]


def spatial(stride: int, padding: int, **more: Any) -> dict[str, Any]:
    return {"stride": (stride, stride), "padding": ((padding, padding),) * 2, **more}


def conv(stride: int, padding: int, dilation: int = 1, groups: int = 1) -> Callable[..., Value]:
    attrs = spatial(stride, padding, dilation=(dilation, dilation), groups=groups)
    return lambda b, d, x, w: b.op("conv", x, w, **attrs)


def pool(
    name: str, kernel: int, stride: int, padding: int, ceil: bool = False, **more: Any
) -> Callable[..., Value]:
    attrs = spatial(stride, padding, kernel=(kernel, kernel), ceil=ceil, **more)
    return lambda b, d, x: b.op(name, x, **attrs)


def sliced(start: str, stop: str, step: int) -> Callable[..., Value]:
    return lambda b, d, x: b.op("slice", x, start=(0, d(start)), stop=(d("B"), d(stop)), step=(1, step))


CASES: dict[str, Case] = {
    "conv": ({"x": "B, 2, H, W", "w": "3, 2, 3, 3"}, conv(1, 1), ()),
    "conv stride 2": ({"x": "B, 2, H, W", "w": "3, 2, 3, 3"}, conv(2, 1), ()),
    "conv stride 3, dilated": ({"x": "B, 4, H, W", "w": "6, 2, 3, 3"}, conv(3, 2, 2, 2), ()),
    "conv, patches": ({"x": "B, 2, H, W", "w": "3, 2, 2, 2"}, conv(2, 0), ("H % 2 == 0", "W % 2 == 0")),
    "conv_transpose": (
        {"x": "B, 2, H, W", "w": "2, 3, 4, 4"},
        lambda b, d, x, w: b.op(
            "conv_transpose", x, w, **spatial(2, 1, output_padding=(0, 1), dilation=(1, 1), groups=1)
        ),
        (),
    ),
    "max_pool": ({"x": "B, C, H, W"}, pool("max_pool", 3, 2, 1), ()),
    "max_pool, ceil": ({"x": "B, C, H, W"}, pool("max_pool", 2, 3, 0, True), ("H >= 2", "W >= 2")),
    "avg_pool": (
        {"x": "B, C, H, W"},
        pool("avg_pool", 2, 2, 0, count_padding=True),
        ("H % 2 == 0", "W % 2 == 0"),
    ),
    "avg_pool, uncounted": ({"x": "B, C, H, W"}, pool("avg_pool", 3, 2, 1, count_padding=False), ()),
    "avg_pool, ceil": ({"x": "B, C, H, W"}, pool("avg_pool", 3, 2, 1, True, count_padding=True), ()),
    "slice": ({"x": "B, T"}, sliced("1", "T - 1", 1), ("T >= 2",)),
    "slice, every second": ({"x": "B, T"}, sliced("0", "T", 2), ()),
    "slice, every third": ({"x": "B, T"}, sliced("1", "T", 3), ()),
    "slice, half": ({"x": "B, T"}, sliced("T // 2", "T", 1), ()),
    "reshape": (
        {"x": "B, H, W"},
        lambda b, d, x: b.mul(b.reshape(x, (d("B"), d("H // 2"), 2, d("W"))), 2.0),
        ("H % 2 == 0",),
    ),
    "take": ({"x": "N, C", "i": "B, T"}, lambda b, d, x, i: b.op("take", x, i, axis=0), ()),
    "concat": ({"x": "B, T", "y": "B, N"}, lambda b, d, x, y: b.op("concat", x, y, axis=1), ()),
    "cumprod": ({"x": "B, T, C"}, lambda b, d, x: b.op("cumprod", x, axis=1), ()),
    "prod": ({"x": "B, T, C"}, lambda b, d, x: b.op("prod", x, axis=(1, 2), keepdims=False), ()),
    "matmul": ({"x": "B, T, C", "y": "C, N"}, lambda b, d, x, y: b.matmul(x, y), ()),
    "einsum": ({"x": "B, T, T", "y": "T"}, lambda b, d, x, y: b.op("einsum", x, y, pattern="btt,t->b"), ()),
    "broadcast": (
        {"x": "T, 1", "y": "B, N"},
        lambda b, d, x, y: b.broadcast(x, (d("B"), d("T"), d("N"))),
        (),
    ),
}


def build(case: Case, sizes: dict[str, int]) -> Program:
    """sum(sin(op)), with `sizes` filled in."""
    shapes, make, written = case
    facts = tuple(relation(text).substitute(sizes) for text in written)
    b = Builder(Facts(facts))
    inputs = [
        Value(name, axes(text, "i64" if name == "i" else "float", sizes)) for name, text in shapes.items()
    ]
    y = make(b, lambda text: parse_dim(text).substitute(sizes), *inputs)
    total = b.sum(b.op("sin", y), range(y.type.rank))
    main = Function("main", "Op", "model", tuple(inputs), (("loss", total.name),), tuple(b.body), facts=facts)
    return Program({"main": main}, "main")


def relation(text: str) -> Relation:
    left, op, right = text.partition("==") if "==" in text else text.partition(">=")
    return Relation(parse_dim(left.strip()), op, parse_dim(right.strip()))


def axes(text: str, dtype: str, sizes: dict[str, int]) -> TensorType:
    return TensorType(dtype, tuple(parse_dim(each).substitute(sizes) for each in text.split(", ")))


def differentiable(program: Program) -> list[str]:
    return [value.name for value in program.main.inputs if value.type.is_float]


@pytest.mark.parametrize("name", CASES)
def test_symbolic_gradient_is_the_static_one(name: str) -> None:
    symbolic, static = build(CASES[name], {}), build(CASES[name], SIZES)
    wrt = differentiable(symbolic)
    first, second = gradient(symbolic, wrt), gradient(static, wrt)
    rng = np.random.default_rng(0)
    inputs = {}
    for value in static.main.inputs:
        shape = value.type.shape
        inputs[value.name] = (
            rng.integers(0, 4, shape) if value.type.dtype == "i64" else rng.normal(size=shape)
        )
    found, expected = (run(program, {}, inputs, precision="f64") for program in (first, second))
    for each in wrt:
        np.testing.assert_allclose(found[gradient_name(each)], expected[gradient_name(each)], rtol=1e-12)
    assert_types(first)


def assert_types(program: Program) -> None:
    """Every gradient has the type of its input, provably."""
    main, facts = program.main, Facts(program.main.facts)
    types = main.types()
    for name in differentiable(program):
        grad = types[dict(main.outputs)[gradient_name(name)]]
        assert all(facts.prove_eq(a, b) for a, b in zip(grad.axes, types[name].axes, strict=True)), name
