"""U-Nets are loops in the source: turns of which some do more, and a list that the way down fills and the way up takes from. Made for
lists of one length the source is the spec's network at others, to its gradient."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from emit.other_settings import RESULTS, executed, slope, source

import dlc
from dlc.emit.file import loaded
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

PARTS = """
module Conv(out: int)(x: [B, c, H, W]) -> [B, out, H, W] { return x |> conv2d(out, 3, padding=1) as conv |> tanh }
module Half()(x: [B, c, H, W]) -> [B, c, H // 2, W // 2] where H % 2 == 0, W % 2 == 0 {
    return x |> conv2d(c, 2, stride=2) as conv
}
module Twice()(x: [B, c, H, W]) -> [B, c, 2*H, 2*W] { return x |> resize(scale=2) |> conv2d(c, 1) as conv }
module Mixed(d: int)(x: [B, c, H, W]) -> [B, c, H, W] {
    return x + (x |> conv2d(d, 1) as into |> tanh |> conv2d(c, 1) as back)
}
module Down(out: int, mixed: bool)(x: [B, c, H, W]) -> (one: [B, out, H, W], two: [B, out, H, W], three: [B, out, H, W]) {
    one = x |> Conv(out) as a
    two = one |> Conv(out) as b
    three = two |> Conv(out) as c
    if mixed { three = three |> Mixed(2) as mix }
    return one, two, three
}
module Up(out: int, mixed: bool)(x: [B, c, H, W], p: [B, out, H, W], q: [B, out, H, W], r: [B, out, H, W],
          s: [B, e, H, W]) -> [B, out, H, W] {
    x = concat([x, p], axis=1) |> Conv(out) as a
    x = concat([x, q, r], axis=1) |> Conv(out) as b
    x = concat([x, s], axis=1) |> Conv(out) as c
    if mixed { x = x |> Mixed(3) as mix }
    return x
}
"""
SPECS = {
    "three blocks a level": """
model M(channels: list[int] = [3, 4, 5], mixed: list[int] = [1])(x: [B, 2, H, W]) -> [B, 1, H, W]
    where H % 2 ** (len(channels) - 1) == 0, W % 2 ** (len(channels) - 1) == 0
{
    last = len(channels) - 1
    x = x |> conv2d(channels[0], 3, padding=1) as begin
    skips = [x]
    for i, c in enumerate(channels) as down {
        a, b, x = x |> Down(c, i in mixed)
        skips = skips + [a, b, x]
        if i < last {
            x = x |> Half as smaller
            skips = skips + [x]
        }
    }
    x = x |> Mixed(4) as middle
    for i, c in enumerate(reversed(channels)) as up {
        x = x |> Up(c, last - i in mixed)(skips[-1], skips[-2], skips[-3], skips[-4])
        skips = skips[:-4]
        if i < last { x = x |> Twice as twice }
    }
    return x |> conv2d(1, 1) as out
}
""",
    "one a level, from the first on": """
model M(widths: list[int] = [3, 4, 5], d: int = 6)(x: [B, 2, H, W]) -> [B, 1, H, W]
    where H % 2 ** len(widths) == 0, W % 2 ** len(widths) == 0
{
    skips = []
    for width in widths {
        x = x |> Conv(width) as enter
        skips = skips + [x]
        x = max_pool(x, 2)
    }
    x = x |> Conv(d) as bottom
    for i, width in enumerate(reversed(widths)) {
        x = x |> resize(scale=2)
        x = concat([skips[-1 - i], x], axis=1) |> Conv(width) as leave
    }
    return x |> conv2d(1, 1) as out
}
""",
    "no list, other turns": """
model M(widths: list[int] = [3, 4, 5])(x: [B, 2, H, W]) -> [B, 1]
    where H % 2 ** (len(widths) - 1) == 0, W % 2 ** (len(widths) - 1) == 0
{
    for i, width in enumerate(widths) as levels {
        if i > 0 { x = x |> Half as smaller }
        x = x |> Conv(width) as conv
    }
    return x |> mean(axis=[2, 3]) |> linear(1) as out
}
""",
    "a number of levels": """
