"""The recurrent layers are PyTorch's, by the names of their parameters and by their numbers, packed sequences included; the scans
without a body are what their formulas say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import dlc
from dlc.runtime.interpret import run

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4)).astype(np.float32)
LENGTHS = np.array([5, 2, 3])
KEEP = np.arange(5)[None] < LENGTHS[:, None]
LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
TEXT = """
model M(layers: int = {layers}, both: bool = {both})
       (x: [B, T, 4], h: [L, B, 6] = none, keep: bool[B, T] = none) -> (y: [B, T, _], h: [_, B, 6]) {{
    y, h = {name}(6, layers=layers, bidirectional=both{more})(x, h=h, keep=keep) as layer
    return y, h
}}
"""
LSTM = """
model M(layers: int = {layers}, both: bool = {both})
       (x: [B, T, 4], h: [L, B, {out}] = none, c: [L, B, 6] = none, keep: bool[B, T] = none)
       -> (y: [B, T, _], h: [_, B, _], c: [_, B, 6]) {{
    y, h, c = lstm(6, layers=layers, bidirectional=both{more})(x, h=h, c=c, keep=keep) as layer
    return y, h, c
}}
"""


def state_of(layer: nn.Module, prefix: str = "layer.") -> dict[str, np.ndarray]:
    return {prefix + key: each.numpy() for key, each in layer.state_dict().items()}


def numbers(found: Any) -> list[np.ndarray]:
    flat = [each for part in found for each in (part if isinstance(part, tuple) else (part,))]
    return [each.detach().numpy() for each in flat]


def theirs(layer: nn.Module, keep: bool, states: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    given = tuple(torch.from_numpy(each) for each in states.values())
    start = None if not given else given if len(given) > 1 else given[0]
    x = torch.from_numpy(X)
    if not keep:
        return numbers(layer(x, start))
    packed = pack_padded_sequence(x, torch.from_numpy(LENGTHS), batch_first=True, enforce_sorted=False)
    y, last = layer(packed, start)
    return numbers((pad_packed_sequence(y, batch_first=True)[0], last))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (1, True), (2, True), (3, False)])
@pytest.mark.parametrize("kind", ["rnn", "relu", "gru", "lstm", "projected"])
def test_layers_are_pytorchs(kind: str, layers: int, both: bool, given: bool, keep: bool) -> None:
    name = {"relu": "rnn", "projected": "lstm"}.get(kind, kind)
    more, options = {
        "relu": (', nonlinearity="relu"', {"nonlinearity": "relu"}),
        "projected": (", proj=3", {"proj_size": 3}),
    }.get(kind, ("", {}))
    out = 3 if kind == "projected" else 6
    text = (LSTM if name == "lstm" else TEXT).format(
        name=name, layers=layers, both=str(both).lower(), more=more, out=out
    )
    layer = LAYERS[name](4, 6, layers, bidirectional=both, batch_first=True, **options)
    count = layers * (2 if both else 1)
    states = {"h": RNG.normal(size=(count, 3, out)).astype(np.float32)} if given else {}
    if given and name == "lstm":
        states["c"] = RNG.normal(size=(count, 3, 6)).astype(np.float32)
    model = dlc.loads(text)["M"].with_inputs(*states, *(["keep"] if keep else []))
    state = state_of(layer)
    shapes = {path: each.shape for path, each in model.initial_weights(0).items()}
    assert shapes == {path: each.shape for path, each in state.items()}
    found = run(model.program, state, {"x": X, **states, **({"keep": KEEP} if keep else {})})
    for ours, wanted in zip(found.values(), theirs(layer, keep, states), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def test_without_bias() -> None:
    layer = nn.GRU(4, 6, bias=False, batch_first=True)
    model = dlc.loads(TEXT.format(name="gru", layers=1, both="false", more=", bias=false"))["M"]
    found = run(model.program, state_of(layer), {"x": X})
    for ours, wanted in zip(found.values(), theirs(layer, False, {}), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def test_the_cell_of_an_lstm() -> None:
    text = (
        "model M()(x: [B, 4], h: [B, 6], c: [B, 6]) -> (h: [B, 6], c: [B, 6]) {\n"
        "    h, c = lstm_cell(6)(x, h, c) as layer\n    return h, c\n}\n"
    )
    cell = nn.LSTMCell(4, 6)
    arrays = [RNG.normal(size=(3, n)).astype(np.float32) for n in (4, 6, 6)]
    x, h, c = map(torch.from_numpy, arrays)
    found = run(dlc.loads(text)["M"].program, state_of(cell), dict(zip("xhc", arrays, strict=True)))
    for ours, wanted in zip(found.values(), numbers(cell(x, (h, c))), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def test_dropout_stands_between_layers_in_training() -> None:
    text = TEXT.format(name="gru", layers=2, both="false", more=", dropout=1.0")
    model = dlc.loads(text)["M"]
    weights = model.initial_weights(seed=0)
    trained = run(model.training_program, weights, {"x": X})["y"]
    silent = {
        path: np.zeros_like(each) if path == "layer.weight_ih_l1" else each for path, each in weights.items()
    }
    np.testing.assert_allclose(trained, run(model.program, silent, {"x": X})["y"], rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("start", [False, True])
def test_linear_scan(axis: int, start: bool) -> None:
    a, b = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    shape = np.delete(np.array(a.shape), axis)
    h = RNG.normal(size=shape).astype(np.float32) if start else np.zeros(shape, np.float32)
    more = f", h: {shape.tolist()}" if start else ""
    text = (
        f"model M()(a: [P, Q, R], b: [P, Q, R]{more}) -> _ {{\n"
        f"    return linear_scan(a, b, axis={axis}{', initial=h' if start else ''})\n}}\n"
    )
    if start:
        text = text.replace("[P, Q, R]", "[3, 4, 5]")
    expected, last = [], h
    for at, bt in zip(np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0), strict=True):
        last = at * last + bt
        expected.append(last)
    found = run(dlc.loads(text)["M"].program, {}, {"a": a, "b": b, **({"h": h} if start else {})})
    np.testing.assert_allclose(found["output"], np.stack(expected, axis), rtol=1e-5, atol=1e-6)


def test_selective_scan() -> None:
    text = (
        "model M()(u: [B, T, d], dt: [B, T, d], a: [d, n], b: [B, T, n], c: [B, T, n]) -> _ {\n"
        "    return selective_scan(u, dt, a, b, c)\n}\n"
    )
    shapes = {"u": (2, 5, 3), "dt": (2, 5, 3), "a": (3, 4), "b": (2, 5, 4), "c": (2, 5, 4)}
    data = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    data["a"] = -np.abs(data["a"])
    data["dt"] = np.abs(data["dt"])
    h, expected = np.zeros((2, 3, 4)), []
    for t in range(5):
        dt, u = data["dt"][:, t, :, None], data["u"][:, t, :, None]
        h = np.exp(dt * data["a"]) * h + dt * data["b"][:, t, None] * u
        expected.append((h * data["c"][:, t, None]).sum(-1))
    found = run(dlc.loads(text)["M"].program, {}, data)["output"]
    np.testing.assert_allclose(found, np.stack(expected, 1), rtol=1e-5, atol=1e-6)
