"""Norms along another axis than their own: PyTorch's layer on the input with that axis moved, on every backend, with Keras's and
PyTorch's shapes of parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

torch = pytest.importorskip("torch")
nn = torch.nn

# A norm as it is called, the axis, PyTorch's layer, and where that has the axis.
CASES = {
    "layer_norm(axis=1)": (1, lambda: nn.LayerNorm(4), -1),
    "layer_norm(axis=-2, bias=false, eps=1e-3)": (2, lambda: nn.LayerNorm(5, eps=1e-3, bias=False), -1),
    "rms_norm(axis=1)": (1, lambda: nn.RMSNorm(4, eps=1e-6), -1),
    "batch_norm(axis=-1)": (3, lambda: nn.BatchNorm2d(6), 1),
    "batch_norm(axis=2, affine=false)": (2, lambda: nn.BatchNorm2d(5, affine=False), 1),
    "group_norm(2, axis=-1)": (3, lambda: nn.GroupNorm(2, 6), 1),
    "instance_norm(axis=-1, affine=true)": (3, lambda: nn.InstanceNorm2d(6, affine=True), 1),
}
SPEC = "model M()(x: [B, 4, 5, 6]) -> [B, 4, 5, 6] {\n    return x |> CALL as norm\n}\n"
X = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)


def moved(layer: Any, axis: int, own: int) -> Any:
    return layer(torch.tensor(X).movedim(axis, own)).movedim(own, axis)


@pytest.mark.parametrize("call", CASES)
def test_pytorch_on_the_moved_input(call: str) -> None:
    axis, make, own = CASES[call]
    model, layer = dlc.loads(SPEC.replace("CALL", call))["M"], make().eval()
    weights = generic_weights(model.program)
    state = {name: torch.tensor(weights[f"norm.{name}"]) for name in layer.state_dict()}
    assert {f"norm.{name}" for name in state} == weights.keys()
    layer.load_state_dict(state)
    with torch.no_grad():
        wanted = moved(layer, axis, own).numpy()
    (found,) = run(model.program, weights, {"x": X}).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    (emitted,) = model.compile("torch", weights=weights)(x=X).values()
    np.testing.assert_allclose(emitted, wanted, rtol=1e-5, atol=1e-5)


def test_running_statistics_are_of_that_axis() -> None:
    model = dlc.loads(SPEC.replace("CALL", "batch_norm(axis=-1)"))["M"]
    layer, updates = nn.BatchNorm2d(6), dict[str, Any]()
    moved(layer.train(), 3, 1)
    run(model.training_program, dlc.runtime.weights.initial_weights(model.program), {"x": X}, updates=updates)
    np.testing.assert_allclose(updates["norm.running_mean"], layer.running_mean.numpy(), atol=1e-6)
    np.testing.assert_allclose(updates["norm.running_var"], layer.running_var.numpy(), atol=1e-5)


@pytest.mark.parametrize("level", [1, 2])
def test_all_backends_with_gradients(level: int) -> None:
    # PyTorch 2.13 dies of the derivative of nn.GroupNorm where its input has channels last and needs no gradient itself.
    calls = " + ".join(f"tanh(x |> {call} as n{k})" for k, call in enumerate(CASES))
    model = dlc.loads(
        SPEC.replace("return x |> CALL as norm", f"x = x |> linear(6) as fc\n    return {calls}")
    )["M"]
    assert dlc.verify(model, optimize=level).agree
    assert dlc.verify(model, backends=("torch", "jax"), gradients=True, optimize=level).agree


def test_source_is_the_layer_around_which_the_axis_is_moved() -> None:
    text = dlc.loads(SPEC.replace("CALL", "layer_norm(axis=1)"))["M"].emit("torch").files["m.py"]
    assert "self.norm = nn.LayerNorm(4)" in text
    assert "return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)" in text


@pytest.mark.parametrize(
    "call", ["layer_norm(axis=3)", "layer_norm(axis=-1)", "batch_norm(axis=-3)", "rms_norm(axis=3)"]
)
def test_its_own_axis_is_moved_nowhere(call: str) -> None:
    plain = call.partition("(")[0]
    (found, wanted) = (dlc.loads(SPEC.replace("CALL", each))["M"].program for each in (call, plain))
    assert found.functions == wanted.functions


def test_an_axis_that_a_module_is_given() -> None:
    """One that the source could not say with another value: what hangs on it is written out."""
    text = "module N(axis: int = 1)(x: [*S]) -> [*S] {\n    return x |> layer_norm(axis=axis) as norm\n}\n"
    text += (
        "model M()(x: [B, 4, 5, 6]) -> _ {\n    return x |> N as a |> N(axis=2) as b |> N(axis=-1) as c\n}\n"
    )
    model = dlc.loads(text)["M"]
    assert [tuple(each.type.shape or ()) for each in model.program.parameters] == [
        (4,),
        (4,),
        (5,),
        (5,),
        (6,),
        (6,),
    ]
    assert dlc.verify(model, backends=("torch", "jax")).agree


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        ("layer_norm(axis=4)", "E0307", "`layer_norm`: axis 4 of a tensor with 4 axes"),
        ("layer_norm(axes=2, axis=1)", "E0307", "`axis` is one axis, and `axes` counts the last ones"),
        ("group_norm(4, axis=-1)", "E0401", "needs `C % groups == 0`"),
    ],
)
def test_what_is_refused(call: str, code: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        dlc.loads(SPEC.replace("CALL", call))["M"].program  # noqa: B018 - elaborated when it is read
    (found,) = caught.value.diagnostics
    assert found.code == code and said in found.message and found.span.line == 2


def test_copies_have_their_own_axis() -> None:
    text = "model M()(x: [3, B, 4, 5]) -> _ {\n    return x |> copies(layer_norm(axis=1), 3) as norms\n}\n"
    with pytest.raises(SpecError, match="a norm along another axis than its own"):
        dlc.loads(text)["M"].program  # noqa: B018
