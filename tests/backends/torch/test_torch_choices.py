"""What a spec decides is decided in the emitted class too: one class does all that the spec can be made to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dlc


def made(spec: str, **settings: Any) -> Any:
    scope: dict[str, Any] = {}
    artifact = dlc.loads(spec)["M"](**settings).emit("torch")
    (text,) = artifact.files.values()
    assert isinstance(text, str)
    exec(text, scope)
    return scope["M"]


X = torch.tensor([[1.0, -2.0, 3.0, 4.0]])
Y = torch.full((1, 4), 0.5)


def test_an_optional_input_that_something_takes_the_place_of() -> None:
    model = made("""
model M(d: int = 4)(x: [B, d], y: [B, d] = none, z: [B, d] = none) -> [B, d] {
    param one: [d] = ones
    if y == none { y = x * 2.0 * one }
    if z != none { y = y * z }
    return x + y
}
""")()
    assert torch.equal(model(X), 3 * X)
    assert torch.equal(model(X, Y), X + Y)
    assert torch.equal(model(X, z=Y), X + 2 * X * Y)
    assert torch.equal(model(X, Y, Y), X + Y * Y)


def test_results_that_there_are_in_training_only() -> None:
    model = made("""
model M(d: int = 4)(x: [B, d]) -> (y: [B, d], side: [B, d] = none) {
    param one: [d] = ones
    side = none
    if training { side = x * 2.0 }
    return relu(x) * one, side
}
""")()
    y, side = model.train()(X)
    assert torch.equal(side, 2 * X)
    assert torch.equal(model.eval()(X), y)


def test_what_training_reads_before_what_both_modes_do_and_uses_behind_it() -> None:
    """A queue of what was seen, and the place in it."""
    model = made("""
model M(length: int = 3)(x: [B, 4]) -> y: [B, length] {
    buffer queue: [4, length] = zeros
    buffer place: i64[1] = zeros
    y = x @ queue
    if training {
        require B <= length
        update queue = update_slice(queue, x.T, place[0], axis=1)
        update place = (place + B) % length
    }
    return y
}
""")()
    assert torch.equal(model.train()(X), torch.zeros(1, 3))
    assert torch.equal(model(Y), torch.tensor([[3.0, 0.0, 0.0]]))
    expected = torch.stack([X[0], Y[0], torch.zeros(4)], dim=1)
    assert torch.equal(model.eval()(X), X @ expected)
    assert model.place.tolist() == [2]


def test_a_model_without_inputs_has_both_modes() -> None:
    model = made("""
model M(d: int = 4)() -> [d] {
    param w: [d] = ones
    y = w * 2.0
    if training { y = y + 1.0 }
    return y
}
""")()
    assert torch.equal(model.train()(), torch.full((4,), 3.0))
    assert torch.equal(model.eval()(), torch.full((4,), 2.0))


FORMS = """
module Part(d: int, wide: bool)(x: [B, d]) -> [B, d] {
    if wide { return x |> linear(2*d) as up |> relu |> linear(d) as down }
    return x |> linear(d) as only
}

model M(d: int = 4, wide: bool = true, layers: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(layers) as h { x = x + (x |> Part(d, i % 2 == 0)) }
    return x |> Part(d, wide) as last
}
"""


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("layers", [1, 4, 5])
def test_one_class_for_every_form_of_a_module(wide: bool, layers: int) -> None:
    """Whatever the settings that it was emitted at."""
    spec = dlc.loads(FORMS)["M"]
    expected = {each.path: each.type.shape for each in spec(wide=wide, layers=layers).parameters}
    for settings in ({}, {"wide": False}, {"layers": 6}):
        model = made(FORMS, **settings)(wide=wide, layers=layers)
        assert {path: tuple(each.shape) for path, each in model.state_dict().items()} == expected
        assert model(X).shape == X.shape


def test_layers_of_one_size_that_are_made_in_several_ways() -> None:
    """They are one function of the library; what each is made with stands at its call."""
    model = made("""
