"""A layer of the library may use what its caller knows of the sizes."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError
from dlc.ir.verify import verify

PATCHES = """
model Patches(d: int = 4)(x: [B, 3, H, W]) -> [B, d]
    where {facts}
{{
    return x |> conv2d(d, 4, stride=4) |> global_avg_pool
}}
"""


def test_a_fact_of_the_caller_holds_inside_a_layer() -> None:
    model = dlc.loads(PATCHES.format(facts="4 <= H, 4 <= W"))["Patches"]
    verify(model.program)
    (found,) = model.compile("torch")(x=np.ones((2, 3, 9, 4), np.float32)).values()
    assert found.shape == (2, 4)


@pytest.mark.parametrize("facts", ["3 <= H, 4 <= W", "4 <= H", "H % 2 == 0, 4 <= W"])
def test_a_fact_that_is_missing_is_asked_for(facts: str) -> None:
    with pytest.raises(SpecError) as raised:
        dlc.loads(PATCHES.format(facts=facts))["Patches"].program  # noqa: B018
    (found,) = raised.value.diagnostics
    assert found.code == "E0405"
    assert "state it: `where 4 <= " in found.help


def test_every_caller_must_know_it() -> None:
    """The second call has the same types but for its dims' names, and nothing is known of those."""
    text = """
model Two()(x: [B, 3, H, W], y: [B, 3, N, M]) -> [B, 8]
    where 7 <= H, 7 <= W{more}
{{
    a = x |> conv2d(8, 7) |> global_avg_pool
    return a + (y |> conv2d(8, 7) |> global_avg_pool)
}}
"""
    with pytest.raises(SpecError) as raised:
        dlc.loads(text.format(more=""))["Two"].program  # noqa: B018
    assert [each.span.line for each in raised.value.diagnostics] == [6]
    model = dlc.loads(text.format(more=", 7 <= N, 7 <= M"))["Two"]
    assert sum(each.source == "conv2d" for each in model.program.functions.values()) == 1


def test_through_a_module_that_states_it() -> None:
    text = """
module Stem(d: int)(x: [B, 3, H, W]) -> [B, d, _, _]
    where 8 <= H, 8 <= W
{
    return x |> conv2d(d, 3) |> relu |> max_pool(2) |> conv2d(d, 3)
}

model M()(x: [B, 3, 2*H, 2*W]) -> [B, 4] where 4 <= H, 4 <= W {
    return x |> Stem(4) |> global_avg_pool
}
"""
    verify(dlc.loads(text)["M"].program)
