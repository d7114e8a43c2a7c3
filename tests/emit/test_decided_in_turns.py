"""What turns that are written out are given, what was decided on one side of a condition alone, and what optional inputs have to do with
parts: emitted for some settings it is the spec's network at others, or it is refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
import torch
from emit.other_settings import OUTPUTS, executed

import dlc
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

SPECS = {
    # The loop has two turns, for `linear(4 + i)` is made for no other number; what they turn on is the parameter's.
    "a switch of some turns": """
module Block(out: int, gate: bool)(x: [B, c]) -> _ {
    y = x |> linear(out) as fc
    if gate { y = y * (y |> linear(out) as gate) }
    return y
}
model M(n: int = 2, gate: bool = false)(x: [B, 8]) -> [B, 5] {
    for i in range(n) { x = x |> Block(4 + i, gate and i > 0) as "stage{i}" }
    return x |> linear(5) as out
}
""",
    "a word of some turns": """
module Block(out: int, act: str)(x: [B, c]) -> _ {
    y = x |> linear(out) as fc
    if act == "relu" { return relu(y) } else if act == "silu" { return silu(y) }
    return y
}
model M(n: int = 2, act: str = "relu", p: float = 0.5)(x: [B, 8]) -> [B, 3] {
    for i in range(n) { x = (x |> Block(4 + i, act if i > 0 else "silu") as "stage{i}") * (p if i > 0 else 1.0) }
    return x |> linear(5) as out |> Block(3, act) as last
}
""",
    "a switch of a loop that is fixed": """
module Block(c: int, out: int, stride: int, act: str, gate: bool)(x: [B, c]) -> _ {
    y = x |> linear(out) as fc
    if act == "relu" { y = relu(y) } else { y = y * 0.5 }
    if gate { y = y * (y |> linear(out) as gate |> sigmoid) }
    if stride == 1 and c == out { return x + y }
    return y
}
model M(widths: list[int] = [8, 8, 6], strides: list[int] = [1, 1, 2], act: str = "relu", gate: bool = false)(x: [B, 8]) -> _
    where len(widths) == len(strides)
{
    c = 8
    for i, (width, stride) in enumerate(zip(widths, strides)) {
        x = x |> Block(c, width, stride, act, gate and i > 0) as "stage{i}"
        c = width
    }
    return x
}
""",
    "decided on one side": """
module Block(d: int, n: int, wide: bool)(x: [B, d]) -> _ {
    if wide {
        if n < 6 { x = x |> linear(d) as first } else { x = tanh(x) }
    }
    return x |> linear(n) as last
}
model M(n: int = 2, d: int = 8, wide: bool = true)(x: [B, d]) -> _ { return x |> Block(d, n, wide) as block }
""",
    "a word that decides below": """
fn scaled(x: [B, d], mode: str, by: int) -> [B, d] where by >= 1 {
    if mode == "up" { return x * by }
    return x / by
}
model M(d: int = 8, mode: str = "up", by: int = 2)(x: [B, d]) -> [B, d] {
    return x |> linear(d) as fc |> scaled(mode, by)
}
""",
    "a module that holds nothing there": """
module Norm(kind: str)(x: [B, d]) -> [B, d] {
    if kind == "layer" { return x |> layer_norm as ln }
    return x
}
module Block(d: int, norm: str)(x: [B, d]) -> [B, d] { return x + (x |> Norm(norm) as norm |> linear(d) as fc) }
model M(d: int = 8, layers: int = 2, norm: str = "layer", last: str = "none")(x: [B, d]) -> [B, d] {
    for i in range(layers) as h { x = x |> Block(d, norm) as block }
    return x |> Norm(last) as final
}
""",
    "turns within turns": """
