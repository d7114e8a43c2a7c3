"""Turns that do this or that are one loop in the source: alternating blocks, layers of two kinds by number or by a list. So is what goes over
all but the first or last elements of a list, and a module whose switch puts its parts elsewhere. Made for some settings it is the spec's
network at others."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from emit.other_settings import OUTPUTS, executed

import dlc
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

PARTS = """
module Mix(d: int, window: int)(x: [B, d]) -> [B, d] { return x + (x |> linear(d) as out) * (1 / (1 + window)) }
module Conv(d: int)(x: [B, d]) -> [B, d] { return x + (x |> linear(d, bias=false) as conv |> tanh) }
module Norm(d: int)(x: [B, d]) -> [B, d] { return x |> layer_norm as norm }
module Wide(out: int)(x: [B, c]) -> [B, out] { return x |> linear(out) as fc |> tanh }
module Enc(d: int, pre: bool)(x: [B, d]) -> [B, d] {
    if pre { return x + (x |> layer_norm as norm |> linear(2*d) as up |> relu |> linear(d) as down) }
    return (x + (x |> linear(2*d) as up |> relu |> linear(d) as down)) |> layer_norm as norm
}
"""
SPECS = {
    "parts of two names": """
model M(d: int = 8, layers: int = 4, every: int = 2, offset: int = 1)(x: [B, d]) -> [B, d]
    where every >= 1
{
    for i in range(layers) as h {
        if i % every == offset { x = x |> Mix(d, 3) as attn } else { x = x |> Conv(d) as conv }
    }
    return x
}
""",
    "a part that some turns lack": """
model M(d: int = 8, layers: int = 4, every: int = 2)(x: [B, d]) -> [B, d]
    where every >= 1
{
    for i in range(layers) as h {
        if i % every == 0 { x = x |> Mix(d, 3) as attn }
        x = x |> Conv(d) as conv
    }
    return x
}
""",
    "before and behind": """
model M(d: int = 8, layers: int = 4, every: int = 2, p: float = 0.5)(x: [B, d]) -> [B, d] {
    for i in range(layers) as h {
        if i % every == 1 { x = x |> Norm(d) as before }
        y = x |> Conv(d) as between
        if i % every == 1 { y = y |> Mix(d, i) as behind }
        x = x + y * p
    }
    return x
}
""",
    "numbers of a list": """
model M(d: int = 8, layers: int = 4, moe: list[int] = [1, 3])(x: [B, d]) -> [B, d] {
    for i in range(layers) as h {
        y = x |> layer_norm as norm
        if i in moe { y = y |> Mix(d, 3) as moe } else { y = y |> Conv(d) as mlp }
        x = x + y
    }
    return x
}
""",
    "a list of words": """
model M(d: int = 8, kinds: list[str] = ["a", "c", "c", "a", "c"])(x: [B, d]) -> [B, d] {
    for i, kind in enumerate(kinds) as h {
        if kind == "a" { x = x |> Mix(d, 3) as attn } else { x = x |> Conv(d) as conv }
    }
    return x
}
""",
    "two kinds in one list": """
model M(d: int = 8, layers: int = 4, every: int = 2)(x: [B, d]) -> [B, d]
    where every >= 1
{
    for layer in range(layers) as h {
        if layer % every == 0 { x = x |> Mix(d, 3) } else { x = x |> Conv(d) }
    }
    return x
}
""",
    "two kinds in one place": """
model M(d: int = 8, layers: int = 4, every: int = 2)(x: [B, d]) -> [B, d]
    where every >= 1
{
    for i in range(layers) as h {
        block = (Mix(d, 3) if i % every == 0 else Conv(d)) as block
        x = x |> layer_norm as norm |> block
    }
    return x
}
""",
    "another argument": """
model M(d: int = 8, layers: int = 6, window: int = 3)(x: [B, d]) -> [B, d] {
    for i in range(layers) as h { x = x |> Mix(d, window if i % 4 == 1 else 0) as attn }
    return x
}
""",
    "all but the last": """
model M(widths: list[int] = [3, 4, 5])(x: [B, 2]) -> [B, 1] {
    for width in widths[:-1] { x = x |> Wide(width) as down }
    return x |> Wide(widths[-1]) as bottom |> linear(1) as out
}
""",
    "all but the first": """
model M(widths: list[int] = [3, 4, 5])(x: [B, 2]) -> [B, 1] {
    x = x |> Wide(widths[0]) as first
    for width in widths[1:] { x = x |> Wide(width) as next }
    return x |> linear(1) as out
}
""",
    "there and back": """
model M(widths: list[int] = [3, 4, 5])(x: [B, 2]) -> [B, 1] {
    skips = []
    for width in widths[:-1] {
        x = x |> Wide(width) as down
        skips = skips + [x]
    }
    x = x |> Wide(widths[-1]) as bottom
    for i, width in enumerate(reversed(widths[:-1])) { x = concat([x, skips[-1 - i]], axis=1) |> Wide(width) as up }
    return x |> linear(1) as out
}
""",
    "each with the next": """
