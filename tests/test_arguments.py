"""Wrong arguments of the Python API: told at the call, by the argument's name."""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError

TEXT = """
model M(d: int = 4, flag: bool = false, widths: list[int] = [1], rate: float = 0.5)(
    x: [B, 4], mask: bool[B] = none
) -> y: [B, d] {
    return x |> linear(d) as fc
}

train fit(rate: float = 0.1) {
    net = M()
    batch (x: [B, 4], y: [B, 4]) from arrays(batch=4)
    minimize mse(net(x), y)
    optimizer = sgd(lr=rate)
    settings { steps = 2, log = 1 }
}

weights other for M { rename "z" -> "fc" }
"""
SPEC = dlc.loads(TEXT, "m.dl")
MODEL = SPEC["M"]
BLOCK = SPEC["fit"]
ARTIFACT = MODEL.emit("torch")
ROWS = np.ones((8, 4), np.float32)
DATA = {"x": ROWS, "y": ROWS}
RIGHT: dict[Callable[..., Any], dict[str, Any]] = {
    dlc.load: {"path": "m.dl"},
    dlc.loads: {"text": TEXT},
    SPEC.__getitem__: {"name": "M"},
    MODEL.with_inputs: {},
    MODEL.with_program: {"program": MODEL.program},
    MODEL.optimized: {},
    MODEL.initial_weights: {},
    MODEL.emit: {"backend": "torch"},
    MODEL.compile: {"backend": "torch"},
    dlc.verify: {"model": MODEL, "backends": ("torch",)},
    dlc.train: {"block": BLOCK, "backend": "torch", "out": "runs/wrong"},
    ARTIFACT.write: {"directory": "emitted"},
    dlc.predict: {"block": BLOCK, "weights": "none.npz", "inputs": ["x.npy"], "backend": "torch"},
    dlc.evaluate: {"block": BLOCK, "weights": "none.npz", "backend": "torch"},
    dlc.verify_training: {"block": BLOCK, "backends": ("torch",), "steps": 1, "data": DATA},
}
CHECKED_BY_THE_SOURCE = {"data", "held_out"}  # with E0710, as rows of any other source


class Odd:
    pass


WRONG = [
    None, 1, 1.5, True, "", "a\0b", b"x", [], ["x"], [1], {}, {"x": 1}, {1: 2}, (), Odd(), np.int64(3), np.float32(1), np.zeros(3),
    np.zeros((), int), pathlib.Path("nowhere"), float("nan"), -1, object, {"x"}, (each for each in "ab"), lambda: None,
]  # fmt: skip


def parameters() -> Iterator[tuple[Callable[..., Any], str]]:
    for function in RIGHT:
        for name in inspect.signature(function).parameters:
            if name not in CHECKED_BY_THE_SOURCE:
                yield function, name


def test_every_public_function_is_tried() -> None:
    """What has parameters and can be called, of the names of the package and the methods of its values."""
    assert [
        name for name in dlc.__all__ if inspect.isfunction(found := getattr(dlc, name)) and found not in RIGHT
    ] == []
    takes_settings = {"__call__", "with_settings", "summary", "warnings"}  # by names of the user's own; below
    for value in (SPEC, MODEL, BLOCK, ARTIFACT):
        for name in (*(each for each in dir(value) if not each.startswith("_")), "__call__", "__getitem__"):
            method = getattr(type(value), name, None)
            if inspect.isfunction(method) and len(inspect.signature(method).parameters) > 1:
                found = getattr(value, name) in RIGHT or name in takes_settings or name in INTERNAL
                assert found, f"{type(value).__name__}.{name} is not tried with wrong arguments"


INTERNAL = {
    "model",
    "point",
    "entered",
    "fail",
    "traced_program",
}  # of Spec and Model: what others are made of


@pytest.mark.parametrize(("function", "name"), parameters(), ids=lambda each: getattr(each, "__name__", each))
def test_wrong_arguments_are_told_by_name(
    function: Callable[..., Any], name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = 0
    for value in WRONG:
        given = {**RIGHT[function], name: value}
        positional = [given.pop(name)] if name in ("names",) else []
        try:
            function(*positional, **given)
        except SpecError as error:
            assert error.diagnostics[0].code != "E0999", (name, value)
            assert error.diagnostics[0].message
        except (TypeError, ValueError) as error:
            assert f"`{name}`" in str(error) or (isinstance(value, dict) and "`x`" in str(error)), error
            refused += 1
    assert refused >= 8, f"`{name}` takes nearly anything"


@pytest.mark.parametrize("function", RIGHT, ids=lambda each: each.__name__)
def test_a_misspelt_name_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"seeed|positional"):
        function(**RIGHT[function], seeed=1)


