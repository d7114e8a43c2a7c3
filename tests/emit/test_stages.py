"""Stages of blocks, loops within loops over lists, are loops in the source: made for some depths and widths it is the spec's network at all
others, however many stages, and where the source can't be, it refuses."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from emit.other_settings import OUTPUTS, compiled, executed

import dlc
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

PARTS = """
module Block(inputs: int, width: int, stride: int = 1)(x: [B, inputs, T]) -> [B, width, _] {
    y = x |> conv1d(width, 3, stride=stride, padding=1) as conv1 |> relu |> conv1d(width, 3, padding=1) as conv2
    if stride != 1 or inputs != width { x = x |> conv1d(width, 1, stride=stride) as short }
    return relu(x + y)
}
module Narrow(inputs: int, width: int, stride: int = 1)(x: [B, inputs, T]) -> [B, 2*width, _] {
    y = x |> conv1d(width, 1, stride=stride) as conv1 |> relu |> conv1d(2*width, 1) as conv2
    if stride != 1 or inputs != 2*width { x = x |> conv1d(2*width, 1, stride=stride) as short }
    return relu(x + y)
}
module Plain(width: int)(x: [B, C]) -> [B, width] where C == width { return x + (x |> linear(width) as fc |> relu) }
module Wide(out: int)(x: [B, C]) -> [B, out] {
    y = x |> linear(out) as up |> relu |> linear(out) as down
    if C != out { x = x |> linear(out) as short }
    return relu(x + y)
}
"""
SPECS = {
    "channels that go on": """
model M(depths: list[int] = [2, 3, 2], widths: list[int] = [4, 6, 8], stem: int = 5)(x: [B, 3, 16]) -> [B, 2] {
    x = x |> conv1d(stem, 3, padding=1) as stem
    channels = stem
    for s, depth in enumerate(depths) {
        for i in range(depth) {
            x = x |> Block(channels, widths[s], 2 if s > 0 and i == 0 else 1) as "layer{s + 1}.{i}"
            channels = widths[s]
        }
    }
    return x |> mean(axis=-1) |> linear(2) as head
}
""",
    "one block or another": """
model M(depths: list[int] = [2, 3, 2], widths: list[int] = [4, 6, 8], narrow: bool = true)(x: [B, 3, 16]) -> [B, 2] {
    channels = 3
    for s, depth in enumerate(depths) {
        for i in range(depth) {
            stride = 2 if s > 0 and i == 0 else 1
            if narrow {
                x = x |> Narrow(channels, widths[s], stride) as "layer{s + 1}.{i}"
                channels = 2*widths[s]
            } else {
                x = x |> Block(channels, widths[s], stride) as "layer{s + 1}.{i}"
                channels = widths[s]
            }
        }
    }
    return x |> mean(axis=-1) |> linear(2) as head
}
""",
    "lists side by side": """
model M(depths: list[int] = [2, 1, 3], widths: list[int] = [4, 6, 8])(x: [B, 3]) -> [B, 2] {
    for s, (depth, width) in enumerate(zip(depths, widths)) {
        for i in range(depth) { x = x |> Wide(width) as "stages.{s}.{i}" }
    }
    return x |> linear(2) as head
}
""",
    "from the end": """
model M(depths: list[int] = [2, 3, 2], widths: list[int] = [8, 6, 4])(x: [B, 3]) -> [B, 2] {
    for s, (depth, width) in enumerate(zip(reversed(depths), reversed(widths))) {
        for i in range(depth) { x = x |> Wide(width) as "up{s}.{i}" }
    }
    return x |> linear(2) as head
}
""",
    "a layer between": """
model M(depths: list[int] = [2, 3, 2], widths: list[int] = [4, 6, 8])(x: [B, 3]) -> [B, 2] {
    x = x |> linear(widths[0]) as stem
    for s, depth in enumerate(depths) {
        if s > 0 { x = x |> layer_norm as "downsample.{s}.0" |> linear(widths[s]) as "downsample.{s}.1" }
        for i in range(depth) { x = x |> Plain(widths[s]) as "stages.{s}.{i}" }
    }
    return x |> linear(2) as head
}
""",
    "a layer before": """
model M(depths: list[int] = [2, 3, 2], widths: list[int] = [4, 6, 8])(x: [B, 3]) -> [B, 2] {
    x = x |> linear(widths[0]) as stem
    for s, depth in enumerate(depths) {
        if s > 0 { x = x |> layer_norm as "stages.{s}.downsample.0" |> linear(widths[s]) as "stages.{s}.downsample.1" }
        for i in range(depth) { x = x |> Plain(widths[s]) as "stages.{s}.blocks.{i}" }
    }
    return x |> linear(2) as head
}
""",
    "a layer behind all but the last": """
