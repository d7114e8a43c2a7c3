"""Turns of several updates: the same on every backend as the interpreter makes them, and as PyTorch's usual loop does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from step_specs import BLOCKS, spec
from torch import nn

import dlc
from dlc.backend import find
from dlc.ir.nodes import walk
from dlc.runtime.checkpoints import load
from dlc.runtime.trainers import Trainers

SETTINGS = ("steps = 5", "steps = 5, accumulate = 2", "steps = 5, clip_norm = 0.5")


@pytest.mark.parametrize("block", BLOCKS)
def test_backends_agree(block: str) -> None:
    report = dlc.verify_training(spec(block), steps=5, backends=["torch", "jax", "onnx"])
    assert report.agree, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS[1:])
@pytest.mark.parametrize("block", BLOCKS)
def test_backends_agree_with_settings(block: str, settings: str) -> None:
    report = dlc.verify_training(spec(block, settings), steps=5, backends=["torch", "jax", "onnx"])
    assert report.agree, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_tvm_agrees(block: str) -> None:
    report = dlc.verify_training(spec(block), steps=5, backends=["tvm"])
    assert report.agree, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_narrow(block: str) -> None:
    report = dlc.verify_training(
        spec(block, "steps = 5, precision = bf16"), steps=5, backends=["torch", "jax"]
    )
    assert report.agree, str(report)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
@pytest.mark.parametrize("block", ["a generator and its critic", "a slow copy and a queue"])
def test_resumed(block: str, backend: str, tmp_path: Path) -> None:
    """A run in two parts ends as one that was not stopped, with what optimizers remember and copies of networks."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    dlc.train(spec(block, "steps = 6"), backend=backend, out=whole)
    dlc.train(spec(block, "steps = 3"), backend=backend, out=parts)
    dlc.train(spec(block, "steps = 6"), backend=backend, out=parts, resume=True)
    one, other = load(whole), load(parts)
    assert one.networks.keys() == other.networks.keys()
    for name, tensors in one.networks.items():
        for path, value in tensors.items():
            assert np.array_equal(value, other.networks[name][path]), f"{name}.{path}"
    for path, value in one.state.items():
        assert np.array_equal(value, other.state[path]), path


def test_a_copy_begins_as_its_network() -> None:
    trainers = Trainers(spec("a generator and its critic"), {"B": 8})
    weights = trainers.reference().weights()
    for path in [each for each in weights if each.startswith("smooth.")]:
        assert np.array_equal(weights[path], weights["G" + path.removeprefix("smooth")])


def test_a_step_trains_what_it_says() -> None:
    """`every 2`: the first turn leaves the generator, the second does not."""
    backend = find("torch")
    trainers = Trainers(spec("a generator and its critic"), {"B": 8})
    trainer = trainers.of(backend)
    batch = {
        "x": np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32),
        "label": np.zeros(8, np.int64),
    }
    before = trainer.weights()
    trainers.turns.turn(trainer, 0, [batch], 5)
    between = trainer.weights()
    trainers.turns.turn(trainer, 1, [batch], 5)
    after = trainer.weights()

    def changed(first: dict[str, np.ndarray], second: dict[str, np.ndarray], prefix: str) -> bool:
        paths = [each for each in first if each.startswith(prefix) and each.endswith("weight")]
        return any(not np.array_equal(first[path], second[path]) for path in paths)

    assert changed(before, between, "D.") and not changed(before, between, "G.")
    assert changed(between, after, "D.") and changed(between, after, "G.")


GAN = """
model Generator()(x: [B, 4]) -> [B, 3] {
    return x |> linear(8) as a |> tanh |> linear(3) as b
}

model Critic()(y: [B, 3]) -> [B] {
    return y |> linear(8) as a |> tanh |> linear(1) as b |> squeeze(axis=-1)
}

train gan {
    G = Generator()
    D = Critic()
    average = ema(G, decay=0.75)
    batch (x: [B, 4], real: [B, 3]) from synthetic(batch=8)
    fake = G(x)
    step critic updates D with adam(lr=1e-2, betas=(0.5, 0.999)) {
        slope = gradient(sum(D(real)), real)
        minimize mean(softplus(-D(real))) + mean(softplus(D(stop_gradient(fake)))) + 5.0 * mean(sum(slope * slope, axis=1))
    }
    step generator updates G with sgd(lr=0.1, momentum=0.9) {
        minimize mean(softplus(-D(fake)))
    }
    metric other = mean(average(x))
    settings { steps = 20 }
}
"""


