"""Tables, times and counts in a program of bf16 or f16: as exact as in f32 on every backend, and in the reference."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.ops.arrays import numpy_dtype
from dlc.runtime.interpret import run

TIMES = """
fn waves(time: [B], d: int) -> [B, d] {
    angle = time[:, none] * exp(-log(10_000) * arange(d // 2, dtype=float) / (d // 2))
    return concat([sin(angle), cos(angle)], axis=-1)
}
model Net(d: int = 16)(x: [B, d], t: i64[B]) -> y: [B, d] {
    return x + waves(cast(t, float), d)
}
"""
EMBEDDED = """
module Embedding(d: int)(time: [B]) -> [B, d] {
    angle = time[:, none] * exp(-log(10_000) * arange(d // 2, dtype=float) / (d // 2))
    return concat([sin(angle), cos(angle)], axis=-1) |> linear(d) as fc
}
model Net(d: int = 16)(x: [B, d], t: i64[B]) -> y: [B, d] {
    return x + (cast(t, float) |> Embedding(d) as time)
}
"""
TABLE = """
model Net(d: int = 16)(x: [B, T, d]) -> y: [B, T, d] {
    angle = outer(arange(T, dtype=float), 10_000.0 ** (-arange(d // 2, dtype=float) / (d // 2)))
    table = concat([sin(angle), cos(angle)], axis=-1)
    for i in range(3) { x = x * table }
    return x
}
"""
PRODUCTS = """
model Net()(x: [B, 4], t: i64[B]) -> y: [B, 4] {
    return sqrt(take(cumprod(1 - (0.0001 + 0.0199 / 999 * arange(1000, dtype=float)), axis=0), t)[:, none]) * x
}
"""
COUNTS = """
model Net()(x: [N, 4], to: i64[E]) -> (y: [N, 4], share: []) {
    count = scatter_add(zeros([N]), to, ones([E]), axis=0)
    return x * count[:, none], mean(to == 1)
}
"""
STEPS = """
model Net()(x: [B, 4]) -> y: [B, 4] {
    scan i in range(600) with total = 0.0, y = x {
        total = total + 1.0
        y = x * total
    }
    return y
}
"""
X = np.random.default_rng(0).normal(size=(4, 300, 16)).astype(np.float32)
LATE = {"x": X[:, 0], "t": np.array([1, 333, 777, 999])}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "times": (TIMES, LATE),
    "times of a module": (EMBEDDED, LATE),
    "table": (TABLE, {"x": X}),
    "products": (PRODUCTS, {"x": X[:, 0, :4], "t": LATE["t"]}),
    "counts": (COUNTS, {"x": X[:, 0, :4], "to": np.array([1] * 259 + [2, 3])}),
    "steps": (STEPS, {"x": X[:, 0, :4]}),
}
MOST = {"bf16": 1e-2, "f16": 1.5e-3}
"""What rounding results alone may take, and twice that."""


def off(found: dict[str, Any], wanted: dict[str, Any]) -> float:
    gaps = (np.abs(np.asarray(found[name], np.float64) - wanted[name]).max() for name in wanted)
    return float(max(gap / np.abs(wanted[name]).max() for gap, name in zip(gaps, wanted, strict=True)))


def meant(case: str) -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    text, given = CASES[case]
    model = dlc.loads(text)["Net"]
    weights = model.initial_weights(seed=0)
    return model, weights, given, run(model.program, weights, given, precision="f64")


@pytest.mark.parametrize("precision", MOST)
@pytest.mark.parametrize("case", CASES)
def test_the_reference(case: str, precision: str) -> None:
    model, weights, given, wanted = meant(case)
    assert off(run(model.program, weights, given, precision=precision), wanted) < MOST[precision]


@pytest.mark.parametrize("precision", MOST)
@pytest.mark.parametrize("name", ["torch", "jax", "onnx", "tvm"])
@pytest.mark.parametrize("case", CASES)
def test_backends(case: str, name: str, precision: str) -> None:
    pytest.importorskip("onnxruntime" if name == "onnx" else name)
    model, weights, given, wanted = meant(case)
    found = model.compile(name, weights=weights, precision=precision)(**given)
    assert off(found, wanted) < MOST[precision]


def module(source: str) -> ModuleType:
    made = sys.modules["emitted"] = ModuleType("emitted")
    exec(compile(source, "emitted.py", "exec"), made.__dict__)
    return made


def emitted(model: Any, backend: str) -> str:
    ((_, source),) = model.emit(backend).files.items()
    return str(source)


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"times of a module"}))
def test_source_for_f32_is_right_in_16_bits(case: str) -> None:
    """Emitted source is given other precisions by who runs it."""
    torch = pytest.importorskip("torch")
    jnp = pytest.importorskip("jax.numpy")
    model, _, given, wanted = meant(case)
    narrow = {
        name: each.astype(numpy_dtype("bf16")) if each.dtype.kind == "f" else each
        for name, each in given.items()
    }
    net = module(emitted(model, "torch")).Net
    tensors = {name: torch.from_numpy(each) for name, each in given.items()}
    found = net(
        **{name: each.bfloat16() if each.is_floating_point() else each for name, each in tensors.items()}
    )
    found = [each.float() for each in (found if isinstance(found, tuple) else (found,))]
    assert off(dict(zip(wanted, found, strict=True)), wanted) < MOST["bf16"]
    traced = module(emitted(model, "jax")).apply(
        {}, **{name: jnp.asarray(each) for name, each in narrow.items()}
    )
    traced = [each.astype(np.float32) for each in (traced if isinstance(traced, tuple) else (traced,))]
    assert off(dict(zip(wanted, traced, strict=True)), wanted) < MOST["bf16"]
