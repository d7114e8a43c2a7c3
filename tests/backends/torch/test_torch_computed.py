"""Static values that a spec computes are computed by the emitted class: made with other arguments it is the network that the spec
says then, or a refusal."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from backends.torch.cases import inputs, weights

import dlc
from dlc.runtime.interpret import run

Settings = Mapping[str, Any]
DIMS = {"B": 2}


def source(spec: str, **settings: Any) -> str:
    (text,) = dlc.loads(spec)["M"](**settings).emit("torch").files.values()
    assert isinstance(text, str)
    return text


def made(text: str) -> Any:
    scope: dict[str, Any] = {}
    exec(text, scope)
    return scope["M"]


def agrees(spec: str, kind: Any, settings: Settings) -> None:
    """The class made with these arguments has the parameters, and gives the results, of the spec at these settings."""
    program = dlc.loads(spec)["M"](**settings).program
    module = kind(**settings).eval()
    shapes = {path: tuple(value.shape) for path, value in module.state_dict().items()}
    assert shapes == {each.path: each.type.shape for each in program.parameters}, settings
    values, given = weights(program), inputs(program, DIMS)
    module.load_state_dict({path: torch.from_numpy(value) for path, value in values.items()})
    with torch.no_grad():
        found = module(*map(torch.from_numpy, given.values()))
    (expected,) = run(program, values, given).values()
    assert abs(found.numpy() - expected).max() <= 1e-4 * max(abs(expected).max(), 1), settings


SPECS: dict[str, tuple[str, tuple[Settings, ...]]] = {
    "a choice that alternates, or not": (
        """
module Block(d: int, wide: bool)(x: [B, d]) -> [B, d] {
    return x + (x |> linear(4 * d if wide else d) as up |> relu |> linear(d) as down)
}
model M(d: int = 8, layers: int = 4, wide: bool = false)(x: [B, d]) -> [B, d] {
    for i in range(layers) as h { x = x |> Block(d, wide or i % 2 == 0) }
    return x
}
""",
        ({"layers": 7}, {"layers": 12, "wide": True}, {"d": 6, "layers": 1}, {"wide": True}),
    ),
    "widths that an fn rounds": (
        """
