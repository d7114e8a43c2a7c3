"""Training in f16, whose loss is scaled: what overflows leaves its step out, and what would be 0 is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_specs import journal, power_failure

import dlc
from dlc.backend import LossScale, find
from dlc.cli.progress import Progress
from dlc.diagnostics import SpecError
from dlc.elaborate.programs.update import DYNAMIC, SCALE, scale_path, update_program
from dlc.passes.lower import resolve_float
from dlc.runtime.interpret import run
from dlc.runtime.reported import Record
from dlc.runtime.trainers import Trainers
from dlc.runtime.training_data import open_data
from dlc.runtime.verify_training import verify_training
from dlc.runtime.weights import initial_weights, read_file

BACKENDS = ("torch", "jax", "onnx", "tvm")
NET = """
model Net(d: int = 16)(x: [B, 8]) -> y: [B, 4] {
    return x |> linear(d) as up |> relu |> linear(4) as down
}
"""
LOSS = "mse(net(x), y)"
OVERFLOWS = "mean(sum(net(x), axis=-1)) * 30.0"
"""Its slope by the last bias is 30 times the scale: f16 has no place for that until the scale has fallen five times, to 2048."""


def text(loss: str = LOSS, optimizer: str = "adamw(lr=1e-2)", settings: str = "", more: str = "") -> str:
    return f"""{NET}
train t {{
    net = Net()
    batch (x: [B, 8], y: [B, 4]) from synthetic(batch=16)
    minimize {loss}
    metric size = mean(abs(net(x)))
    {more}
    optimizer = {optimizer}
    settings {{ steps = 10, precision = f16, log = 1{settings} }}
}}
"""


def block(*args: str, **named: str) -> Any:
    return dlc.loads(text(*args, **named))["t"]


def trained(tried: Any, out: Path, backend: str = "torch", **options: Any) -> list[dict[str, Any]]:
    dlc.train(tried, backend=backend, out=out, **options)
    return journal(out)


# --- the rule


def test_the_rule_is_that_of_grad_scaler() -> None:
    """What is compiled, what trainers do, and PyTorch's, over halvings and two doublings."""
    tried = dlc.loads("""model One()(x: [B, 2]) -> y: [B, 1] {
    return x |> linear(1, bias=false) as fc
}
train t {
    net = One()
    batch (x: [B, 2], y: [B, 1]) from synthetic(batch=4)
    minimize mse(net(x), y)
    optimizer = sgd(lr=0.1)
    settings { steps = 1, precision = f16 }
}
""")["t"]
    plan = tried.plan
    rules = plan.update_rules(plan.steps[0])
    update, _ = update_program(tried.spec.project, plan.program.parameters, rules, scale=DYNAMIC)
    program = resolve_float(update, "f32")
    held = {**initial_weights(plan.program, 0), **initial_weights(program, 0)}
    p = torch.nn.Parameter(torch.ones(1))
    sgd, theirs, mine = torch.optim.SGD([p], lr=0.0), torch.amp.GradScaler("cpu"), LossScale(DYNAMIC)
    rng = np.random.default_rng(0)
    finite = [*(rng.random(20) < 0.5), *[True] * 4_100, *(rng.random(20) < 0.5)]
    for number, each in enumerate(finite):
        sgd.zero_grad()
        (theirs.scale(p.sum()) * (1.0 if each else float("inf"))).backward()
        theirs.step(sgd)
        theirs.update()
        mine.counted(bool(each))
        grad = np.array([[1.0, 2.0 if each else np.nan]], np.float32)
        updates: dict[str, Any] = {}
        given = {"net.fc.weight.grad": grad, "rate": np.float32(0.0)}
        found = run(program, held, given, updates=updates)
        held |= updates
        assert theirs.get_scale() == mine.scale == found[SCALE] == held[scale_path()], number
        for name, value in mine.state().items():
            assert value == held[scale_path().replace("scale.scale", f"scale.{name}")], number
    assert mine.t == sum(finite)
    assert theirs.get_scale() != 65_536.0


