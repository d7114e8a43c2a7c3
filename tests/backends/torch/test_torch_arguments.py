"""An emitted class is right for other arguments too: made with them it is the model of the spec at these settings."""

from __future__ import annotations

import inspect
import itertools
import keyword
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from backends.torch.cases import AWKWARD, EVERYDAY, Case, inputs, source, weights
from dlc_torch import BACKEND
from loop_specs import EVERY, STREAMS

import dlc
from dlc.api import Model
from dlc.diagnostics import SpecError
from dlc.emit.names import identifier
from dlc.runtime.family import ModelFamily
from dlc.runtime.interpret import run

# The attributes of a layer that are another model's are no arguments of the class.
MODELS = tuple(each for each in EVERYDAY if "." not in each.values[0].model)


def made(case: Case) -> Any:
    """The emitted class, and the arguments that it takes."""
    scope: dict[str, Any] = {}
    artifact = case.emitted()
    exec(source(artifact), scope)
    return scope[artifact.meta["class"]]


def others(case: Case, names: list[str]) -> Iterator[dict[str, Any]]:
    """Settings that the spec accepts: each argument alone at a value that the emitter has not seen, and several at once."""
    model = case.loaded()
    changes: list[dict[str, Any]] = []
    for name in names:
        changes += (
            {name: each} for each in _values(model.settings[name]) if _accepted(model(**{name: each}))
        )
    together: dict[str, Any] = {}
    for change in changes:
        if not together.keys() & change.keys() and _accepted(model(**together, **change)):
            together |= change
    seen: set[str] = set()
    for change in itertools.chain([together], changes):
        if not set(change) <= seen:
            seen |= set() if change is together else set(change)
            yield change


def _values(value: Any) -> Iterator[Any]:
    match value:
        case bool():
            yield not value
        case int():
            yield from (5 * value, value + 2, 4 * value)
        case float():
            yield 0.5 * value + 0.05
        case None:
            yield 0.3
        case list() | tuple():
            yield [next(_values(each)) for each in value]


NO_ARGUMENTS = {
    **{key: {"fc": "a module of the spec"} for key in ("ResNet", "ResNet18")},
    "Tracked": {"d": "a message has its number"},
}


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_static_parameters_are_arguments(case: Case) -> None:
    """All of them, in the spec's order, but for those that have a reason."""
    named = [f"{name}_" if name in keyword.kwlist else name for name in case.loaded().settings]
    missing = NO_ARGUMENTS.get(case.model, {})
    arguments = set(inspect.signature(made(case)).parameters)
    assert {name for name in named if name not in arguments} == set(missing)


def _accepted(model: Model) -> bool:
    try:
        return model.program is not None
    except SpecError:
        return False


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_other_arguments_make_the_model_at_other_settings(case: Case) -> None:
    kind = made(case)
    model = case.loaded()
    named = {f"{name}_" if name in keyword.kwlist else name: name for name in model.settings}
    arguments = inspect.signature(kind).parameters
    assert set(arguments) <= set(named)
    for change in others(case, [named[each] for each in arguments]):
        program = model(**change).program
        module = kind(**{each: change[name] for each, name in named.items() if name in change}).eval()
        assert {path: tuple(value.shape) for path, value in module.state_dict().items()} == {
            each.path: each.type.shape for each in program.parameters
        }, change
        values, given = weights(program, case.scale), inputs(program, case.dims)
        module.load_state_dict({path: torch.from_numpy(value) for path, value in values.items()})
        with torch.no_grad():
            tensors = {identifier(name): torch.from_numpy(value) for name, value in given.items()}
            alone = isinstance(module, torch.nn.Sequential)  # it has a name of its own for its input
            found = module(*tensors.values()) if alone else module(**tensors)
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


