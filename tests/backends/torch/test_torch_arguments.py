"""An emitted class is right for other arguments too: made with them it is the model of the spec at these settings."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import AWKWARD, CASES, Case, inputs, source, weights
from dlc_torch import BACKEND

import dlc
from dlc.api import Model
from dlc.diagnostics import SpecError
from dlc.runtime.interpret import run
from dlc.runtime.variants import Varied

# The attributes of a layer that are another model's are no arguments of the class.
MODELS = tuple(case for case in CASES if "." not in case.model)


def made(case: Case) -> Any:
    """The emitted class, and the arguments that it takes."""
    scope: dict[str, Any] = {}
    artifact = case.emitted()
    exec(source(artifact), scope)
    return scope[artifact.meta["class"]]


def at(model: Model, **values: Any) -> Model:
    """The model with other values of some static parameters, every other kept."""
    static = tuple((name, values.get(name, value)) for name, value in model.point.static)
    return replace(model, point=replace(model.point, static=static))


def others(case: Case, names: list[str]) -> Iterator[dict[str, Any]]:
    """Settings that the spec accepts: each argument alone at a value that the emitter has not seen, and several at once."""
    model = case.loaded()
    changes: list[dict[str, Any]] = []
    for name in names:
        value = model.settings[name]
        values = (5 * value, value + 2, 4 * value) if isinstance(value, int) else (value * 0.5 + 0.05,)
        changes += ({name: each} for each in values if _accepted(at(model, **{name: each})) is not None)
    together: dict[str, Any] = {}
    for change in changes:
        if not together.keys() & change.keys() and _accepted(at(model, **together, **change)) is not None:
            together |= change
    seen: set[str] = set()
    for change in itertools.chain([together], changes):
        if not set(change) <= seen:
            seen |= set() if change is together else set(change)
            yield change


def _accepted(model: Model) -> Any:
    try:
        return model.program
    except SpecError:
        return None


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_other_arguments_make_the_model_at_other_settings(case: Case) -> None:
    kind = made(case)
    model = case.loaded()
    names = [name for name in inspect.signature(kind).parameters if name in model.settings]
    assert names == list(inspect.signature(kind).parameters)
    for change in others(case, names):
        program = at(model, **change).program
        module = kind(**change).eval()
        assert {path: tuple(value.shape) for path, value in module.state_dict().items()} == {
            each.path: each.type.shape for each in program.parameters
        }, change
        values, given = weights(program, case.scale), inputs(program, case.dims)
        module.load_state_dict({path: torch.from_numpy(value) for path, value in values.items()})
        with torch.no_grad():
            found = module(*map(torch.from_numpy, given.values()))
        expected = list(run(program, values, given).values())
        for mine, theirs in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
            difference = abs(mine.numpy() - theirs).max() / max(abs(theirs).max(), 1e-6)
            assert difference < 1e-4, (change, difference)


COINCIDENCES = """
module Part(d: int, n: int)(x: [B, d]) -> [B, d] {
    return x |> linear(n) as up |> relu |> linear(d) as down
}

model Same(d: int = 8, n: int = 8, layers: int = 8, fixed: int = 8, taps: int = 3)(x: [B, d]) -> [B, 8] {
    init linear.weight = normal(1 / sqrt(2 * layers))
    for i in range(layers) as layer { x = x |> Part(d, n) }
    weights = [2 ** i for i in range(taps)]
    return (x |> linear(8) as out) * sum(weights) / (d + n)
}
"""


def test_equal_parameters_are_told_apart(golden: Any) -> None:
    model = dlc.loads(COINCIDENCES)["Same"]
    artifact = model.emit("torch")
    (text,) = artifact.files.values()
    golden(Path(__file__).parents[2] / "golden" / "torch" / "coincidences.py", text)


def test_a_source_without_variants_claims_no_parameter() -> None:
    """A backend that is given the program alone can't know what a number stands for."""
    from dlc.backend import EmitOptions

    program = dlc.load(AWKWARD)["Stack"].program
    text = source(BACKEND.emit(program, EmitOptions("model")))
    assert "class Stack(nn.Module):" in text
    scope: dict[str, Any] = {}
    exec(text, scope)
    assert not inspect.signature(scope["Stack"]).parameters


def test_variants_keep_every_other_parameter() -> None:
    """A default made of a parameter stays what it was when the parameter changes."""
    model = dlc.loads("model M(d: int = 4, wide: int = 2 * d)(x: [B, d]) -> _ { return x |> linear(wide) }")[
        "M"
    ]
    found = Varied(model, lambda each: each.program)(("d",))
    assert found is not None and dict(found.main.static) == {"d": 8, "wide": 8}
