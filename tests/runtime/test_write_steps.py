"""Compiled steps as files, and training with them without dlc's own loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from step_specs import spec
from training_specs import block, journal, loaded, losses

import dlc
from dlc.backend import find
from dlc.diagnostics import SpecError
from dlc.runtime.trainers import Trainers
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


def test_plain_onnxruntime_trains_in_f16(tmp_path: Path) -> None:
    """The program counts its steps itself, and gives the next scale of its loss."""
    import onnxruntime

    settings = "steps = 7, precision = f16"
    text = block("optimizer = adam(lr=1e-2)", settings, net="Net(p=0.0)")
    tried = loaded(text.replace("cross_entropy(logits, label)", "cross_entropy(logits, label) * 3000.0"))
    write_steps(tried, "onnx", tmp_path / "steps")
    facts = json.loads((tmp_path / "steps/t_step.json").read_text())
    session = onnxruntime.InferenceSession(tmp_path / "steps/t_step.onnx")
    outputs = [each.name for each in session.get_outputs()]
    held, names = load_file(tmp_path / "steps/t.safetensors"), facts["training"]["names"]
    assert "t" not in names and held["optimizer.loss_scale.scale"] == 65_536.0
    data, seen, scales = open_data(tried), [], []
    for step in range(7):
        batch = data.training.training(step)
        feeds = {"image": batch["image"].astype(np.float16), "label": batch["label"]}
        feeds |= {names["rate"]: np.asarray(1e-2, np.float32)}
        feeds |= {name: held[path] for path, name in facts["parameters"]}
        found = dict(zip(outputs, session.run(None, feeds), strict=True))
        held |= {path: found[name] for path, name in facts["updates"]}
        seen.append(float(found["loss"]))
        scales.append(float(found[names["loss_scale"]]))
    dlc.train(tried, backend="onnx", out=tmp_path / "run")
    np.testing.assert_allclose(seen, losses(tmp_path / "run"), rtol=1e-5)
    assert scales == [each["loss_scale"] for each in journal(tmp_path / "run")]
    assert 1.0 < scales[-1] < 65_536.0


def test_draws_and_several_batches(tmp_path: Path) -> None:
    tried = loaded(block(settings="steps = 4, accumulate = 2"))
    names = {each.name for each in write_steps(tried, "onnx", tmp_path)}
    assert names >= {"t_part.onnx", "t_rest.onnx", "t_evaluate.onnx", "t_outputs.onnx"}
    part = json.loads((tmp_path / "t_part.json").read_text())["training"]
    assert len(part["draws"]) == 2 and part["draws"][0]["op"] == "uniform"
    assert part["draws"][0]["shape"] == [32, 256]
    assert list(part["names"].values()) == ["share"]


def test_several_steps_without_dlc(tmp_path: Path) -> None:
    """What the files say is enough to train a generator and its critic with onnxruntime alone."""
    import onnxruntime

    tried = spec("a generator and its critic")
    folder = tmp_path / "steps"
    write_steps(tried, "onnx", folder)
    facts = {each.stem: json.loads(each.read_text()) for each in folder.glob("*.json")}
    sessions = {name: onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in facts}
    held = load_file(folder / "t.safetensors")
    trainers = Trainers(tried, {"B": 8})
    expected = trainers.of(find("onnx"))

    def run(name: str, batch: dict[str, np.ndarray], **more: np.ndarray) -> dict[str, np.ndarray]:
        wanted = {each.name for each in sessions[name].get_inputs()}
        names = facts[name]["training"]["names"]
        feeds = {key: value for key, value in batch.items() if key in wanted}
        feeds |= {names[key]: value for key, value in more.items()}
        feeds |= {key: held[path] for path, key in facts[name]["parameters"]}
        results = sessions[name].run(None, feeds)
        found = dict(zip((each.name for each in sessions[name].get_outputs()), results, strict=True))
        held.update({path: found[key] for path, key in facts[name]["updates"]})
        return found

    for turn in range(4):
        x = np.random.default_rng(turn).normal(size=(8, 4)).astype(np.float32)
        fields = {"x": x, "label": np.zeros(8, np.int64)}
        values, _ = trainers.turns.turn(expected, turn, [fields], 4)
        assert trainers.turns.drawn is not None
        batch = dict(trainers.turns.drawn.completed(fields, (0, turn, 0)))
        before = run("t_before", batch)
        batch |= {inner: before[outer] for outer, inner in facts["t_before"]["training"]["gives"].items()}
        rate = np.asarray(1e-2, np.float32)
        found = {"critic": run("t_critic", batch, t=np.asarray(turn + 1), rate=rate)["loss"]}
        if (turn + 1) % facts["t_generator"]["training"]["every"] == 0:
            found["generator"] = run("t_generator", batch, t=np.asarray((turn + 1) // 2), rate=rate)["loss"]
        run("t_after", batch)
        for name, loss in found.items():
            assert float(loss) == pytest.approx(values[name], rel=1e-5)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="compiles no steps"):
        write_steps(loaded(block()), "torch", tmp_path)
    (tmp_path / "t_step.onnx").write_text("mine")
    with pytest.raises(SpecError, match="dlc did not write it"):
        write_steps(loaded(block()), "onnx", tmp_path, force=False)
    assert (tmp_path / "t_step.onnx").read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["t_step.onnx"]