model M(depths: list[int] = [2, 2, 4], d: int = 4)(x: [B, d]) -> [B, 2] {
    width = d
    for s, depth in enumerate(depths) {
        for i in range(depth) { x = x |> Plain(width) as "layers.{s}.blocks.{i}" }
        if s < len(depths) - 1 {
            x = x |> linear(2 * width, bias=false) as "layers.{s}.downsample"
            width = 2 * width
        }
    }
    return x |> layer_norm as norm |> linear(2) as head
}
""",
    "one width": """
model M(d: int = 4, depths: list[int] = [2, 3])(x: [B, d]) -> [B, 2] {
    for s, n in enumerate(depths) {
        for j in range(n) { x = x + (x |> linear(d) as "stage.{s}.block.{j}.fc" |> relu) }
        x = x |> layer_norm as "stage.{s}.norm"
    }
    return x |> linear(2) as head
}
""",
    "a first layer of each": """
model M(depths: list[int] = [3, 2], widths: list[int] = [4, 6])(x: [B, 3]) -> [B, 2] {
    for s, (n, width) in enumerate(zip(depths, widths)) {
        x = x |> linear(width) as "stage{s}.0" |> relu
        for i in range(1, n) as "stage{s}" { x = x |> Plain(width) }
    }
    return x |> linear(2) as head
}
""",
    "a width that grows": """
model M(depths: list[int] = [2, 3, 2], width: int = 4, growth: int = 2)(x: [B, 3]) -> [B, 2] {
    x = x |> linear(width) as stem
    for s, depth in enumerate(depths) {
        for i in range(depth) { x = x |> Wide(width * growth ** s) as "stage{s}.block{i}" }
    }
    return x |> linear(2) as head
}
""",
    "a value for all": """
model M(depths: list[int] = [2, 3], widths: list[int] = [4, 6])(x: [B, 3]) -> [B, 2] {
    m = x |> linear(1) as gate |> sigmoid
    for s, depth in enumerate(depths) {
        for i in range(depth) { x = (x |> Wide(widths[s]) as "stage{s}.{i}") * m }
    }
    return x |> linear(2) as head
}
""",
    "a norm of each": """
