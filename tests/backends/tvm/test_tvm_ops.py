"""Every op's samples through TVM against the reference: shapes known, shapes left open, and narrow floats.

A compiler call costs most of a test here, so the samples of an op become one library: a function with all of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import haste
import numpy as np
import pytest

import dlc
from dlc import ops
from dlc.backend import EmitOptions
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Program, Value
from dlc.ops import samples
from dlc.ops.definition import OpDef, OpError, Sample
from dlc.ops.gaps import EVERY
from dlc.runtime.interpret import run
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

pytest.importorskip("tvm")

from dlc_tvm import BACKEND
from dlc_tvm.names import DRAWS, NATIVE, ROWS
from gaps import failing_at_gaps

Arrays = dict[str, np.ndarray]
Types = list[TensorType | None]
# What the backend declares that it can't do at all.
LACKING = {name for name, gap in BACKEND.gaps.items() if gap.dtypes is None}
NAMES = frozenset(
    definition.name for definition in ops.all_ops()
)  # the library's, not what other tests define
DEFINITIONS = [definition for definition in ops.all_ops() if not definition.random]


def side_by_side(definition: OpDef, floats: str, sizes: Callable[[Dim, int], Dim]) -> tuple[Program, Arrays]:
    """A program of all samples of an op, as far as their types fit, and its inputs. `sizes` is the axis that stands for a
    size of a sample."""
    b = Builder()
    inputs: list[Value] = []
    outputs: list[tuple[str, str]] = []
    arrays: Arrays = {}
    for k, sample in enumerate(definition.samples):
        values = samples.arrays(definition, sample, floats=floats)
        operands = [_operand(f"s{k}_x{i}", value, k, sizes) for i, value in enumerate(values)]
        try:
            results = b.ops(definition.name, *operands, **_attributes(definition, sample, floats))
        except OpError:
            continue
        outputs += [(f"s{k}_y{i}", value.name) for i, value in enumerate(results)]
        inputs += [each for each in operands if each is not None]
        arrays |= {each.name: value for each, value in zip(operands, values, strict=True) if each is not None}
    main = Function("main", definition.name, "model", tuple(inputs), tuple(outputs), tuple(b.body))
    return Program({"main": main}, "main"), arrays


def _attributes(definition: OpDef, sample: Sample, floats: str) -> dict[str, Any]:
    attrs = samples.attributes(definition, sample)
    return {key: floats if floats and value == "f32" else value for key, value in attrs.items()}


def _operand(name: str, value: np.ndarray | None, k: int, sizes: Callable[[Dim, int], Dim]) -> Value | None:
    if value is None:
        return None
    (type,) = samples.types([value])
    assert type is not None
    return Value(name, TensorType(type.dtype, tuple(sizes(axis, k) for axis in type.axes)))


def closed(size: Dim, k: int) -> Dim:
    return size


def opened(size: Dim, k: int) -> Dim:
    """A dim for each size that occurs in a sample."""
    return size if size.constant is not None and size.constant < 2 else Dim.symbol(f"n{k}_{size}")


def compare(program: Program, inputs: Arrays, optimize: int) -> None:
    expected = run(program, {}, inputs)
    with failing_at_gaps(BACKEND, program):
        artifact = BACKEND.emit(program, EmitOptions(name="sample", optimize=optimize, target=haste.TVM))
        found = BACKEND.load(artifact, {})(**inputs)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype, name
            assert found[name].shape == value.shape, name
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("optimize", [0, 1])
@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: each.name)
def test_samples(definition: OpDef, optimize: int) -> None:
    program, inputs = side_by_side(definition, "", closed)
    assert len(program.main.outputs) >= len(definition.samples)
    compare(program, inputs, optimize)


def open_cases() -> Iterator[Any]:
    for definition in DEFINITIONS:
        program, inputs = side_by_side(definition, "", opened)
        if program.main.dims:
            yield pytest.param(program, inputs, id=definition.name)


@pytest.mark.parametrize("optimize", [0, 1])
@pytest.mark.parametrize(("program", "inputs"), open_cases())
def test_open_sizes(program: Program, inputs: Arrays, optimize: int) -> None:
    compare(program, inputs, optimize)


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_draws_follow_the_key(name: str) -> None:
    definition = ops.get(name)
    program = samples.program(definition, definition.samples[0])
    expected = run(program, {}, {}, rng=np.random.default_rng(7))
    found: Any = BACKEND.load(BACKEND.emit(program, EmitOptions(optimize=0)), {})
    np.testing.assert_array_equal(found(key=7)["y0"], expected["y0"])


LOW = [
    pytest.param(definition, precision, id=f"{definition.name}-{precision}")
    for definition in DEFINITIONS
    if definition.dtypes in ("float", "number")
    for precision in ("bf16", "f16")
]
# Rounding of the result alone, relative to the largest element.
STEP = {"bf16": 2.0**-7, "f16": 2.0**-9}


@pytest.mark.parametrize(("definition", "precision"), LOW)
def test_low_precision(definition: OpDef, precision: str) -> None:
    program, inputs = side_by_side(definition, precision, closed)
    expected = run(program, {}, inputs)
    with failing_at_gaps(BACKEND, program):
        found = BACKEND.load(BACKEND.emit(program, EmitOptions(optimize=1, target=haste.TVM)), {})(**inputs)
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            wide = value.astype(np.float32)
            finite = np.abs(wide[np.isfinite(wide)])
            bound = STEP[precision] * max(1.0, float(finite.max(initial=0.0)))
            np.testing.assert_allclose(found[name].astype(np.float32), wide, rtol=0, atol=bound, err_msg=name)


def test_names_are_those_of_the_rows() -> None:
    from dlc_tvm import rows

    assert rows.ROWS.keys() == ROWS


def test_every_op_is_native_or_declared() -> None:
    assert BACKEND.gaps.keys() - {EVERY} <= NAMES
    assert NAMES - NATIVE == LACKING


def test_a_guard_on_data_is_kept() -> None:
    """TVM's loop partitioning dropped the guard of `update_slice` in one compilation of six."""
    program, inputs = side_by_side(
        next(each for each in DEFINITIONS if each.name == "update_slice"), "", opened
    )
    for _ in range(12):
        compare(program, inputs, optimize=1)


