"""Specs with copies and experts, and inputs for them: what every backend must compute as one expert after another does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import dlc
from dlc.runtime.interpret import run
from dlc.spec import Model

EXPERTS = """
module SwiGLU(d: int, hidden: int)(x: [N, d]) -> [N, d] {
    param gate_up_proj: [2 * hidden, d] = normal(0.5)
    param down_proj: [d, hidden] = normal(0.5)
    gate, up = rearrange(x @ gate_up_proj.T, "N (n hidden) -> n N hidden", n=2)
    return silu(gate) * up @ down_proj.T
}

module MLP(hidden: int, out: int)(x: [N, d]) -> [N, out] {
    return x |> layer_norm as norm |> linear(hidden) as up |> gelu |> dropout(0.5) |> linear(out) as down
}
"""


@dataclass(frozen=True)
class Case:
    """A model of x: [*S, 6], choice: i64[*S, k] and perhaps weight: [*S, k]; `fixed` where its sizes are."""

    text: str
    shape: tuple[int, ...] = (2, 5)
    k: int = 2
    experts: int = 4
    weighted: bool = True
    fixed: bool = False

    @property
    def model(self) -> Model:
        return dlc.loads(EXPERTS + self.text)["M"]

    @property
    def maybe_empty(self) -> Model:
        """The same for any number of positions: one that may be 0 is stated."""
        before, head, rest = self.text.partition("model M(")
        signature, _, body = rest.partition(" {\n")
        dim = "N" if "[N, " in signature else "B"
        return dlc.loads(f"{EXPERTS}{before}{head}{signature}\n    where 0 <= {dim}\n{{\n{body}")["M"]

    def arrays(self, routing: str) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(len(routing))
        shape = (0, *self.shape[1:]) if routing == "no positions" else self.shape
        choice = rng.integers(0, self.experts, (*shape, self.k))
        if routing == "all to one, twice":
            choice[:] = self.experts - 2
        elif routing == "empty ones":
            choice = choice % 2 * (self.experts - 1)
        found = {"x": rng.normal(size=(*shape, 6)).astype(np.float32), "choice": choice}
        if self.weighted:
            found["weight"] = rng.random((*shape, self.k), np.float32)
        return found


ROUTINGS = ("spread", "all to one, twice", "empty ones", "no positions")


def routed(inputs: str, expert: str, more: str = ", weight", tail: str = "") -> str:
    return (
        f"model M()({inputs}) -> _ {{\n"
        f"    return x |> mixture({expert}, 4)(choice{more}) as experts{tail}\n"
        "}\n"
    )


BT = "x: [B, T, 6], choice: i64[B, T, 2]"
CASES: dict[str, Case] = {
    "gated": Case(routed(f"{BT}, weight: [B, T, 2]", "SwiGLU(6, 8)")),
    "parts inside, another width, no weights": Case(routed(BT, "MLP(8, 3)", ""), weighted=False),
    "one choice, rows": Case(
        routed("x: [N, 6], choice: i64[N, 1], weight: [N, 1]", "SwiGLU(6, 4)"), shape=(7,), k=1
    ),
    "more rows than a tile": Case(
        routed("x: [N, 6], choice: i64[N, 2], weight: [N, 2]", "linear(5)"), shape=(90,)
    ),
    "in layers": Case(
        "module Layer(d: int)(x: [B, T, d], choice: i64[B, T, 2], weight: [B, T, 2]) -> [B, T, d] {\n"
        "    return x + (x |> mixture(SwiGLU(d, 4), 4)(choice, weight) as experts)\n}\n"
        f"model M(layers: int = 3)({BT}, weight: [B, T, 2]) -> [B, T, 6] {{\n"
        "    for i in range(layers) as layers { x = Layer(6)(x, choice, weight) }\n    return x\n}\n"
    ),
    "known sizes": Case(
        routed("x: [2, 5, 6], choice: i64[2, 5, 2], weight: [2, 5, 2]", "SwiGLU(6, 8)"), fixed=True
    ),
}


def one_by_one(weights: Mapping[str, np.ndarray], expert: Model, given: Mapping[str, Any]) -> np.ndarray:
    """Each position through each of its experts alone: `expert` as a model of rows, with one expert's part of `weights`."""
    x, choice = given["x"], given["choice"]
    rows, chosen = x.reshape(-1, x.shape[-1]), choice.reshape(-1, choice.shape[-1])
    weight = given.get("weight", np.ones(choice.shape, np.float32)).reshape(chosen.shape)
    parts = [{path.removeprefix("experts."): value[e] for path, value in weights.items()} for e in range(4)]
    made = [
        sum(
            weight[r, j] * next(iter(run(expert.program, parts[e], {"x": rows[r : r + 1]}).values()))[0]
            for j, e in enumerate(chosen[r])
        )
        for r in range(len(rows))
    ]
    return np.array(made, np.float32)


def differences(case: Case, call: Any, routings: tuple[str, ...] = ROUTINGS) -> None:
    """`call(model, weights)` gives what runs the model; its results must be the reference's for every routing."""
    found = case.model if case.fixed else case.maybe_empty
    weights = found.initial_weights(seed=0)
    runnable = call(found, weights)
    for routing in routings:
        arrays = case.arrays(routing)
        if routing == "no positions" and case.fixed:
            continue
        (wanted,) = run(found.program, weights, arrays).values()
        (result,) = runnable(**arrays).values()
        assert result.shape == wanted.shape, routing
        np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-5, err_msg=routing)
