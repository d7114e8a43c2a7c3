"""A loop whose first turns are others than its last: emitted source says where they part as the spec does, `i < dense`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dlc
from dlc.runtime.interpret import run

TEXT = """
module Small(d: int, h: int)(x: [B, d]) -> [B, d] { return x |> linear(h) as up |> relu |> linear(d) as down }

module Wide(d: int, k: int)(x: [B, d]) -> [B, d] { return x |> linear(k) as one |> tanh |> linear(d) as two }

module Layer(d: int, inner: module)(x: [B, d]) -> [B, d] { return x + (x |> inner as mlp) }

model M(layers: int = 7, dense: int = 3, d: int = 8, h: int = 16, k: int = 12)(x: [B, d]) -> [B, d] {
    for i in range(layers) as layers {
        x = x |> Layer(d, Small(d, h) if CONDITION else Wide(d, k))
    }
    return x
}
"""
X = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def emitted(model: Any) -> tuple[str, type[torch.nn.Module]]:
    (text,) = model.emit("torch").files.values()
    scope: dict[str, Any] = {}
    exec(text, scope)
    return str(text), scope["M"]


@pytest.fixture(scope="module")
def parted() -> tuple[Any, str, Any]:
    model = dlc.loads(TEXT.replace("CONDITION", "i < dense"))["M"]
    return model, *emitted(model)


@pytest.mark.parametrize(("layers", "dense"), [(7, 3), (12, 3), (7, 5), (6, 2), (4, 4), (3, 0), (2, 1)])
def test_at_other_counts(parted: tuple[Any, str, Any], layers: int, dense: int) -> None:
    spec, _, kind = parted
    model = spec(layers=layers, dense=dense)
    weights = model.initial_weights()
    module = kind(layers=layers, dense=dense)
    module.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
    (wanted,) = run(model.program, weights, {"x": X}, precision="f64").values()
    np.testing.assert_allclose(module(torch.from_numpy(X)).detach().numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_it_reads_as_one_loop(parted: tuple[Any, str, Any]) -> None:
    text = parted[1]
    assert "for layer in self.layers:" in text
    assert "range(dense)" in text and "range(layers - dense)" in text


def test_what_the_source_cannot_say_is_refused(parted: tuple[Any, str, Any]) -> None:
    with pytest.raises(ValueError, match="dense <= layers must hold"):
        parted[2](layers=2, dense=3)


@pytest.mark.parametrize("condition", ["i <= dense - 1", "dense > i", "not i >= dense"])
def test_other_ways_to_say_it(condition: str) -> None:
    text, _ = emitted(dlc.loads(TEXT.replace("CONDITION", condition))["M"])
    assert "range(layers - dense)" in text


def test_a_place_that_only_happens_to_be_there_is_no_argument() -> None:
    """`i < 0.5 * layers` is 3.5 here: the fourth turn is the first of the others."""
    model = dlc.loads(TEXT.replace("CONDITION", "i < 0.5 * layers"))["M"]
    text, kind = emitted(model)
    assert "layers" not in text.partition("class M(")[2].partition("super")[0]
    assert kind().state_dict().keys() == {each.path for each in model.parameters}


SIZES = """
model M(a: int = 4, b: int = 4)(x: [B, 3]) -> [B, a + b] {
    first, second = x |> linear(a + b) as proj |> split(axis=-1, sizes=[a, b])
    return concat([relu(first), second], axis=-1)
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_sizes_of_two_names_that_are_equal_by_chance(backend: str) -> None:
    text = next(str(text) for text in dlc.loads(SIZES)["M"].emit(backend).files.values())
    assert "chunk" not in text and "split(y, 2" not in text and "proj" in text


@pytest.mark.parametrize(
    ("condition", "layers", "dense"), [("(i + 1) % dense != 0", 2, 3), ("i < dense", 2, 5)]
)
def test_a_kind_that_no_turn_is_of_is_not_silently_left_out(condition: str, layers: int, dense: int) -> None:
    """With two layers no turn is Wide: the source has nothing for it, and so takes neither number that would ask for it."""
    model = dlc.loads(TEXT.replace("CONDITION", condition))["M"](layers=layers, dense=dense)
    _, kind = emitted(model)
    for setting in ("layers", "dense"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{setting}'"):
            kind(**{setting: 1})


SIDES = """
module Wide(d: int)(x: [B, i]) -> [B, d] { return x |> linear(2 * d) as up |> linear(d) as down }
module Slim(d: int)(x: [B, i]) -> [B, d] { return x |> linear(d) as fc }

model M(depth: int = 4, wide: bool = true, d: int = 4)(x: [B, 3]) -> [B, d] {
    init linear.weight = normal(0.5)
    for i in range(depth) as layers {
        if wide { x = x |> Wide(d) } else { x = x |> Slim(d) }
    }
    return x
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_loop_on_both_sides_of_a_choice_has_the_turns_that_it_begins_with(backend: str) -> None:
    (text,) = dlc.loads(SIDES)["M"].emit(backend).files.values()
    assert str(text).count("depth >= 1 must hold") == 1
    scope: dict[str, Any] = {}
    exec(str(text), scope)
    kind = scope["M" if backend == "torch" else "Config"]
    kind(wide=False)
    with pytest.raises(ValueError, match="depth >= 1 must hold, but depth is 0"):
        kind(depth=0)
