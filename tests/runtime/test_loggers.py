"""TensorBoard and MLflow get what metrics.jsonl has, once, also of a run that was stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from training_specs import PressCtrlC

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime import loggers
from dlc.runtime.training import Interrupted, Record

SPEC = """
model Net()(x: [B, 2]) -> y: [B] {
    return x |> linear(1) as out |> squeeze(axis=-1)
}

train line(lr: float = 0.1) {
    net = Net()
    batch (x: [B, 2], y: [B]) from arrays(batch=8)
    evaluate from arrays()
    minimize mse(net(x), y)
    metric off = mean(abs(net(x) - y))
    optimizer = sgd(lr=lr)
    settings { steps = 6, log = 1, eval_every = 3, checkpoint_every = 2 }
}
"""
ROWS = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
DATA = {"x": ROWS, "y": ROWS.sum(axis=1)}
Values = dict[tuple[str, int], float]


def trained(out: Path, name: str, **options: Any) -> None:
    dlc.train(
        dlc.loads(SPEC)["line"](lr=0.2),
        backend="torch",
        out=out,
        data=DATA,
        held_out=DATA,
        log=[name],
        **options,
    )


def journal(out: Path) -> Values:
    found = {}
    for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        for name, value in loggers.values_of(Record.from_json(json.loads(line))).items():
            found[name, json.loads(line)["step"]] = value
    return found


def of_tensorboard(out: Path) -> Values:
    """What TensorBoard's own reader shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(str(out / "tensorboard")).Reload()
    tags = seen.Tags()["scalars"]
    points = [(tag, each) for tag in tags for each in seen.Scalars(tag)]
    found = {(tag, each.step): each.value for tag, each in points}
    assert len(found) == len(points)
    return found


def client() -> Any:
    return pytest.importorskip("mlflow").MlflowClient()


def of_mlflow(out: Path) -> Values:
    run = json.loads((out / "mlflow.json").read_text(encoding="utf-8"))["run"]
    names = client().get_run(run).data.metrics
    history = ((name, each) for name in names for each in client().get_metric_history(run, name))
    return {(name, each.step): each.value for name, each in history}


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's runs in a folder of the test, and nothing told to anyone."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


def approximately(values: Values) -> Any:
    return pytest.approx(values, rel=1e-6)  # event files have floats of 32 bits


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained(tmp_path / "run", "tensorboard")
    values = of_tensorboard(tmp_path / "run")
    assert values == approximately(journal(tmp_path / "run"))
    assert {name for name, _ in values} == {
        "train/loss",
        "train/off",
        "train/lr",
        "evaluate/loss",
        "evaluate/off",
    }


def test_tensorboard_shows_a_step_once(tmp_path: Path) -> None:
    """A run that was killed behind its checkpoint makes steps again."""
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"

    class Killed(Exception):
        pass

    def die(self: Any, record: Record) -> None:
        log(self, record)
        if record.step == 5:
            raise Killed

    log = loggers.TensorBoard.log
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loggers.TensorBoard, "log", die)
        patch.setattr("dlc.runtime.training._Run._cancellable", lambda self, done: nullcontext())
        with pytest.raises(SpecError, match="tensorboard can't log: Killed"):
            trained(out, "tensorboard")
    assert ("train/loss", 5) in of_tensorboard(out)
    trained(out, "tensorboard", resume=True)
    assert of_tensorboard(out) == approximately(journal(out))


def test_mlflow(tmp_path: Path, tracking: None) -> None:
    trained(tmp_path / "run", "mlflow")
    assert of_mlflow(tmp_path / "run") == approximately(journal(tmp_path / "run"))
    (run,) = runs_of("line")
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    assert run.data.params["optimizer.lr"] == "0.2" and run.data.params["backend"] == "torch"


def runs_of(experiment: str) -> list[Any]:
    number = client().get_experiment_by_name(experiment).experiment_id
    return list(client().search_runs([number]))


def test_mlflow_goes_on(tmp_path: Path, tracking: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        trained(out, "mlflow", watch=PressCtrlC(3))
    (run,) = runs_of("mine")
    assert run.info.status == "KILLED"
    trained(out, "mlflow", resume=True)
    (run,) = runs_of("mine")
    assert run.info.status == "FINISHED"
    assert of_mlflow(out) == approximately(journal(out))


def test_a_run_of_mlflow_that_is_not_known(tmp_path: Path, tracking: None) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        trained(out, "mlflow", watch=PressCtrlC(3))
    (out / "mlflow.json").write_text("{}")
    with pytest.raises(SpecError, match="does not say which run of MLflow goes on"):
        trained(out, "mlflow", resume=True)


class _Broken:
    """A logger whose place is gone after the second step."""

    closed: ClassVar[list[bool]] = []

    def __init__(self, about: loggers.About) -> None:
        self.closed.clear()

    def log(self, record: Record) -> None:
        if record.step > 2:
            raise ConnectionError("no route to host\nmore")

    def close(self, *, finished: bool) -> None:
        self.closed.append(finished)
        raise ConnectionError("no route to close")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "LOGGERS", {"json": _Broken})  # by the name of a package that is there
    monkeypatch.setattr(loggers, "FILES", {"json": "broken"})


def test_a_logger_that_fails_costs_no_step(tmp_path: Path, broken: None) -> None:
    """The run ends with the reason, saved, and goes on without the logger."""
    with pytest.raises(SpecError, match="can't log: no route to host") as caught:
        trained(tmp_path / "run", "json")
    assert "--resume goes on" in caught.value.diagnostics[0].help and _Broken.closed == [False]
    manifest: Mapping[str, Any] = json.loads((tmp_path / "run/manifest.json").read_text(encoding="utf-8"))
    assert manifest["step"] == 3
    block = dlc.loads(SPEC)["line"](lr=0.2)
    dlc.train(block, backend="torch", out=tmp_path / "run", data=DATA, held_out=DATA, resume=True)


def test_nothing_of_the_users_is_taken(tmp_path: Path, broken: None) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/broken").write_text("mine")
    with pytest.raises(SpecError, match="holds `broken`, which no run wrote"):
        trained(tmp_path / "run", "json")


def test_wrong_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="there is no logger `tensorbord`") as caught:
        trained(tmp_path / "run", "tensorbord")
    assert "did you mean `tensorboard`" in caught.value.diagnostics[0].help
    nothing = SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: None))
    monkeypatch.setattr(loggers, "importlib", nothing)
    with pytest.raises(SpecError, match="logging by mlflow needs mlflow") as caught:
        trained(tmp_path / "run", "mlflow")
    assert caught.value.diagnostics[0].help == "install it: pip install 'dlc[mlflow]'"
    assert not (tmp_path / "run").exists()
    with pytest.raises(TypeError, match="`log` must be a list or tuple of loggers"):
        dlc.train(dlc.loads(SPEC)["line"], backend="torch", out=tmp_path / "run", data=DATA, log="mlflow")


def test_by_command(tmp_path: Path) -> None:
    (tmp_path / "spec.dl").write_text(SPEC, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "dlc",
        "train",
        "spec.dl:line",
        "-b",
        "torch",
        "--out",
        "run",
        "--log",
        "wandb",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "there is no logger `wandb`" in done.stdout + done.stderr
    assert "it may be tensorboard or mlflow" in done.stdout + done.stderr
