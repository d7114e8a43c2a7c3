"""A spec beside the published model: its outputs, and the settings that its checkpoint states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from typer.testing import CliRunner

import dlc
from dlc.cli.application import build
from dlc.diagnostics import SpecError
from dlc.runtime.expectation import compared
from dlc.runtime.weight_files import write_file

SPEC = """
model M(d: int = 8, layers: int = 2)(x: [B, d]) -> y: [B, d] {
    for i in range(layers) as h {
        x = x + (x |> layer_norm(eps=1e-6) as norm |> linear(d) as fc |> gelu)
    }
    return x |> layer_norm(eps=1e-6) as last
}
"""


def published(weights: dict[str, np.ndarray], x: np.ndarray, eps: float) -> np.ndarray:
    """What another implementation gives in f32, with its own eps."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(eps))
        return y * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    from math import erf

    gelu = np.vectorize(lambda v: v * 0.5 * (1 + erf(v / 2**0.5)), otypes=[np.float32])
    for i in range(2):
        x = x + gelu(norm(x, f"h.{i}.norm") @ weights[f"h.{i}.fc.weight"].T + weights[f"h.{i}.fc.bias"])
    return norm(x, "last").astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("published")
    (place / "m.dl").write_text(SPEC)
    weights = dlc.load(place / "m.dl")["M"].initial_weights()
    write_file(place / "w.safetensors", weights)
    x = (0.1 * np.random.default_rng(0).standard_normal((3, 8))).astype(np.float32)
    np.save(place / "x.npy", x)
    np.savez(place / "same.npz", y=published(weights, x, 1e-6))
    np.savez(place / "other.npz", y=published(weights, x, 1e-12))
    write_file(place / "half.npz", {"y": published(weights, x, 1e-6).astype(ml_dtypes.bfloat16)})
    (place / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["M"], "hidden_size": 8, "num_hidden_layers": 3, "layer_norm_eps": 1e-12,
                "hidden_act": "gelu_new", "initializer_range": 0.02, "tie": True, "vocab_size": None,
            }
        )
    )  # fmt: skip
    return place


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(build(), [each.replace("@", f"{folder}/") for each in arguments])
    return found.exit_code, found.output


def verify(folder: Path, *more: str) -> tuple[int, str]:
    given = ("--weights", "@w.safetensors", "--input", "x=@x.npy")
    return run(folder, "verify", "@m.dl:M", "--backends", "onnx", *given, *more)


def test_the_published_outputs_are_met(folder: Path) -> None:
    code, text = verify(folder, "--expect", "@same.npz")
    assert code == 0 and "M: the outputs are those expected" in text, text


def test_another_eps_is_found(folder: Path) -> None:
    code, text = verify(folder, "--expect", "@other.npz")
    assert code == 1 and "M: all backends agree" in text, text
    assert "FAIL" in text and "at [" in text and "expected is" in text and "not those expected" in text


def test_rounded_outputs_have_a_tolerance_of_their_own(folder: Path) -> None:
    assert verify(folder, "--expect", "@half.npz")[0] == 0
    assert verify(folder, "--expect", "@half.npz", "--tolerance", "1e-5")[0] == 1
    code, text = verify(folder, "--expect", "@other.npz", "--format", "json")
    report = json.loads(text)
    assert code == 1 and report["expect_tolerance"] == 1e-5
    assert [each["kind"] for each in report["differences"]] == ["expected", "output"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"expect": {"z": np.zeros(1)}}, "`z`, which is no output"),
        ({"expect": {}}, "holds nothing"),
        ({"inputs": {}}, "`x` is missing"),
        ({"weights": None}, "give them: --weights"),
        ({"expect": "nowhere.npz"}, "no such file"),
        ({"precision": "f8"}, "no precision `f8`"),
        ({"precision": "bf16", "gradients": True}, "compared in f32"),
    ],
)
def test_what_can_not_be_compared_is_said(folder: Path, more: dict[str, Any], said: str) -> None:
    model = dlc.load(folder / "m.dl")["M"]
    inputs = {"x": np.load(folder / "x.npy")}
    given = {"weights": folder / "w.safetensors", "inputs": inputs, "expect": {"y": np.zeros((3, 8))}}
    with pytest.raises(SpecError) as raised:
        dlc.verify(model, backends=("onnx",), **{**given, **more})
    assert said in str(raised.value)


def test_precisions(folder: Path) -> None:
    code, text = verify(folder, "--precision", "f16", "--backends", "torch")
    assert code == 0 and "tolerance 0.005" in text, text
    assert verify(folder, "--precision", "f16", "--tolerance", "1e-7", "--backends", "torch")[0] == 1


@pytest.mark.parametrize(
    ("found", "expected", "relative"),
    [
        ([1.0, 1000.0], [1.0, 1000.0], 0),
        ([1.001, 1000.0], [1.0, 1000.0], 1e-3 / np.sqrt(500000.5)),
        ([1.0, 1001.0], [1.0, 1000.0], 1e-3),
        ([0.5], [0.0], 0.5),
        ([np.nan], [np.nan], 0),
        ([np.inf], [np.inf], 0),
        ([np.nan], [1.0], np.inf),
        ([1.0], [np.inf], np.inf),
        ([], [], 0),
        ([1.0], [1.0, 1.0], np.inf),
    ],
)
def test_how_far(found: Sequence[float], expected: Sequence[float], relative: float) -> None:
    assert compared(np.array(found), np.array(expected))[1] == pytest.approx(relative)


def test_the_config_beside_a_checkpoint(folder: Path) -> None:
    code, text = run(folder, "weights", "inspect", "@w.safetensors", "--model", "@m.dl:M")
    assert code == 0
    assert "differs: num_hidden_layers is 3, the model's layers is 2" in text
    assert "differs: layer_norm_eps is 1e-12, the eps of layer_norm is 1e-06" in text
    assert "differs: hidden_act is gelu_new, the activation is gelu" in text
    assert "3 differ; the same: hidden_size" in text
    assert "not compared: architectures, initializer_range, tie, vocab_size" in text
    code, text = run(
        folder,
        "weights",
        "inspect",
        "@w.safetensors",
        "--model",
        "@m.dl:M",
        "--set",
        "layers=3",
        "--format",
        "json",
    )
    assert [each["name"] for each in json.loads(text)["config"] if each["differs"]] == [
        "layer_norm_eps",
        "hidden_act",
    ]
    assert "--model FILE:NAME" in run(folder, "weights", "inspect", "@w.safetensors")[1]


@pytest.mark.parametrize("config", ["{", "[]", "[" * 100_000])
def test_a_config_that_is_none(folder: Path, tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    write_file(tmp_path / "w.npz", {"a": np.zeros(1)})
    code, text = run(tmp_path, "weights", "inspect", "@w.npz")
    assert code == 1 and "E0601" in text
