"""Static parameters that are rows of numbers are arguments of what is emitted; those that are functions or modules are none, and no
source speaks of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc.api import Model
from dlc.runtime.interpret import run

ROWS = """
module Layer(kernel: int, out: int, act: fn = none, norm: module = none)(x: [B, i, T]) -> [B, out, T]
    where kernel % 2 == 1
{
    y = x |> conv1d(out, kernel, padding=kernel // 2) as conv
    if norm != none { y = y |> norm }
    if act != none { y = y |> act }
    return y
}

model Net(stages: list[tuple[int, int]] = [(3, 4), (1, 5)], pair: tuple[int, str] = (6, "mean"))(x: [B, 4, T]) -> [B, _, T] {
    for s, (kernel, width) in enumerate(stages) {
        x = x |> Layer(kernel, width, act=silu) as "stage{s}"
    }
    x = x |> Layer(1, pair[0], act=relu) as relued |> Layer(3, pair[0], norm=batch_norm) as normed
    return x |> Layer(1, pair[0]) as plain
}

model Deep(stages: list[tuple[int, int]] = [(3, 1), (1, 2)])(x: [B, 4, T]) -> [B, 4, T] {
    for s, (kernel, layers) in enumerate(stages) {
        for i in range(layers) as "stage{s}" {
            x = x |> Layer(kernel, 4) as layer
        }
    }
    return x
}
"""


def emitted(model: Model, backend: str) -> tuple[str, dict[str, Any]]:
    (text,) = model.emit(backend).files.values()
    scope: dict[str, Any] = {}
    exec(str(text), scope)
    return str(text), scope


def torch_outputs(scope: dict[str, Any], weights: dict[str, Any], x: Any, **settings: Any) -> Any:
    import torch

    made = scope["Net"](**settings).eval()
    made.load_state_dict({name: torch.as_tensor(np.array(each)) for name, each in weights.items()})
    return made(torch.as_tensor(x)).detach().numpy()


def jax_outputs(scope: dict[str, Any], weights: dict[str, Any], x: Any, **settings: Any) -> Any:
    config = scope["Config"](**settings)
    params, state = scope["from_flat"](weights, config)
    return scope["apply"](params, state, x, config=config)[0]


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_rows_are_arguments_and_functions_are_none(backend: str) -> None:
    model = dlc.loads(ROWS)["Net"]
    text, scope = emitted(model, backend)
    assert "stages: tuple[tuple[int, int], ...] = ((3, 4), (1, 5))" in text
    assert 'pair: tuple[int, str] = (6, "mean")' in text
    x = np.random.default_rng(0).standard_normal((2, 4, 7)).astype(np.float32)
    outputs = torch_outputs if backend == "torch" else jax_outputs
    for settings in ({}, {"stages": ((5, 4), (3, 8)), "pair": (3, "mean")}):
        here = model(**settings)
        weights = here.initial_weights()
        (wanted,) = run(here.program, weights, {"x": x}, precision="f64").values()
        np.testing.assert_allclose(outputs(scope, weights, x, **settings), wanted, rtol=1e-5, atol=1e-6)


def test_rows_that_count_are_no_argument_where_other_sizes_are_refused() -> None:
    text, _ = emitted(dlc.loads(ROWS)["Deep"], "torch")
    assert "stages" not in text.replace("stage0", "").replace("stage1", "")


DROPPED = """
module Block(d: int, rate: float)(x: [B, d]) -> [B, d] {
    return x + (x |> linear(d) as fc |> drop_path(rate))
}

model Net(depth: int = 3, d: int = 4, rate: float = 0.5)(x: [B, d]) -> [B, d] {
    for i in range(depth) as blocks {
        x = x |> Block(d, rate * i / depth)
    }
    return x
}
"""


def test_a_rate_that_is_nothing_in_the_first_block_only() -> None:
    import torch

    _, scope = emitted(dlc.loads(DROPPED)["Net"], "torch")
    net, x = scope["Net"](rate=0.9), torch.ones(64, 4)
    with torch.no_grad():
        assert torch.equal(net.eval()(x)[0], net(x)[1])
        rows = net.train()(x)
    assert len(rows.unique(dim=0)) == 4  # each of two blocks is dropped or not


def test_layers_that_an_entry_does_not_apply() -> None:
    entry = "    first = linear(d) as first\n    entry begin(x: [B, d]) -> [B, d] { return first(x) }\n    x = first(x)\n"
    text, scope = emitted(dlc.loads(DROPPED.replace("    for i in", f"{entry}    for i in"))["Net"], "torch")
    assert "nn.ModuleList(Block(d, rate * i / depth) for i in range(depth))" in text
    assert len(scope["Net"](depth=5).blocks) == 5
