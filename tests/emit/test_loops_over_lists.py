"""Loops over lists are loops in the source: made for a list of one length it is the spec's network at every other, and where the source
can't be, it refuses."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from emit.other_settings import OUTPUTS, executed, source

import dlc
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

SPECS = {
    "a perceptron": """
model M(inputs: int = 12, hidden: list[int] = [8, 6, 5], classes: int = 3)(x: [B, inputs]) -> [B, classes] {
    for i, width in enumerate(hidden) { x = x |> linear(width) as "layers.{i}" |> relu }
    return x |> linear(classes) as head
}
""",
    "two lists, one from its end on": """
model M(inputs: int = 12, hidden: list[int] = [8, 6], code: int = 3)(x: [B, inputs]) -> [B, inputs] {
    for i, width in enumerate(hidden) { x = x |> linear(width) as "encoder.{i}" |> gelu }
    x = x |> linear(code) as code
    for i, width in enumerate(reversed(hidden)) { x = x |> linear(width) as "decoder.{i}" |> gelu }
    return x |> linear(inputs) as out |> sigmoid
}
""",
    "one list behind another": """
model M(first: list[int] = [8, 6], second: list[int] = [5, 7])(x: [B, 4]) -> [B, 2] {
    for i in range(len(first)) { x = x |> linear(first[i]) as "a.{i}" |> tanh }
    for i, width in enumerate(second) { x = x |> linear(2 * width) as "b.{i}" |> tanh }
    return x |> linear(2) as head
}
""",
    "convolutions, norms and pools": """
model M(widths: list[int] = [4, 6], classes: int = 3)(x: [B, 2, 16, 16]) -> [B, classes]
    where len(widths) <= 4
{
    x = x |> conv2d(widths[0], 3, padding=1) as stem
    for i, width in enumerate(widths) {
        x = x |> conv2d(width, 3, padding=1) as "convs.{i}" |> batch_norm() as "norms.{i}" |> relu
        x = max_pool(x, 2)
    }
    return x |> mean(axis=[2, 3]) |> linear(classes) as head
}
""",
    "modules with a part or without": """
module Block(out: int)(x: [B, C]) -> [B, out] {
    y = x |> linear(out) as up |> relu |> linear(out) as down
    if C != out { x = x |> linear(out) as short }
    return relu(x + y)
}
model M(widths: list[int] = [4, 6, 8], p: float = 0.1)(x: [B, 3]) -> [B, 2] {
    for width in widths { x = x |> Block(width) |> dropout(p) }
    return x |> linear(2) as head
}
""",
    "lists side by side": """
