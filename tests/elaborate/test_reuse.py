"""A program is the same whether another session of its project made parts of it before or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dlc
from dlc.diagnostics import SpecError
from dlc.ir.nodes import Function, Program, walk
from dlc.types.terms import origin_of

SPECS = Path(dlc.__file__).parents[1] / "specs"
OWN = """
fn gated(x: [B, d], g: [B, d]) -> [B, d] {
    return x * sigmoid(g)
}

module Mlp(d: int, hidden: int, p: float)(x: [B, d]) -> [B, d] {
    h = x |> linear(hidden) as up |> relu |> dropout(p)
    return gated(h |> linear(d) as down, x)
}

module Block(d: int, inner: module, norm: bool = true)(x: [B, d], mask: [B, d] = none) -> [B, d] {
    y = x |> inner as body
    if norm {
        y = y |> layer_norm as norm
    }
    if mask != none {
        y = y * mask
    }
    return x + y
}

model Net(d: int = 8, layers: int = 3, p: float = 0.1)(x: [B, d], mask: [B, d] = none) -> y: [B, d] {
    init linear.weight = normal(std=0.02)
    x = x |> linear(2 * d) as widen |> linear(d) as narrow
    for i in range(layers) as h {
        x = x |> Mlp(d, 4 * d if i == 0 else d, p) as mlp
        x = x + mask if mask != none else x
    }
    x = x |> Block(d, Mlp(d, d, p)) as block
    if training {
        x = x |> linear(d) as head
    }
    return x
}
"""
Request = tuple[dict[str, Any], tuple[str, ...], bool, bool]


def requests(model: Any, settings: list[dict[str, Any]]) -> Iterator[Request]:
    for each in settings:
        for inputs in {(), tuple(model.optional_inputs)}:
            for training in (False, True):
                yield from ((each, inputs, training, traced) for traced in (True, False))


def built(model: Any, request: Request) -> Program:
    settings, inputs, training, traced = request
    at = model(**settings).with_inputs(*inputs)
    if traced:
        return at.traced_program(training, inputs, frozenset())  # type: ignore[no-any-return]
    return at.training_program if training else at.program  # type: ignore[no-any-return]


def check(fresh: Callable[[], Any], settings: list[dict[str, Any]]) -> None:
    model = fresh()
    for request in requests(model, settings):
        found, wanted = built(model, request), built(fresh(), request)
        assert list(found.functions) == list(wanted.functions)
        assert found == wanted
        for name, function in found.functions.items():
            assert _remembered(function) == _remembered(wanted.functions[name])


def _remembered(function: Function) -> Any:
    """What comparing leaves out: where numbers come from."""
    ops = [(origin_of([value for _, value in op.attrs]), op.given, op.span) for op in walk(function.body)]
    return function.settings, function.decisions, function.requires, function.sizes, ops


def test_an_own_spec() -> None:
    check(lambda: dlc.loads(OWN)["Net"], [{}, {"d": 6}, {"layers": 4}, {"p": 0.3}])


@pytest.mark.slow
def test_a_spec_that_ships() -> None:
    check(lambda: dlc.load(SPECS / "language/t5_small.dl")["T5_SMALL"], [{"layers": 2}, {"vocab": 50}])


def test_what_is_wrong_is_told_to_every_model_that_uses_it() -> None:
    text = OWN.replace("sigmoid(g)", "sigmoid(g + zeros(3))")
    spec = dlc.loads(
        text + "\nmodel Other()(x: [B, 8]) -> y: [B, 8] {\n    return x |> Mlp(8, 8, 0.1) as mlp\n}\n"
    )
    for name in ("Net", "Other"):
        with pytest.raises(SpecError) as told:
            _ = spec[name].program
        assert [each.code for each in told.value.diagnostics]


def test_what_several_programs_have_is_one_object() -> None:
    """Passes and backends know by that what they have made already (`dlc/once.py`)."""
    model = dlc.loads(OWN)["Net"]
    one, other = (each.traced_program(False, (), frozenset()) for each in (model(p=0.2), model(p=0.3)))
    training = model(p=0.3).traced_program(True, (), frozenset())
    again = model(p=0.4).traced_program(True, (), frozenset())
    for first, second, kinds in ((one, other, {"init", "linear"}), (training, again, {"init", "linear"})):
        alike = [each for each in first.functions.values() if each.source in kinds]
        assert alike and all(second.functions[each.name] is each for each in alike)
