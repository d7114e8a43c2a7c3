"""Every op at its edges, made from its samples (`dlc/ops/edges.py`), on every backend against the reference: values and dtypes forward,
and the gradients of torch and jax against those of the op's own rule.

What an op is given stands side by side in one program for each kind of edge, so that a backend compiles a few times, not a thousand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import haste
import numpy as np
import pytest
from gaps import declared

from dlc import backend as backends
from dlc import ops
from dlc.autodiff import gradient, gradient_name
from dlc.backend import Backend, EmitOptions
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Op, Param, Parameter, Program, Value
from dlc.ops import edges, samples
from dlc.ops.definition import OpDef
from dlc.ops.edges import Edge
from dlc.runtime.interpret import run

Arrays = dict[str, np.ndarray]
NAMES = ("torch", "jax", "onnx", "tvm")
# Rounding of one result: f16 and bf16 are rounded once, whatever they are computed in.
STEPS = {"float16": 2.0**-9, "bfloat16": 2.0**-6}
# What is left to the backend, with the reason.
FREE = {
    "cast": "nan and infinities become any integer",
}


class Sheet:
    """Ops side by side: one program, what it is given, and its parameters."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.b = Builder()
        self.inputs: list[Value] = []
        self.outputs: list[tuple[str, str]] = []
        self.parameters: list[Parameter] = []
        self.inits: dict[str, Function] = {}
        self.given: Arrays = {}
        self.weights: Arrays = {}

    def add(self, definition: OpDef, edge: Edge, *, trained: bool = False) -> None:
        """The op once more; its float operands are parameters, if `trained`. What is a number among operands is a constant."""
        tag = f"{definition.name}_{len(self.outputs)}"
        operands: list[Value | None] = []
        for i, (x, type) in enumerate(zip(edge.operands, samples.types(list(edge.operands)), strict=True)):
            if x is not None and type is not None and edge.what == edges.NUMBER and not type.rank:
                operands.append(self.b.const(x.item(), type.dtype))
                continue
            value = None if type is None else Value(f"{tag}_x{i}", type)
            operands.append(value)
            if value is not None and trained and value.type.is_float:
                self._param(value, x)
            elif value is not None:
                self.inputs.append(value)
                self.given[value.name] = x
        results = self.b.ops(definition.name, *operands, **edge.attributes)
        self.outputs += [(f"{tag}_y{i}", value.name) for i, value in enumerate(results)]

    def _param(self, value: Value, x: Any) -> None:
        self.b.append(Op("param", (), (value,), (("path", value.name),)))
        init = Builder()
        zeros = init.op("full", shape=value.type.axes, value=0.0, dtype=value.type.dtype)
        name = f"init_{value.name}"
        self.inits[name] = Function(name, name, "init", (), (("value", zeros.name),), tuple(init.body))
        self.parameters.append(Parameter(value.name, value.type, "param", False, name))
        self.weights[value.name] = x

    @property
    def program(self) -> Program:
        params = tuple(Param(each.path, each.type, init=each.init) for each in self.parameters)
        main = Function(
            "main", self.name, "model", tuple(self.inputs), tuple(self.outputs), tuple(self.b.body), params
        )
        return Program({**self.inits, "main": main}, "main", tuple(self.parameters))


def alone(definition: OpDef, edge: Edge) -> Program:
    sheet = Sheet(definition.name)
    sheet.add(definition, edge)
    return sheet.program


def every(kind: Callable[[OpDef], Iterator[Edge]]) -> Iterator[tuple[OpDef, Edge]]:
    for definition in ops.all_ops():
        if not definition.random and definition.name not in ops.added():
            yield from ((definition, edge) for edge in kind(definition))


def sheet_of(backend: Backend, kind: Callable[[OpDef], Iterator[Edge]], free: bool = False) -> Sheet:
    """All ops at one kind of edge, without what the backend declares to lack."""
    sheet = Sheet(kind.__name__)
    for definition, edge in every(kind):
        if free and definition.name in FREE:
            continue
        if not declared(backend, alone(definition, edge)):
            sheet.add(definition, edge)
    return sheet


