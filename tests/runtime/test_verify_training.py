"""Backends that train side by side with the interpreter, on the same batches and draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import BACKENDS, block, loaded
from typer.testing import CliRunner

from dlc.cli import build
from dlc.runtime.verify_training import verify_training

SETTINGS = {
    "plain": "steps = 6",
    "clipped": "steps = 6, clip_norm = 0.1",
    "over epochs": "epochs = 1, accumulate = 11",
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_backends_agree(settings: str) -> None:
    """Norms over the batch and dropout included."""
    report = verify_training(loaded(block(settings=settings)), steps=6, backends=BACKENDS)
    assert report.agree, report.text()
    assert max(each.loss for each in report.courses) < 1e-5, report.text()
    assert report.losses[-1] < report.losses[0]


POOLED = """
model Net()(x: [B, 6, 4]) -> [B, 3] {
    h = tanh(x |> linear(8) as up)
    share = softmax(h |> linear(1) as score, axis=1)
    return sum(share * h, 1) |> linear(3) as head
}
train t {
    net = Net()
    batch (x: [B, 6, 4], label: i64[B]) from synthetic(batch=8, count=64, high=3)
    minimize cross_entropy(net(x), label)
    optimizer = adam(lr=3e-3)
    settings { steps = 6, seed = 7 }
}
"""


def test_a_way_of_rounding_is_not_compared() -> None:
    """The bias before a softmax has no gradient but rounding's, of which adam makes whole steps, in f32 and in f64."""
    report = verify_training(loaded(POOLED), steps=6, backends=["torch", "onnx"])
    assert report.agree, report.text()
    assert {path for each in report.courses for path in each.rounded} <= {"net.score.bias"}, report.text()


CRITIC = """
model Generator()(z: [B, 8]) -> [B, 12] {
    return z |> linear(24) as up |> leaky_relu(0.2) |> linear(24) as mid |> leaky_relu(0.2) |> linear(12) as out |> tanh
}
model Critic()(image: [B, D]) -> score: [B] {
    return image |> linear(24) as a |> leaky_relu(0.2) |> linear(24) as b |> leaky_relu(0.2) |> linear(1) as head |> squeeze(axis=-1)
}
train t {
    G = Generator()
    D = Critic()
    batch (image: [B, 12]) from synthetic(batch=16, count=480)
    step critic updates D with adam(lr=1e-3, betas=(0.0, 0.9)) repeat 2 {
        fake = stop_gradient(G(normal([B, 8])))
        share = uniform([B, 1])
        between = image * share + fake * (1.0 - share)
        slope = gradient(sum(D(between)), between)
        minimize mean(D(fake)) - mean(D(image)) + 10.0 * mean(square(sqrt(sum(square(slope), axis=1) + 1e-12) - 1.0))
    }
    step generator updates G with adam(lr=1e-3, betas=(0.0, 0.9)) { minimize -mean(D(G(normal([B, 8])))) }
    settings { steps = 100, seed = 2 }
}
"""


def test_gradients_that_cancel() -> None:
    """A bias of the critic has as much from real rows as from made ones; in f32 the interpreter's sums of both are equal by luck, jax's are not,
    and adam makes a whole step of the rest, which losses near 0 show."""
    report = verify_training(loaded(CRITIC), steps=3, backends=["torch", "jax", "onnx"])
    assert report.agree, report.text()
    assert max(each.loss for each in report.courses) > 1e-3, "nothing cancels here any more"


@pytest.mark.parametrize("fault", ["rate", "weight"])
def test_a_fault_is_found_beside_gradients_that_cancel(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc_onnx.workspace import OnnxWorkspace

    honest = OnnxWorkspace.run

    def wrong(self: Any, program: str, inputs: Any) -> Any:
        found = honest(self, program, inputs)
        if program == "critic" and fault == "weight":
            self.put({"D.a.weight": self.values()["D.a.weight"] * 0.999})
        return found if fault == "weight" else honest(self, program, {**inputs, "rate": inputs["rate"] * 0.1})

    monkeypatch.setattr(OnnxWorkspace, "run", wrong)
    report = verify_training(loaded(CRITIC), steps=3, backends=["torch", "onnx"])
    assert [each.backend for each in report.courses if not report._is_small(each)] == ["onnx"], report.text()


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["steps = 5", "steps = 4, accumulate = 2, clip_norm = 0.1"])
def test_tvm_trains(settings: str) -> None:
    rules = """optimizer = adamw(lr=1e-3)
    optimizer linear.weight = muon(lr=0.02)
    optimizer conv2d.weight = adafactor()
    optimizer linear.bias = lion(lr=1e-3)
    optimizer batch_norm = sgd(lr=0.1, momentum=0.9)"""
    report = verify_training(loaded(block(rules, settings)), steps=5, backends=["tvm"])
    assert report.agree, report.text()


def test_labels_that_do_not_count() -> None:
    """The loss of accumulated batches is that of all their labels together."""
    text = block(settings="steps = 4, accumulate = 3").replace(
        "cross_entropy(logits, label)", "cross_entropy(logits, label, ignore=3)"
    )
    text = text.replace(" |> batch_norm as bn", "").replace("batch=32", "batch=4")
    report = verify_training(loaded(text), steps=4, backends=BACKENDS)
    assert report.agree, report.text()


