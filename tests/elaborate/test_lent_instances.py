"""An instance that is passed by name stays that one instance, owned where it was bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc.ir.verify import verify
from dlc.runtime.interpret import run

TEXT = """
module Twice(inner: module)(x: [*S]) -> [*S] {
    return inner(inner(x))
}

module Head(embed: module)(x: [B, T, d]) -> [B, T, _] {
    return (x |> layer_norm as ln |> linear(8)) @ embed.weight.T
}

module Mix(parts: list[module], gate: module)(x: [B, d]) -> [B, d] {
    param scale: [d] = constant(0.5)
    for p in parts {
        x = x + p(x) * scale
    }
    return (x * sigmoid(gate(x))) |> dropout(0.1)
}

module Outer(inner: module)(x: [B, d]) -> [B, d] {
    return x |> Twice(inner) as t
}

model Shared(d: int = 4)(x: [B, d]) -> [B, d] {
    fc = linear(d)
    return x |> Twice(fc) as a |> Twice(fc) as b
}

model Tied(vocab: int = 11)(tokens: i64[B, T]) -> [B, T, vocab] {
    wte = embedding(vocab, 8)
    return wte(tokens) |> linear(4) as down |> Head(wte) as head
}

model Many(d: int = 4)(x: [B, d]) -> [B, d] {
    a = linear(d)
    b = linear(d) as special
    x = Mix([a, b, linear(d)], a)(x)
    for i in range(3) as h {
        x = x |> Twice(a) |> linear(d)
    }
    return x |> Outer(linear(d)) as o |> Outer(b) as p
}

module Ruled(inner: module)(x: [B, d]) -> [B, d] {
    init linear.weight = zeros
    return inner(x) |> linear(4)
}

module Scaled(inner: module, std: float)(x: [B, d]) -> [B, d] {
    init linear.weight = normal(std)
    init "gate.bias" = constant(3.0)
    return inner(x) * (x |> linear(d) as gate) + (x |> Twice(inner))
}

module Around(inner: module)(x: [B, d]) -> [B, d] {
    init linear.bias = ones
    return x |> Scaled(inner, 0.5) as scaled |> linear(d) as last
}

model Rules(d: int = 4)(x: [B, d]) -> [B, d] {
    fc = linear(d)
    x = x |> Ruled(fc) as ruled |> Around(fc) as around
    return x |> Scaled(linear(d), 2.0) as own
}
"""
PATHS = {
    "Shared": {"fc"},
    "Tied": {"wte", "down", "head.ln", "head.linear"},
    "Rules": {"fc", "ruled.linear", "around.scaled.gate", "around.last", "own.gate", "own.inner"},
    "Many": {"a", "special", "mix", "mix.parts.2", "h.0", "h.1", "h.2", "o.inner"},
}


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_those_of_the_owner(name: str) -> None:
    model = dlc.loads(TEXT)[name]
    verify(model.program)
    verify(model.training_program)
    assert {each.path.rpartition(".")[0] for each in model.parameters} == PATHS[name]


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
@pytest.mark.parametrize("name", PATHS)
def test_backends_follow(name: str, backend: str) -> None:
    model = dlc.loads(TEXT)[name]
    weights = model.initial_weights(0)
    rng = np.random.default_rng(0)
    given = (
        {"tokens": rng.integers(0, 11, (2, 3))}
        if name == "Tied"
        else {"x": rng.standard_normal((2, 4)).astype(np.float32)}
    )
    (expected,) = run(model.program, weights, given).values()
    (found,) = model.compile(backend, weights=weights)(**given).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_it_is_shared() -> None:
    model = dlc.loads(TEXT)["Shared"]
    weights = model.initial_weights(0)
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    expected = x
    for _ in range(4):
        expected = expected @ weights["fc.weight"].T + weights["fc.bias"]
    (found,) = run(model.program, weights, {"x": x}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_rules_hold_for_the_own_parts_of_a_body_that_was_lent_one() -> None:
    weights = dlc.loads(TEXT)["Rules"].initial_weights(0)
    assert not weights["ruled.linear.weight"].any()
    assert weights["fc.weight"].any()  # made where no rule is
    assert 0.1 < weights["around.scaled.gate.weight"].std() < 1.0
    assert (weights["around.scaled.gate.bias"] == 3.0).all()  # a rule of paths goes before one of kinds
    assert (weights["around.last.bias"] == 1.0).all()
    assert np.abs(weights["around.last.weight"]).max() <= 0.5  # linear's own
    assert np.abs(weights["own.inner.weight"]).max() > 1.0  # an instance without a name is its own part


def test_a_rule_for_nothing_is_told_there_too() -> None:
    with pytest.raises(dlc.SpecError) as raised:
        dlc.loads(TEXT.replace('"gate.bias"', '"gates.bias"'))["Rules"].program  # noqa: B018
    assert {each.code for each in raised.value.diagnostics} == {"E0505"}


def test_emitted_initial_values_have_the_numbers_of_the_call() -> None:
    emitted = {
        name: next(iter(dlc.loads(TEXT)["Rules"].emit(name).files.values())) for name in ("torch", "jax")
    }
    modules: dict[str, dict[str, Any]] = {name: {"__name__": name} for name in emitted}
    for name, text in emitted.items():
        exec(compile(text, name, "exec"), modules[name])
    import jax

    scaled = modules["jax"]["init"](jax.random.key(0))["around"]["scaled"]["gate"]
    assert 0.1 < float(scaled["weight"].std()) < 1.0 and float(scaled["bias"].min()) == 3.0
    gate = modules["torch"]["Rules"]().requires_grad_(False).around.scaled.gate
    assert 0.1 < float(gate.weight.std()) < 1.0 and float(gate.bias.min()) == 3.0


DEFAULTS = """
model M(d: int = 4, out: int = 6, last: module = linear(2 * out))(x: [B, d]) -> [B, _] {
    return x |> last
}
preset P = M(d=5)
preset Q = P(out=7)
preset R = M(last=linear(3))
model Several()(x: [B, 5]) -> [B, _] { return x |> P(out=1) as a |> M(d=2) as b |> linear(5) |> P }
"""


@pytest.mark.parametrize(
    ("name", "settings", "shapes"),
    [
        ("M", {"out": 2}, {"last.weight": (4, 4)}),
        ("P", {}, {"last.weight": (12, 5)}),
        ("P", {"out": 1}, {"last.weight": (2, 5)}),
        ("Q", {}, {"last.weight": (14, 5)}),
        ("R", {"out": 9}, {"last.weight": (3, 4)}),
        (
            "Several",
            {},
            {
                "a.last.weight": (2, 5),
                "b.last.weight": (12, 2),
                "linear.weight": (5, 12),
                "m.last.weight": (12, 5),
            },
        ),
    ],
)
def test_a_part_that_a_default_makes_follows_the_settings(
    name: str, settings: dict[str, int], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Also those that override a preset's."""
    found = {each.path: each.type.shape for each in dlc.loads(DEFAULTS)[name](**settings).parameters}
    assert {path: shape for path, shape in found.items() if path.endswith("weight")} == shapes
