"""Training from Python: data that lies in memory, and a watch that is told of steps and may end the run."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import journal

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime import training
from dlc.runtime.data.arrays import ArrayRows
from dlc.runtime.training import Interrupted, Record, Watch
from dlc.runtime.weights import read_file

SPEC = """
model Net(d: int = 8)(x: [B, 4]) -> [B, 3] {
    return x |> linear(d) as up |> gelu |> linear(3) as down
}

train t {
    net = Net()
    batch (x: [B, 4], label: i64[B]) from SOURCE
    logits = net(x)
    minimize cross_entropy(logits, label)
    metric accuracy = mean(argmax(logits, -1) == label)
    optimizer = adam(lr=1e-2)
    settings { steps = 6, log = 1, checkpoint_every = 2 }
}
"""
BLOCK = dlc.loads(SPEC.replace("SOURCE", "arrays(batch=8)"))["t"]
RNG = np.random.default_rng(0)
DATA = {"x": RNG.normal(size=(30, 4)), "label": RNG.integers(0, 3, 30).astype(np.int32), "other": None}
HELD = {"x": RNG.normal(size=(5, 4)).tolist(), "label": [0, 1, 2, 0, 1]}


def train(out: Path, **options: Any) -> Any:
    return dlc.train(BLOCK, backend="torch", out=out, **{"data": DATA, **options})


def problem(out: Path, **options: Any) -> Any:
    with pytest.raises(SpecError) as caught:
        train(out, **options)
    return caught.value.diagnostics[0]


# --- data --------------------------------------------------------------------------------------------------------


def test_arrays(tmp_path: Path) -> None:
    """Any mapping of what NumPy takes; held-out data without an `evaluate` as well. They are as good as a file of them."""
    result = train(tmp_path / "given", held_out=HELD)
    assert result.evaluation is not None and result.metrics.keys() == {"accuracy"}
    np.savez(tmp_path / "rows.npz", x=DATA["x"], label=DATA["label"])
    text = SPEC.replace("SOURCE", f'npz("{tmp_path}/rows.npz", batch=8)')
    files = dlc.loads(text, root="/")["t"]
    dlc.train(files, backend="torch", out=tmp_path / "file")
    assert journal(tmp_path / "given") == journal(tmp_path / "file")
    rows = ArrayRows({"x": DATA["x"], "label": DATA["label"]})
    dlc.train(files, backend="torch", out=tmp_path / "rows", data=rows)  # in the place of the file
    assert journal(tmp_path / "rows") == journal(tmp_path / "file")


WRONG = {
    "no data": (None, "the data of `arrays` is given in Python"),
    "no mapping": ([DATA["x"], DATA["label"]], "`data` must be a mapping from the names of fields to arrays, not `list`"),
    "a name": ({"X": DATA["x"], "label": DATA["label"]}, "`data` has no array `x`"),
    "lengths": ({**DATA, "label": DATA["label"][:9]}, "`x` has 30 rows, `label` has 9 rows"),
    "a shape": ({**DATA, "x": DATA["x"][:, :3]}, "`x` does not fit: an axis of 3 in the data is declared as 4"),
    "a dtype": ({**DATA, "label": DATA["x"][:, 0]}, "`label` is f64 in the data, not i64"),
    "a ragged list": ({**DATA, "x": [[1.0], [1.0, 2.0]]}, "`x` of `data` is no array"),
    "text": ({**DATA, "x": ["a"] * 30}, "`x` of `data` holds <U1"),
    "one number": ({**DATA, "x": 1.0}, "`x` of `data` is a single value, not rows"),
    "nothing": ({"x": DATA["x"][:0], "label": DATA["label"][:0]}, "`data` has no rows"),
    "few rows": ({"x": DATA["x"][:7], "label": DATA["label"][:7]}, "`data` has 7 rows, fewer than one batch of 8"),
    "a label": ({**DATA, "label": DATA["label"] + 1}, "`label` goes up to 3"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_data(data: Any, message: str, tmp_path: Path) -> None:
    found = problem(tmp_path / "run", data=data)
    assert found.code == "E0710"
    assert message in found.message
    assert found.span.line > 0


def test_wrong_held_out_data(tmp_path: Path) -> None:
    found = problem(tmp_path / "run", held_out={**HELD, "x": np.zeros((5, 3))})
    assert (found.code, found.message[:20]) == ("E0710", "`x` does not fit: an")


def test_a_run_goes_on_with_the_same_data_alone(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole)
    with pytest.raises(Cancelled):
        train(parts, watch=Cancel("step", 3))
    changed = {**DATA, "x": np.where(np.arange(30)[:, None] == 29, 0.0, DATA["x"])}
    found = problem(parts, data=changed, resume=True)
    assert found.code == "E0716" and "the training data has changed since" in found.message
    train(parts, data={**DATA, "x": DATA["x"].copy()}, resume=True)
    assert journal(parts) == journal(whole)
    same(whole, parts)


def test_a_step_in_which_nothing_counts(tmp_path: Path) -> None:
    text = SPEC.replace("SOURCE", "arrays(batch=8)").replace(
        "(logits, label)\n    metric", "(logits, label, ignore=9)\n    metric"
    )
    with pytest.raises(SpecError) as caught:
        dlc.train(dlc.loads(text)["t"], backend="torch", out=tmp_path, data={**DATA, "label": np.full(30, 9)})
    (found,) = caught.value.diagnostics
    assert found.code == "E0717" and found.notes[0].startswith("it is a mean over nothing")


@pytest.mark.parametrize("source", ["arrays(batch=8)", "arrays(batch=8, split=0.9)"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_data_that_are_no_numbers(source: str, value: float, tmp_path: Path) -> None:
    """The row is that of the data, whatever order and share it is drawn from."""
    for row in range(30):
        x = DATA["x"].copy()
        x[row, 0] = value
        block = dlc.loads(SPEC.replace("SOURCE", source))["t"].with_settings(epochs=1)
        try:
            dlc.train(block, backend="onnx", out=tmp_path / str(row), data={**DATA, "x": x})
        except SpecError as error:
            (found,) = error.diagnostics
            assert found.code == "E0717" and found.help == "leave such rows out, or put a number there"
            assert found.notes[0] == f"`x` holds nan or infinity in row {row + 1} of the data of this step"
            break
    else:
        pytest.fail("no row was trained on")


def test_held_out_data_that_are_no_numbers(tmp_path: Path) -> None:
    """The row is told, and the steps until then are saved."""
    text = SPEC.replace("SOURCE", "arrays(batch=8)\n    evaluate from arrays(batch=8)")
    x = DATA["x"].copy()
    x[13, 0] = np.nan
    block = dlc.loads(text)["t"].with_settings(epochs=1)
    with pytest.raises(SpecError) as caught:
        dlc.train(block, backend="onnx", out=tmp_path, data=DATA, held_out={**DATA, "x": x})
    (found,) = caught.value.diagnostics
    assert found.code == "E0710" and found.span.line
    assert found.message == "the loss of the held-out data is nan: `x` holds nan or infinity in row 14"
    assert json.loads((tmp_path / "manifest.json").read_text())["step"] == 3
    with pytest.raises(SpecError, match="in row 14"):
        dlc.evaluate(block, weights=tmp_path, held_out={**DATA, "x": x})


def test_how_to_go_on(tmp_path: Path) -> None:
    """A command can't be given the data."""

    class Terminate(Watch):
        def step(self, record: Record, *, logged: bool) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="resume=True\\), with the same data"):
        train(tmp_path, watch=Terminate())


