"""The structure of emitted classes: labels with dots are attributes of small classes, under the spec's names."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends.torch.cases import EVERYDAY, inputs, source, weights

import dlc
from dlc.api import Model
from dlc.runtime.interpret import run

LABELS = Path(__file__).parent / "labels.dl"
MODELS = dlc.load(LABELS)
NAMES = MODELS.models
SETTINGS: tuple[Mapping[str, Any], ...] = (
    {"d": 8},
    {"layers": 2},
    {"layers": 5},
    {"depths": (1, 2)},
    {"depths": (3, 1)},
)


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


@pytest.fixture
def network(model: Model, tmp_path: Path) -> Iterator[torch.nn.Module]:
    """The emitted class, of a module that can be imported, with the weights that tests use."""
    name = f"emitted_{model.name.lower()}"
    path = tmp_path / f"{name}.py"
    (text,) = model.emit("torch").files.values()
    assert isinstance(text, str)
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield filled(getattr(module, model.name)(), model)
    del sys.modules[name]


def filled(network: torch.nn.Module, model: Model) -> torch.nn.Module:
    network.load_state_dict({path: torch.tensor(value) for path, value in weights(model.program).items()})
    return network.eval()


def given(model: Model) -> tuple[torch.Tensor, ...]:
    return tuple(map(torch.tensor, inputs(model.program, {"B": 3}).values()))


def agree(network: torch.nn.Module, model: Model) -> None:
    """The network has the names and shapes that the spec says, and computes what it says."""
    shapes = {each.path: each.type.shape for each in model.parameters}
    assert {path: tuple(each.shape) for path, each in network.state_dict().items()} == shapes
    (expected,) = run(model.program, weights(model.program), inputs(model.program, {"B": 3})).values()
    with torch.no_grad():
        np.testing.assert_allclose(network(*given(model)), expected, rtol=2e-4, atol=1e-5)


def test_names_and_results_are_the_specs(model: Model, network: torch.nn.Module) -> None:
    agree(network, model)


def test_copies_are_whole(model: Model, network: torch.nn.Module) -> None:
    """No part is held twice, or anywhere but under its name."""
    copied = copy.deepcopy(network)
    for parameter in network.parameters():
        parameter.data.zero_()
    agree(copied, model)
    agree(pickle.loads(pickle.dumps(copied)), model)
    assert {each.dtype for each in copied.double().state_dict().values()} == {torch.float64}


def test_compiling_and_exporting(model: Model, network: torch.nn.Module) -> None:
    with torch.no_grad():
        expected = network(*given(model))
        compiled = torch.compile(network, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*given(model)), expected)
        exported = torch.export.export(network, given(model))
        torch.testing.assert_close(exported.module()(*given(model)), expected)


def test_other_arguments(model: Model, network: torch.nn.Module) -> None:
    known = inspect.signature(type(network)).parameters
    for settings in SETTINGS:
        if settings.keys() <= known.keys():
            other = model(**settings)
            agree(filled(type(network)(**settings), other), other)


def test_a_part_for_an_optional_input() -> None:
    """It is there where the model has the input."""
    model = MODELS["Optional"].with_inputs("y")
    scope: dict[str, Any] = {}
    (text,) = model.emit("torch").files.values()
    assert isinstance(text, str)
    exec(text, scope)
    agree(filled(scope["Optional"](), model), model)


LOOKED_UP = (
    "get_submodule",
    "get_parameter",
    "get_buffer",
    "add_module",
    "_modules",
    "_parameters[",
    "vars(",
)


@pytest.mark.parametrize("case", EVERYDAY, ids=str)
def test_no_part_is_looked_up_by_name(case: Any) -> None:
    """But parts that a loop makes at numbered labels, as many as a setting says: `layer{s + 1}`."""
    text = re.sub(r'self\.add_module\(\s*f"', "", source(case.emitted()))
    assert not [word for word in LOOKED_UP if word in text]
