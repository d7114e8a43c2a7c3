"""An instance that is passed by name stays that one instance, owned where it was bound."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError
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

model NotYet()(x: [B, 4]) -> [B, 4] {
    fc = linear(4)
    return x |> Ruled(fc)
}
"""
PATHS = {
    "Shared": {"fc"},
    "Tied": {"wte", "down", "head.ln", "head.linear"},
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


def test_rules_for_initial_values_beside_one_are_refused() -> None:
    with pytest.raises(SpecError) as raised:
        dlc.loads(TEXT)["NotYet"].program  # noqa: B018
    assert [each.code for each in raised.value.diagnostics] == ["E0116"]


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
