"""A border of "same" around a kernel whose size is an argument: right for even kernels too, where one side is wider."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import dlc
from dlc.emit.sums import tidied
from dlc.emit.tree import parse, text
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

SPECS = {
    "conv1d": 'model M(k: int = 3)(x: [B, 2, 9]) -> [B, 4, 9] { return x |> conv1d(4, k, padding="same") as conv }',
    "conv2d, dilated": """
model M(k: int = 3, apart: int = 2)(x: [B, 2, 9, 7]) -> [B, 4, 9, 7] {
    return x |> conv2d(4, k, padding="same", dilation=apart) as conv
}
""",
    "in a module that nobody gives a kernel": """
module C(k: int = 3)(x: [B, c, L]) -> [B, c, L] { return x |> conv1d(c, k, padding="same") as conv }
model M(k: int = 3)(x: [B, 2, 9]) -> [B, 2, 9] { return x |> C(k) as a |> C() as b }
""",
}


@pytest.mark.parametrize("name", SPECS)
def test_same_at_any_kernel(name: str) -> None:
    spec = dlc.loads(SPECS[name])["M"]
    (source,) = spec.emit("torch").files.values()
    scope: dict[str, Any] = {}
    exec(str(source), scope)
    for k in (1, 2, 3, 4, 6):
        program = spec(k=k).program
        weights = generic_weights(program)
        shape = [2 if axis.constant is None else axis.constant for axis in program.main.inputs[0].type.axes]
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        (expected,) = run(program, weights, {"x": x}).values()
        network = scope["M"](k=k)
        network.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an even kernel needs a copy
            found = network(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=f"k = {k}")


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("(1 * k + 1 + 1 + 1) // 2 - 1 - 1", "(k - 1) // 2"),
        ("(3 + 1 + 1 - 2) // 2", "1"),
        ("a - 1 - b + 1", "a - b"),
        ("3 - k", "3 - k"),
        ("a // b - 1", "a // b - 1"),
        ("(a + 1) // 2 + 3", "(a + 7) // 2"),
        ("k // 1 + 0", "k"),
    ],
)
def test_sums(written: str, wanted: str) -> None:
    found = text(tidied(parse(written)))
    assert found == wanted
    for a in range(-5, 6):
        values = {"a": a, "b": 3 - 2 * (a % 2) or 1, "k": 7 * a % 5}
        assert eval(found, dict(values)) == eval(written, dict(values))