def test_bf16_is_narrow_in_the_network_alone() -> None:
    report = verify_training(loaded(block(settings="steps = 4, precision = bf16")), backends=BACKENDS)
    assert report.agree and report.tolerance == 3e-2, report.text()
    assert max(each.loss for each in report.courses) > 1e-5, "nothing was computed in bf16"


DIFFUSION = """
model Denoiser(d: int = 16)(x: [B, 4], t: i64[B]) -> [B, 4] {
    angle = cast(t, float)[:, none] * exp(-log(10_000) * arange(d // 2, dtype=float) / (d // 2))
    return concat([x, sin(angle), cos(angle)], axis=-1) |> linear(d) as up |> silu |> linear(4) as down
}
train t {
    net = Denoiser()
    batch (x: [B, 4]) from synthetic(batch=32)
    t = randint([B], 0, 1000)
    noise = normal([B, 4])
    left = take(cumprod(1 - (0.0001 + 0.02 / 1000 * arange(1000, dtype=float)), axis=0), t)[:, none]
    minimize mse(net(sqrt(left) * x + sqrt(1 - left) * noise, t), noise)
    metric early = mean(t < 500)
    optimizer = sgd(lr=0.1)
    settings { steps = 4, precision = bf16 }
}
"""


def test_times_and_tables_are_f32_in_bf16() -> None:
    """In bf16 gradients of the embedded times would be a third off."""
    report = verify_training(loaded(DIFFUSION), steps=4, backends=BACKENDS)
    assert report.agree, report.text()
    assert max(each.weights for each in report.courses) < 0.05, report.text()


def test_recurrence_trains() -> None:
    text = """
    model Lines(hidden: int = 8)(image: [B, 1, H, W]) -> [B, 10] {
        y, h = lstm(hidden)(squeeze(image, 1)) as cell
        return y[:, -1] |> linear(10) as head
    }
    train t {
        net = Lines()
        batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=16)
        minimize cross_entropy(net(image), label)
        optimizer = adamw(lr=0.01)
        settings { steps = 3 }
    }
    """.replace("y, h = lstm", "y, h, c = lstm")
    report = verify_training(loaded(text), steps=3, backends=BACKENDS)
    assert report.agree, report.text()


def test_a_wrong_backend_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first step and the parameter that was off before it."""
    from dlc_onnx.workspace import OnnxWorkspace

    honest = OnnxWorkspace.run

    def wrong(self: Any, program: str, inputs: Any) -> Any:
        if program == "step" and inputs["t"] == 2:
            inputs = {**inputs, "rate": inputs["rate"] * 2}
        return honest(self, program, inputs)

    monkeypatch.setattr(OnnxWorkspace, "run", wrong)
    report = verify_training(loaded(block()), steps=4, backends=["onnx"])
    assert not report.agree
    (course,) = report.courses
    assert "they part first at step 3" in course.parted and "`net." in course.parted, course.parted
    assert "FAIL onnx" in report.text() and "the backends disagree" in report.text()


def test_portable_draws_are_a_setting() -> None:
    from dlc.runtime.trainers import Trainers
    from dlc.runtime.training_data import open_data

    tried = loaded(block(settings='steps = 2, draws = "portable"'))
    data = open_data(tried)
    trainers = Trainers(tried, data.sizes)
    batch = data.training.training(0)
    import dlc.backend as backends

    losses = []
    for name in ("torch", "jax", "onnx"):
        trainer = trainers.of(backends.find(name))
        (outputs,) = trainer.step(0, [batch], {"loss": np.ones((), np.float32)}, [1e-3])
        losses.append(float(outputs["loss"]))
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def test_at_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "spec.dl"
    path.write_text(block(net="Small()"))
    ran = CliRunner().invoke(
        build("verify"), ["verify", f"{path}:t", "--steps", "2", "--backends", "onnx", "--format", "json"]
    )
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert found["agree"] and found["steps"] == 2 and len(found["losses"]) == 2
    assert [each["backend"] for each in found["courses"]] == ["onnx"]
    assert not [each for each in tmp_path.iterdir() if each != path], "nothing is written"


@pytest.mark.parametrize("backend", ["onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_recurrence_over_an_open_length_in_bf16(backend: str, tmp_path: Path) -> None:
    """Parameters that all steps share are cast where they are read, and gradients after their loop."""
    import dlc

    text = """
    model Chars(vocab: int = 20, hidden: int = 8)(tokens: i64[B, T]) -> logits: [B, T, vocab] {
        y, h, c = tokens |> embedding(vocab, hidden) as wte |> lstm(hidden) as lstm
        return y |> linear(vocab) as head
    }
    train t {
        net = Chars()
        batch (tokens: i64[B, T], next: i64[B, T]) from arrays(batch=4)
        minimize cross_entropy(net(tokens), next)
        optimizer = adamw(lr=1e-2)
        settings { steps = 3, precision = bf16 }
    }
    """
    rng = np.random.default_rng(0)
    rows, held = ({name: rng.integers(0, 20, (n, 7)) for name in ("tokens", "next")} for n in (16, 6))
    results = [
        dlc.train(loaded(text), backend=each, out=tmp_path / each, data=rows, held_out=held)
        for each in ("torch", backend)
    ]
    for kind in ("training", "evaluation"):
        ours, theirs = (getattr(each, kind).loss for each in results)
        assert theirs == pytest.approx(ours, rel=1e-2)