def check(
    name: str, kind: Callable[[OpDef], Iterator[Edge]], free: bool = False, hastily: bool = False
) -> None:
    """All ops at one kind of edge by a backend, against the reference."""
    pytest.importorskip(name if name != "onnx" else "onnxruntime")
    backend = backends.find(name)
    sheet = sheet_of(backend, kind, free)
    expected = run(sheet.program, {}, sheet.given)
    options = EmitOptions(target=haste.TVM if hastily and name == "tvm" else "")
    found = backend.load(backend.emit(sheet.program, options), {})(**sheet.given)
    compare(found, expected)


def compare(found: Arrays, expected: Arrays) -> None:
    wrong = [name for name, value in expected.items() if not alike(found[name], value)]
    told = [
        f"{name}: {found[name].dtype} {found[name]} for {expected[name].dtype} {expected[name]}"
        for name in wrong[:5]
    ]
    assert not wrong, "\n".join([", ".join(wrong), *told])


def alike(found: np.ndarray, value: np.ndarray) -> bool:
    if found.dtype != value.dtype or found.shape != value.shape:
        return False
    step = STEPS.get(value.dtype.name, 2e-5)
    a, b = (np.asarray(each, np.float64) if each.dtype.kind not in "iub" else each for each in (found, value))
    if a.dtype.kind in "iub":
        return bool(np.array_equal(a, b))
    scale = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    return bool(np.allclose(a, b, rtol=step, atol=step * scale if step > 1e-3 else step, equal_nan=True))


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str) -> None:
    check(name, edges.values, free=True)


@pytest.mark.parametrize("name", NAMES)
def test_sizes(name: str) -> None:
    check(name, edges.sizes, hastily=True)


@pytest.mark.parametrize("name", NAMES)
def test_dtypes(name: str) -> None:
    """Each dtype that an op takes: computed, declared as a gap, or refused."""
    check(name, edges.dtypes, hastily=True)


@pytest.mark.parametrize("name", NAMES)
def test_numbers(name: str) -> None:
    """Python's numbers are no tensors: not every function of a framework takes them."""
    check(name, edges.numbers, hastily=True)


def test_gradients_at_kinks() -> None:
    """PyTorch's subgradients, on jax and by the op's own rule."""
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    sheet = Sheet("kinks")
    for definition, edge in every(edges.kinks):
        if definition.name not in NO_GRADIENT:
            sheet.add(definition, edge, trained=True)
    program = sheet.program
    outputs = run(program, sheet.weights, sheet.given)
    rng = np.random.default_rng(1)
    weights = {
        key: rng.uniform(0.5, 1.5, value.shape).astype(value.dtype)
        for key, value in outputs.items()
        if value.dtype.kind == "f"
    }
    found = {
        name: backends.find(name).gradients(
            backends.find(name).emit(program, EmitOptions()), sheet.weights, sheet.given, weights
        )
        for name in ("torch", "jax")
    }
    found["rule"] = own_gradients(program, sheet, weights)
    for name in ("jax", "rule"):
        compare({key: np.asarray(found[name][key]) for key in sheet.weights}, found["torch"])


# PyTorch has no derivative of `floordiv`; of powers of 0 and of negative numbers each has its own infinity or nan; of zeros of
# both signs see `FREE`.
NO_GRADIENT = {"floordiv", "pow", "top_k"}


def own_gradients(program: Program, sheet: Sheet, weights: Arrays) -> Arrays:
    """Those that the ops' rules give."""
    main, b = program.main, Builder(names=_fresh(program))
    types = main.types()
    values = dict(main.outputs)
    cotangents = [Value(f"{key}_c", types[values[key]]) for key in weights]
    total: Value | None = None
    for key, c in zip(weights, cotangents, strict=True):
        y = Value(values[key], types[values[key]])
        term = b.cast(b.sum(b.mul(y, c), range(y.type.rank)), "f64")
        total = term if total is None else b.add(total, term)
    assert total is not None
    loss = Function(
        "main",
        "kinks",
        "model",
        (*main.inputs, *cotangents),
        (("loss", total.name),),
        (*main.body, *b.body),
        main.params,
    )
    derived = gradient(Program({"main": loss}, "main", program.parameters), list(sheet.weights))
    given = {**sheet.given, **{f"{key}_c": weights[key] for key in weights}}
    results = run(derived, sheet.weights, given)
    return {key: results[gradient_name(key)] for key in sheet.weights}


def _fresh(program: Program) -> Callable[[str], str]:
    from dlc.ir.splice import Names

    return Names.of(program.main).fresh
