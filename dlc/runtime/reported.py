"""What a training reports: numbers of a step or an evaluation, and which evaluation was the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlc.elaborate.checks.plan import TrainPlan


def number(value: float) -> float | str:
    """A number for JSON, which has no others than finite ones: "nan", "inf" and "-inf" are strings."""
    return value if math.isfinite(value) else str(value)


@dataclass(frozen=True, slots=True)
class Record:
    """A line of metrics.jsonl: a step (with its learning rate) or an evaluation after it. `step` counts
    updates from 1, `epoch` passes over the data from 0; `seconds` is the run's time so far."""

    kind: str  # "train" or "evaluate"
    step: int
    epoch: int
    loss: float
    metrics: Mapping[str, float]
    seconds: float
    lr: float | None = None
    loss_scale: Mapping[str, float] = field(default_factory=dict)
    """The next scale of the loss of each step, by its name, where it is dynamic. A block without named steps has one, whose name is empty."""
    left_out: bool = False
    """Whether an update was left out, as a gradient was not finite."""

    def to_json(self) -> dict[str, Any]:
        head = {"kind": self.kind, "step": self.step, "epoch": self.epoch, "loss": number(self.loss)}
        rate: dict[str, Any] = {"lr": self.lr} if self.kind == "train" else {}
        metrics = {name: number(value) for name, value in self.metrics.items()}
        if self.loss_scale:
            rate["loss_scale"] = self.loss_scale.get("", dict(self.loss_scale))
            rate |= {"left_out": True} if self.left_out else {}
        return {**head, **rate, "metrics": metrics, "seconds": round(self.seconds, 3)}

    @staticmethod
    def from_json(data: Mapping[str, Any] | None) -> Record | None:
        if not data:
            return None
        metrics = {name: float(value) for name, value in data["metrics"].items()}
        scale = data.get("loss_scale", {})
        scales = scale if isinstance(scale, Mapping) else {"": scale}
        return Record(**{**data, "loss": float(data["loss"]), "metrics": metrics, "loss_scale": dict(scales)})

    @property
    def scales(self) -> dict[str, float]:
        """The scales of losses as loggers show them: `loss_scale`, or one for each step."""
        return {"_".join(filter(None, ("loss_scale", name))): each for name, each in self.loss_scale.items()}

    def text(self) -> str:
        metrics = "".join(f"  {name} {value:.4f}" for name, value in self.metrics.items())
        return f"loss {self.loss:.4f}{metrics}"


@dataclass(slots=True)
class Best:
    """The best evaluation so far by one number, after how many steps it was, and how many came after it. `patience` says how many of
    these end the run. Without a `name` nothing is measured."""

    name: str = ""
    high: bool = False
    patience: int | None = None
    value: float = math.nan
    step: int = 0
    since: int = 0

    @staticmethod
    def of(plan: TrainPlan, before: Mapping[str, Any] | None = None) -> Best:
        """What a plan asks for, and how far a checkpoint was with it."""
        if plan.best is None:
            return Best()
        found = Best(*plan.best, plan.settings["patience"])
        if before and (before["name"], before["high"]) == (found.name, found.high):
            found.value, found.step, found.since = float(before["value"]), before["step"], before["since"]
        return found

    def measured(self, record: Record) -> bool:
        """Take note of an evaluation: whether it is the best."""
        if not self.name or record.step == self.step:
            return False
        value = record.loss if self.name == "loss" else record.metrics[self.name]
        better = value > self.value if self.high else value < self.value
        if better or (math.isnan(self.value) and not math.isnan(value)):
            self.value, self.step, self.since = value, record.step, 0
            return True
        self.since += 1
        return False

    @property
    def is_over(self) -> bool:
        return self.patience is not None and self.since >= self.patience

    def text(self) -> str:
        """Which way is better is said: of a metric that nobody names an error, the highest is taken."""
        end = "highest" if self.high else "lowest"
        return f"{self.name} {self.value:.4f} after step {self.step:,}, the {end}"

    def to_json(self) -> dict[str, Any]:
        value = number(self.value)
        return {"name": self.name, "high": self.high, "value": value, "step": self.step, "since": self.since}
