"""Small things that a reader of emitted source meets: said as a person would, and computing what the spec says."""

from __future__ import annotations

from typing import Any

import pytest

import dlc

NUMBERS = """
model M(d: int = 4)(x: [B, d], away: i64[B], key: i64[B]) -> (a: [B, d, d], b: i64[d, d], c: [B, d], e: [B, d], f: [B, 9]) {
    near = cast(maximum(minimum(away, 4), -4), float)
    unlike = minimum(maximum(away, 3), -3)
    return x[:, :, none] * eye(d), eye(d, dtype=i64), x * near[:, none], x * cast(unlike[:, none] > 0, float),
        cast(one_hot(key % 9, 9), float) |> linear(9) as l
}
"""


def source(text: str, backend: str, name: str = "M", **settings: Any) -> str:
    (found,) = dlc.loads(text)[name](**settings).emit(backend).files.values()
    return str(found)


def agree(text: str, name: str = "M", **options: Any) -> bool:
    return bool(dlc.verify(dlc.loads(text)[name], backends=("torch", "jax"), gradients=True, **options).agree)


def test_unit_matrices_casts_and_bounds() -> None:
    torch, jax = (source(NUMBERS, backend) for backend in ("torch", "jax"))
    assert "torch.eye(self.d, dtype=" in torch and "indicator(jnp.eye(config.d, dtype=bool), x.dtype)" in jax
    assert "away.clamp(-4, 4).to(x.dtype)" in torch and "jnp.clip(away, -4, 4).astype(x.dtype)" in jax
    assert ".float().to(" not in torch
    assert "clamp(min=3).clamp(max=-3)" in torch  # no interval: the order counts
    assert agree(NUMBERS)


HOISTED = """
module Turned(d: int)(x: [B, d, 3]) -> [B, d, 3] {
    frame = broadcast(eye(3), [B, 3, 3])
    scan i in range(2) with f = frame { f = tanh(f @ f + x[:, :1] * x[:, 0, :, none]) }
    return x + x @ f
}

model M(layers: int = 3)(x: [B, 4, 3]) -> [B, 4, 3] {
    for i in range(layers) as blocks { x = x |> Turned(4) |> linear(3) as fc }
    return x
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_unit_matrix_is_made_where_it_is_read(backend: str) -> None:
    """It is no input of what reads it, as a mask is."""
    text = source(HOISTED, backend)
    assert "eye: " not in text and text.count(".eye(3") == 1
    assert agree(HOISTED, dims={"B": 2})


CAUSAL = """
module Inner(reach: int, wide: int = 2)(x: [B, c, T]) -> [B, c, T]
    where reach >= 2, wide >= 1
{
    y = x |> conv1d(c, reach, padding="causal") as first
    return y |> conv1d(c, 3, padding="causal", dilation=wide) as second
}

model M(d: int = 4)(x: [B, d, T]) -> [B, d, T] {
    return x |> Inner(4) as inner |> conv1d(d, 2, padding=[[1, 0]]) as last
}
"""


def test_uneven_borders_are_said_in_the_callers_words() -> None:
    """They were said in those of the layer, `dilation * kernel - dilation`, which nobody had bound."""
    text = source(CAUSAL, "torch")
    assert "F.pad(x, (self.reach - 1, 0))" in text and "F.pad(x, (1, 0))" in text
    assert "kernel - " not in text and "dilation * " not in text
    scope: dict[str, Any] = {}
    exec(text, scope)
    module = scope["M"](d=6)
    import torch

    assert module(torch.ones(2, 6, 5)).shape == (2, 6, 5)
    assert agree(CAUSAL)


def test_what_holds_by_numbers_alone_is_not_asked() -> None:
    text = source(CAUSAL.replace("Inner(4)", "Inner(4, wide=3)"), "torch")
    assert not [
        line for line in text.splitlines() if line.strip().startswith("if ") and line.strip()[3].isdigit()
    ]


LAYERS = """
module Layer(d: int)(x: [B, d]) -> [B, d] { return x + (x |> linear(d) as fc |> relu) }

