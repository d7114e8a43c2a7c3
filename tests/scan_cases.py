"""Specs with scans, and inputs for them: what every backend must compute as the reference does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import dlc
from dlc.runtime.interpret import run
from dlc.spec import Model

LENGTHS = (5, 1, 0)


@dataclass(frozen=True)
class Case:
    """`inputs` are shapes of floats, in which T is the length; `more` are optional inputs, `masks` bools."""

    text: str
    inputs: Mapping[str, tuple[int | str, ...]]
    masks: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    shortest: int = 0

    @property
    def model(self) -> Model:
        return self._model(self.text)

    @property
    def maybe_empty(self) -> Model:
        """The same of any length: one that may be 0 is stated."""
        if not any("T" in shape for shape in self.inputs.values()):
            return self.model
        before, head, rest = self.text.partition("model M(")
        signature, _, body = rest.partition(" {\n")
        fact = "," if "where" in signature else "\n    where"
        return self._model(f"{before}{head}{signature}{fact} 0 <= T\n{{\n{body}")

    def _model(self, text: str) -> Model:
        model = dlc.loads(text)["M"]
        optional = [name for name in (*self.inputs, *self.masks) if name in model.optional_inputs]
        return model.with_inputs(*optional) if optional else model

    def arrays(self, length: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(length)

        def shape(sizes: tuple[int | str, ...]) -> list[int]:
            return [length if each == "T" else int(each) for each in sizes]

        floats = {
            name: rng.normal(size=shape(sizes)).astype(np.float32) for name, sizes in self.inputs.items()
        }
        return floats | {name: rng.random(shape(sizes)) < 0.6 for name, sizes in self.masks.items()}


def model(body: str, inputs: str = "x: [B, T, 3]", outputs: str = "_") -> str:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"model M()({inputs}) -> {outputs} {{\n{lines}\n}}\n"


X = {"x": (2, "T", 3)}
LAYER = """
model M()(x: [B, T, 3], h: [L, B, 4] = none, keep: bool[B, T] = none) -> (y: [B, T, _], h: [_, B, 4]) {{
    y, h = {layer}(x, h=h, keep=keep) as layer
    return y, h
}}
"""
LSTM = """
model M()(x: [B, T, 3], keep: bool[B, T] = none) -> (y: [B, T, _], h: [_, B, _], c: [_, B, 4]) {{
    y, h, c = {layer}(x, keep=keep) as layer
    return y, h, c
}}
"""

CASES: dict[str, Case] = {
    "sum": Case(
        model("scan xt in x with h = zeros([B, 3]) {\n    h = h + xt\n    yield hs = h\n}\nreturn hs + h[:, none]"), X
    ),
    "backwards along the last axis": Case(
        model(
            "scan xt in x along T backwards with h = zeros([B, 3]) {\n    h = 0.5 * h + xt\n    yield hs = h\n}\nreturn hs",
            "x: [B, 3, T]",
        ),
        {"x": (2, 3, "T")},
    ),
    "along the first axis": Case(
        model("scan xt in x along axis 0 with h = zeros([3]) {\n    h = h + xt\n}\nreturn h", "x: [T, 3]"),
        {"x": ("T", 3)},
    ),
    "layers inside": Case(
        model(
            "cell = linear(3) as cell\nscan xt in x with h = zeros([B, 3]) {\n"
            "    h = tanh(cell(xt) + (h |> linear(3, bias=false) as again))\n    yield hs = h\n}\nreturn hs"
        ),
        X,
    ),
    "counter, several states, no sequence": Case(
        model(
            "scan i in range(2, T) with n = 0, f = x[:, 0] * 0.0 {\n    n = 2 * n + i\n    f = f + cast(i, float)\n"
            "    yield each = n\n}\nreturn n, each, f",
            "x: [B, T, 3]",
            "(n: i64[], each: i64[_], f: [B, 3])\n    where 2 <= T",
        ),
        X,
        shortest=5,
    ),
    "enumerate, two sequences": Case(
        model(
            "scan (t, xt), kept in enumerate(x), keep backwards with h = zeros([B, 3]) {\n"
            "    h = where(kept[:, none], h + xt * cast(t, float), h)\n    yield hs = h\n}\nreturn hs",
            "x: [B, T, 3], keep: bool[B, T]",
        ),
        X,
        {"keep": (2, "T")},
    ),
    "only yields": Case(model("scan xt in x {\n    yield y = xt * 2.0\n    yield z = sum(xt, axis=-1)\n}\nreturn y, z", outputs="(y: [B, T, 3], z: [B, T])"), X),
    "nested": Case(
        model(
            "scan row in x with total = zeros([B]) {\n"
            "    scan cell in row along axis 1 with inner = total {\n        inner = inner * 0.5 + cell\n    }\n"
            "    total = total + inner\n    yield each = inner\n}\nreturn total, each",
            outputs="(total: [B], each: [B, T])",
        ),
        X,
    ),
    "in layers, with layers": Case(
        model(
            "for i in range(2) as stack {\n    scan xt in x with h = zeros([B, 3]) {\n"
            "        for k in range(2) as inner { xt = xt |> linear(3) as \"fc{i}_{k}\" }\n"
            "        h = tanh(xt + h)\n        yield hs = h\n    }\n    x = hs\n}\nreturn x"
        ),
        X,
    ),
    "in layers, each with its own": Case(
        model(
            "for i in range(3) as stack {\n    scan xt in x with h = zeros([B, 3]) {\n"
            "        h = tanh(h + (xt |> linear(3) as fc))\n        yield hs = h\n    }\n    x = x + hs\n}\nreturn x"
        ),
        X,
    ),
    "of a fixed length": Case(
        model("scan i in range(7) with h = x {\n    h = h * 0.9 + cast(i, float)\n    yield s = sum(h)\n}\nreturn h, s", "x: [B, T]", "(h: [B, T], s: [7])"),
        {"x": (2, "T")},
    ),
    "a check inside": Case(
        model(
            "scan xt in x with h = zeros([B, 3]) {\n    require xt < 1000.0, \"too large\"\n    h = h + xt\n}\nreturn h"
        ),
        X,
    ),
    "rnn": Case(LAYER.format(layer='rnn(4, nonlinearity="relu")'), X),
    "gru": Case(LAYER.format(layer="gru(4, layers=2, bidirectional=true)"), X | {"h": (4, 2, 4)}),
    "gru with a mask": Case(LAYER.format(layer="gru(4, bidirectional=true)"), X, {"keep": (2, "T")}),
    "lstm": Case(LSTM.format(layer="lstm(4, layers=2, bidirectional=true)"), X),
    "lstm with a mask": Case(LSTM.format(layer="lstm(4)"), X, {"keep": (2, "T")}),
    "lstm with a projection": Case(LSTM.format(layer="lstm(4, proj=2)"), X),
    "lstm_cell": Case(
        model(
            "cell = lstm_cell(4) as cell\nscan xt in x with h = zeros([B, 4]), c = zeros([B, 4]) {\n"
            "    h, c = cell(xt, h, c)\n    yield hs = h\n}\nreturn hs"
        ),
        X,
    ),
    "linear_scan": Case(
        model("return linear_scan(sigmoid(x), x) + linear_scan(x, x, axis=-1)"), X
    ),
    "selective_scan": Case(
        model(
            "return selective_scan(x, softplus(x), -exp(x[0, :2].T @ x[0, :2]), x, x * 2.0)".replace(
                "-exp(x[0, :2].T @ x[0, :2])", "a"
            ),
            "x: [B, T, 3], a: [3, 3]",
        ),
        X | {"a": (3, 3)},
    ),
}  # fmt: skip


def differences(case: Case, call: Any, lengths: tuple[int, ...] = LENGTHS) -> None:
    """`call(model, weights)` gives what runs the model; its results must be the reference's at every length."""
    found = case.maybe_empty if 0 in lengths and not case.shortest else case.model
    weights = found.initial_weights(seed=0)
    runnable = call(found, weights)
    for length in lengths:
        if length < case.shortest:
            continue
        arrays = case.arrays(length)
        wanted = run(found.program, weights, arrays)
        results = runnable(**arrays)
        for name, each in wanted.items():
            assert results[name].shape == each.shape, (length, name)
            assert results[name].dtype == each.dtype, (length, name)
            np.testing.assert_allclose(
                results[name], each, rtol=1e-5, atol=1e-5, err_msg=f"{name} at {length}"
            )
