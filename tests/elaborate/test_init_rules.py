"""Rules for initial values that others overrule."""

from __future__ import annotations

import dlc

OVERRULED = """
module Block(d: int)(x: [B, d]) -> [B, d] {
    init "ada.*" = zeros
    return x |> linear(d) as ada
}

model M(d: int = 4)(x: [B, d]) -> [B, d] {
    init "block.ada.weight" = constant(2.0)
    init "block.ada.bias" = ones
    return x |> Block(d) as block
}
"""


def test_a_rule_that_outer_ones_overrule_is_not_misspelled() -> None:
    spec = dlc.loads(OVERRULED)
    assert spec.check() == ()
    weights = spec["M"].initial_weights()
    assert (weights["block.ada.weight"] == 2).all() and (weights["block.ada.bias"] == 1).all()


ENTRY = """
model M(d: int = 4)(x: [B, d]) -> [B, d] {
    init "fc.weight" = constant(2.0)
    entry twice(x: [B, d]) -> [B, d] { return self(self(x)) }
    return x |> linear(d) as fc
}
"""


def test_rules_of_a_body_that_an_entry_calls() -> None:
    spec = dlc.loads(ENTRY)
    assert spec.check() == ()
    assert (spec["M.twice"].initial_weights()["fc.weight"] == 2).all()
