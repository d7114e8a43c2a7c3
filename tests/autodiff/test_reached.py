"""What a loss has no gradient by: found without taking one, and left as it is on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.autodiff.reached import with_gradient
from dlc.autodiff.reverse import flat_gradients
from dlc.diagnostics import SpecError
from dlc.runtime.training_setup import starting_weights
from dlc.runtime.verify_training import verify_training
from dlc.runtime.weights import read_file

TEXT = """
module Pair(d: int)(x: [B, d]) -> (y: [B, d], spare: [B, d]) {
    return x |> linear(d) as used, x |> linear(d) as unused
}

module Cell(d: int)(h: [B, d], x: [B, d]) -> (h: [B, d], told: [B, d]) {
    h = tanh(h |> linear(d) as u) + (x |> linear(d) as w)
    return h, h |> linear(d) as out
}

model Net()(x: [B, 8]) -> [B, 4] {
    h = x |> linear(8) as up |> tanh
    for i in range(3) as layers {
        h, _ = h |> Pair(8) as pair
    }
    gate = stop_gradient(h |> linear(8) as gate)
    a, _ = h |> Pair(8) as last
    cell = Cell(8)
    scan at in reshape(a, [B, 1, 8]) with state = zeros([B, 8]) {
        state, told = cell(state, at)
        yield every = told
    }
    _ = argmax(h |> linear(4) as scores, axis=-1)
    return (state * gate) |> linear(4) as down
}

train t {
    net = Net()
    batch (x: [B, 8], y: [B, 4]) from synthetic(batch=16)
    minimize mse(net(x), y)
    optimizer = adamw(lr=1e-2, weight_decay=0.3)
    settings { steps = 4 }
}
"""
SPARE = ("net.gate.", "net.last.unused.", "net.layers.0.pair.unused.", "net.layers.1.pair.unused.", "net.layers.2.pair.unused.",
         "net.scores.", "net.cell.out.")  # fmt: skip


@pytest.fixture(scope="module")
def block() -> Any:
    return dlc.loads(TEXT)["t"]


def test_it_is_what_the_derivative_has(block: Any) -> None:
    plan = block.plan
    paths = [each.path for each in plan.program.parameters if each.trainable]
    found = with_gradient(plan.program, "loss")
    assert {path for path in paths if path.startswith(SPARE)} == set(paths) - found
    derived, grads, _ = flat_gradients(plan.program, paths, {"loss": None})
    made = {value.name: op for op in derived.main.body for value in op.outputs}
    zero = {path for path, value in grads.items() if made[value].op == "full"}
    assert zero == set(paths) - found


def test_no_gradient_is_no_update_on_any_backend(block: Any, tmp_path: Path) -> None:
    """Where a weight of no use would decay, if it had a gradient of 0."""
    assert verify_training(block).agree
    start = starting_weights(block)
    for backend in ("torch", "jax", "onnx", "tvm"):
        dlc.train(block, backend=backend, out=tmp_path / backend)
        for path, value in read_file(tmp_path / backend / "net.safetensors").items():
            moved = not np.array_equal(value, start[f"net.{path}"])
            assert moved != f"net.{path}".startswith(SPARE), (backend, path)


def test_a_loss_that_reaches_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="the loss depends on nothing that the block updates") as caught:
        dlc.loads(TEXT.replace("mse(net(x), y)", "mse(stop_gradient(net(x)), y)"))["t"].plan  # noqa: B018
    assert caught.value.diagnostics[0].code == "E0715"