# --- a watch that raises -------------------------------------------------------------------------------------------


class Cancelled(Exception):
    """What a user's own watch raises."""


class Cancel(Watch):
    def __init__(self, where: str, at: int, error: type[BaseException] = Cancelled) -> None:
        self.where, self.at, self.error = where, at, error
        self.stopped = False

    def step(self, record: Record, *, logged: bool) -> None:
        self._told("step", record.step)

    def evaluation(self, record: Record) -> None:
        self._told("evaluation", record.step)

    def stop(self) -> None:
        self.stopped = True

    def _told(self, where: str, step: int) -> None:
        if (where, step) == (self.where, self.at):
            raise self.error("enough")


def same(first: Path, second: Path) -> None:
    ours, theirs = (read_file(out / "net.safetensors") for out in (first, second))
    assert {path: each.tobytes() for path, each in ours.items()} == {
        path: each.tobytes() for path, each in theirs.items()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    dlc.train(BLOCK.with_settings(eval_every=3), backend="torch", out=out, data=DATA, held_out=HELD)
    return out


@pytest.mark.parametrize(
    ("where", "at", "error"),
    [
        ("step", 1, Cancelled),
        ("step", 2, KeyboardInterrupt),  # a checkpoint is due besides
        ("evaluation", 3, SystemExit),
        ("step", 6, Cancelled),  # the last one, before its evaluation
        ("evaluation", 6, Cancelled),
    ],
)
def test_what_a_watch_raises(
    where: str, at: int, error: type[BaseException], whole: Path, tmp_path: Path
) -> None:
    """It comes out as itself, and the step is saved: the run goes on to the same end."""
    block, watch = BLOCK.with_settings(eval_every=3), Cancel(where, at, error)
    options: dict[str, Any] = {"backend": "torch", "out": tmp_path, "data": DATA, "held_out": HELD}
    with pytest.raises(error, match="enough"):
        dlc.train(block, watch=watch, **options)
    assert watch.stopped
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["step"], manifest["finished"]) == (at, at == 6)
    result = dlc.train(block, resume=True, **options)
    assert result.evaluation is not None and result.evaluation.step == 6
    assert json.loads((tmp_path / "manifest.json").read_text())["evaluate"]["step"] == 6
    for kind in ("train", "evaluate"):
        assert journal(tmp_path, kind) == journal(whole, kind)
    same(whole, tmp_path)


@pytest.mark.parametrize("at", [3, 6])
def test_an_evaluation_that_fails(
    at: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps that led to it are saved."""
    block = BLOCK.with_settings(eval_every=3)
    options: dict[str, Any] = {"backend": "torch", "out": tmp_path, "data": DATA, "held_out": HELD}
    evaluated, left = training.evaluated, iter(range(1, at // 3))

    def fails(*args: Any) -> dict[str, float]:
        if next(left, None) is None:
            raise RuntimeError("no memory")
        return evaluated(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluated", fails)
        with pytest.raises(RuntimeError, match="no memory"):
            dlc.train(block, **options)
    assert json.loads((tmp_path / "manifest.json").read_text())["step"] == at
    dlc.train(block, resume=True, **options)
    same(whole, tmp_path)


def test_a_watch_that_raises_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watch raised is what comes out, and says that its step was not saved."""

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dlc.runtime.checkpoints.write_file", full)
    with pytest.raises(Cancelled) as caught:
        train(tmp_path, watch=Cancel("step", 1))
    assert "step 1 was not saved" in caught.value.__notes__[0]


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is no folder"):
        dlc.loads("model M()(x: [B]) -> [B] {\n    return x\n}\n", root=tmp_path / "nowhere")
