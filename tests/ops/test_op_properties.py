"""Types against references on random shapes and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from properties import examples

from dlc import ops
from dlc.ops.definition import OpError
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

sizes = st.integers(0, 4)
shapes = st.lists(sizes, max_size=4).map(tuple)


def assert_agree(name: str, shapes: list[tuple[int, ...]], **attrs: Any) -> None:
    """The result's type is the reference's shape, also with symbols for the first operand's sizes."""
    definition = ops.get(name)
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    expected = definition.reference(*arrays, **attrs).shape
    (found,) = definition.result_types(Facts(), [TensorType.of("f32", shape) for shape in shapes], attrs)
    assert found.shape == expected
    symbols = {f"n{i}": size for i, size in enumerate(shapes[0])}
    first = TensorType("f32", tuple(map(Dim.symbol, symbols)))
    try:
        (general,) = definition.result_types(
            Facts(), [first, *(TensorType.of("f32", shape) for shape in shapes[1:])], attrs
        )
    except OpError:
        return  # not provable for all sizes
    if all(symbols.values()):
        assert tuple(axis.evaluate(symbols) for axis in general.axes) == expected


@given(shapes, st.data())
def test_broadcasting(shape: tuple[int, ...], data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    other = tuple(size if kept else 1 for size, kept in zip(shape, keep, strict=True))
    assert_agree("mul", [shape, other[data.draw(st.integers(0, len(shape))) :]])


@given(shapes, st.data())
def test_reductions(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1))) if shape else set()
    assert_agree("sum", [shape], axis=tuple(sorted(axes)), keepdims=data.draw(st.booleans()))


@given(shapes, st.data())
def test_slices(shape: tuple[int, ...], data: st.DataObject) -> None:
    bounds = [sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size)))) for size in shape]
    step = tuple(data.draw(st.integers(1, 3)) for _ in shape)
    start, stop = tuple(low for low, _ in bounds), tuple(high for _, high in bounds)
    assert_agree("slice", [shape], start=start, stop=stop, step=step)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-4, 4))
def test_arange(start: int, stop: int, step: int) -> None:
    assume(step and (stop - start) * step >= 0)
    attrs = {"start": start, "stop": stop, "step": step, "dtype": "i64"}
    (found,) = ops.get("arange").result_types(Facts(), [], attrs)
    assert found.shape == ops.get("arange").reference(**attrs).shape


windows = st.tuples(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3)
)


@examples(300)
@given(windows, st.integers(1, 3))
def test_convolutions(window: tuple[int, int, int, int, int], dilation: int) -> None:
    size, kernel, stride, before, after = window
    assume(size + before + after >= (kernel - 1) * dilation + 1)
    attrs = {"stride": (stride,), "padding": ((before, after),), "dilation": (dilation,), "groups": 1}
    assert_agree("conv", [(2, 3, size), (4, 3, kernel)], **attrs)


@examples(120)
@given(windows, st.booleans())
def test_pooling(window: tuple[int, int, int, int, int], ceil: bool) -> None:
    size, kernel, stride, before, after = window
    assume(size + before + after >= kernel > max(before, after))
    attrs = {"kernel": (kernel,), "stride": (stride,), "padding": ((before, after),), "ceil": ceil}
    assert_agree("max_pool", [(1, 2, size)], **attrs)
    assert_agree("avg_pool", [(1, 2, size)], **attrs, count_padding=False)
    counts = ops.get("avg_pool").reference(np.ones((1, 1, size)), **attrs, count_padding=False)
    np.testing.assert_allclose(counts, 1)  # no window is without an element, and none is counted twice
