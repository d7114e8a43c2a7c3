"""Every op that takes integers on integers of 8 and 16 bits, which few kernels are made for: the reference's results, in the
dtype of the operands. The samples of all ops stand in one program, so that each backend compiles once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gaps import failing_at_gaps

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