# --- on all backends


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        (LOSS, ""),
        (OVERFLOWS, ""),
        (OVERFLOWS, ", accumulate = 2, clip_norm = 0.5"),
        (LOSS, ", loss_scale = 1000"),
    ],
)
def test_the_same_on_all_backends(loss: str, settings: str) -> None:
    report = verify_training(block(loss, settings=settings), backends=BACKENDS, steps=10)
    assert report.agree, report.text()


def test_a_loss_that_overflows_lets_the_scale_fall(tmp_path: Path) -> None:
    """A step that is left out leaves parameters and what optimizers remember as they were."""
    tried = block(OVERFLOWS)
    data = open_data(tried, evaluating=False)
    trainers = Trainers(tried, data.sizes)
    for name in BACKENDS:
        trainer = trainers.of(find(name))
        left_out = 0
        for step in range(10):
            before, memory, scale = trainer.weights(), trainer.state(), trainer.scales()[""]
            trainers.turns.turn(trainer, step, [data.training.training(step)], 10)
            after = trainer.weights()
            same = all(np.array_equal(each, after[path]) for path, each in before.items())
            fell = trainer.scales()[""] == scale / 2
            assert same == fell, (name, step)
            assert fell or trainer.scales()[""] == scale
            kept = {path: each for path, each in trainer.state().items() if "scale" not in path}
            assert not fell or all(np.array_equal(memory[path], each) for path, each in kept.items())
            left_out += fell
        assert left_out == 5, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_slopes_are_rescued(backend: str, tmp_path: Path) -> None:
    """A loss of a billionth has slopes that f16 does not have."""
    small, usual = f"{LOSS} * 1e-9", "sgd(lr=1e8)"
    moved = {}
    for name, settings in {"f16": "", "unscaled": ", loss_scale = 1.0"}.items():
        tried = block(small, usual, settings)
        trained(tried, tmp_path / name, backend)
        moved[name] = read_file(tmp_path / name / "net.safetensors")
    wide = dlc.loads(text(small, usual).replace("f16", "f32"))["t"]
    trained(wide, tmp_path / "f32", backend)
    expected, start = read_file(tmp_path / "f32/net.safetensors"), initial_weights(wide.plan.program, 0)
    for path, each in expected.items():
        first = start[f"net.{path}"]
        way = np.linalg.norm(each - first)
        assert np.linalg.norm(moved["f16"][path] - each) < 0.05 * way, path
        assert np.linalg.norm(moved["unscaled"][path] - each) > 0.2 * way, path


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_is_resumed(backend: str, tmp_path: Path) -> None:
    """The scale, and what is counted for it, are part of a checkpoint."""
    tried = block(OVERFLOWS, settings=", checkpoint_every = 4")
    whole = trained(tried, tmp_path / "whole", backend)
    assert [each["loss_scale"] for each in whole[:2]] == [32_768.0, 16_384.0]
    assert [each["loss_scale"] for each in whole[4:]] == [2_048.0] * 6
    assert [each.get("left_out", False) for each in whole] == [True] * 5 + [False] * 5
    with power_failure(6), pytest.raises(RuntimeError, match="power"):
        trained(tried, tmp_path / "parts", backend)
    assert trained(tried, tmp_path / "parts", backend, resume=True) == whole
    mine, theirs = (read_file(tmp_path / name / "net.safetensors") for name in ("parts", "whole"))
    assert all(np.array_equal(each, theirs[path]) for path, each in mine.items())
    with pytest.raises(SpecError, match="loss_scale"):
        trained(tried.with_settings(loss_scale=8.0), tmp_path / "parts", backend, resume=True)


# --- several steps, averages


