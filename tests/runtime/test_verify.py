"""What `verify` says of gradients, and at which settings it compares a whole spec."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.autodiff import NotDifferentiable
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.resources import specs_path
from dlc.runtime import verify as module
from dlc.runtime.gradients import backend_gradients, cotangents, meant_gradients
from dlc.runtime.inputs import random_inputs
from dlc.runtime.smallest import smallest
from dlc.runtime.verify import Difference, gradient_differences
from dlc.runtime.weights import generic_weights

STEPS = """
model Steps(d: int = 3)(x: [B, T, d]) -> (last: [B, d], all: [B, T, d]) {
    step = linear(d)
    scan xt in x with h = zeros([B, d]) {
        h = tanh(step(h) + xt)
        yield all = h
    }
    return h, all
}
"""

# The softmax takes away what a key's bias adds to all scores of a query: its gradient is zero.
ATTENTION = """
model Attention(d: int = 8)(x: [B, T, d]) -> [B, T, d] {
    return attention(x |> linear(d) as q, x |> linear(d) as k, x |> linear(d) as v)
}
"""

# Half of the sum has no number, and neither has the derivative there.
ROOTS = """
model Roots()(x: [3]) -> [3] {
    param w: [3] = ones
    return sqrt(x * w)
}
"""

# The greater of two products, which f32 rounds to the same: in f64 the first is greater by 2**-26.
TIE = """
model Tie()(x: [2]) -> [] {
    param w: [2] = ones
    return 0.01 * max(x * w) + sum(w)
}
"""

SIZES = """
model Net(d: int = 3_000)(x: [B, d]) -> [B, d] {
    return x |> linear(d)
}

model Bare(d: int)(x: [B, d]) -> [B, d] {
    return x |> linear(d)
    entry twice(x: [B, d]) -> [B, d] {
        return 2 * x
    }
}

