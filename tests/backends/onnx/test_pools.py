"""Pools in ONNX: nan and -inf as they mean, in no more nodes than that takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest

import dlc
from dlc.runtime.interpret import run

TEXT = """
model M()(x: [B, 2, 12, 13]) -> [B, 2, _, _] { return x |> BEFORE max_pool(3, stride=2, padding=1) AFTER }
"""
WAYS = [
    ("", ""),
    ("relu |>", ""),
    ("tanh |>", "|> max_pool(2)"),
    ("relu |>", "|> max_pool(2)"),
    ("exp |>", '|> rearrange("B c h w -> B c w h") |> max_pool(2)'),
    ("max_pool(2) |>", ""),
]


def model(before: str, after: str) -> Any:
    return dlc.loads(TEXT.replace("BEFORE", before).replace("AFTER", after))["M"]


@pytest.mark.parametrize(("before", "after"), WAYS)
def test_nan_and_inf_are_what_they_are(before: str, after: str) -> None:
    made = model(before, after)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 2, 12, 13)).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf, np.finfo(np.float32).min):
        x[rng.random(x.shape) < 0.04] = value
    x[1, 0, :6, :7], x[2, 1, 3:, 5:], x[0, 1, :5] = -np.inf, np.nan, np.finfo(np.float32).min
    (wanted,) = run(made.program, {}, {"x": x}).values()
    (found,) = made.compile("onnx")(x=x).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(("before", "after"), WAYS)
def test_what_is_never_minus_inf_is_not_looked_at_for_it(before: str, after: str) -> None:
    files = model(before, after).emit("onnx").files
    (file,) = (each for name, each in files.items() if name.endswith(".onnx"))
    kinds = Counter(node.op_type for node in onnx.load_from_string(file).graph.node)
    is_open = before in ("", "max_pool(2) |>")
    assert kinds["Where"] == (4 if is_open else 1) * (kinds["MaxPool"] // 2)
