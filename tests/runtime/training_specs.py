"""Small train blocks and runs for the tests of training."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlc
from dlc.runtime import training
from dlc.runtime.training import Record, Watch

BACKENDS = ("torch", "jax", "onnx")

# Convolution, batch norm, dropout, rolled residual layers: what a training step has to get right.
NET = """
model Net(width: int = 16, layers: int = 2, p: float = 0.2)(x: [B, 1, 28, 28]) -> [B, 10] {
    x = x |> conv2d(4, 5, stride=3, bias=false) as conv |> batch_norm as bn |> relu |> flatten
    x = x |> dropout(p) |> linear(width) as first
    for i in range(layers) as h {
        x = x + (x |> linear(width) as fc |> gelu |> dropout(p))
    }
    return x |> linear(10) as last
}

model Small()(x: [B, 1, 28, 28]) -> [B, 10] {
    return x |> conv2d(4, 5, stride=4) as conv |> gelu |> flatten |> linear(10) as last
}
"""


def block(
    optimizer: str = "optimizer = adamw(lr=cosine(1e-2, warmup=3))",
    settings: str = "steps = 8",
    *,
    net: str = "Net()",
    more: str = "",
    source: str = "digits(batch=32)",
) -> str:
    """The text of a spec with one train block on digits."""
    return f"""{NET}
train t {{
    net = {net}
    batch (image: [B, 1, 28, 28], label: i64[B]) from {source}
    evaluate from digits(split="test", batch=100)
    logits = net(image)
    minimize cross_entropy(logits, label)
    metric accuracy = mean(argmax(logits, axis=-1) == label)
    {more}
    {optimizer}
    settings {{ log = 1, {settings} }}
}}
"""


def loaded(text: str, folder: Path | None = None) -> Any:
    """The train block `t` of a text, of a file in `folder` if it is given."""
    if folder is None:
        return dlc.loads(text)["t"]
    (folder / "spec.dl").write_text(text)
    return dlc.load(folder / "spec.dl")["t"]


def journal(out: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The lines of metrics.jsonl of one kind, without the time they took."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key != "seconds"} for line in lines if line["kind"] == kind]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in journal(out)]


class PressCtrlC(Watch):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.at = step
        self.message = ""

    def step(self, record: Record, *, logged: bool) -> None:
        if record.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)

    def interrupted(self, message: str) -> None:
        self.message = message


@contextmanager
def power_failure(step: int) -> Iterator[None]:
    """The machine goes off after a step, as a RuntimeError."""
    whole = training._Run._step

    def until(run: Any, number: int) -> None:
        if number == step:
            raise RuntimeError("power")
        whole(run, number)

    training._Run._step = until
    try:
        yield
    finally:
        training._Run._step = whole


# An optimizer that a spec writes itself.
BOUNDED = """
# A momentum that is cut off at a share of the largest gradient so far.
module bounded(beta: float = 0.9, share: float = 0.1)(p: [*S], g: [*S], t: i64[], lr: []) -> [*S] {
    buffer mean: [*S] = zeros
    buffer largest: [] = 0.0
    new_mean = mean * beta + g * (1.0 - beta)
    new_largest = maximum(largest * 0.99, max(abs(g)))
    update mean = new_mean
    update largest = new_largest
    unbiased = new_mean / cast(1.0 - beta ** cast(t, f64), float)
    return p - lr * clamp(unbiased / (share * new_largest + 1e-12), min=-1.0, max=1.0)
}
"""