module Angles(d: int)(s: [B, d]) -> [B, d] { return s |> linear(d) as out |> tanh }

module Frames()(angles: [B, d]) -> [B, d] { return sin(angles) * 2.0 + cos(angles) }

model M(layers: int = 3, d: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(layers) as blocks { x = x |> Layer(d) }
    return x |> Angles(d) as angles |> Frames
}
"""


def test_names_of_functions_are_free_for_variables_that_do_not_meet_them() -> None:
    text = source(LAYERS, "jax")
    assert "def layer(params: Params, x: Array)" in text and "layer_2" not in text
    assert "def frames(angles: Array)" in text and "angles_2" not in text
    assert agree(LAYERS)


def test_a_roll_by_one_place() -> None:
    text = "model M(n: int = 5)(x: [B, n]) -> (a: [B, n], b: [B, n]) { return roll(x, 1, axis=1), roll(x, -1, axis=1) }"
    emitted = source(text, "torch")
    assert "%" not in emitted and "- -" not in emitted
    assert agree(text) and bool(dlc.verify(dlc.loads(text)["M"](n=1), backends=("torch", "jax")).agree)


def test_a_switch_is_the_condition_itself() -> None:
    """What a call turns on where a condition holds is that condition: one call, not two."""
    text = """
module Attend(heads: int, causal: bool)(x: [B, T, d]) -> [B, T, d] {
    q = x |> linear(d) as q |> rearrange("B T (heads e) -> B heads T e")
    k = x |> linear(d) as k |> rearrange("B T (heads e) -> B heads T e")
    return attention(q, k, k, causal=causal) |> rearrange("B heads T e -> B T (heads e)")
}
model M(d: int = 8, heads: int = 2)(x: [B, T, d]) -> [B, T, d] {
    return x |> Attend(heads, true) as one |> Attend(heads, false) as two
}
"""
    (source,) = dlc.loads(text)["M"].emit("torch").files.values()
    assert str(source).count("scaled_dot_product_attention") == 1
    assert "is_causal=self.causal)" in str(source)


WIDE = """
model M(d: int = 4)(x: [B, d]) -> [B, 2 * d] { return x |> linear(2 * d) as fc }
"""


def test_a_bound_of_weights_and_biases_is_computed_once() -> None:
    """That of biases asks for `inputs > 0` first: where that does not hold, that of the weights before it has failed."""
    text = source(WIDE, "jax")
    assert "bias_bound" not in text and text.count("bound = 1 / math.sqrt(inputs)\n") == 1
    assert "    bound = 1 / math.sqrt(inputs) if inputs > 0 else 0.0\n" in source(
        WIDE.replace("{ return", '{ init "*.weight" = normal(0.0, 0.02)\n return'), "jax"
    )


ATTENTION = """
model M(e: int = 4)(x: [B, 2, T, e]) -> [B, 2, T, e] { return attention(x, x, x) }
"""


def test_switches_that_no_call_turns_are_not_there() -> None:
    assert "def dot_product_attention(q: Array, k: Array, v: Array) -> Array:" in source(ATTENTION, "jax")
    scaled = ATTENTION.replace("x, x, x)", "x, x, x, scale=0.5) + attention(x, x, x)")
    assert "scale: float | None = None" in source(scaled, "jax")
    assert agree(ATTENTION) and agree(scaled)


STATES = """
model M(d: int = 4, layers: int = 2)(x: [B, T, d], h: [layers, B, d] = none, c: [layers, B, d] = none) -> (y: [B, T, d], last: _, cell: _)
    where T >= 1
{
    y, last, cell = lstm(d, layers=layers)(x, h, c) as rnn
    return y, last, cell
}
"""


def test_states_that_may_be_left_out_are_one_call() -> None:
    text = source(STATES, "torch")
    assert "self.rnn(x, (h, c) if h is not None else None)" in text and "last: [layers, B, d]" in text
    model = dlc.loads(STATES)["M"]
    for each in (model, model.with_inputs("h", "c")):
        assert dlc.verify(each, backends=("torch", "jax"), gradients=True).agree


ROUTED = """
module Expert(d: int)(x: [N, d]) -> [N, d] {
    param w: [d, d] = normal(0.0, 0.5)
    return x @ w
}