preset Wide = Net(d=4_000)
preset Tiny = Net(d=2)
preset BareTiny = Bare(d=2)
preset BareWide = Bare(d=9_000)
"""

# Fewer than three million parameters as they were published, but for the last: that is fifty layers of 224x224 pixels.
SMALL_BY_THEMSELVES = {"MLP", "XOR", "LeNet5", "LeNet5_1998", "VAE", "VQVAE"} | {
    "Generator",
    "Discriminator",
    "GCN",
    "GAT",
    "GIN",
    "GraphSAGE",
    "GoogLeNet2014",
}


def model_of(text: str) -> Any:
    spec = dlc.loads(text)
    return spec[spec.models[0]]


def gradients_of(report: module.Report) -> Mapping[str, Difference]:
    return {row.name: row for row in report.differences if row.kind == "gradient"}


def test_one_backend_is_enough() -> None:
    """The other side is the derivative of the program, at the sizes of the inputs: loops over a size have turns there."""
    report = dlc.verify(model_of(STEPS), backends=("torch",), gradients=True)
    assert report.agree
    assert gradients_of(report).keys() == {"step.weight", "step.bias"}


def test_a_backend_that_fails_does_not_keep_the_others_from_it() -> None:
    pytest.importorskip("onnxruntime")
    model = model_of("model M()(x: f64[B, 2]) -> f64[B, 2] {\n    return tan(x)\n}\n")
    report = dlc.verify(model, backends=("onnx", "torch"))
    assert not report.agree
    assert {each.backend for each in report.differences} == {"torch"}
    assert report.to_json()["failed"]["onnx"][0]["code"] == "E0802"
    assert "FAIL onnx   can't be compared\nerror[E0802]" in report.text()
    assert "M: onnx can't be compared, the other backends agree" in report.text()
    with pytest.raises(dlc.SpecError, match="E0802"):
        dlc.verify(model, backends=("onnx",))


def test_a_wrong_gradient_is_told_by_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(*given: Any, **options: Any) -> Any:
        return {path: each / 2 for path, each in backend_gradients(*given, **options).items()}

    monkeypatch.setattr(module, "backend_gradients", halved)
    report = dlc.verify(model_of(ATTENTION), backends=("torch",), gradients=True)
    assert not report.agree
    assert gradients_of(report)["v.weight"].relative == pytest.approx(0.5, rel=1e-3)
    assert "FAIL torch" in report.text()


def test_a_gradient_that_is_zero_is_measured_by_the_largest() -> None:
    model = model_of(ATTENTION)
    values, given = generic_weights(model.program), random_inputs(model.program)
    pulls = cotangents(model.program, values, given, seed=0)
    expected = meant_gradients(model.program, values, given, pulls)
    assert np.abs(expected["k.bias"]).max() < 1e-12
    noise = {path: each + 1e-6 * (path == "k.bias") for path, each in expected.items()}
    rows = {row.name: row.relative for row in gradient_differences("some", noise, expected)}
    assert rows["k.bias"] == pytest.approx(1e-6 / max(np.abs(each).max() for each in expected.values()))


EMPTY = """
model Empty()(x: [B, 2, T]) -> (y: _, z: bf16[_, _, _])
    where 0 <= T
{
    return x |> conv1d(2, 2, stride=2, padding=2) as down, cast(x |> conv1d(3, 3, padding=2) as same, bf16)
}
"""


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_gradients_over_nothing_and_of_narrow_outputs(steps: int) -> None:
    pytest.importorskip("torch")
    backends = ("torch", "jax") if importlib.util.find_spec("jax") else ("torch",)
    model = dlc.loads(EMPTY)["Empty"]
    found = dlc.verify(model, backends=backends, gradients=True, dims={"B": 2, "T": steps}, tolerance=1e-2)
    assert found.agree, found.text()
    assert {each.name for each in found.differences if each.kind == "gradient"} >= {
        "down.weight",
        "same.weight",
    }


@pytest.mark.parametrize("at", [0, 1])
def test_no_number_in_the_same_places(at: int) -> None:
    """Agrees with itself, and with no number elsewhere."""
    report = dlc.verify(
        model_of(ROOTS), backends=("torch",), gradients=True, inputs={"x": np.float32([-1, 2, 3])}
    )
    assert report.agree
    meant = {"w": np.array([np.nan, 1.0, 2.0])}
    found = {"w": np.roll(meant["w"], at)}
    (row,) = gradient_differences("some", found, meant)
    assert row.relative == (np.inf if at else 0.0)


def test_a_tie_that_only_f32_sees_is_compared_in_f64() -> None:
    bit = 2.0**-13
    weights = {"w": np.array([1 + bit, 1 + 2 * bit], np.float32)}
    given = {"x": np.array([1 + bit, 1], np.float32)}
    report = dlc.verify(model_of(TIE), backends=("torch",), gradients=True, weights=weights, inputs=given)
    assert report.agree
    assert gradients_of(report)["w"].precision == "f64"
    assert "in f64" in report.text()
    assert report.to_json()["differences"][-1]["precision"] == "f64"


def test_what_the_reference_rounds_as_well_is_no_fault() -> None:
    text = "model Far()(x: [8]) -> [8] { return x + 1000.0 - 1000.0 }"
    report = dlc.verify(model_of(text), backends=("torch",))
    (row,) = report.differences
    assert row.relative > report.tolerance and row.rounding > 0 and report.agree
    assert "the reference rounds by" in report.text()
    assert report.to_json()["differences"][0]["rounding"] == row.rounding


@pytest.mark.parametrize(("relative", "rounding"), [(2e-5, 0.0), (2e-5, 1e-6), (0.5, 0.5), (np.nan, 1e-5)])
def test_what_rounding_does_not_explain_is_a_fault(relative: float, rounding: float) -> None:
    row = Difference("torch", "y", "output", relative, relative, rounding=rounding)
    assert not module.Report("Net", 1e-5, (row,), {}, {}).agree


def test_an_op_without_a_rule_is_compared_between_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_rule(*given: Any) -> Any:
        raise NotDifferentiable("`swirl` has no derivative", NO_SPAN)

    monkeypatch.setattr(module, "meant_gradients", no_rule)
    model = model_of(ROOTS)
    with pytest.raises(SpecError, match="here torch alone gives some"):
        dlc.verify(model, backends=("torch",), gradients=True)
    found = dlc.verify(model, backends=("torch", "jax"), gradients=True, inputs={"x": np.float32([1, 2, 3])})
    assert found.agree
    assert gradients_of(found)["w"].backend == "jax~torch"


def test_an_index_beyond_its_table_is_no_fault_of_dlc() -> None:
    model = model_of("model Words()(ids: i64[T]) -> [T, 2] {\n    return ids |> embedding(5, 2)\n}\n")
    with pytest.raises(SpecError, match="E0902"):
        dlc.verify(model, backends=("torch",), inputs={"ids": np.array([0, 7])})


def test_smallest_settings() -> None:
    """The model's own or a preset's, of each model; a model that needs an argument has those of its presets."""
    spec = dlc.loads(SIZES)
    assert [each.name for each in smallest(spec)] == ["Tiny", "BareTiny"]
    assert [each.name for each in smallest(spec, "Wide")] == ["Tiny"]
    (entry,) = smallest(spec, "BareWide.twice")
    assert (entry.name, entry.point.entry, entry.settings) == ("BareTiny", "twice", {"d": 2})


def test_no_small_settings() -> None:
    spec = dlc.loads(SIZES.replace("BareTiny = Bare(d=2)", "BareTiny = Bare(d=8_000)"))
    with pytest.raises(SpecError, match="preset Tiny = Bare") as caught:
        smallest(spec)
    assert "64,008,000 parameters" in str(caught.value)


def test_every_spec_that_ships_has_small_settings() -> None:
    """For `dlc verify specs/*/*.dl --small --grad`."""
    for path in specs_path().rglob("*.dl"):
        spec = dlc.load(path)
        models = [spec[name] for name in spec.models]
        small = {each.point.definition for each in models if each.name.startswith(("Tiny", "Smallest"))}
        large = {each.point.definition.name for each in models if each.point.definition not in small}
        assert large <= SMALL_BY_THEMSELVES, path


@pytest.mark.parametrize(
    "body",
    [
        "return x + uniform([B, d])",
        "return x * cast(categorical(x), float)[:, none]",
        "return x |> linear(d) as fc |> Noisy(d) as noisy",
    ],
)
def test_what_a_model_draws_is_the_same_for_all(body: str) -> None:
    text = f"""