LONG_SUMS = """
model Sums(b: int, h: int, c: int)(x: [b, c, h, H]) -> (whole: [], pixels: [c], first: [c, h, H], mean: [c, H], middle: []) {
    return sum(x), sum(x, axis=[0, 2, 3]), sum(x, axis=0), mean(x, axis=[0, 2]), mean(x)
}
"""


@pytest.mark.parametrize(("b", "h"), [(32, 64), (2048, 3)])
def test_long_sums_keep_their_digits(b: int, h: int) -> None:
    """Of equal numbers that have no exact one: added up one after the other, what each addition rounds goes the same way."""
    model = dlc.loads(LONG_SUMS.replace("b: int, h: int, c: int", f"b: int = {b}, h: int = {h}, c: int = 3"))[
        "Sums"
    ]
    x = np.full((b, 3, h, 16), 0.1, np.float32)
    found = model.compile("tvm")(x=x)
    for name, axes in {"whole": None, "pixels": (0, 2, 3), "first": 0}.items():
        np.testing.assert_allclose(found[name], x.astype(np.float64).sum(axes), rtol=1e-5, err_msg=name)
    for name in ("mean", "middle"):
        np.testing.assert_allclose(found[name], np.float64(np.float32(0.1)), rtol=1e-5, err_msg=name)


def test_tanh_and_erf_end_at_1() -> None:
    """A factor of 1 + tanh(x) leaves nothing of a large negative x, as in a gelu: 1e-7 of it would be 1e31."""
    x = np.array([-np.inf, -3e38, -50.0, -10.0, 10.0, 50.0, 3e38, np.inf, np.nan] * 4, np.float32)
    model = dlc.loads("model M()(x: [N]) -> (_, _, _) {\n    return tanh(x), erf(x), x * (tanh(x) + 1)\n}\n")[
        "M"
    ]
    found = model.compile("tvm", target=haste.TVM)(x=x)
    with np.errstate(all="ignore"):
        expected = run(model.program, {}, {"x": x})
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
