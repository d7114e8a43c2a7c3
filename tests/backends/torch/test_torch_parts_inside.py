"""Parts that a spec puts inside a layer of torch's own: a number there, or a name that nn.Module has taken."""

from __future__ import annotations

import numpy as np
from dlc_torch import BACKEND

import dlc
from dlc.backend import EmitOptions
from dlc.runtime import interpret

SPEC = """
model M(d: int = 4)(x: [B, d]) -> [B, d] {
    param w: [d] = ones as fc.1
    param u: [d] = ones as fc.type
    buffer b: [d] = ones as fc.to
    return (x |> linear(d) as fc |> relu |> linear(d) as fc.0) * w + u + b |> linear(d) as fc.forward
}
"""


def test_a_layer_holds_parts_at_any_label() -> None:
    program = dlc.loads(SPEC)["M"].program
    rng = np.random.default_rng(0)
    values = {each.path: rng.normal(size=each.type.shape).astype("f4") for each in program.parameters}
    x = rng.normal(size=(2, 4)).astype("f4")
    runnable = BACKEND.load(BACKEND.emit(program, EmitOptions()), values)
    (found,), (expected,) = runnable(x=x).values(), interpret.run(program, values, {"x": x}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert runnable.native.state_dict().keys() == values.keys()


def test_what_is_alone_in_a_list_is_called_after_the_list() -> None:
    """By the part that it alone has, `Linear1`, it would be called after one of its own."""
    text = """
module Rise()(x: [B, d]) -> [B, d] {
    return x |> linear(d) as layers.0.linear_1 |> relu |> linear(d) as layers.0.linear_2
}
module Fall()(x: [B, d]) -> [B, d] {
    return x |> linear(d) as layers.0.first |> relu |> linear(d) as layers.1.second
}
model M(d: int = 4)(x: [B, d]) -> [B, d] { return x |> Rise as rise |> Fall as fall }
"""
    (found,) = dlc.loads(text)["M"].emit("torch").files.values()
    assert isinstance(found, str)
    assert "self.layers = nn.ModuleList([RiseLayer(d)])" in found
    assert "self.layers = nn.ModuleList([FallFirst(d), FallSecond(d)])" in found
