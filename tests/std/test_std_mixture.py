"""`mixture` is what one position after another through its experts gives, and `copies` one copy after another."""

from __future__ import annotations

import numpy as np
import pytest
from mixture_cases import CASES, EXPERTS, ROUTINGS, one_by_one

import dlc
from dlc.runtime.interpret import run

ALONE = {
    "gated": "SwiGLU(6, 8)",
    "parts inside, another width, no weights": "MLP(8, 3)",
    "one choice, rows": "SwiGLU(6, 4)",
    "more rows than a tile": "linear(5)",
}


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("name", ALONE)
def test_one_position_after_another(name: str, routing: str) -> None:
    case = CASES[name]
    expert = dlc.loads(f"{EXPERTS}model E()(x: [N, 6]) -> _ {{ e = {ALONE[name]}\n    return e(x) }}")["E"]
    model = case.model if case.fixed else case.maybe_empty
    weights, given = model.initial_weights(seed=1), case.arrays(routing)
    (found,) = run(model.program, weights, given).values()
    one = {f"experts.{path.partition('.')[2]}": path for path in expert.initial_weights(seed=0)}
    assert weights.keys() == one.keys()
    parts = {f"experts.{one[path]}": value for path, value in weights.items()}
    expected = one_by_one(parts, expert, given)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-5, atol=1e-6)


def test_copies_stand_side_by_side() -> None:
    model = dlc.loads("model C()(x: [3, B, 5]) -> [3, B, 2] { return x |> copies(linear(2), 3) as towers }")[
        "C"
    ]
    weights = model.initial_weights(seed=0)
    assert {path: value.shape for path, value in weights.items()} == {
        "towers.weight": (3, 2, 5),
        "towers.bias": (3, 2),
    }
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    (found,) = run(model.program, weights, {"x": x}).values()
    expected = np.einsum("nbi,noi->nbo", x, weights["towers.weight"]) + weights["towers.bias"][:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