def test_what_numpy_says_is_taken() -> None:
    assert MODEL(d=np.int64(3), flag=np.True_, widths=[np.int32(2)], rate=np.float32(0.5)).settings == {
        "d": 3,
        "flag": True,
        "widths": [2],
        "rate": 0.5,
    }
    assert type(MODEL(d=np.int64(3)).settings["d"]) is int
    assert BLOCK.with_settings(steps=np.int64(3)).plan.settings["steps"] == 3
    assert MODEL.summary(B=np.int64(2)).flops == 2 * 4 * 4 * 2
    assert dlc.verify(MODEL, backends=["torch"], optimize=np.int64(1), tolerance=np.float32(1e-5)).agree


@pytest.mark.parametrize(
    "value", [Odd(), {}, object, np.zeros(3), {"x"}, b"x", 1j], ids=lambda each: type(each).__name__
)
def test_a_setting_that_no_spec_can_take_is_refused(value: object) -> None:
    for call in (lambda: MODEL(d=value), lambda: BLOCK(rate=value), lambda: BLOCK.with_settings(steps=value)):
        with pytest.raises(TypeError, match=r"`(d|rate|settings\.steps)` must be a number"):
            call()


def test_wrong_settings_of_a_train_block_fail_at_the_call() -> None:
    for call, code in (
        (lambda: BLOCK(rat=1.0), "E0102"),
        (lambda: BLOCK(rate="fast"), "E0201"),
        (lambda: BLOCK.with_settings(stepz=1), "E0702"),
        (lambda: BLOCK.with_settings(steps=1.5), "E0703"),
        (lambda: BLOCK.with_settings(steps=True), "E0703"),
        (lambda: BLOCK.with_settings(steps=-1), "E0703"),
    ):
        with pytest.raises(SpecError) as caught:
            call()
        assert caught.value.diagnostics[0].code == code


@pytest.mark.parametrize("value", [1.5, True, "2", None, [1]], ids=repr)
def test_a_size_is_an_integer(value: object) -> None:
    with pytest.raises(TypeError, match="`B` must be an integer"):
        MODEL.summary(B=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`B` must be an integer"):
        dlc.verify(MODEL, backends=("torch",), dims={"B": value})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="`B` must be zero or more"):
        MODEL.summary(B=-1)


def test_weights_through_a_block_need_weights() -> None:
    for call in (
        lambda: MODEL.compile("torch", through="other"),
        lambda: dlc.verify(MODEL, backends=("torch",), through="other"),
    ):
        with pytest.raises(SpecError, match="read through `other`, and none are given"):
            call()


def test_a_watch_and_a_train_block_are_what_they_are_called() -> None:
    with pytest.raises(TypeError, match="`blocks` must be a train block"):
        SPEC.warnings(MODEL)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`block` must be a train block"):
        dlc.train(MODEL, backend="torch", out="runs/none")  # type: ignore[arg-type]


def test_inputs_of_verify_are_those_of_a_runnable() -> None:
    x = np.zeros((3, 4), np.float32)
    for inputs, code, message in (
        ({"z": x}, "E0902", "there is no input `z`"),
        ({"x": x[0]}, "E0902", "it has 1 axes, not 2"),
        ({"x": x.astype("U5")}, "E0902", "not <U5"),
    ):
        with pytest.raises(SpecError) as caught:
            dlc.verify(MODEL, backends=("torch",), inputs=inputs)
        assert caught.value.diagnostics[0].code == code
        assert message in caught.value.diagnostics[0].message
    with pytest.raises(SpecError, match="B is to be 7, and is 3 by the input `x`"):
        dlc.verify(MODEL, backends=("torch",), inputs={"x": x}, dims={"B": 7})
    with pytest.raises(SpecError, match="what is expected of `y` holds <U5, no numbers"):
        weights = MODEL.initial_weights()
        dlc.verify(MODEL, backends=("torch",), weights=weights, inputs={"x": x}, expect={"y": x.astype("U5")})


def test_masked_weights_are_refused() -> None:
    weights = MODEL.initial_weights()
    masked = np.ma.masked_array(weights["fc.weight"], mask=np.eye(4, dtype=bool))
    with pytest.raises(ValueError, match=r"'fc\.weight' of `weights` has masked elements"):
        MODEL.compile("torch", weights={**weights, "fc.weight": masked})


def test_a_root_is_a_folder(tmp_path: pathlib.Path) -> None:
    spec = tmp_path / "m.dl"
    spec.write_text(TEXT)
    for root in (tmp_path / "missing", spec):
        for load in (
            lambda root=root: dlc.load(spec, root=root),
            lambda root=root: dlc.loads(TEXT, root=root),
        ):
            with pytest.raises(SpecError, match="is no folder"):
                load()
    assert dlc.load(spec, root=tmp_path).models == ("M",)


def test_settings_are_given_by_name() -> None:
    model = dlc.loads("model M(d: int = 4, e: int = 2)(x: [B, d]) -> [B, d] {\n    return x * e\n}\n")["M"]
    with pytest.raises(TypeError, match="settings are given by name: d=…, e=…"):
        model(8)
