"""Layers that are computed again on the way back: the same numbers on every backend, in less memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from script_specs import compared
from training_specs import BACKENDS

import dlc
from dlc.runtime.scripts import write_script
from dlc.runtime.verify_training import verify_training

SPEC = """
module Layer(p: float)(x: [B, T, d], start: [B, T, d]) -> [B, T, d] {
    return start + x + (x |> layer_norm as ln |> linear(2 * d) as up |> gelu |> dropout(p) |> linear(d) as down)
}
module Normed()(x: [B, T, d]) -> [B, T, d] {
    return x + (x |> linear(d) as fc |> rearrange("B T d -> B d T") |> batch_norm as bn |> rearrange("B d T -> B T d"))
}
model LM(layers: int = 4, d: int = 16, p: float = 0.0, vocab: int = 32)(tokens: i64[B, T]) -> logits: [B, T, vocab] {
    x = embedding(vocab, d)(tokens)
    start = tanh(x)
    for i in range(layers) as h { x = x |> Layer(p)(start) }
    for i in range(2) as n { x = x |> Normed() }
    return x |> linear(vocab) as head
}
train fit(p: float = 0.0) {
    net = LM(p=p)
    batch (tokens: i64[B, 6], target: i64[B, 6]) from synthetic(batch=4, count=32)
    minimize cross_entropy(net(tokens), target)
    optimizer = adamw(lr=1e-2)
    settings { steps = 4, log = 1, recompute = "blocks" }
}
"""


def block(**settings: Any) -> Any:
    p = settings.pop("p", 0.0)
    return dlc.loads(SPEC)["fit"](p=p).with_settings(**settings)


@pytest.mark.parametrize("backend", [*BACKENDS, pytest.param("tvm", marks=pytest.mark.slow)])
def test_backends_agree(backend: str) -> None:
    report = verify_training(block(), steps=4, backends=[backend])
    assert report.agree, report.text()
    assert max(each.loss for each in report.courses) < 1e-5, report.text()


def losses(tried: Any, backend: str, out: Path) -> list[float]:
    dlc.train(tried, backend=backend, out=out)
    with (out / "metrics.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["loss"] for line in file]


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16"}, {"accumulate": 2}], ids=str)
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_what_is_drawn_is_drawn_once(backend: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """The units that dropout leaves out are the same when a layer is computed again."""
    again, kept = (
        losses(block(p=0.4, recompute=how, **settings), backend, tmp_path / str(how))
        for how in ("blocks", None)
    )
    assert again == pytest.approx(kept, rel=2e-2 if settings.get("precision") else 1e-6)


SAID = {"torch": "recomputed(layer, x, start, use_reentrant=False)", "jax": "jax.checkpoint("}


@pytest.mark.parametrize("backend", SAID)
def test_scripts_say_it(backend: str, tmp_path: Path) -> None:
    """For layers, but not for those that a batch norm would count twice; a run of either kind goes on from the other's checkpoint."""
    write_script(block(), backend, tmp_path)
    assert (tmp_path / "fit.py").read_text(encoding="utf-8").count(SAID[backend]) == 1
    write_script(block(recompute=None), backend, tmp_path / "kept")
    assert SAID[backend] not in (tmp_path / "kept/fit.py").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("backend", SAID)
def test_scripts_train_alike(backend: str, tmp_path: Path) -> None:
    (tmp_path / "spec.dl").write_text(SPEC, encoding="utf-8")
    compared(dlc.load(tmp_path / "spec.dl")["fit"], backend, tmp_path)


def test_a_run_goes_on_with_the_other_setting(tmp_path: Path) -> None:
    whole = losses(block(steps=6), "torch", tmp_path / "whole")
    dlc.train(block(steps=3), backend="torch", out=tmp_path / "run")
    dlc.train(block(steps=6, recompute=None), backend="torch", out=tmp_path / "run", resume=True)
    with (tmp_path / "run/metrics.jsonl").open(encoding="utf-8") as file:
        assert [json.loads(line)["loss"] for line in file] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('recompute = "all"', '`recompute` can\'t be "all": it must be none or "blocks"'),
        ("gradient_checkpointing = true", "did you mean `recompute`?"),
    ],
)
def test_other_words_are_told(setting: str, told: str) -> None:
    text = SPEC.replace('recompute = "blocks"', setting)
    assert any(told in f"{each.message} {each.help}" for each in dlc.loads(text).check())