class Two(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.a = nn.Linear(inputs, 8)
        self.b = nn.Linear(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.tanh(self.a(x)))


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_as_a_loop_in_pytorch_does_it(backend: str) -> None:
    """A GAN with a gradient penalty and a moving average, written as is usual: `detach`, `autograd.grad` with `create_graph`."""
    trainers = Trainers(dlc.loads(GAN)["gan"], {"B": 8})
    trainer = trainers.of(find(backend))
    g, d, average = Two(4, 3), Two(3, 1), Two(4, 3)
    weights = {path: torch.from_numpy(np.array(value)) for path, value in trainer.weights().items()}
    for name, module in (("G", g), ("D", d), ("average", average)):
        module.load_state_dict(
            {
                path.removeprefix(f"{name}."): each
                for path, each in weights.items()
                if path.startswith(f"{name}.")
            }
        )
    critic = torch.optim.Adam(d.parameters(), lr=1e-2, betas=(0.5, 0.999))
    generator = torch.optim.SGD(g.parameters(), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(0)
    for step in range(20):
        x, real = (torch.from_numpy(rng.normal(size=(8, n)).astype(np.float32)) for n in (4, 3))
        values, _ = trainers.turns.turn(trainer, step, [{"x": x.numpy(), "real": real.numpy()}], 20)

        shown = float(average(x).detach().mean())
        fake = g(x)
        leaf = real.clone().requires_grad_()
        (slope,) = torch.autograd.grad(d(leaf).sum(), leaf, create_graph=True)
        loss = nn.functional.softplus(-d(real)).mean() + nn.functional.softplus(d(fake.detach())).mean()
        loss = loss + 5.0 * slope.square().sum(1).mean()
        critic.zero_grad()
        loss.backward()
        critic.step()
        second = nn.functional.softplus(-d(fake)).mean()
        generator.zero_grad()
        second.backward()
        generator.step()
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), g.parameters(), strict=True):
                mine.lerp_(theirs, 0.25)
        expected = {"critic": float(loss.detach()), "generator": float(second.detach()), "other": shown}
        expected["loss"] = expected["critic"] + expected["generator"]
        assert values == pytest.approx(expected, rel=2e-4, abs=1e-5), f"turn {step}"


UNCALLED = """
module Part(d: int)(x: [B, d]) -> [B, d] {
    return x |> linear(d) as fc |> tanh
}

model Net(d: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(2) {
        x = x |> Part(d) as "h.{i}"
    }
    return x |> batch_norm as norm
}

train t {
    net = Net()
    smooth = ema(net, decay=0.75)
    batch (x: [B, 4], y: [B, 4]) from synthetic(batch=8)
    minimize mean((net(x) - y) ** 2)
    optimizer = sgd(lr=0.5)
    settings { steps = 4 }
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_an_average_that_nothing_calls_is_kept(backend: str, tmp_path: Path) -> None:
    """It is there for its file."""
    called = UNCALLED.replace("    optimizer", "    metric far = mean(abs(smooth(x)))\n    optimizer")
    found, wanted = (
        load_file(dlc.train(dlc.loads(text)["t"], backend=backend, out=tmp_path / name).weights["smooth"])
        for name, text in (("uncalled", UNCALLED), ("called", called))
    )
    assert found.keys() == wanted.keys() and "h.1.fc.weight" in found
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_step_of_any_depth() -> None:
    """Hundreds of parameters are no matter of a spec's budget, and what all their optimizers compute alike is computed once."""
    text = """
    model Tower(layers: int = 4)(x: [B, 4]) -> [B, 4] {
        for i in range(layers) as h { x = x + (x |> layer_norm as ln |> linear(4) as fc |> tanh) }
        return x
    }
    train t(layers: int = 4) {
        net = Tower(layers=layers)
        batch (x: [B, 4]) from synthetic(batch=8)
        minimize mean(square(net(x)))
        optimizer = adamw(lr=1e-2)
        settings { steps = 2, clip_norm = 1.0 }
    }
    """
    for layers in (2, 90):
        steps = Trainers(dlc.loads(text)["t"](layers=layers), {"B": 8}).programs()
        assert [op.op for op in walk(steps["step"].main.body)].count("pow") == 2  # beta ** t
