"""What a run logs besides its own metrics.jsonl: TensorBoard's event files, runs of MLflow; each where its package is installed.

Both get the losses, metrics and rates of the log's steps and all of the evaluations: `train/loss`, `train/lr`, `evaluate/accuracy`."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dlc.diagnostics import NO_SPAN, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.runtime import run_folder
from dlc.runtime.reported import Record
from dlc.writing import write

TENSORBOARD = "tensorboard"
"""The folder of TensorBoard's event files, in that of the run."""
MLFLOW = "mlflow.json"
"""Which of MLflow's runs the run in a folder is."""
LONGEST = 6_000  # characters of a setting that MLflow keeps


@dataclass(frozen=True)
class About:
    """The run that is logged: `settings` are all that was set, `step` is how many are done when it begins or goes on."""

    name: str
    out: Path
    step: int
    settings: Mapping[str, str]


class Logger(Protocol):
    """What a run is logged to; what it raises ends the run."""

    def log(self, record: Record) -> None: ...

    def close(self, *, finished: bool) -> None: ...


def check(names: Sequence[str]) -> None:
    """Raises SpecError for a logger that does not exist, or whose package is not installed."""
    for name in names:
        if name not in LOGGERS:
            help = did_you_mean(name, LOGGERS) or f"it may be {' or '.join(LOGGERS)}"
            raise _refused(f"there is no logger `{name}`", help)
        if importlib.util.find_spec(name) is None:
            raise _refused(f"logging by {name} needs {name}", f"install it: pip install 'dlc[{name}]'")


def files(names: Sequence[str]) -> list[str]:
    """What these loggers write into the folder of a run."""
    return [FILES[each] for each in names]


@contextmanager
def logging(names: Sequence[str], about: About) -> Iterator[Sequence[Logging]]:
    """The loggers of these names, for as long as a run lasts. Raises SpecError where one can't log."""
    opened: list[Logging] = []
    finished = False
    try:
        for name in dict.fromkeys(names):
            with _telling(name):
                opened.append(Logging(name, LOGGERS[name](about)))
        yield opened
        finished = True
    finally:
        for each in opened:
            # What has gone wrong before is what is to be told.
            with _telling(each.name, silent=not finished):
                each.logger.close(finished=finished)


@contextmanager
def _telling(name: str, *, silent: bool = False) -> Iterator[None]:
    """What a logger raises, as an error of the run."""
    try:
        yield
    except SpecError:
        raise
    except Exception as error:
        if not silent:
            reason = str(error).partition("\n")[0] or type(error).__name__
            help = "--resume goes on from the last checkpoint; without this logger, too"
            raise _refused(f"{name} can't log: {reason}", help) from error


@dataclass(frozen=True)
class Logging:
    """A logger whose faults are told as errors of the run."""

    name: str
    logger: Logger

    def log(self, record: Record) -> None:
        with _telling(self.name):
            self.logger.log(record)


def values_of(record: Record) -> dict[str, float]:
    """The numbers of a record by the names that loggers show."""
    rate = {} if record.lr is None else {"lr": record.lr}
    return {
        f"{record.kind}/{key}": each
        for key, each in {"loss": record.loss, **record.metrics, **rate, **record.scales}.items()
    }


class TensorBoard:
    """Event files, which a `tensorboard --logdir` over several runs shows beside each other."""

    def __init__(self, about: About) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.event: Callable[..., Any] = event_pb2.Event
        self.summary: Any = summary_pb2.Summary
        self.writer: Any = EventFileWriter(str(about.out / TENSORBOARD))
        if about.step:
            # What was logged behind the checkpoint is logged again: of these steps the later values count.
            again = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(about.step + 1, session_log=again)

    def log(self, record: Record) -> None:
        numbers = values_of(record).items()
        values = [self.summary.Value(tag=tag, simple_value=number) for tag, number in numbers]
        self._add(record.step, summary=self.summary(value=values))

    def close(self, *, finished: bool) -> None:
        self.writer.close()

    def _add(self, step: int, **what: Any) -> None:
        self.writer.add_event(self.event(wall_time=time.time(), step=step, **what))


class MLflow:
    """A run of MLflow where its own variables say: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME (else one of the block's name). A run that
    is continued goes on in the one that it began."""

    def __init__(self, about: About) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.metric: Callable[..., Any] = Metric
        self.client: Any = MlflowClient()
        kept = about.out / MLFLOW
        self.run: str = _run_of(kept) if about.step and kept.exists() else self._begun(about, Param)
        content = json.dumps({"run": self.run, "tracking": str(self.client.tracking_uri)}) + "\n"
        write(kept, content, staging=run_folder.STAGING)
        self.client.update_run(self.run, status="RUNNING")

    def _begun(self, about: About, param: Callable[..., Any]) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or about.name
        found = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if found is None else found.experiment_id
        run = self.client.create_run(experiment, run_name=about.out.name).info.run_id
        params = [param(key, value[:LONGEST]) for key, value in about.settings.items()]
        for start in range(0, len(params), 100):  # which MLflow takes at once
            self.client.log_batch(run, params=params[start : start + 100])
        return str(run)

    def log(self, record: Record) -> None:
        now = int(time.time() * 1000)
        metrics = [self.metric(key, each, now, record.step) for key, each in values_of(record).items()]
        self.client.log_batch(self.run, metrics=metrics)

    def close(self, *, finished: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if finished else "KILLED")


def _run_of(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError):
        raise _refused(
            f"{file} does not say which run of MLflow goes on", "take it away to begin one"
        ) from None


LOGGERS: Mapping[str, Callable[[About], Logger]] = {"tensorboard": TensorBoard, "mlflow": MLflow}
FILES: Mapping[str, str] = {"tensorboard": TENSORBOARD, "mlflow": MLFLOW}


def _refused(message: str, help: str) -> SpecError:
    return SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)])
