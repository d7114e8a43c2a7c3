"""Loops over numbers are loops in the source where labels, sizes and what is computed differ by the number: emitted at one count it is
the spec's network at others, to its gradient."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emit.other_settings import RESULTS, executed, slope, source

import dlc
from dlc.ir.index import at_number, at_turn, is_computed
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

BLOCK = """
module Block(out: int)(x: [B, C]) -> [B, out] {
    return x |> linear(out) as fc |> tanh
}
"""
SPECS = {
    "odd labels": """
model M(n: int = 4, d: int = 6)(x: [B, 6]) -> [B, 2] {
    for i in range(n) { x = x |> Block(d) as "s{2*i+1}x" }
    return x |> linear(2) as head
}
""",
    "squares": """
model M(n: int = 4, d: int = 6)(x: [B, d]) -> [B, 2] {
    for k in range(1, n) as "r{k*k}" { x = x |> Block(d) }
    return x |> linear(2) as head
}
""",
    "inside of something": """
model M(n: int = 4, d: int = 6)(x: [B, d]) -> [B, 2] {
    for k in range(1, n) as "blocks.r{k*k}" { x = x |> Block(d + k) as first |> Block(d) as second }
    return x |> linear(2) as head
}
""",
    "widths that grow": """
model M(n: int = 4, d: int = 9)(x: [B, d]) -> [B, 2] {
    for i in range(1, n) as "r{2**i}" { x = x[:, :d - i] |> Block(d + 2 * i) }
    return x |> linear(2) as head
}
""",
    "backwards": """
model M(n: int = 4, d: int = 3)(x: [B, 2 ** n * d]) -> [B, 2] {
    for i in range(n - 1, -1, -1) as "r{2**i}" { x = x |> Block(2 ** i * d) }
    return x |> linear(2) as head
}
""",
    "by twos": """
model M(n: int = 8, d: int = 3)(x: [B, d]) -> [B, 2] {
    x = x |> linear(d) as stem
    for i in range(2, n, 2) as "r{i // 2}" { x = x |> Block(d * i) |> Block(d * (i + 2)) as more }
    return x |> linear(2) as head
}
""".replace("|> Block(d * i) |>", "|> Block(d * i) as one |>"),
    "a part in the first": """
model M(n: int = 4, d: int = 3)(x: [B, d * 2 ** n]) -> [B, 2] {
    x = x |> linear(d * 2 ** n) as "b{2 ** (n - 1)}.begin" |> relu
    for i in range(n - 1, -1, -1) as "b{2 ** i}" { x = x |> Block(d * 2 ** i) as one |> Block(d * 2 ** i) as two }
    return x |> linear(2) as head
}
""",
    "a number of the turn": """
model M(n: int = 4, d: int = 3)(x: [B, d]) -> [B, 2] {
    for i in range(1, n) as layers { x = x + 0.5 ** i * (x |> Block(d)) }
    return x |> linear(2) as head
}
""",
    "a function of sizes": """