module Noisy(d: int)(x: [B, d]) -> [B, d] {{
    param scale: [d] = ones
    for i in range(2) {{
        x = tanh(x * scale + normal([B, d]))
    }}
    return x
}}

model M(d: int = 3)(x: [B, d]) -> [B, d] {{
    {body}
}}
"""
    model = dlc.loads(text)["M"]
    report = dlc.verify(model, gradients="param" in text and "linear" in body, backends=None)
    assert report.agree, str(report)
    assert set(report.sizes) == {"x"}


def test_what_a_precision_does_not_hold_is_infinite_everywhere() -> None:
    """An output that overflows in f16, in the reference as in the backend, is no difference; one in the backend alone is."""
    model = dlc.loads("model M()(x: [B, 4]) -> (y: [B, 4], z: [B, 4]) { return exp(10.0 * x), x * 2.0 }")["M"]
    x = np.array([[-1.0, 0.5, 2.0, 3.0]], np.float32)
    report = module.verify(model, backends=("torch",), inputs={"x": x}, precision="f16")
    assert report.agree, str(report)
    assert report.beyond == {"y": 2}
    assert "2 elements of `y` overflow in this precision" in str(report)
    assert not module.verify(model, backends=("torch",), inputs={"x": x}).beyond
    row = module.Difference("torch", "y", "output", np.inf, np.inf)
    wide, narrow = {"y": np.array([1e5, 1.0])}, {"y": np.array([6e4, 1.0])}
    own = module._rounded_alike(row, {"y": np.array([np.inf, 1.0])}, wide, narrow)
    assert own.relative == np.inf


def test_whole_numbers_are_right_or_wrong() -> None:
    """Off by one in 260,001 is within any tolerance of floats, and in 2**53 within what f64 tells apart."""
    model = dlc.loads("model M()(x: i64[B]) -> (y: i64[B], z: bool[B]) { return x * 2 + 1, x > 3 }")["M"]
    x = np.array([130_000, 2**52 + 1, 3], np.int64)
    right = {"y": x * 2 + 1, "z": x > 3}
    given: dict[str, Any] = {"inputs": {"x": x}, "weights": {}, "backends": ("torch",)}
    assert module.verify(model, expect=right, **given).agree
    for at in (0, 1):
        wrong = right["y"].copy()
        wrong[at] += 1
        report = module.verify(model, expect={"y": wrong}, **given)
        assert not report.agree
        assert f"it is {right['y'][at]}, expected is {wrong[at]}" in str(report)
    assert not module.verify(model, expect={"z": ~right["z"]}, **given).agree
    assert module.difference(right["y"], right["y"] + 1) == (1.0, 1.0)


def test_agreement_on_nothing_is_told() -> None:
    """Outputs that are one number all over say little of what made them."""
    model = dlc.loads(
        "model M(d: int = 4)(x: [B, d]) -> (y: [B, d], z: [B, d]) { return relu(-exp(x)), x + 1.0 }"
    )["M"]
    report = module.verify(model, backends=("torch",), dims={"B": 3})
    assert report.agree
    assert report.constant == {"y": 0.0}
    assert "every element of `y` is 0 here" in str(report)
    assert report.to_json()["constant"] == {"y": 0.0}
