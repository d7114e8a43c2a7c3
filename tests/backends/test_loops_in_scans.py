"""A loop over layers inside a scan by counter goes over what the class holds."""

from __future__ import annotations

import numpy as np

import dlc
from dlc.runtime.interpret import run

LOOPED = """
module Step(d: int)(x: [B, d]) -> [B, d] { return x + (x |> linear(d) as fc |> relu) }

model Looped(d: int = 4, layers: int = 3)(x: [B, d]) -> [B, d] {
    scan turn in range(2) with h = x {
        for i in range(layers) as stack.blocks { h = h |> Step(d) }
    }
    return h
}
"""


def test_layers_in_turns() -> None:
    model = dlc.loads(LOOPED)["Looped"]
    weights = model.initial_weights()
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    (wanted,) = run(model.program, weights, {"x": x}, precision="f64").values()
    (found,) = model.compile("torch", weights=weights)(x=x).values()
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-5)
    (source,) = model.emit("torch").files.values()
    assert "for step in self.stack.blocks:" in str(source)