fn divisible(v: float, by: int = 8) -> int {
    near = max(by, int(v + by / 2) // by * by)
    return near if near >= 0.9 * v else near + by
}
model M(width: float = 1.0, by: int = 8)(x: [B, 16]) -> [B, _] {
    for i, c in enumerate([16, 24, 40]) { x = x |> linear(divisible(c * width)) as "fc.{i}" |> relu }
    return x |> linear(divisible(10 * max(1.0, width), by)) as head
}
""",
        ({"width": 0.35}, {"width": 1.4}, {"width": 2.3, "by": 4}, {"width": 0.55}),
    ),
    "modules that are passed": (
        """
module Gate(d: int, hidden: int = 2 * d)(x: [B, d]) -> [B, d] {
    return x |> linear(hidden) as up |> silu |> linear(d) as down
}
module Residual(inner: module, scale: float)(x: [B, d]) -> [B, d] { return x + scale * (x |> inner) }
module Twice(one: module, two: module, d: int)(x: [B, d]) -> [B, d] { return x |> one |> linear(d) as between |> two }
model M(d: int = 8, hidden: int = 12, layers: int = 2, scale: float = 0.5)(x: [B, d]) -> [B, d] {
    for i in range(layers) as layer {
        x = x |> Twice(Residual(Gate(d, 2 * hidden), scale), Residual(Residual(Gate(d), 0.25), 2 * scale), d)
    }
    return x
}
""",
        ({"d": 6, "hidden": 5}, {"layers": 3, "scale": 1.5}, {"d": 4}),
    ),
    "what the other side wins": (
        """
model M(a: int = 8, b: int = 4, p: float = 0.5)(x: [B, 8]) -> [B, _] {
    x = x |> linear(max(a, b)) as most |> linear(min(a, b, 6)) as least |> linear(abs(a - b) + 1) as apart
    return x |> linear(round(a * p) + ceil(b * p) + floor(3 * p)) as out
}
""",
        ({"a": 3, "b": 9}, {"a": 5, "b": 5, "p": 0.3}, {"b": 20, "p": 1.7}),
    ),
    "sums, lengths, elements and lists of lists": (
        """
module Part(widths: list[int])(x: [B, d]) -> [B, _] {
    for i, w in enumerate(widths) { x = x |> linear(w) as "fc.{i}" |> relu }
    return x |> linear(sum(widths)) as total |> linear(len(widths)) as count
}
model M(stages: list[list[int]] = [[4, 6], [8, 3]], taps: int = 3)(x: [B, 5]) -> [B, _] {
    for s, widths in enumerate(stages) { x = x |> Part(widths) as "stage.{s}" }
    x = x |> linear(stages[len(stages) - 1][0]) as last
    return x * sum([2 ** k for k in range(taps)])
}
""",
        ({"stages": [[3, 3], [5, 9]]}, {"taps": 5}, {"stages": [[7, 2], [1, 4]], "taps": 1}),
    ),
    "constants that are computed": (
        """
model M(taps: int = 4, base: float = 2.0, n: int = 3)(x: [B, 4]) -> [B, _] {
    edges = tensor([base ** k / (k + 1) for k in range(1, taps) if k % 2 == 1 or k > 2])
    table = tensor([[i * base + j for j in range(4)] for i in range(n)])
    steps = linspace(0.0, base, n)
    return (x |> linear(n) as fc) + sum(edges) + x @ table.T + steps
}
""",
        ({"taps": 7}, {"base": 0.7, "n": 5}, {"n": 1}, {"taps": 2, "base": 3.0}),
    ),
    "words and what is left out": (
        """
module Act(kind: str, slope: float = none)(x: [B, d]) -> [B, d] {
    if kind == "relu" { return relu(x) }
    if slope != none { return maximum(x, slope * x) }
    return tanh(x)
}
model M(kind: str = "tanh", slope: float = none, bias: bool = true, deep: bool = false)(x: [B, 4]) -> [B, 3] {
    x = x |> linear(6 if deep else 5, bias=bias) as a |> Act(kind, slope)
    if deep { x = x |> linear(4) as b |> Act("relu") }
    return x |> linear(3, bias=bias) as c
}
""",
        ({"slope": 0.2}, {"bias": False}, {"deep": True}),
    ),
    "names that go on from turn to turn": (
        """
module Step(n: int, out: int)(x: [B, n]) -> [B, out] { return x |> linear(out) as fc |> relu }
model M(first: int = 4, widths: list[int] = [6, 8, 8], grow: int = 2)(x: [B, first]) -> [B, _] {
    n = first
    for i, w in enumerate(widths) {
        x = x |> Step(n, w * grow) as "step.{i}"
        n = w * grow
    }
    a, b = 1, grow
    for k in range(3) { a, b = b, a + b }
    return x |> Step(n, b) as last
}
""",
        ({"grow": 3}, {"first": 9}, {"widths": [5, 3, 2]}),
    ),
    "a part that is there where two widths differ": (
        """
module Block(out: int)(x: [B, c]) -> [B, out] {
    y = x |> linear(out) as fc
    if c != out { x = x |> linear(out, bias=false) as shortcut }
    return relu(x + y)
}
model M(widths: list[int] = [4, 6, 6])(x: [B, 5]) -> [B, _] {
    for width in widths { x = x |> Block(width) |> Block(width) }
    return x
}
""",
        ({"widths": [4, 6, 9]}, {"widths": [5, 5, 5]}, {"widths": [3, 7, 4]}),
    ),
    "a module in the place of another": (
        """
module Plain(d: int)(x: [B, d]) -> [B, d] { return x |> linear(d) as fc |> relu }
module Gated(d: int, ff: int)(x: [B, d]) -> [B, 2*d] {
    return (x |> linear(ff) as up |> sigmoid |> linear(2 * d) as down)
}
model M(d: int = 4, gated: bool = false, norm: bool = true)(x: [B, d]) -> [B, 3] {
    if gated { x = x |> Gated(d, 3 * d) as mix } else { x = x |> Plain(d) as mix }
    if norm { x = x |> layer_norm as norm }
    return x |> linear(3) as head
}
""",
        ({"gated": True}, {"norm": False}, {"gated": True, "d": 7}),
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_all_parameters_are_arguments_and_mean_what_the_spec_says(name: str) -> None:
    spec, others = SPECS[name]
    kind = made(source(spec))
    assert list(inspect.signature(kind).parameters) == list(dlc.loads(spec)["M"].settings)
    for settings in ({}, *others):
        agrees(spec, kind, settings)


def test_what_the_source_can_not_say_is_no_argument() -> None:
    """A path has no expression: which part there is depends on a number, and the source is for that one."""
    spec = """
model M(first: int = 0, d: int = 4)(x: [B, d]) -> [B, d] {
    return x |> linear(d) as "fc{first}" |> linear(d) as "fc{first + 1}"
}
"""
    kind = made(source(spec))
    assert list(inspect.signature(kind).parameters) == ["d"]
    agrees(spec, kind, {"d": 6})


def test_a_decision_that_only_one_side_of_is_known_is_a_refusal() -> None:
    spec = """
module Part(d: int, n: int)(x: [B, d]) -> [B, d] {
    if n > 3 { return x |> linear(n) as up |> linear(d) as down }
    return x |> linear(d) as only
}
model M(d: int = 4, n: int = 5)(x: [B, d]) -> [B, d] { return x |> Part(d, n) as part }
"""
    kind = made(source(spec))
    agrees(spec, kind, {"n": 8})
    with pytest.raises(ValueError, match="n > 3 must hold, but n is 2"):
        kind(n=2)


def test_a_part_that_a_default_makes_is_made_of_the_parameters_before_it() -> None:
    spec = """
module Halves(out: int)(x: [B, d]) -> [B, out] { return x |> linear(out // 2) as up |> linear(out) as down }
module Body(d: int, out: int, head: module = linear(out))(x: [B, d]) -> [B, out] {
    return x |> linear(d) as first |> relu |> head
}
model M(d: int = 4, out: int = 6, last: module = Halves(2 * out))(x: [B, d]) -> [B, 2 * out] {
    return x |> Body(d, d) as body |> Body(d, out) as other |> last
}
"""
    text = source(spec)
    kind = made(text)
    assert list(inspect.signature(kind).parameters) == ["d", "out"]
    assert "self.last = Halves(out, 2 * out)" in text
    for settings in ({}, {"d": 7}, {"d": 5, "out": 8}):
        agrees(spec, kind, settings)


def test_channels_of_a_transposed_convolution_are_said_as_the_spec_does() -> None:
    spec = """
model M(d: int = 4, g: int = 2)(x: [B, 4, 3, 3]) -> _ {
    return x |> conv_transpose2d(2 * d, 3) as a |> conv_transpose2d(3 * g, 2, groups=g, bias=false) as b
}
"""
    text = source(spec)
    assert "nn.ConvTranspose2d(4, 2 * d, kernel_size=3)" in text
    assert "nn.ConvTranspose2d(2 * d, 3 * g, kernel_size=2, groups=g, bias=False)" in text
    for settings in ({}, {"d": 6}, {"g": 4}):
        agrees(spec, made(text), settings)


def test_an_fn_of_static_values_is_a_function() -> None:
    text = source(SPECS["widths that an fn rounds"][0])
    assert (
        "def divisible(v: float, by: int) -> int:\n    near = max(by, int(v + by / 2) // by * by)\n" in text
    )
    assert "nn.Linear(16, divisible(16 * width, 8))" in text