model M(g: int = 4, wide: int = 8)(x: [B, 16, H]) -> [B, 16, H]
    where 16 % g == 0, 16 % wide == 0
{
    return x |> group_norm(g) as first |> group_norm(wide, eps=1e-3) as second |> group_norm(2) as third
}
""")(g=2)
    layers = [(each.num_groups, each.eps) for each in (model.first, model.second, model.third)]
    assert layers == [(2, 1e-5), (8, 1e-3), (2, 1e-5)]


RESULTS = """
module Part(d: int, short: bool)(x: [B, d]) -> (y: [B, d], z: [B, d], more: [B, d] = none) {
    y = x |> linear(d) as fc
    if short { return y, y }
    z = y |> linear(d) as second
    w = z |> linear(d) as third
    return w, z, w
}

model M(d: int = 4)(x: [B, d]) -> (short: [B, d], long: [B, d]) {
    a, b, c = x |> Part(d, false) as long
    e, f, _ = x |> Part(d, true) as short
    return e + 2.0 * f, a + b + c
}
"""


def test_results_that_are_one_value_on_one_side_and_absent() -> None:
    model = made(RESULTS)()
    short, long = model(X)
    torch.testing.assert_close(short, 3 * model.short.fc(X))
    z = model.long.second(model.long.fc(X))
    torch.testing.assert_close(long, 2 * model.long.third(z) + z)


def test_parts_in_a_container_that_is_there_as_they_are() -> None:
    """`extra.0` and `extra.1` make `extra`; without them there is none."""
    spec = """
module Part(d: int, more: bool)(x: [B, d]) -> [B, d] {
    x = x |> linear(d) as fc.0
    if more { x = x |> linear(d) as extra.0 |> linear(d) as extra.1 }
    return x
}

model M(d: int = 4)(x: [B, d]) -> [B, d] {
    return x |> Part(d, true) as long |> Part(d, false) as short
}
"""
    model = made(spec)()
    assert type(model.long) is type(model.short)
    assert model.short.extra is None
    assert {path for path, _ in model.named_parameters() if "extra" in path} == {
        f"long.extra.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")
    }
    through = model.long.extra[1](model.long.extra[0](model.long.fc[0](X)))
    torch.testing.assert_close(model(X), model.short.fc[0](through))
    (text,) = dlc.loads(spec)["M"].emit("torch").files.values()
    assert "nn.ModuleList(nn.Linear(d, d) for _ in range(2)) if more else None" in str(text)


def test_a_side_takes_the_variables_that_the_other_passes_on() -> None:
    spec = """
module Part(d: int, more: bool)(x: [B, d]) -> [B, d] {
    a = x |> linear(d) as one |> layer_norm(affine=false)
    b = x |> linear(d) as two
    if more {
        a = a |> linear(d) as three
        b = b |> linear(d) as four
    }
    return a * b
}

model M(d: int = 4)(x: [B, d]) -> [B, d] {
    return (x |> Part(d, true) as first) + (x |> Part(d, false) as second)
}
"""
    model = made(spec)()
    a, b = torch.nn.functional.layer_norm(model.first.one(X), (4,)), model.first.two(X)
    torch.testing.assert_close(model.first(X), model.first.three(a) * model.first.four(b))
    (text,) = dlc.loads(spec)["M"].emit("torch").files.values()
    assert "            a = self.three(a)\n            b = self.four(b)\n" in str(text)
    assert "a = F.layer_norm(self.one(x), (self.d,))" in str(text)


def test_an_entry_that_applies_no_layer_has_no_classes_of_its_own() -> None:
    """There no mask is made for all layers, so that they would be another class, which nothing makes."""
    spec = """
module Layer(heads: int)(x: [B, T, d], seen: bool[B, T]) -> [B, T, d]
    where d % heads == 0
{
    q = x |> linear(d) as to_q |> rearrange("B T (heads e) -> B heads T e")
    y = attention(q, q, q, mask=seen[:, none, none], causal=true)
    return x + rearrange(y, "B heads T e -> B T (heads e)")
}

model M(layers: int = 3, d: int = 8)(x: [B, T, d], seen: bool[B, T]) -> [B, T, d]
    where d % 2 == 0
{
    param gain: [d] = ones
    for i in range(layers) as blocks { x = x |> Layer(2)(seen) }
    entry scaled(y: [B, d]) -> [B, d] { return y * gain }
    return x
}
"""
    (text,) = dlc.loads(spec)["M"].emit("torch").files.values()
    assert [line for line in str(text).splitlines() if line.startswith("class ")] == [
        "class Layer(nn.Module):",
        "class M(nn.Module):",
    ]