fn width(size: int, most: int) -> int { return min(96 // size, most) }
model M(n: int = 4, most: int = 24)(x: [B, 5]) -> [B, 2] {
    x = x |> Block(width(2, most)) as b2
    for i in range(1, n) as "b{2 * 2 ** i}" { x = x |> Block(width(2 * 2 ** i, most)) }
    return x |> linear(2) as head
}
""",
    "pictures and slices": """
module Layer(out: int, size: int)(x: [B, C, size, size], w: [B, 2, e]) -> (x: [B, out, 2 * size, 2 * size]) {
    buffer noise: [size, size] = normal
    style = w[:, 0] * (w[:, 1] |> linear(e) as affine)
    x = x + noise + mean(style, 1)[:, none, none, none]
    return x |> conv2d(out, 3, padding=1) as conv |> resize(scale=2) |> tanh
}
module Body(blocks: int, d: int)(x: [B, d, 2, 2], ws: [B, 2 * blocks, e]) -> [B, _, _, _] {
    for i in range(blocks) as "b{2 * 2 ** i}" {
        x = x |> Layer(d + i, 2 * 2 ** i)(ws[:, 2 * i:2 * i + 2])
    }
    return x
}
model M(blocks: int = 3, d: int = 2)(x: [B, d, 2, 2]) -> [B, _, _, _] {
    ws = repeat(mean(x, axis=[2, 3]), "B d -> B n d", n=2 * blocks)
    return x |> Body(blocks, d)(ws) as body
}
""",
}
COUNTS: dict[str, list[dict[str, Any]]] = {
    "odd labels": [{"n": n} for n in (1, 2, 6)] + [{"n": 0}],
    "squares": [{"n": n} for n in (2, 3, 7)] + [{"n": 1}, {"d": 4, "n": 5}],
    "inside of something": [{"n": n} for n in (2, 3, 7)] + [{"d": 4, "n": 5}],
    "widths that grow": [{"n": n} for n in (1, 2, 3, 6)] + [{"d": 12, "n": 5}],
    "backwards": [{"n": n} for n in (1, 2, 3, 6)] + [{"d": 2, "n": 5}],
    "by twos": [{"n": n} for n in (2, 3, 4, 5, 9, 12)],
    "a part in the first": [{"n": n} for n in (1, 2, 3, 6)],
    "a number of the turn": [{"n": n} for n in (1, 2, 3, 6)],
    "a function of sizes": [{"n": n} for n in (1, 2, 3, 5)] + [{"most": 7, "n": 5}],
    "pictures and slices": [{"blocks": n} for n in (1, 2, 4)] + [{"d": 3, "blocks": 4}],
}

# Where no turn leaves what all others would.
REFUSED: dict[str, list[dict[str, Any]]] = {"by twos": [{"n": 2}], "odd labels": [{"n": 0}]}


def spec(name: str) -> Any:
    return dlc.loads(BLOCK + SPECS[name])["M"]


@pytest.mark.parametrize("backend", RESULTS)
@pytest.mark.parametrize("name", SPECS)
def test_other_counts(name: str, backend: str) -> None:
    module = executed(source(BLOCK + SPECS[name], backend))
    for change in ({}, *COUNTS[name]):
        program = spec(name)(**change).program
        if change in REFUSED.get(name, ()):
            with pytest.raises(ValueError, match="must hold"):
                RESULTS[backend](module, change, {}, None)
            continue
        shape = [2 if axis.constant is None else axis.constant for axis in program.main.inputs[0].type.axes]
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        weights = generic_weights(program)
        (expected,) = run(program, weights, {"x": x}, precision="f64").values()
        found, by_x, by_path = RESULTS[backend](module, change, weights, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(change))
        for path, gradient in (("", by_x), *sorted(by_path.items())):
            ahead = np.random.default_rng(len(path)).normal(size=gradient.shape)
            rise = slope(program, weights, x, path, ahead)
            np.testing.assert_allclose(
                (gradient * ahead).sum(), rise, rtol=2e-3, atol=2e-4, err_msg=f"{change} {path}"
            )


@pytest.mark.parametrize("backend", RESULTS)
@pytest.mark.parametrize("name", SPECS)
def test_no_turn_is_written_out(name: str, backend: str) -> None:
    text = source(BLOCK + SPECS[name], backend)
    assert re.search(r"for \w in (zip\()?range\(|lax\.scan", text)
    assert re.search(r"\b(n|blocks): int = ", text)


def test_paths_of_turns() -> None:
    assert at_turn("b{4 * 2**i}.x", 3) == "b32.x"
    assert at_turn("a.{(i + 1) * (i + 1)}", 2) == "a.9"
    assert at_turn("a{7 - i // 2 % 3}", 3) == "a6"
    assert at_number("s{2*i+1}", 5) == "s5"
    assert at_number("s{2 * i + 1}", 5) == "s11"
    assert is_computed("b{2**i}") and not is_computed("h.{i+1}") and not is_computed("h.{3*i+1}")
    with pytest.raises(ValueError, match="no number of a path"):
        at_turn("b{len(i)}", 1)


PRESETS = {"Generator": "TinyGenerator", "Discriminator": "TinyDiscriminator"}


@pytest.mark.parametrize("backend", RESULTS)
@pytest.mark.parametrize("name", PRESETS)
def test_stylegan2_at_another_size(name: str, backend: str) -> None:
    """Emitted for pictures of 1024x1024 pixels, made for 32x32."""
    file = dlc.load(Path(__file__).parents[2] / "specs/generative/stylegan2.dl")
    (text,) = file[name].emit(backend).files.values()
    module = executed(str(text).replace(f"class {name}(", "class M("))
    small = file[PRESETS[name]]
    weights = generic_weights(small.program)
    (value,) = small.program.main.inputs
    shape = [4 if axis.constant is None else axis.constant for axis in value.type.axes]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    (expected,) = run(small.program, weights, {value.name: x}).values()
    found, _, by_path = RESULTS[backend](module, small.settings, weights, x)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)
    assert by_path.keys() == {each.path for each in small.parameters if each.kind == "param"}
