"""Every op that takes integers on integers of 8 and 16 bits, which few kernels are made for: the reference's results, in the
dtype of the operands. The samples of all ops stand in one program, so that each backend compiles once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gaps import failing_at_gaps

import dlc
from dlc import backend as backends
from dlc import ops
from dlc.backend import EmitOptions
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Program, Value
from dlc.ops import samples
from dlc.ops.arrays import numpy_dtype
from dlc.ops.definition import OpDef, OpError
from dlc.runtime.interpret import run

Arrays = dict[str, np.ndarray]
CASES = [(name, dtype) for name in ("torch", "onnx") for dtype in ("i16", "i8", "u8")] + [("tvm", "u8")]


def narrow(definition: OpDef, dtype: str) -> list[Any]:
    """The operands of the first sample, floats as small numbers of the dtype."""
    arrays = samples.arrays(definition, definition.samples[0])
    return [np.abs(x).astype(numpy_dtype(dtype)) if samples.is_float(x) else x for x in arrays]


def all_ops(dtype: str) -> tuple[Program, Arrays]:
    """A program of every op that takes numbers, in the dtype, and its inputs."""
    b, inputs, outputs, given = Builder(), list[Value](), list[tuple[str, str]](), Arrays()
    for definition in ops.all_ops():
        if definition.dtypes not in ("number", "any") or definition.random:
            continue
        arrays = narrow(definition, dtype)
        operands = list(named(definition.name, arrays))
        try:
            results = b.ops(
                definition.name, *operands, **samples.attributes(definition, definition.samples[0])
            )
        except OpError:
            continue
        outputs += [(f"{definition.name}_y{i}", value.name) for i, value in enumerate(results)]
        inputs += [each for each in operands if each is not None]
        given |= {each.name: x for each, x in zip(operands, arrays, strict=True) if each is not None}
    main = Function("main", "All", "model", tuple(inputs), tuple(outputs), tuple(b.body))
    return Program({"main": main}, "main"), given


def named(op: str, arrays: list[Any]) -> Iterator[Value | None]:
    for i, type in enumerate(samples.types(arrays)):
        yield None if type is None else Value(f"{op}_x{i}", type)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_narrow_integers(name: str, dtype: str) -> None:
    pytest.importorskip(name)
    backend = backends.find(name)
    program, given = all_ops(dtype)
    expected = run(program, {}, given)
    assert len(expected) > 30
    with failing_at_gaps(backend, program):
        found = backend.load(backend.emit(program, EmitOptions()), {})(**given)
        for key, value in expected.items():
            assert found[key].dtype == value.dtype, key
            np.testing.assert_allclose(found[key], value, rtol=1e-6, err_msg=key)


# What of the library takes integers, some of it a node or function of a backend's own.
OF_THE_LIBRARY = (
    "clamp(x, min=-1, max=2)",
    "clamp(x, min=1)",
    "clamp(x, max=1)",
    "tril(x)",
    "triu(x, diagonal=1)",
    "square(x)",
    "segment_sum(x, ids, 3)",
)


@pytest.mark.parametrize("dtype", ["i16", "i8", "u8", "i32"])
@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
def test_the_library_on_integers(backend: str, dtype: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    calls = [each.replace("-1", "0") if dtype == "u8" else each for each in OF_THE_LIBRARY]
    outputs = ", ".join("_" for _ in calls)
    spec = f"model M()(x: {dtype}[3, 4], ids: i64[3]) -> ({outputs}) {{\n    return {', '.join(calls)}\n}}\n"
    model = dlc.loads(spec)["M"]
    given = {"x": np.arange(12).reshape(3, 4).astype(numpy_dtype(dtype)), "ids": np.array([0, 2, 2])}
    expected = run(model.program, {}, given)
    found = model.compile(backend)(**given)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)
