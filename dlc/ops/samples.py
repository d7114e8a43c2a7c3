"""Samples made concrete: arrays, attributes, types, and a program of the one op; what tests of an op start
from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlc.ops.arrays import dtype_name, numpy_dtype
from dlc.ops.definition import LazyModule, OpDef, Sample
from dlc.types.tensor import TensorType

if TYPE_CHECKING:
    import numpy as np

    from dlc.ir.nodes import Program
    from dlc.ops.arrays import Array
else:
    np = LazyModule("numpy")


def arrays(definition: OpDef, sample: Sample, seed: int = 0) -> list[Array | None]:
    """The operands' values. A nested list is i64, bool or f32 by its elements, or what the signature says."""
    rng = np.random.default_rng(seed)
    return [_array(each, sample, rng) for each in sample.inputs]


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
    from dlc.ir.builder import Builder
    from dlc.ir.nodes import Function, Program, Value

    present = types(arrays(definition, sample))
    operands = [None if type is None else Value(f"x{i}", type) for i, type in enumerate(present)]
    b = Builder()
    results = b.ops(definition.name, *operands, **attributes(definition, sample))
    outputs = tuple((f"y{i}", value.name) for i, value in enumerate(results))
    inputs = tuple(each for each in operands if each is not None)
    main = Function("main", definition.name, "model", inputs, outputs, tuple(b.body))
    return Program({"main": main}, "main")