model M(widths: list[int] = [4, 6, 8], kernels: list[int] = [5, 3, 3])(x: [B, 3, 16]) -> [B, 2] {
    for i, (width, kernel) in enumerate(zip(widths, kernels)) {
        x = x |> conv1d(width, kernel, padding=kernel // 2) as "convs.{i}" |> relu
    }
    return x |> mean(axis=-1) |> linear(2) as head
}
""",
    "rows of a table": """
model M(rows: list[tuple[int, int]] = [(4, 1), (6, 2), (8, 2)])(x: [B, 3, 16]) -> [B, 2] {
    for i, (width, stride) in enumerate(rows) {
        x = x |> conv1d(width, 3, padding=1, stride=stride) as "features.{i}.conv" |> batch_norm() as "features.{i}.norm" |> relu
    }
    return x |> mean(axis=-1) |> linear(2) as head
}
""",
    "no name for the number": """
model M(a: list[int] = [4, 5], b: list[int] = [6, 7])(x: [B, 3]) -> [B, 2] {
    for width in a {
        i = 2 * width
        x = x |> linear(i) |> relu
    }
    for width in b { x = x |> linear(width) |> tanh }
    return x |> linear(2) as head
}
""",
    "several numbers a turn": """
model M(widths: list[int] = [4, 6])(x: [B, 3, 16]) -> [B, 2] {
    for i, width in enumerate(widths) {
        x = x |> conv1d(width, 3, padding=1) as "features.{3 * i}" |> batch_norm() as "features.{3 * i + 1}" |> relu
    }
    return x |> mean(axis=-1) |> linear(2) as head
}
""",
    "numbers that are left out": """
model M(widths: list[int] = [4, 6])(x: [B, 3]) -> [B, 2] {
    for i, width in enumerate(widths) {
        x = x |> linear(width) as "features.{3 * i}" |> relu |> linear(width) as "features.{3 * i + 1}"
        x = x * 2.0
    }
    return x |> linear(2) as head
}
""",
    "labels that end with the number": """
model M(widths: list[int] = [4, 6])(x: [B, 3]) -> [B, 2] {
    for i, width in enumerate(widths) { x = x |> linear(width) as "layers.fc{i}" |> relu }
    return x |> linear(2) as head
}
""",
    "lists in a list": """
model M(stages: list[list[int]] = [[4, 6], [5, 7]])(x: [B, 3]) -> [B, 2] {
    for s, widths in enumerate(stages) {
        for i, width in enumerate(widths) { x = x |> linear(width) as "layers.{2 * s + i}" |> relu }
    }
    return x |> linear(2) as head
}
""",
    "a chain of numbers": """
model M(hidden: list[int] = [8, 6], activation: fn = relu)(x: [B, 4]) -> [B, 3] {
    for i, width in enumerate(hidden) { x = x |> linear(width) as "{2 * i}" |> activation }
    return x |> linear(3) as "{2 * len(hidden)}"
}
""",
    "a loop in each of several stages": """
let REPEATS = [3, 2]
module Unit(out: int)(x: [B, C]) -> [B, out] where C == out { return relu(x |> linear(out)) + x }
model M(widths: list[int] = [4, 6], inputs: int = 3)(x: [B, inputs]) -> [B, 2] {
    for s, (n, width) in enumerate(zip(REPEATS, widths)) {
        x = x |> linear(width) as "stage{s}.0" |> relu
        for i in range(1, n) as "stage{s}" { x = x |> Unit(width) }
    }
    return x |> linear(2) as head
}
""",
    "an element of its own": """
model M(hidden: list[int] = [8, 6, 5])(x: [B, 4]) -> [B, 3] {
    for i, width in enumerate(hidden) { x = x |> linear(width) as "layers.{i}" |> relu }
    return x |> linear(hidden[2]) as third |> linear(3) as head
}
""",
}
LENGTHS: dict[str, list[dict[str, Any]]] = {
    "a perceptron": [{"hidden": h} for h in ([5], [], [12, 12], [7, 8, 9, 10, 11])] + [{"inputs": 3}],
    "two lists, one from its end on": [{"hidden": h} for h in ([5], [], [4, 5, 7, 8], [3, 3, 3])],
    "one list behind another": [
        {"first": [3]},
        {"second": [3, 4, 5]},
        {"first": [], "second": [4, 4]},
        {"first": [9, 8, 7, 6], "second": [2]},
    ],
    "convolutions, norms and pools": [{"widths": w} for w in ([3], [5, 5, 7], [2, 4, 6, 8], [], [1] * 5)],
    "modules with a part or without": [{"widths": w} for w in ([3, 3, 7, 7, 5], [3], [], [4, 4])],
    "lists side by side": [
        {"widths": [5, 6]},
        {"widths": [5, 6, 7, 9]},
        {"kernels": [1]},
        {"widths": [5, 6, 7, 9], "kernels": [3, 3, 3, 5]},
        {"widths": [], "kernels": []},
    ],
    "rows of a table": [{"rows": r} for r in ([(5, 1)], [(3, 1), (4, 2), (5, 1), (6, 3)], [])],
    "no name for the number": [{"a": [3]}, {"b": [4, 5, 6]}, {"a": [4, 4, 4], "b": [2]}],
    "several numbers a turn": [{"widths": w} for w in ([5], [3, 4, 5], [])],
    "numbers that are left out": [{"widths": w} for w in ([5], [3, 4, 5], [])],
    "labels that end with the number": [{"widths": w} for w in ([5], [3, 4, 5], [])],
    "lists in a list": [
        {"stages": s} for s in ([[4, 5]], [[3, 4], [5, 6], [7, 8]], [], [[3], [4]], [[3, 4, 5]])
    ],
    "a chain of numbers": [{"hidden": h} for h in ([5], [3, 4, 5], [], [4, 4])],
    "a loop in each of several stages": [{"widths": w} for w in ([5, 7], [6, 4], [3, 3], [3, 4, 5])],
    "an element of its own": [{"hidden": h} for h in ([1, 2, 3], [1, 2, 3, 4], [1, 2])],
}
# What a backend can't say for other lengths.
EXACT = {
    ("torch", "a loop in each of several stages"): 2,
    ("jax", "a loop in each of several stages"): 2,
    ("torch", "an element of its own"): 3,
    ("jax", "an element of its own"): 3,
}


def emitted(name: str, backend: str) -> ModuleType:
    return executed(source(SPECS[name], backend))


@pytest.mark.parametrize("backend", OUTPUTS)
@pytest.mark.parametrize("name", SPECS)
def test_other_lengths(name: str, backend: str) -> None:
    module = emitted(name, backend)
    for change in LENGTHS[name]:
        model = dlc.loads(SPECS[name])["M"](**change)
        try:
            program = model.program
        except dlc.SpecError:
            program = None
        exact = EXACT.get((backend, name))
        lists = [value for value in change.values() if isinstance(value, list)]
        rows = {len(row) for value in lists for row in value if isinstance(row, list)}
        if program is None or exact not in (None, *map(len, lists)) or not rows <= {2}:
            with pytest.raises(ValueError, match="must"):
                OUTPUTS[backend](module, change, {}, None)
            continue
        shape = [2 if axis.constant is None else axis.constant for axis in program.main.inputs[0].type.axes]
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        weights = generic_weights(program)
        (expected,) = run(program, weights, {"x": x}, precision="f64").values()
        found = OUTPUTS[backend](module, change, weights, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(change))


@pytest.mark.parametrize("backend", OUTPUTS)
@pytest.mark.parametrize("name", SPECS)
def test_no_turn_is_written_out(name: str, backend: str) -> None:
    text = source(SPECS[name], backend)
    exact = re.search(r"(?<!each of )\b\w+ must have lengths? [\d\[]", text)
    assert exact is None or (backend, name) in EXACT
    assert re.search(r"for \w in range\(", text)
