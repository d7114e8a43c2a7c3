"""`best` and `patience`: the weights of the best evaluation are kept, and a run ends when it gets no better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import dlc
from dlc import writing
from dlc.diagnostics import SpecError
from dlc.runtime import run_folder
from dlc.runtime.reported import Best, Record
from dlc.spec import TrainBlock

SPEC = """
model Net()(x: [B, 4]) -> [B, 3] {{
    return x |> linear(32) as a |> relu |> linear(3) as b
}}

train t {{
    net = Net()
    batch (x: [B, 4], label: i64[B]) from npz("train.npz", batch=16)
    {evaluate}
    logits = net(x)
    minimize cross_entropy(logits, label)
    metric accuracy = mean(argmax(logits, axis=-1) == label)
    metric error = 1.0 - accuracy
    optimizer = adam(lr=0.05)
    settings {{ {settings} }}
}}
"""
HELD_OUT = 'evaluate from npz("test.npz", batch=16)'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labels by chance: what is learned of them is worth nothing on others, and soon less."""
    rng = np.random.default_rng(0)
    for name, rows in (("train", 64), ("test", 48)):
        labels = rng.integers(0, 3, rows)
        x = rng.normal(size=(rows, 4)).astype(np.float32) + 0.3 * labels[:, None]
        np.savez(tmp_path / f"{name}.npz", x=x.astype(np.float32), label=labels)
    return tmp_path


def block(folder: Path, settings: str, evaluate: str = HELD_OUT) -> TrainBlock:
    path = folder / "spec.dl"
    path.write_text(SPEC.format(settings=settings, evaluate=evaluate), encoding="utf-8")
    found: TrainBlock = dlc.load(path)["t"]
    return found


def evaluations(out: Path) -> dict[int, dict[str, float]]:
    with (out / "metrics.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return {
        each["step"]: {**each["metrics"], "loss": each["loss"]}
        for each in records
        if each["kind"] == "evaluate"
    }


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
@pytest.mark.parametrize(
    ("best", "name", "take"),
    [("", "loss", min), (', best = "accuracy"', "accuracy", max), (', best = "min error"', "error", min)],
)
def test_ends_when_it_gets_no_better(best: str, name: str, take: object, backend: str, folder: Path) -> None:
    tried = block(folder, f"steps = 200, eval_every = 4, patience = 3{best}")
    result = dlc.train(tried, backend=backend, out=folder / "run")
    found = evaluations(folder / "run")
    values = [each[name] for each in found.values()]
    assert callable(take)
    first = list(found)[values.index(take(values))]
    assert result.best is not None and (result.best.name, result.best.step) == (name, first)
    assert result.steps == max(found) == first + 3 * 4 < 200
    assert json.loads((folder / "run/manifest.json").read_text())["finished"]
    again = dlc.train(block(folder, f"steps = {first}"), backend=backend, out=folder / "again")
    assert again.steps == first
    kept, meant = load_file(folder / "run/net.safetensors"), load_file(folder / "again/net.safetensors")
    for path, value in meant.items():
        np.testing.assert_array_equal(kept[path], value, err_msg=path)
    end = "highest" if take is max else "lowest"
    assert (
        f"best      {name} {values[values.index(take(values))]:.4f} after step {first}, the {end}\n"
        in result.text()
    )


def test_goes_on_as_if_it_had_not_been_stopped(folder: Path) -> None:
    """What was the best so far, and how long ago, is in the checkpoint."""
    settings = 'eval_every = 3, patience = 4, best = "loss"'
    whole = dlc.train(block(folder, f"steps = 100, {settings}"), backend="torch", out=folder / "whole")
    assert whole.best is not None
    # (A run evaluates at its end: these ends are among the whole one's evaluations.)
    for steps in (whole.best.step - 3, whole.best.step, whole.best.step + 6, 100, 100):
        tried = block(folder, f"steps = {steps}, {settings}")
        parts = dlc.train(tried, backend="torch", out=folder / "parts", resume=(folder / "parts").exists())
    assert parts.best is not None and parts.best.step == whole.best.step
    one, other = (load_file(folder / each / "net.safetensors") for each in ("whole", "parts"))
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


def test_what_a_kill_leaves_half_written_is_taken_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best weights, too, are staged under a name that the next run sweeps."""
    tried, out = block(folder, 'steps = 4, eval_every = 2, best = "loss"'), folder / "run"
    staged = []
    whole = writing._stage

    def stage(path: Path, *others: Any) -> None:
        whole(path, *others)
        staged.append(others[1][-1][0])

    monkeypatch.setattr(writing, "_stage", stage)
    dlc.train(tried, backend="torch", out=out)
    beside = [each for each in staged if each.parent == out]
    assert len(beside) > 2
    for each in beside:
        each.write_text("half")
    run_folder.sweep(out)
    assert list(out.glob(".*")) == []


def test_nan_is_never_the_best() -> None:
    best = Best("loss", high=False, patience=2)
    seen = []
    for step, loss in enumerate([float("nan"), 1.0, float("nan"), 1.0], 1):
        seen.append(best.measured(Record("evaluate", step, 0, loss, {}, 0.0)))
    assert seen == [False, True, False, False] and best.is_over and best.value == 1.0


@pytest.mark.parametrize(
    ("settings", "evaluate", "what"),
    [
        ('steps = 9, best = "acuracy"', HELD_OUT, "did you mean `accuracy`"),
        ('steps = 9, best = "top accuracy"', HELD_OUT, '"min NAME" takes the lowest'),
        ('steps = 9, best = "accuracy"', "", "held-out data"),
        ("steps = 9, patience = 2", HELD_OUT, "eval_every"),
        ("steps = 9, eval_every = 2, patience = 0", HELD_OUT, "positive"),
        ("steps = 9, early_stopping = 3", HELD_OUT, "did you mean `patience` or `best`"),
    ],
)
def test_what_is_refused(settings: str, evaluate: str, what: str, folder: Path) -> None:
    with pytest.raises(SpecError) as found:
        block(folder, settings, evaluate).plan  # noqa: B018
    assert what in str(found.value)
