"""Samples made concrete: arrays, attributes, types, and programs of the one op. Tests of ops start here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Program, Value
from dlc.ops.arrays import dtype_name, numpy_dtype
from dlc.ops.definition import LazyModule, OpDef, Sample
from dlc.types.tensor import TensorType

if TYPE_CHECKING:
    import numpy as np

    from dlc.ops.arrays import Array
else:
    np = LazyModule("numpy")


def arrays(definition: OpDef, sample: Sample, *, seed: int = 0, floats: str = "") -> list[Array | None]:
    """The operands' values. A nested list is i64, bool or f32 by its elements, or what the signature says.
    `floats` is the dtype of all float operands, where given."""
    rng = np.random.default_rng(seed)
    made = [_array(each, sample, rng) for each in sample.inputs]
    return [each.astype(numpy_dtype(floats)) if floats and is_float(each) else each for each in made]


def is_float(array: Array | None) -> TypeGuard[Array]:
    return array is not None and array.dtype.kind == "f"


def _array(value: Any, sample: Sample, rng: np.random.Generator) -> Array | None:
    if value is None:
        return None
    if not isinstance(value, str):
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype == np.float64 else array
    dtype, shape = parse_shape(value)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith(("i", "u")):
        return rng.integers(int(sample.low), int(sample.high) + 1, shape).astype(numpy_dtype(dtype))
    return rng.uniform(sample.low, sample.high, shape).astype(numpy_dtype(dtype))


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`f32[2, 3]` as its dtype and sizes."""
    dtype, _, sizes = text.rstrip("]").partition("[")
    return dtype, tuple(int(size) for size in sizes.split(",") if size.strip())


def attributes(definition: OpDef, sample: Sample) -> dict[str, Any]:
    """The sample's attributes, defaults filled in."""
    defaults = {each.name: each.default for each in definition.signature.attributes}
    return {**defaults, **sample.attrs}


def types(values: list[Array | None]) -> list[TensorType | None]:
    return [None if each is None else TensorType.of(dtype_name(each.dtype), each.shape) for each in values]


def program(definition: OpDef, sample: Sample) -> Program:
    """A program that computes the op: inputs `x0`, `x1`, … (present operands only), outputs `y0`, …"""
    b, operands, results = _applied(
        definition, types(arrays(definition, sample)), attributes(definition, sample)
    )
    outputs = tuple((f"y{i}", value.name) for i, value in enumerate(results))
    return _program(definition, b, operands, outputs)


def loss_program(definition: OpDef, sample: Sample, *, floats: str = "f32") -> Program:
    """A program of the op whose output `loss` is the sum of its float results, each element times one of a
    further input `c0`, `c1`, …: what derivatives are tested on."""
    attrs = {
        name: floats if value == "f32" else value for name, value in attributes(definition, sample).items()
    }
    b, operands, results = _applied(definition, types(arrays(definition, sample, floats=floats)), attrs)
    floating = [each for each in results if each.type.is_float]
    weights = [Value(f"c{i}", each.type) for i, each in enumerate(floating)]
    terms = [b.sum(b.mul(y, c), range(y.type.rank)) for y, c in zip(floating, weights, strict=True)]
    total = terms[0]
    for term in terms[1:]:
        total = b.add(total, term)
    return _program(definition, b, [*operands, *weights], (("loss", total.name),))


def _applied(
    definition: OpDef, operand_types: Sequence[TensorType | None], attrs: Mapping[str, Any]
) -> tuple[Builder, list[Value], tuple[Value, ...]]:
    """A body of just the op, the operands that are present, and the results."""
    operands = [None if type is None else Value(f"x{i}", type) for i, type in enumerate(operand_types)]
    b = Builder()
    results = b.ops(definition.name, *operands, **attrs)
    return b, [each for each in operands if each is not None], results


def _program(
    definition: OpDef, b: Builder, inputs: Sequence[Value], outputs: tuple[tuple[str, str], ...]
) -> Program:
    main = Function("main", definition.name, "model", tuple(inputs), outputs, tuple(b.body))
    return Program({"main": main}, "main")