model M(d: int = 4, experts: int = 3, k: int = 2)(x: [B, T, d]) -> [B, T, d]
    where k <= experts
{
    weight, choice = x |> linear(experts) as gate |> top_k(k)
    return mixture(Expert(d), experts=experts)(x, choice, weight) as experts
}
"""


def test_rows_are_routed_without_a_detour() -> None:
    """What they are chosen for is laid flat once, and what comes out has all of its axes at once; a module whose parameters it is
    passed is called as functions are."""
    text = source(ROUTED, "torch")
    assert "chosen = choice.flatten()  #" in text and text.count(".unflatten(") == 1
    assert ".unflatten(0, (B, T, k))" in text and "def expert(" in text
    assert "are sorted by expert, and go in tiles of 64" in " ".join(source(ROUTED, "jax").split())
    assert agree(ROUTED)


LETTERS = """
module Scaled(i: int, out: int)(x: [B, i]) -> [B, out] {
    a, i = split(x |> linear(2 * out) as fc, [out, out], -1)
    return a * sigmoid(i)
}

module Tower(i: int, layers: int)(x: [B, i]) -> [B, i] {
    for k in range(layers) { x = x |> linear(i) as "fc{k}" }
    return x
}

model M(d: int = 4, layers: int = 3)(x: [B, d]) -> [B, d] { return x |> Scaled(d, d) |> Tower(d, layers) }
"""


def test_the_letter_of_loops_is_free_where_there_are_none() -> None:
    text = source(LETTERS, "torch")
    scaled, tower = (
        text[text.index("class Scaled") : text.index("class Tower")],
        text[text.index("class Tower") :],
    )
    assert "def __init__(self, i: int, out: int)" in scaled and "a, i = self.fc(x)" in scaled
    assert "def __init__(self, i_: int, layers: int)" in tower and "for i in range(layers)" in tower
    assert agree(LETTERS)


LARGER = """
model M(d: int = 2)(x: [B, d, H, W]) -> (a: _, b: _, c: _)
    where H >= 2
{
    a = x |> conv_transpose2d(3, 4, stride=2, padding=1) as a
    b = x |> conv_transpose2d(3, [2, 3], stride=[1, 2], padding=[1, 0], output_padding=[0, 1]) as b
    return a, b, resize(x, scale=2) + resize(x, scale=4)[:, :, ::2, ::2] + resize(x, scale=[2, 2])
}
"""


def test_pictures_that_become_larger() -> None:
    """One number for all axes is said once, and elements that come several times are repeated, not looked up."""
    text = source(LARGER, "jax")
    assert "stride=(" in text and "interpolate" not in text and text.count("upsample_nearest(x, 2)") == 2
    assert agree(LARGER, dims={"B": 2, "H": 3, "W": 5})
    thirds = LARGER.replace("scale=4)[:, :, ::2, ::2]", "scale=3)[:, :, :2 * H, :2 * W]")
    assert "interpolate(x, (3 * H, 3 * W))" in source(thirds, "jax")
    assert agree(thirds, dims={"B": 2, "H": 3, "W": 5})


ALIKE = """
module Gated(hidden: int)(x: [B, d]) -> [B, d] {
    gate = x |> linear(hidden) as gate |> sigmoid
    return (x |> linear(hidden, bias=false) as up) * gate |> linear(d, bias=false) as down
}

module Layer(mixer: module)(x: [B, d]) -> [B, d] { return x + (x |> mixer as mixer) }

model M(d: int = 4)(x: [B, d]) -> [B, d] {
    return x |> Layer(linear(d)) as first |> Layer(Gated(2 * d)) as second
}
"""


def test_functions_of_one_name_are_told_apart_by_what_they_have() -> None:
    text = source(ALIKE, "jax")
    assert "def init_linear_without_bias(" in text and "_2(" not in text
    assert "def layer_with_gated(" in text and "def init_layer_with_gated(" in text
    assert agree(ALIKE)
