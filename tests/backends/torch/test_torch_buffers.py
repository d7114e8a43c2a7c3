"""Buffers are updated in place, in training alone, and not under the gradients that flow through them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends.torch.cases import inputs, weights

import dlc
from dlc.api import Model
from dlc.runtime.interpret import run

MODELS = dlc.load(Path(__file__).parent / "buffers.dl")


@pytest.fixture(params=MODELS.models)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


@pytest.fixture
def network(model: Model) -> Any:
    scope: dict[str, Any] = {}
    (text,) = model.emit("torch").files.values()
    assert isinstance(text, str)
    exec(text, scope)
    network = scope[model.name]()
    network.load_state_dict({path: torch.tensor(value) for path, value in weights(model.program).items()})
    return network


def given(model: Model) -> torch.Tensor:
    (value,) = inputs(model.program, {"B": 3}).values()
    return torch.tensor(value)


def after(model: Model) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """The result and the buffers of a step in training."""
    values, updates = weights(model.program), {}
    (expected,) = run(
        model.training_program, values, inputs(model.program, {"B": 3}), updates=updates
    ).values()
    return expected, {**values, **updates}


def test_a_step_in_training(model: Model, network: Any) -> None:
    expected, state = after(model)
    np.testing.assert_allclose(network.train()(given(model)).detach(), expected, rtol=1e-5, atol=1e-6)
    for path, value in network.state_dict().items():
        np.testing.assert_allclose(value, state[path], rtol=1e-5, atol=1e-6)


def test_evaluation_changes_nothing(model: Model, network: Any) -> None:
    (expected,) = run(model.program, weights(model.program), inputs(model.program, {"B": 3})).values()
    before = copy.deepcopy(network.state_dict())
    np.testing.assert_allclose(network.eval()(given(model)).detach(), expected, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(value, before[path]) for path, value in network.state_dict().items())


def test_the_tensor_stays_the_same(model: Model, network: Any) -> None:
    """Copies have buffers of their own; what else holds a buffer sees its new value."""
    held, copied = dict(network.named_buffers()), copy.deepcopy(network)
    network.train()(given(model))
    assert all(value is held[path] for path, value in network.named_buffers())
    assert not any(value is held[path] for path, value in copied.named_buffers())
    assert any(not torch.equal(value, held[path]) for path, value in copied.named_buffers())


def test_gradients_flow_past_updates(model: Model, network: Any) -> None:
    """Also where a second step comes before the first one's gradients."""
    x = given(model).requires_grad_()
    first = network.train()(x)
    (expected,) = torch.autograd.grad(first.square().sum(), x, retain_graph=True)
    network(x)
    (found,) = torch.autograd.grad(first.square().sum(), x)
    assert torch.equal(expected, found)


def test_compiled_steps_update_as_well(model: Model, network: Any) -> None:
    _, state = after(model)
    torch.compile(network.train(), backend="eager", fullgraph=True)(given(model))
    for path, value in network.state_dict().items():
        np.testing.assert_allclose(value, state[path], rtol=1e-5, atol=1e-6)


def test_steps_are_said_as_such() -> None:
    (text,) = MODELS["Running"].emit("torch").files.values()
    assert isinstance(text, str)
    assert "self.average.lerp_(x.mean(dim=0), self.momentum)" in text
    assert "self.steps.add_(1)" in text
