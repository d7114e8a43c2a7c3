"""Lists of parts, as a comprehension or a loop makes them: each part has a path of its own, and the source makes as many as a setting says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emit.other_settings import compiled, torch_outputs

import dlc
from dlc.runtime.interpret import run

HEADER = """
module Layer(p: int = 2)(x: [B, d]) -> [B, d] {
    return x + (x |> linear(p * d) as up |> tanh |> linear(d) as down)
}
module Scaled(p: float, k: int = 1)(x: [B, d]) -> [B, d] {
    return x + p * (x |> linear(k * d) as up |> tanh |> linear(d) as down)
}
module Stack(layers: list[module])(x: [B, d]) -> [B, d] {
    for each in layers { x = each(x) }
    return x
}
model M(n: int = 3, widths: list[int] = [4, 5])(x: [B, 8]) -> [B, _] {
    BODY
}
"""
# The body, and the paths of its parts, in the order in which they are called.
BODIES: dict[str, tuple[str, list[str]]] = {
    "called like the list": (
        "layers = [Layer() for i in range(n)]\nfor layer in layers { x = layer(x) }\nreturn x",
        ["layers.0", "layers.1", "layers.2"],
    ),
    "without a use of the variable": (
        "layers = [linear(8) for _ in range(n)]\nfor layer in layers { x = layer(x) |> relu }\nreturn x",
        ["layers.0", "layers.1", "layers.2"],
    ),
    "by a label that mentions the variable": (
        'layers = [Layer() as "l{2 * i + 1}" for i in range(n)]\nfor each in layers { x = each(x) }\nreturn x',
        ["l1", "l3", "l5"],
    ),
    "by a label that does not": (
        "layers = [Layer() as block for i in range(n)]\nfor each in layers { x = each(x) }\nreturn x",
        ["block.0", "block.1", "block.2"],
    ),
    "of no name": (
        "for layer in [Layer() for i in range(n)] { x = layer(x) }\nreturn x |> Layer()",
        ["layer.0", "layer.1", "layer.2", "layer_2"],
    ),
    "added one by one": (
        'layers = []\nfor i in range(n) { layers = layers + [Layer() as "l{i}"] }\nfor each in layers { x = each(x) }\nreturn x',
        ["l0", "l1", "l2"],
    ),
    "added one by one, in a labelled loop": (
        "layers = []\nfor i in range(n) as h {\nlayer = Layer()\nlayers = layers + [layer]\n}\nfor each in layers { x = each(x) }\nreturn x",
        ["h.0.layer", "h.1.layer", "h.2.layer"],
    ),
    "in rows": (
        "grid = [[Layer() for j in range(2)] for i in range(n)]\nfor row in grid { for each in row { x = each(x) } }\nreturn x",
        ["grid.0.0", "grid.0.1", "grid.1.0", "grid.1.1", "grid.2.0", "grid.2.1"],
    ),
    "beginning at 1": (
        "layers = [Layer() for i in range(1, n)]\nfor each in layers { x = each(x) }\nreturn x",
        ["layers.1", "layers.2"],
    ),
    "backwards": (
        "layers = [Layer() for i in range(n)]\nfor each in reversed(layers) { x = each(x) }\nreturn x",
        ["layers.2", "layers.1", "layers.0"],
    ),
    "some of them": (
        "layers = [Layer() for i in range(n) if i != 1]\nfor each in layers { x = each(x) }\nreturn x",
        ["layers.0", "layers.2"],
    ),
    "for each of a list": (
        "heads = [linear(w) for w in widths]\nreturn concat([head(x) for head in heads], axis=-1)",
        ["heads.0", "heads.1"],
    ),
    "called where they are made": (
        "return concat([x |> linear(w) as head for w in widths], axis=-1)",
        ["head.0", "head.1"],
    ),
    "handed to a module": (
        "layers = [Layer() for i in range(n)]\nreturn x |> Stack(layers) as stack",
        ["layers.0", "layers.1", "layers.2"],
    ),
    "some used twice": (
        "layers = [Layer() for i in range(n)]\nfor each in layers { x = each(x) }\nreturn layers[0](x) + layers[-1](x)",
        ["layers.0", "layers.1", "layers.2"],
    ),
}
BODIES |= {
    "of widths": (
        "layers = [linear(w) for w in widths]\nfor layer in layers { x = tanh(layer(x)) }\nreturn x",
        ["layers.0", "layers.1"],
    ),
    "of numbers and widths": (
        "layers = [linear(w * (i + 1)) for i, w in enumerate(widths)]\nfor layer in layers { x = tanh(layer(x)) }\nreturn x",
        ["layers.0", "layers.1"],
    ),
    "each made otherwise": (
        "layers = [Scaled(0.1 * i, i + 1) for i in range(n)]\nfor j, each in enumerate(layers) { x = each(x) }\nreturn x",
        ["layers.0", "layers.1", "layers.2"],
    ),
    "made otherwise, from 1 on": (
        "layers = [Scaled(0.1 * i, i) for i in range(1, n + 1)]\nfor each in layers { x = each(x) }\nreturn x",
        ["layers.1", "layers.2", "layers.3"],
    ),
    "made otherwise, backwards": (
        "layers = [Scaled(0.1 * i) for i in range(n)]\nfor i, each in enumerate(reversed(layers)) { x = each(x) * (1.0 + i) }\nreturn x",
        ["layers.2", "layers.1", "layers.0"],
    ),
    "with a name that means something else later": (
        "rate = 0.5\nlayers = [Scaled(rate * i) for i in range(n)]\nrate = 3.0\nfor each in layers { x = each(x) * rate }\nreturn x",
        ["layers.0", "layers.1", "layers.2"],
    ),
    "beside widths": (
        "layers = [linear(8) for w in widths]\nfor each, w in zip(layers, widths) { x = each(x) * w }\nreturn x",
        ["layers.0", "layers.1"],
    ),
}
X = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)


def text(name: str) -> str:
    return HEADER.replace("BODY", BODIES[name][0].replace("\n", "\n    "))


@pytest.mark.parametrize("name", BODIES)
def test_paths(name: str) -> None:
    found = dict.fromkeys(
        each.path.rpartition(".")[0].removesuffix(".up").removesuffix(".down")
        for each in dlc.loads(text(name))["M"].parameters
    )
    assert list(found) == BODIES[name][1]


# Other numbers of them are no setting of what is emitted, or refused by it.
EXACT = {
    "by a label that mentions the variable", "added one by one", "added one by one, in a labelled loop", "in rows",
    "some of them", "handed to a module", "backwards", "some used twice", "for each of a list",
    "called where they are made", "of numbers and widths", "made otherwise, from 1 on", "beside widths",
    "made otherwise, backwards", "with a name that means something else later",
}  # fmt: skip


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("name", BODIES)
def test_emitted_at_other_settings(name: str, backend: str) -> None:
    spec = dlc.loads(text(name))["M"]
    module = compiled(spec, backend)
    changes: list[dict[str, Any]] = [{}, *({"n": n} for n in (1, 2, 6) if name not in EXACT)]
    if name == "of widths":
        changes = [{"widths": each} for each in ([4, 5], [6], [3, 4, 5])]
    for change in changes:
        model = spec(**change)
        weights = model.initial_weights()
        (expected,) = run(model.program, weights, {"x": X}, precision="f64").values()
        found = outputs_of(backend, module, change, weights, X)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(change))


def outputs_of(backend: str, module: Any, change: dict[str, Any], weights: Any, x: np.ndarray) -> Any:
    """What emitted source gives at these settings, where it has any."""
    if backend == "torch":
        return torch_outputs(module, change, weights, x)
    if not hasattr(module, "Config"):
        return module.apply(module.from_flat(weights), x)
    config = module.Config(**change)
    return module.apply(module.from_flat(weights, config), x, config=config)


def test_two_of_one_name_are_told() -> None:
    spec = dlc.loads(HEADER.replace("BODY", "a = Layer() as l\nb = Layer() as l\nreturn b(a(x))"))
    with pytest.raises(dlc.SpecError, match=r"two parameters are called `l\.up\.weight`"):
        _ = spec["M"].program


# `width` and `layers` are other things in the module that is handed the parts than in the model.
OTHER_NAMES = """
module Layer(k: int = 1)(x: [B, d]) -> [B, d] {
    return x + (x |> linear(k * d) as up |> linear(d) as down)
}
module Stack(layers: list[module], width: int)(x: [B, d]) -> [B, d] {
    for each in layers { x = each(x) }
    return x |> Layer(width) as own
}
model M(layers: int = 3, width: int = 7)(x: [B, 8]) -> [B, 8] {
    parts = [Layer() for i in range(layers)]
    return x |> Stack(parts, 2) as stack |> linear(width) as wide |> linear(8) as out
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_names_of_the_module_that_is_handed_them(backend: str) -> None:
    spec = dlc.loads(OTHER_NAMES)["M"]
    module = compiled(spec, backend)
    for change in ({}, {"width": 5}):
        weights = spec(**change).initial_weights()
        (expected,) = run(spec(**change).program, weights, {"x": X}, precision="f64").values()
        found = outputs_of(backend, module, change, weights, X)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