def test_a_source_of_a_program_alone_claims_no_parameter() -> None:
    """A backend that is given the program alone can't know what a number stands for."""
    from dlc.backend import EmitOptions

    program = dlc.load(AWKWARD)["Stack"].program
    text = source(BACKEND.emit(program, EmitOptions("model")))
    assert "class Stack(nn.Module):" in text
    scope: dict[str, Any] = {}
    exec(text, scope)
    assert not inspect.signature(scope["Stack"]).parameters


def test_other_settings_keep_every_other_parameter() -> None:
    """A default made of a parameter stays what it was when the parameter changes."""
    model = dlc.loads("model M(d: int = 4, wide: int = 2 * d)(x: [B, d]) -> _ { return x |> linear(wide) }")[
        "M"
    ]
    (((name,), other),) = ModelFamily(model, lambda program: program).others(frozenset({"wide"}), "together")
    assert name == "d" and dict(other.programs()[0].main.static) == {"d": 8, "wide": 8}


CHANCE = """
model M(d: int = 8, groups: int = 1, a: int = 4, b: int = 4)(x: [B, T, d]) -> (y: _, p: _, q: _)
    where d % groups == 0
{
    cos, sin = rope_tables(arange(T), 2 * pi / (1 + arange(d // 2, dtype=f32)))
    x = apply_rope(x, cos, sin)
    y = x |> rearrange("B T (groups e) -> B groups T e", groups=groups) |> rms_norm(affine=false)
    p, q = x |> linear(a + b) as parts |> split([a, b], axis=-1)
    return tril(y @ y.T), p, q
}
"""


def test_one_group_and_parts_of_one_width_are_so_by_chance() -> None:
    model = dlc.loads(CHANCE)["M"]
    (text,) = model.emit("torch").files.values()
    assert "cos, sin = rope_tables(" in text and ".tril()" in text
    exec(text, scope := {"__name__": "emitted"})
    for change in ({"groups": 2}, {"d": 12, "a": 3}):
        program = model(**change).program
        values, given = weights(program), inputs(program, {"B": 2, "T": 3})
        network = scope["M"](**change)
        network.load_state_dict({path: torch.from_numpy(value) for path, value in values.items()})
        found = network(torch.from_numpy(given["x"]))
        for mine, theirs in zip(found, run(program, values, given).values(), strict=True):
            assert abs(mine.detach().numpy() - theirs).max() < 1e-5, change


def test_two_streams_of_layers_of_which_the_last_is_another() -> None:
    model = dlc.loads(STREAMS)["M"]
    (text,) = model.emit("torch").files.values()
    assert "nn.ModuleList(Block(d, i == layers - 1) for i in range(layers))" in text
    exec(text, scope := {"__name__": "emitted"})
    for change in ({"layers": 1}, {"layers": 6, "d": 3}):
        program = model(**change).program
        values, given = weights(program), inputs(program, {"B": 2, "T": 3, "S": 2})
        network = scope["M"](**change)
        network.load_state_dict({path: torch.from_numpy(value) for path, value in values.items()})
        found = network(*map(torch.from_numpy, given.values())).detach().numpy()
        (expected,) = run(program, values, given).values()
        assert abs(found - expected).max() < 1e-5, change


def test_every_so_manieth_layer_is_another() -> None:
    model = dlc.loads(EVERY)["M"]
    (text,) = model.emit("torch").files.values()
    assert "2.0 if (i + 1) % every == 0 else 0.5" in text and "for block in self.blocks:" in text
    exec(text, scope := {"__name__": "emitted"})
    for change in ({"layers": 5, "every": 2}, {"every": 1, "window": 2}):
        program = model(**change).program
        values, given = weights(program), inputs(program, {"B": 2})
        network = scope["M"](**change)
        network.load_state_dict({path: torch.from_numpy(value) for path, value in values.items()})
        found = network(torch.from_numpy(given["x"])).detach().numpy()
        (expected,) = run(program, values, given).values()
        assert abs(found - expected).max() / abs(expected).max() < 1e-5, change