model M(widths: list[int] = [3, 4, 5, 2])(x: [B, 6]) -> [B, 1] {
    x = x |> linear(widths[0]) as first
    for i, (_, width) in enumerate(zip(widths, widths[1:])) as layers {
        x = x |> linear(width) as fc
        if i < len(widths) - 2 { x = x |> relu }
    }
    return x |> linear(1) as out
}
""",
    "norm before or behind": """
model M(d: int = 8, layers: int = 2, pre: bool = true)(x: [B, d]) -> [B, d] {
    for i in range(layers) as encoder { x = x |> Enc(d, pre) }
    return x
}
""",
}
COUNTS: list[dict[str, Any]] = [{"layers": 7}, {"layers": 12}, {"layers": 1}]
EVERY = [*COUNTS, {"every": 3}, {"every": 1}, {"layers": 7, "every": 4, "d": 6}]
LENGTHS: list[dict[str, Any]] = [{"widths": each} for each in ([3, 4], [7], [3, 4, 5, 6], [6, 5, 4, 3, 2])]
OTHERS: dict[str, list[dict[str, Any]]] = {
    "parts of two names": [*EVERY, {"every": 3, "offset": 2, "layers": 7}],
    "a part that some turns lack": EVERY,
    "before and behind": [*COUNTS, {"every": 3, "p": 0.25}],
    "numbers of a list": [*COUNTS, {"moe": []}, {"moe": [0, 3], "layers": 7}, {"moe": [0, 1, 2, 3]}],
    "a list of words": [{"kinds": list(each)} for each in ("a", "caa", "accacca")],
    "two kinds in one list": EVERY,
    "two kinds in one place": EVERY,
    "another argument": [*COUNTS, {"window": 0}, {"window": 5, "layers": 5}],
    "all but the last": LENGTHS,
    "all but the first": LENGTHS,
    "there and back": LENGTHS,
    "each with the next": LENGTHS,
    "norm before or behind": [{"pre": False}, {"pre": False, "layers": 7}, {"layers": 1, "d": 6}],
}
X = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


@cache
def source(name: str, backend: str) -> str:
    (text,) = dlc.loads(PARTS + SPECS[name])["M"].emit(backend).files.values()
    return str(text)


@pytest.mark.parametrize("backend", OUTPUTS)
@pytest.mark.parametrize("name", SPECS)
def test_other_settings(name: str, backend: str) -> None:
    module = executed(source(name, backend))
    for change in ({}, *OTHERS[name]):
        program = dlc.loads(PARTS + SPECS[name])["M"](**change).program
        x = X[:, : program.main.inputs[0].type.axes[1].constant]
        weights = generic_weights(program)
        (expected,) = run(program, weights, {"x": x}, precision="f64").values()
        found = OUTPUTS[backend](module, change, weights, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(change))


@pytest.mark.parametrize("name", SPECS)
def test_a_loop_reads_its_variable(name: str) -> None:
    """`for i, layer in enumerate(…)` only where the number of the turn matters."""
    for node in ast.walk(ast.parse(source(name, "torch"))):
        if isinstance(node, ast.For):
            variables = {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
            read = {each.id for part in node.body for each in ast.walk(part) if isinstance(each, ast.Name)}
            assert variables <= read


def test_it_reads_as_the_spec() -> None:
    torch, jax = (source("two kinds in one list", backend) for backend in ("torch", "jax"))
    assert re.search(
        r"nn\.ModuleList\(\n? *Mix\(d, 3\) if layer % every == 0 else Conv\(d\) for layer in range\(layers\)",
        torch,
    )
    assert re.search(r"for h in self\.h:\n +x = h\(x\)", torch)
    assert re.search(r"init_mix\(.*\)\n +if layer % config\.every == 0\n +else init_conv\(", jax)
    assert "Wide(widths[i], widths[i + 1]) for i in range(len(widths) - 1)" in source(
        "all but the first", "torch"
    )
    assert "Wide((2, *widths)[-2], widths[-1])" in source("all but the last", "torch")


def test_a_bound_parts_loops_behind_one_another() -> None:
    """`i < dense` is said by two counts, not asked in every turn."""
    text = SPECS["two kinds in one list"].replace("layer % every == 0", "layer < every")
    (source,) = dlc.loads(PARTS + text)["M"](layers=7, every=3).emit("torch").files.values()
    assert "range(every)" in str(source) and "range(layers - every)" in str(source)


def test_a_state_that_may_be_given_is_an_input() -> None:
    text = """
model M(hidden: int = 4)(x: [B, T, 3], h: [1, B, hidden] = none) -> (y: [B, T, hidden], last: [1, B, hidden]) {
    return gru(hidden)(x, h) as rnn
}
"""
    (source,) = dlc.loads(text)["M"].emit("torch").files.values()
    assert "h: Tensor | None = None" in str(source) and "self.rnn(x, h)" in str(source)