SEVERAL = f"""{NET}
train t {{
    one = Net()
    two = Net()
    slow = ema(two, decay=0.5)
    batch (x: [B, 8], y: [B, 4]) from synthetic(batch=16)
    step first updates one with sgd(lr=1e-6) {{
        minimize mean(sum(one(x) + 1.0, axis=-1)) * 30.0
    }}
    step second updates two with adam(lr=1e-2) {{
        minimize mse(two(x), y)
    }}
    settings {{ steps = 8, precision = f16, log = 1 }}
}}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_step_has_a_scale_of_its_own(backend: str, tmp_path: Path) -> None:
    """An average follows where all steps of a turn were done."""
    tried = dlc.loads(SEVERAL)["t"]
    records = trained(tried, tmp_path, backend)
    assert records[0]["loss_scale"] == {"first": 32_768.0, "second": 65_536.0}
    assert [each["loss_scale"]["second"] for each in records] == [65_536.0] * 8
    data = open_data(tried, evaluating=False)
    trainers = Trainers(tried, data.sizes)
    trainer = trainers.of(find(backend))
    followed = []
    for step in range(6):
        before, scales = trainer.weights(), trainer.scales()
        trainers.turns.turn(trainer, step, [data.training.training(step)], 8)
        after = trainer.weights()
        path = "slow.down.weight"
        followed.append(not np.array_equal(before[path], after[path]))
        assert followed[-1] == (trainer.scales() == scales)
        assert not np.array_equal(before["two.down.weight"], after["two.down.weight"])
    # (onnxruntime computes stretches of f16 in f32 on a CPU, where less overflows.)
    assert followed == [False] * 5 + [True] or (backend == "onnx" and followed == [False] * 4 + [True] * 2)


def test_several_steps_agree() -> None:
    exact = [each for each in BACKENDS if each != "onnx"]  # which leaves another step out, as said above
    report = verify_training(dlc.loads(SEVERAL)["t"], backends=exact, steps=8)
    assert report.agree, report.text()


# --- what is said


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_what_is_never_finite_is_an_error(backend: str, tmp_path: Path) -> None:
    """Steps are left out until it can't be the scale: 2 ** -10 is far below any that f16 wants."""
    endless = block(f"{LOSS} * 3e38 * 3e38", settings=", checkpoint_every = 5").with_settings(steps=100)
    with pytest.raises(SpecError) as caught:
        trained(endless, tmp_path, backend)
    (found,) = caught.value.diagnostics
    assert found.code == "E0717"
    assert "the loss is inf however small its scale, now 0.000488281, at step 27" in found.message
    assert "precision = bf16" in found.help
    assert journal(tmp_path)[0]["loss"] == "inf"


def test_a_number_scales_and_leaves_nothing_out(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the loss is nan at step 2"):
        trained(block(f"{LOSS} * 1e6", settings=", loss_scale = 65536.0"), tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ('precision = f16, loss_scale = "dynamics"', '"dynamic" or a positive number'),
        ("precision = f16, loss_scale = 0", "positive"),
        ("precision = f16, loss_scale = true", '"dynamic" or a positive number'),
        ("precision = bf16, loss_scale = 8", "left out in bf16"),
        ('loss_scale = "dynamic"', "left out in f32"),
    ],
)
def test_settings_that_are_wrong(settings: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        dlc.loads(text().replace("precision = f16", settings))["t"].plan  # noqa: B018
    (found,) = caught.value.diagnostics
    assert found.code == "E0703" and says in found.message
    assert found.span.line


def test_a_step_that_was_left_out_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.start("t", 0, 10)
    progress.step(Record("train", 3, 0, 0.5, {}, 1.0, 0.1, {"": 32_768.0}, left_out=True), logged=False)
    progress.step(Record("train", 4, 0, 0.5, {}, 1.0, 0.1, {"": 32_768.0}), logged=False)
    assert capsys.readouterr().err == "step 3/10  loss 0.5000  lr 0.1  left out  loss_scale 32768\n"


def test_a_trainer_that_scales_no_loss_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(type(find("torch")), "scales_losses", False)
    with pytest.raises(SpecError, match="`torch` scales no loss, which training in f16 needs") as caught:
        trained(block(), tmp_path)
    assert caught.value.diagnostics[0].code == "E0806"


def test_single_numbers_are_computed_in_f32() -> None:
    """What a sum over a batch overflows in is f16."""
    large = dlc.loads(text().replace("mse(net(x), y)", "sum(abs(net(x)) + 200.0) / 64.0 + mse(net(x), y)"))[
        "t"
    ]
    report = verify_training(large.with_settings(steps=2), backends=BACKENDS)
    assert report.agree, report.text()
    assert 200.0 < report.losses[0] < 300.0