module Cell(d: int, k: int)(x: [B, d]) -> [B, d] { return x + (x |> linear(d) as up |> tanh) * (1 / k) }
model M(stem: int = 4, depths: list[int] = [2, 2], grow: int = 2, by: list[float] = [0.5, 1.0], k: int = 3)(x: [B, 8]) -> _
    where len(depths) >= 1, len(by) == len(depths)
{
    x = x |> linear(stem) as stem
    for i, n in enumerate(depths) {
        if i > 0 { x = x |> linear(stem * grow ** i) as "down{i}" }
        for j in range(n) as "stage{i}" { x = x * by[i] |> Cell(stem * grow ** i, k if j % 2 == 0 else 1) as cell }
    }
    return x
}
""",
}
CHANGES: dict[str, list[dict[str, Any]]] = {
    "a switch of some turns": [{"gate": True}, {"n": 3}, {"n": 3, "gate": True}],
    "a word of some turns": [{"act": "silu"}, {"act": "none"}, {"p": 0.25}, {"n": 3, "act": "silu"}],
    "a switch of a loop that is fixed": [{"gate": True}, {"act": "none"}, {"widths": [8], "strides": [1]}],
    "decided on one side": [{"n": 7}, {"wide": False}, {"n": 7, "wide": False}, {"n": 5, "d": 6}],
    "a word that decides below": [{"mode": "down"}, {"by": 5}, {"mode": "down", "by": 3}],
    "a module that holds nothing there": [{"layers": 7}, {"norm": "none"}, {"last": "layer"}, {"d": 6}],
    "turns within turns": [
        {"stem": 3},
        {"grow": 3},
        {"depths": [1, 3]},
        {"k": 1},
        {"depths": [4], "by": [0.5]},
    ],
}
X = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


@cache
def source(name: str, backend: str) -> str:
    (text,) = dlc.loads(SPECS[name])["M"].emit(backend).files.values()
    return str(text)


@pytest.mark.parametrize("backend", OUTPUTS)
@pytest.mark.parametrize("name", SPECS)
def test_the_same_network_or_a_refusal(name: str, backend: str) -> None:
    module = executed(source(name, backend))
    taken = []
    for change in ({}, *CHANGES[name]):
        program = dlc.loads(SPECS[name])["M"](**change).program
        x = X[:, : program.main.inputs[0].type.axes[1].constant]
        weights = generic_weights(program)
        (expected,) = run(program, weights, {"x": x}, precision="f64").values()
        made = {key: tuple(value) if isinstance(value, list) else value for key, value in change.items()}
        try:
            (module.M if backend == "torch" else module.Config)(**made)
        except (TypeError, ValueError):
            continue
        taken.append(change)
        found = OUTPUTS[backend](module, made, weights, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(change))
    assert taken[:1] == [{}]


@pytest.mark.parametrize("backend", OUTPUTS)
def test_what_turns_are_given_is_an_argument(backend: str) -> None:
    given = {"torch": ("gate=gate", "act=act"), "jax": ("gate=config.gate", "act=config.act")}[backend]
    assert given[0] in source("a switch of some turns", backend)
    assert given[1] in source("a word of some turns", backend)


def test_what_is_decided_on_one_side_is_asked_there() -> None:
    text = source("decided on one side", "torch")
    assert "if wide and n >= 6:" in text
    module = executed(text)
    module.M(n=7, wide=False)
    with pytest.raises(ValueError, match="not wide or n < 6 must hold, but wide is True and n is 7"):
        module.M(n=7)


OPTIONAL = """
module Seen(d: int)(x: [B, d], keep: [B] = none) -> [B, d] {
    y = x |> linear(d) as fc |> tanh
    if keep != none { y = y * keep[:, none] }
    return y
}
model M(d: int = 8, layers: int = 3, every: int = 2)(x: [B, d], keep: [B] = none) -> [B, d]
    where every >= 1
{
    for i in range(layers) as layers {
        x = x + (x |> layer_norm as norm |> linear(d) as mix)
        if i % every == 0 { x = x + Seen(d)(x, keep=keep) as seen }
    }
    return x
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("change", [{}, {"every": 1, "layers": 4}, {"every": 3, "layers": 7}])
def test_a_part_that_some_turns_have_and_an_optional_input(backend: str, change: dict[str, Any]) -> None:
    """Whether a turn has the part hangs on its number, not on the input that the part is given."""
    (text,) = map(str, dlc.loads(OPTIONAL)["M"].emit(backend).files.values())
    module = executed(text)
    model = dlc.loads(OPTIONAL)["M"](**change)
    keep = np.array([1.0, 0.0, 1.0], np.float32)
    weights = generic_weights(model.program)
    for given in ({}, {"keep": keep}):
        program = model.with_inputs(*given).program
        (expected,) = run(program, weights, {"x": X, **given}, precision="f64").values()
        if backend == "torch":
            network = module.M(**change).eval()
            network.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
            found = (
                network(torch.from_numpy(X), **{k: torch.from_numpy(v) for k, v in given.items()})
                .detach()
                .numpy()
            )
        else:
            config = module.Config(**change)
            found = jax.jit(module.apply, static_argnames="config")(
                module.from_flat(weights, config), X, **given, config=config
            )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


TABLES = """
module Att(d: int, heads: int, rotary: bool)(x: [B, T, d]) -> [B, T, d]
    where d % heads == 0, (d // heads) % 2 == 0
{
    q, k, v = x |> linear(3 * d) as qkv |> rearrange("B T (n h e) -> n B h T e", n=3, h=heads)
    if rotary {
        q = rope(q)
        k = rope(k)
    }
    i = arange(T)
    scores = where(i[:, none] >= i, q @ k.T, -inf)
    return softmax(scores) @ v |> rearrange("B h T e -> B T (h e)")
}
model M(d: int = 16, heads: int = 2, layers: int = 4, plain: int = 4)(x: [B, T, d]) -> [B, T, d]
    where d % heads == 0, (d // heads) % 2 == 0, plain >= 1
{
    for i in range(layers) as layers { x = x + (x |> rms_norm as norm |> Att(d, heads, (i + 1) % plain != 0) as attn) }
    return x
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_tables_that_only_some_layers_read(backend: str) -> None:
    """They stand before an input that all layers have, and are None for the others."""
    module = executed(str(next(iter(dlc.loads(TABLES)["M"].emit(backend).files.values()))))
    program = dlc.loads(TABLES)["M"].program
    weights = generic_weights(program)
    x = np.random.default_rng(1).normal(size=(2, 5, 16)).astype(np.float32)
    (expected,) = run(program, weights, {"x": x}, precision="f64").values()
    np.testing.assert_allclose(OUTPUTS[backend](module, {}, weights, x), expected, rtol=1e-4, atol=1e-5)


PREPARED = """
module Dec(d: int, cross: bool)(x: [B, d], memory: [B, d]) -> [B, d] {
    y = x |> layer_norm as norm
    z = memory if cross else y
    return (y |> linear(d) as q |> tanh) * (z |> linear(d) as k |> sigmoid) + (z |> linear(d) as v)
}
model M(d: int = 8, extra: bool = true)(x: [B, d], m: [B, d]) -> [B, d] {
    y = Dec(d, false)(x, m) as own + Dec(d, true)(x, m) as cross
    if extra { y = y + (x |> linear(d) as a) * (x |> linear(d) as b) } else { y = y + (x |> linear(d) as a) }
    return y
}
"""


@pytest.mark.parametrize("change", [{}, {"extra": False}])
def test_what_jax_prepares_in_some_cases(change: dict[str, Any]) -> None:
    """Weights that are joined where layers read one value are so only in the modules in which they do."""
    (text,) = map(str, dlc.loads(PREPARED)["M"].emit("jax", optimize=2).files.values())
    module = executed(text)
    config = module.Config(**change)
    program = dlc.loads(PREPARED)["M"](**change).program
    weights = generic_weights(program)
    given = {"x": X, "m": np.flip(X, 0).copy()}
    (expected,) = run(program, weights, given, precision="f64").values()
    params = module.from_flat(weights, config)
    params = module.prepare(
        params, **({"config": config} if "config:" in text.partition("def prepare(")[2][:60] else {})
    )
    np.testing.assert_allclose(module.apply(params, **given, config=config), expected, rtol=1e-4, atol=1e-5)


CHAINED = """
module B(out: int, exp: int, short: bool)(x: [B, c]) -> [B, out] {
    y = x
    if exp > 1 { y = y |> linear(exp * c, bias=false) as expand |> relu }
    y = y |> linear(out, bias=false) as project
    if short and c == out { y = y + x } else if short { y = y + (x |> linear(out, bias=false) as short) }
    return y
}
model M(widths: list[int] = [4, 6, 6, 8], exp: int = 2, short: bool = true)(x: [B, 8]) -> _
    where len(widths) >= 2
{
    for i, w in enumerate(widths) as b { x = x |> B(w, exp if i > 0 else 1, short) as block }
    return x
}
"""


@pytest.mark.parametrize("backend", OUTPUTS)
def test_decisions_behind_decisions_with_joined_layers(backend: str) -> None:
    """From -O2 on layers that read one value are one, on some sides of a condition: what a side makes is known there alone."""
    model = dlc.loads(CHAINED)["M"]
    (text,) = map(str, model.emit(backend, optimize=2).files.values())
    module, weights = executed(text), generic_weights(model.program)
    (expected,) = run(model.program, weights, {"x": X}, precision="f64").values()
    if backend == "torch":
        found = OUTPUTS[backend](module, {}, weights, X)
    else:
        params = module.from_flat(weights)
        found = module.apply(module.prepare(params) if hasattr(module, "prepare") else params, X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