model M(levels: int = 3, d: int = 4)(x: [B, d, H, W]) -> [B, 1, H, W]
    where H % 2 ** levels == 0, W % 2 ** levels == 0
{
    skips = []
    for i in range(levels) as down {
        x = x |> Conv(d * 2 ** i) as conv
        skips = skips + [x]
        x = x |> Half as smaller
    }
    for i in range(levels) as up {
        x = skips[-1] + (x |> Twice as twice |> Conv(d * 2 ** (levels - 1 - i)) as conv)
        skips = skips[:-1]
    }
    return x |> conv2d(1, 1) as out
}
""",
}
OTHERS: dict[str, list[dict[str, Any]]] = {
    "three blocks a level": [
        {"channels": [2]},
        {"channels": [2, 3], "mixed": [0, 1]},
        {"channels": [4, 3, 2, 5], "mixed": []},
        {"channels": [2, 2, 2], "mixed": [2]},
    ],
    "one a level, from the first on": [{"widths": [2]}, {"widths": [3, 3]}, {"widths": [2, 3, 4, 5], "d": 3}],
    "no list, other turns": [{"widths": [2]}, {"widths": [3, 3]}, {"widths": [2, 3, 4, 5]}],
    "a number of levels": [{"levels": n} for n in (1, 2, 4)] + [{"levels": 2, "d": 3}],
}


def spec(name: str) -> Any:
    return dlc.loads(PARTS + SPECS[name])["M"]


@pytest.mark.parametrize("backend", RESULTS)
@pytest.mark.parametrize("name", SPECS)
def test_other_lengths(name: str, backend: str) -> None:
    module = executed(source(PARTS + SPECS[name], backend))
    for change in ({}, *OTHERS[name]):
        program = spec(name)(**change).program
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in change.items()}
        sizes = {"B": 2, "H": 16, "W": 32}
        (value,) = program.main.inputs
        shape = [sizes[str(axis)] if axis.constant is None else axis.constant for axis in value.type.axes]
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        weights = generic_weights(program)
        (expected,) = run(program, weights, {"x": x}, precision="f64").values()
        found, by_x, by_path = RESULTS[backend](module, given, weights, x)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5, err_msg=str(change))
        for path, gradient in (("", by_x), *sorted(by_path.items())[::5]):
            ahead = np.random.default_rng(len(path)).normal(size=gradient.shape)
            rise = slope(program, weights, x, path, ahead)
            np.testing.assert_allclose(
                (gradient * ahead).sum(), rise, rtol=2e-3, atol=2e-3, err_msg=f"{change} {path}"
            )


@pytest.mark.parametrize("backend", RESULTS)
@pytest.mark.parametrize("name", SPECS)
def test_no_turn_is_written_out(name: str, backend: str) -> None:
    text = source(PARTS + SPECS[name], backend)
    assert not re.search(r"must have length", text)
    body = text[text.index("class M(" if backend == "torch" else "def apply(") :]
    assert len(re.findall(r"\n +for ", body)) >= 1
    assert ("skips.pop()" in text) == ("skips" in SPECS[name])


NUMBERED = PARTS + SPECS["three blocks a level"]
NUMBERED = NUMBERED.replace("as smaller", "as smaller.0").replace("as twice", "as twice.0")
NUMBERED = NUMBERED.replace("last - i in mixed", "true").replace("i in mixed", "false")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_number_of_ones_own_is_none_of_the_turn(backend: str) -> None:
    """Of two levels only the first has a `smaller.0`, whose 0 is no turn's: its parameters keep their names."""
    model = dlc.loads(NUMBERED)["M"](channels=[3, 4])
    (text,) = (each for each in model.emit(backend).files.values() if isinstance(each, str))
    namespace = loaded("net.py", text).__dict__
    if backend == "torch":
        names = set(namespace["M"]().state_dict())
    else:
        import jax

        names = set(namespace["to_flat"](namespace["init"](jax.random.key(0))))
    assert names == {each.path for each in model.parameters}
    assert "for i" in text and "smaller[i]" not in text
    assert dlc.verify(model, backends=(backend,), gradients=True, dims={"H": 4, "W": 4}).agree


TWO_FROM_ELSEWHERE = """
model M(channels: list[int] = [2, 3])(x: [B, 2, H, W]) -> [B, 2, H, W]
    where H % 2 ** (len(channels) - 1) == 0, W % 2 ** (len(channels) - 1) == 0
{
    skips = []
    for i, c in enumerate(channels) as down {
        x = x |> Conv(c) as blocks.0
        skips = skips + [x]
        if i < len(channels) - 1 { x = x |> Half as smaller.0 }
    }
    for i, c in enumerate(reversed(channels)) as up {
        x = concat([x, skips[-1 - i]], axis=1) |> Conv(c) as blocks.0
        if i < len(channels) - 1 { x = x |> Twice as larger.0 }
    }
    return x
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_turn_that_reads_what_it_begins_with_twice(backend: str) -> None:
    """The way up begins with what it takes from the list first: of two such values no condition tells which."""
    model = dlc.loads(PARTS + TWO_FROM_ELSEWHERE)["M"]
    assert model.emit(backend).files
    assert dlc.verify(model, backends=(backend,), gradients=True, dims={"H": 4, "W": 4}).agree
