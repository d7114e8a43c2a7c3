"""Compiled steps as files, and training with them without dlc's own loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from training_specs import block, loaded, losses

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime.training_data import open_data
from dlc.runtime.write_steps import write_steps


def test_plain_onnxruntime_trains_as_dlc_does(tmp_path: Path) -> None:
    import onnxruntime

    tried = loaded(block("optimizer = adamw(lr=1e-2)", "steps = 5", net="Net(p=0.0)"))
    written = write_steps(tried, "onnx", tmp_path / "steps")
    assert [each.name for each in written] == [
        "t_evaluate.onnx", "t_evaluate.json", "t_step.onnx", "t_step.json", "t.safetensors",
    ]  # fmt: skip
    facts = json.loads((tmp_path / "steps/t_step.json").read_text())
    session = onnxruntime.InferenceSession(tmp_path / "steps/t_step.onnx")
    held, names = load_file(tmp_path / "steps/t.safetensors"), facts["training"]["names"]
    data, seen = open_data(tried), []
    for t in range(1, 6):
        batch = data.training.training(t - 1)
        feeds = {name: batch[name] for name in ("image", "label")}
        feeds |= {names["t"]: np.asarray(t), names["rate"]: np.asarray(1e-2, np.float32)}
        feeds |= {name: held[path] for path, name in facts["parameters"]}
        found = dict(
            zip((each.name for each in session.get_outputs()), session.run(None, feeds), strict=True)
        )
        held |= {path: found[name] for path, name in facts["updates"]}
        seen.append(float(found["loss"]))
    dlc.train(tried, backend="onnx", out=tmp_path / "run")
    np.testing.assert_allclose(seen, losses(tmp_path / "run"), rtol=1e-5)
    trained = load_file(tmp_path / "run/net.safetensors")
    for path, value in trained.items():
        np.testing.assert_allclose(held[f"net.{path}"], value, rtol=1e-3, atol=1e-5, err_msg=path)


def test_draws_and_several_batches(tmp_path: Path) -> None:
    tried = loaded(block(settings="steps = 4, accumulate = 2"))
    names = {each.name for each in write_steps(tried, "onnx", tmp_path)}
    assert names >= {"t_part.onnx", "t_rest.onnx", "t_evaluate.onnx", "t_outputs.onnx"}
    part = json.loads((tmp_path / "t_part.json").read_text())["training"]
    assert len(part["draws"]) == 3 and part["draws"][0]["op"] == "uniform"
    assert part["draws"][0]["shape"] == [32, 256]
    assert list(part["names"].values()) == ["share"]


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="compiles no steps"):
        write_steps(loaded(block()), "torch", tmp_path)
    (tmp_path / "t_step.onnx").write_text("mine")
    with pytest.raises(SpecError, match="dlc did not write it"):
        write_steps(loaded(block()), "onnx", tmp_path, force=False)
    assert (tmp_path / "t_step.onnx").read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["t_step.onnx"]
