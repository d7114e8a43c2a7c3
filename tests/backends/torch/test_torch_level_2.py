"""Emitted PyTorch from -O2 on, which takes public weights and is for inference, is right at other settings too."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from cases import inputs, weights
from small_settings import others, params

import dlc
from dlc.api import Model
from dlc.emit.names import identifier
from dlc.runtime.interpret import run

SPECS = Path(__file__).parents[3] / "specs"


def made(model: Model, level: int) -> type[torch.nn.Module]:
    """The class of the model, the last one of the file."""
    (source,) = model.emit("torch", optimize=level).files.values()
    module = ModuleType("emitted")
    sys.modules["emitted"] = module
    exec(str(source), module.__dict__)
    kinds = (each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == "emitted")
    return [each for each in kinds if issubclass(each, torch.nn.Module)][-1]


def check(kind: type[torch.nn.Module], arguments: dict[str, Any], model: Model, dims: dict[str, int]) -> None:
    """A class with these arguments, filled with public weights, is the model."""
    program = model.program
    held = {
        path: np.asarray(np.abs(value) + value.dtype.type(0.1)) for path, value in weights(program).items()
    }  # (variances among them)
    given = inputs(program, {"B": 2, "H": 32, "W": 32} | dims)
    given |= {name: value % 2 for name, value in given.items() if "type" in name}
    network = kind(**arguments).eval()
    network.load_state_dict({path: torch.from_numpy(value) for path, value in held.items()})
    named = {identifier(name): torch.from_numpy(value) for name, value in given.items()}
    with torch.no_grad():
        found = network(*named.values()) if isinstance(network, torch.nn.Sequential) else network(**named)
    expected = list(run(program, held, given).values())
    there = [each for each in (found if isinstance(found, tuple) else (found,)) if each is not None]
    for mine, theirs in zip(there, expected, strict=True):
        difference = np.abs(mine.numpy() - theirs).max() / max(np.abs(theirs).max(), 1e-6)
        assert difference < 5e-4, (arguments, difference)


@pytest.mark.parametrize(
    ("file", "name", "settings", "dims", "optional"), params(frozenset({"GPT2", "MobileNetV2"}))
)
def test_other_arguments(
    file: str, name: str, settings: dict[str, Any], dims: dict[str, int], optional: tuple[str, ...]
) -> None:
    model = dlc.load(SPECS / f"{file}.dl")[name](**settings).with_inputs(*optional)
    kind, usual = made(model, 2), made(model, 1)
    arguments = inspect.signature(kind).parameters
    assert [*arguments] == [*inspect.signature(usual).parameters]
    check(kind, {}, model, dims)
    fields = {each: each.removesuffix("_") for each in arguments}
    for change in others(model, [each for each in fields.values() if each in model.settings]):
        given = {field: change[spec] for field, spec in fields.items() if spec in change}
        check(kind, given, model(**change), dims)
