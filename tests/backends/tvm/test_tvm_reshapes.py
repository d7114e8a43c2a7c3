"""Reshapes by their axes: which belong together, what is computed, and what a kernel is spared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")

from dlc_tvm.build import build
from dlc_tvm.reshapes import grouped
from dlc_tvm.runtime import load
from tvm import tirx

from tests.backends.tvm.kernels import Case, call, kernels, module

B, N, P, S = (tirx.Var(name, "int64") for name in "BNPS")
GROUPS: list[tuple[list[Any], list[Any], list[tuple[int, int]]]] = [
    # [source, target, how many axes of each are in a group]
    ([B, S + P, N, 8], [B, P + S, N, 2, 4], [(1, 1), (1, 1), (1, 1), (1, 2)]),
    ([B, P, N, 4], [B * P, N, 4], [(2, 1), (1, 1), (1, 1)]),
    ([P * B, N], [B, P, N], [(1, 2), (1, 1)]),
    ([B, 1, N], [B, N, 1], [(1, 1), (1, 0), (1, 1), (0, 1)]),
    ([2, 6], [3, 4], [(2, 2)]),
    ([B, N], [N, B], [(2, 2)]),
    ([0, 3], [5, 0], [(1, 2), (1, 0)]),
    ([], [1], [(0, 1)]),
]


@pytest.mark.parametrize(("source", "target", "sizes"), GROUPS)
def test_axes_that_hold_the_same(source: list[Any], target: list[Any], sizes: list[tuple[int, int]]) -> None:
    assert [(len(a), len(b)) for a, b in grouped(source, target)] == sizes


def reshaped(*shape: Any) -> Any:
    """A sum of its two inputs along the second axis, in another shape."""

    def body(e: Any, x: Any, y: Any) -> Any:
        joined = e.concat([x, y], axis=1)
        return e.reshape(joined, [joined_or(each, x, y) for each in shape])

    return body


def joined_or(size: Any, x: Any, y: Any) -> Any:
    """An axis of the result: a number, or a text over the axes of the inputs, in which a sum is the other way round."""
    if isinstance(size, int):
        return size
    names = {"B": x.ty.shape[0], "S": x.ty.shape[1], "P": y.ty.shape[1], "N": x.ty.shape[2]}
    return eval(size, names)


SIZES = ({"B": 2, "S": 3, "P": 1, "N": 5}, {"B": 1, "S": 1, "P": 4, "N": 2}, {"B": 1, "S": 2, "P": 3, "N": 0})
INPUTS = (("B", "S", "N", 8), ("B", "P", "N", 8))
SHAPES: dict[str, tuple[Any, ...]] = {
    "apart": ("B", "P + S", "N", 2, 4),
    "together": ("(P + S) * B", "N", 8),
    "across": ("B", "N", "P + S", 8),
    "flat": ("B * N * (P + S) * 8",),
}
CASES = [Case(name, reshaped(*shape), INPUTS, sizes=SIZES) for name, shape in SHAPES.items()]


def test_numbers_are_those_of_numpy() -> None:
    library = load(build(module(CASES)), threads=1)
    for case in CASES:
        for sizes in SIZES:
            x, y = case.arrays(sizes)
            shape = [each if isinstance(each, int) else eval(each, dict(sizes)) for each in SHAPES[case.name]]
            (found,) = call(library, case, [x, y])
            np.testing.assert_array_equal(found, np.concatenate([x, y], 1).reshape(shape))


def test_an_axis_that_stays_is_not_divided() -> None:
    """`S + P` and `P + S` are one size: by the place in the whole tensor, five divisions an element took LLVM half a minute."""
    (case,) = (each for each in CASES if each.name == "apart")
    text = "\n".join(str(kernel) for kernel in kernels([case], opt=1).values())
    joined = text[text.index("T_reshape") :]
    reads = [
        line for line in joined.splitlines() if "T_reshape" in line and " = " in line and "decl" not in line
    ]
    assert reads
    assert all("//" not in line and "%" not in line for line in reads)
