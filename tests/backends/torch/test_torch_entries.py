"""Entries are methods of one class, whichever is asked for; what they return has names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends.torch.cases import inputs, weights
from dlc_torch import BACKEND

import dlc
from dlc.api import Model
from dlc.runtime.interpret import run

MODELS = dlc.load(Path(__file__).parent / "entries.dl")
ENTRIES = ("Vae", "Vae.encode", "Vae.decode", "Vae.twice")


def text_of(model: Model) -> str:
    (text,) = model.emit("torch").files.values()
    assert isinstance(text, str)
    return text


def scope_of(model: Model) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "emitted"}
    exec(text_of(model), scope)
    return scope


def agree(found: Any, expected: Mapping[str, Any]) -> None:
    results = found if isinstance(found, tuple) else (found,)
    for value, wanted in zip(results, expected.values(), strict=True):
        np.testing.assert_allclose(value.detach(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_class_is_the_same_whichever_is_asked_for(name: str) -> None:
    assert text_of(MODELS[name]) == text_of(MODELS["Vae"])


@pytest.mark.parametrize("latent", [3, 5])
def test_every_entry_is_a_method(latent: int) -> None:
    network = scope_of(MODELS["Vae.decode"])["Vae"](latent=latent)
    values = weights(MODELS["Vae"](latent=latent).program)
    network.load_state_dict({path: torch.tensor(value) for path, value in values.items()})
    network.eval()
    for name in ENTRIES:
        model = MODELS[name](latent=latent)
        given = inputs(model.program, {"B": 3})
        method = getattr(network, model.point.entry or "forward")
        agree(
            method(**{key: torch.tensor(each) for key, each in given.items()}),
            run(model.program, values, given),
        )


def test_inputs_of_an_entry_may_be_left_out() -> None:
    model = MODELS["Vae.encode"].with_inputs("mask")
    network = scope_of(model)["Vae"]()
    values, given = weights(model.program), inputs(model.program, {"B": 3})
    network.load_state_dict({path: torch.tensor(value) for path, value in values.items()})
    agree(network.encode(*map(torch.tensor, given.values())), run(model.program, values, given))


def test_what_an_entry_asks_of_its_inputs_is_checked() -> None:
    network = scope_of(MODELS["Vae"])["Vae"]()
    with pytest.raises(ValueError, match="B must be at least 3, not 2"):
        network.encode(torch.ones(2, 8))


@pytest.mark.parametrize("name", [*ENTRIES, "Uses", "Only"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_weights_of_the_whole_load(name: str, level: int) -> None:
    """Also where one entry is emitted alone, whose program is optimized for itself."""
    model = MODELS[name]
    values, given = weights(model.program), inputs(model.program, {"B": 3})
    runnable = BACKEND.load(model.emit("torch", optimize=level), values)
    for key, value in run(model.program, values, given).items():
        np.testing.assert_allclose(runnable(**given)[key], value, rtol=1e-5, atol=1e-6)


def test_an_entry_has_its_own_comment() -> None:
    text = text_of(MODELS["Vae"])
    assert '"""Keeps what matters."""' in text and '"""From images to codes."""' in text


def test_entries_of_a_model_without_parameters_are_functions() -> None:
    scope = scope_of(MODELS["Free.back"])
    assert scope["Free"](torch.ones(1, 2)).tolist() == [[2.0, 2.0]]
    assert scope["Free_back"](torch.ones(1, 2)).tolist() == [[0.0, 0.0]]


OUTPUTS = """
module Two(d: int)(x: [B, d]) -> (a: [B, d], side: [B, d] = none) {
    y = x |> linear(d) as fc
    side = none
    if training { side = y * 2.0 }
    return relu(y), side
}

module Plain(d: int)(x: [B, d]) -> ([B, d], [B, d]) {
    y = x |> linear(d) as fc
    return relu(y), y
}

model M(d: int = 4)(x: [B, d]) -> (y: [B, d], count: [B, d], _side: [B, d] = none, z: [B, d] = none) {
    y, side = x |> Two(d) as two
    a, b = y |> Plain(d) as plain
    return a, b, side, side
}

model Middle(d: int = 4)(x: [B, d]) -> (y: [B, d], side: [B, d] = none, z: [B, d]) {
    y = x |> linear(d) as fc
    side = none
    if training { side = y * 2.0 }
    return y, side, y * 3.0
}

model Nothing(d: int = 4)(x: [B, d]) -> (lambda: [B, d], self: [B, d]) {
    return x, x * 2.0
}

model One(d: int = 4)(x: [B, d]) -> y: [B, d] {
    return x |> linear(d) as fc
}
"""


def test_several_outputs_have_names() -> None:
    scope = scope_of(dlc.loads(OUTPUTS)["M"])
    network = scope["M"]().train()
    found = network(torch.ones(1, 4))
    assert type(found) is scope["MOutput"]
    assert found._fields == ("y", "count_", "side", "z")
    assert found.y is found[0] and found.side is not None
    assert network.eval()(torch.ones(1, 4)).side is None


def test_an_output_that_is_not_there_keeps_its_place() -> None:
    network = scope_of(dlc.loads(OUTPUTS)["Middle"])["Middle"]()
    y, side, z = network.eval()(torch.ones(1, 4))
    assert side is None and torch.equal(3 * y, z)
    assert network.train()(torch.ones(1, 4)).side is not None


def test_functions_and_names_that_python_has() -> None:
    scope = scope_of(dlc.loads(OUTPUTS)["Nothing"])
    found = scope["Nothing"](torch.ones(1, 2))
    assert found._fields == ("lambda_", "self") and torch.equal(found.self, 2 * found.lambda_)


def test_one_output_is_a_tensor() -> None:
    scope = scope_of(dlc.loads(OUTPUTS)["One"])
    assert isinstance(scope["One"]()(torch.ones(1, 4)), torch.Tensor)
    assert not [each for each in scope.values() if inspect.isclass(each) and issubclass(each, tuple)]


@pytest.mark.parametrize("name", ["M", "Middle"])
@pytest.mark.parametrize("training", [False, True])
def test_runtimes_read_outputs_by_name(name: str, training: bool) -> None:
    model = dlc.loads(OUTPUTS)[name]
    program = model.training_program if training else model.program
    values, given = weights(program), inputs(program, {"B": 2})
    found = BACKEND.load(model.emit("torch", training=training), values)(**given)
    expected = run(program, values, given)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)


def test_names_survive_compiling_and_exporting() -> None:
    network = scope_of(dlc.loads(OUTPUTS)["M"])["M"]().eval()
    x = torch.ones(2, 4)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert type(compiled(x)).__name__ == "MOutput"
    found = torch.export.export(network, (x,)).module()(x)
    assert torch.equal(found[0], network(x).y)
