"""Functions that rearrange and make tensors, as specs call them: each gives what NumPy's function of that name gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dlc
from dlc.diagnostics import SpecError
from dlc.ir.nodes import Program
from dlc.runtime.interpret import run

Array = NDArray[np.float32]
X: Array = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)

# What a spec says of x: [2, 3, 4], the types of its results, and the same in NumPy.
CASES: Sequence[tuple[str, str, Callable[[Array], Any]]] = (
    ("stack([x, 2 * x])", "[2, 2, 3, 4]", lambda x: np.stack([x, 2 * x])),
    ("stack([x, 2 * x], axis=1)", "[2, 2, 3, 4]", lambda x: np.stack([x, 2 * x], axis=1)),
    ("stack([x, 2 * x, -x], axis=-1)", "[2, 3, 4, 3]", lambda x: np.stack([x, 2 * x, -x], axis=-1)),
    ("stack([x], axis=1)", "[2, 1, 3, 4]", lambda x: x[:, None]),
    ("split(x, [1, 3])", "[2, 3, 1], [2, 3, 3]", lambda x: np.split(x, [1], axis=-1)),
    ("split(x, [1, 2], axis=1)", "[2, 1, 4], [2, 2, 4]", lambda x: np.split(x, [1], axis=1)),
    ("split(x, [1, 1], axis=-3)", "[1, 3, 4], [1, 3, 4]", lambda x: np.split(x, 2)),
    ("chunk(x, 2)", "[2, 3, 2], [2, 3, 2]", lambda x: np.split(x, 2, axis=-1)),
    ("roll(x, 1, axis=1)", "[2, 3, 4]", lambda x: np.roll(x, 1, axis=1)),
    ("roll(x, -1, axis=-1)", "[2, 3, 4]", lambda x: np.roll(x, -1, axis=-1)),
    ("roll(x, [1, -3], axis=[1, 2])", "[2, 3, 4]", lambda x: np.roll(x, (1, -3), axis=(1, 2))),
    ("roll(x, [1, 1], axis=[-1, 2])", "[2, 3, 4]", lambda x: np.roll(x, 2, axis=2)),
    ("roll(x, 7, axis=2)", "[2, 3, 4]", lambda x: np.roll(x, 7, axis=2)),
    ("roll(x, 4, axis=2)", "[2, 3, 4]", lambda x: x),
    ("tile(x, [2, 1, 3])", "[4, 3, 12]", lambda x: np.tile(x, (2, 1, 3))),
    ("tile(x, [1, 1, 1])", "[2, 3, 4]", lambda x: x),
    ("eye(4)", "[4, 4]", lambda x: np.eye(4, dtype=np.float32)),
    ("eye(3, dtype=i64)", "i64[3, 3]", lambda x: np.eye(3, dtype=np.int64)),
    ("transpose(x)", "[2, 4, 3]", lambda x: x.swapaxes(-1, -2)),
    ("transpose(x, 0, -1)", "[4, 3, 2]", lambda x: x.swapaxes(0, 2)),
    ("flatten(x)", "[2, 12]", lambda x: x.reshape(2, 12)),
    ("squeeze(x[:1])", "[3, 4]", lambda x: x[0]),
    ("sort(x, axis=1)", "[2, 3, 4]", lambda x: np.sort(x, axis=1)),
    ("sort(x, descending=true)", "[2, 3, 4]", lambda x: -np.sort(-x)),
)


def loaded(call: str, results: str, size: str = "2") -> Program:
    spec = f"model M()(x: [{size}, 3, 4]) -> ({results}) {{\n    return {call}\n}}\n"
    return dlc.loads(spec)["M"].program


@pytest.mark.parametrize(("call", "results", "numpy"), CASES, ids=[call for call, _, _ in CASES])
def test_a_function_gives_what_numpy_gives(call: str, results: str, numpy: Callable[[Array], Any]) -> None:
    types = results.replace("], ", "];").split(";")
    named = ", ".join(f"y{i}: {type}" for i, type in enumerate(types))
    found = list(run(loaded(call, named), {}, {"x": X}).values())
    expected = numpy(X) if len(types) > 1 else [numpy(X)]
    for value, result in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, result)
        assert value.dtype == result.dtype


@pytest.mark.parametrize("shift", [1, -1])
def test_a_roll_along_a_size_that_is_not_known(shift: int) -> None:
    program = loaded(f"roll(x, {shift}, axis=0)", "y: [B, 3, 4]", "B")
    np.testing.assert_array_equal(run(program, {}, {"x": X})["y"], np.roll(X, shift, axis=0))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("split(x, [1, 2])[0]", "the sizes add up to 3, axis 2"),
        ("split(x, 2)[0]", "a list of sizes"),
        ("tile(x, [2, 2])", "a count for each axis"),
        ("stack([x, x], axis=4)", "axis"),
        ("roll(x, 1, axis=3)", "axis"),
        ("roll(x, [1, 2, 3], axis=[1, 2])", "3 shifts for 2 axes"),
        ("roll(x, 1, axis=[1, 2])", "1 shifts for 2 axes"),
    ],
)
def test_what_can_not_be_called(call: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        loaded(call, "y: [2, 3, 4]")
    assert said in caught.value.diagnostics[0].message
