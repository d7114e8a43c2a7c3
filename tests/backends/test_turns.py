"""Loops of the spec whose turns differ, in a module inside the model, on every backend that is installed: the elaborator takes
them apart, and emission may only put together again what really is the same."""

import pytest

import dlc

TURNS = {
    "layers grow": "x = x |> linear(d * (i + 1)) as fc",
    "only the first layer is another": "x = x |> linear(2 * d) as fc",
    "layers are wider inside": "x = x + (x |> linear(d * (i + 1)) as up |> relu |> linear(d) as down)",
    "values grow without layers": "x = concat([x, relu(x)], axis=-1)",
    "values shrink": "x = relu(x[:, 1:])",
    "numbers go by the turn": "x = relu(x * (i + 2)) + i",
    "slices go by the turn": "x = concat([x[:, i:], x[:, :i]], axis=-1) |> linear(d) as fc",
    "what is done goes by the turn": "if i % 2 == 0 { x = relu(x) } else { x = x |> linear(d) as fc }",
    "a row is broadcast, then there are as many": "x = x[:1] + x |> linear(d) as fc",
    "turns are the same": "x = x |> linear(d) as fc |> relu",
}
SPEC = """
module Inner(d: int, layers: int = 3)(x: [B, d]) -> [B, d] {{
    for i in range(layers) as h {{ {turn} }}
    return x |> linear(d) as out
}}

model Net(d: int = 6)(x: [B, d]) -> [B, d] {{ return relu(x) |> Inner(d) as inner }}
"""


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_turns_that_differ(turn: str) -> None:
    spec = dlc.loads(SPEC.format(turn=turn))
    report = dlc.verify(spec["Net"], gradients=True)
    assert report.agree, report.text()
    assert dlc.verify(spec["Net"](d=8), backends=("torch", "jax")).agree