model M(depths: list[int] = [2, 3], widths: list[int] = [4, 6])(x: [B, 3, 16]) -> [B, 2] {
    for s, width in enumerate(widths) {
        x = x |> conv1d(width, 3, padding=1) as "stages.{s}.conv" |> batch_norm as "stages.{s}.norm"
        for i in range(depths[s]) { x = x |> Narrow(width if i == 0 else 2*width, width) as "stages.{s}.blocks.{i}" }
        x = max_pool(x, 2)
    }
    return x |> mean(axis=-1) |> linear(2) as head
}
""",
}
ZIPPED: list[dict[str, Any]] = [
    {"depths": [3, 1]},
    {"depths": [1]},
    {"depths": [2, 2, 2, 2], "widths": [4, 4, 6, 6]},
    {"depths": []},
    {"widths": [5, 6, 7, 8]},
    {"widths": [5, 6]},
    {"widths": [3, 3, 3]},
]
WIDTHS = [each for each in ZIPPED if each != {"widths": [5, 6]}]
DEPTHS: list[dict[str, Any]] = [{"depths": each} for each in ([3, 1], [1], [2, 2, 2, 2], [2, 0, 1])]
OTHERS: dict[str, list[dict[str, Any]]] = {
    "channels that go on": [*WIDTHS, {"depths": [7]}, {"widths": [5, 5, 5], "stem": 5}],
    "one block or another": [
        {"narrow": False},
        {"narrow": False, "depths": [1, 4], "widths": [3, 3]},
        {"depths": [1, 1, 3, 1], "widths": [2, 4, 6, 8]},
    ],
    "lists side by side": ZIPPED,
    "from the end": ZIPPED,
    "a layer between": WIDTHS,
    "a layer before": [*WIDTHS, {"depths": [2, 0, 1]}],
    "a layer behind all but the last": [*DEPTHS, {"d": 3}],
    "one width": [*DEPTHS, {"depths": []}, {"d": 3}],
    "a first layer of each": ZIPPED,
    "a width that grows": [*DEPTHS[:3], {"growth": 1}, {"width": 3, "growth": 3}],
    "a value for all": [*WIDTHS[:4], {"widths": [5, 6, 7]}],
    "a norm of each": [{"depths": [3, 1]}, {"depths": [1, 2, 3]}, {"widths": [3]}],
}
# What the spec has no network for, or whose channels the source would have to look for in the stages before.
REFUSED: dict[str, list[dict[str, Any]]] = {
    "channels that go on": [{"depths": [2, 0, 1]}, {"widths": [5, 6]}],
    "one block or another": [{"depths": []}],
    "lists side by side": [{"depths": [2, 0, 1]}],
    "from the end": [{"depths": [2, 0, 1]}],
    "a layer between": [{"widths": [5, 6]}],
    "a layer before": [{"widths": [5, 6]}],
    "a layer behind all but the last": [{"depths": []}],
    "a width that grows": [{"depths": []}, {"depths": [2, 0, 1]}],
    "a value for all": [{"depths": [2, 0]}, {"widths": [5]}],
    "a norm of each": [{"depths": [2]}, {"depths": [2, 0]}],
}


def model(name: str, **settings: Any) -> Any:
    return dlc.loads(PARTS + SPECS[name])["M"](**settings)


@cache
def source(name: str, backend: str) -> str:
    (text,) = model(name).emit(backend).files.values()
    return str(text)


def emitted(name: str, backend: str) -> ModuleType:
    return executed(source(name, backend))


def given(program: Any) -> np.ndarray:
    sizes = {"B": 2, "H": 33, "W": 40}
    axes = program.main.inputs[0].type.axes
    shape = [sizes[str(axis)] if axis.constant is None else axis.constant for axis in axes]
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("backend", OUTPUTS)
@pytest.mark.parametrize("name", SPECS)
def test_other_stages(name: str, backend: str) -> None:
    module = emitted(name, backend)
    for change in ({}, *OTHERS[name]):
        program = model(name, **change).program
        x, weights = given(program), generic_weights(program)
        (expected,) = run(program, weights, {"x": x}, precision="f64").values()
        found = OUTPUTS[backend](module, change, weights, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(change))


@pytest.mark.parametrize("backend", OUTPUTS)
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, backend: str) -> None:
    module = emitted(name, backend)
    for change in REFUSED[name]:
        with pytest.raises(ValueError, match="must"):
            OUTPUTS[backend](module, change, {}, None)


@pytest.mark.parametrize("backend", OUTPUTS)
@pytest.mark.parametrize("name", SPECS)
def test_no_stage_is_written_out(name: str, backend: str) -> None:
    text = source(name, backend)
    assert re.search(r"must have length", text) is None
    assert re.search(r"for \w in range\(|for \w, each in enumerate", text)


@pytest.mark.parametrize("name", SPECS)
def test_a_stage_as_a_module_is_the_same(name: str) -> None:
    """What the elaborator makes of stages for emission is the spec's network, with its weights by name."""
    spec = model(name)
    program = spec.program
    staged = spec.traced_program(False, (), frozenset(), staged=2)
    assert len(staged.functions) > len(spec.traced_program(False, (), frozenset()).functions)
    x, weights = given(program), generic_weights(program)
    (expected,) = run(program, weights, {"x": x}, precision="f64").values()
    (found,) = run(staged, weights, {"x": x}, precision="f64").values()
    np.testing.assert_array_equal(found, expected)


RESNET = Path(__file__).parents[2] / "specs/vision/resnet.dl"
NETWORKS: list[dict[str, Any]] = [
    {"depths": [1, 2], "widths": [4, 6], "stem": 5, "classes": 3},
    {"depths": [1, 1, 2, 1, 2], "widths": [4, 4, 4, 8, 8], "stem": 4, "classes": 3},
    {"depths": [2, 1, 1], "widths": [4, 6, 8, 9], "stem": 4, "classes": 3, "bottleneck": False},
]


@pytest.mark.slow
@pytest.mark.parametrize("backend", OUTPUTS)
@pytest.mark.parametrize("name", ["ResNet18", "ResNet50"])
def test_residual_networks(name: str, backend: str) -> None:
    """Emitted for four stages, with one block or the other, they are those of two, three and five."""
    spec = dlc.load(RESNET)
    module = compiled(spec[name], backend)
    module.__dict__["M"] = next(
        (module.__dict__[each] for each in (name, "ResNet") if each in module.__dict__), None
    )
    for change in NETWORKS:
        settings = {"bottleneck": True, **change}
        program = spec["ResNet"](**settings).program
        x, weights = given(program), generic_weights(program)
        (expected,) = run(program, weights, {"x": x}, precision="f64").values()
        found = OUTPUTS[backend](module, settings, weights, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(settings))
