"""Steps that keep many layers as a loop compute what those compute in which each layer is written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import dlc
from dlc.backend import find
from dlc.ir.nodes import walk
from dlc.ir.verify import verify
from dlc.runtime import trainers as module
from dlc.runtime.checkpoints import load
from dlc.runtime.compiled_training import CompiledTrainer, ReferenceWorkspace, StackedWorkspace
from dlc.runtime.step_programs import Programs
from dlc.runtime.trainers import Trainers
from dlc.runtime.training_data import open_data
from dlc.runtime.write_steps import write_steps
from dlc.spec import TrainBlock

NETWORKS = """
module Layer(d: int, p: float = 0.0)(x: [B, d]) -> [B, d] {
    return x + (x |> linear(2 * d) as up |> gelu |> dropout(p) |> linear(d) as down)
}

module Normed(d: int)(x: [B, d]) -> [B, d] {
    return x + (x |> batch_norm as norm |> linear(d) as fc |> relu)
}

model Net(layers: int = 5, d: int = 4, p: float = 0.0)(x: [B, 4]) -> [B, d] {
    for i in range(layers) { x = x |> Layer(d, p) as h }
    return x |> linear(d) as head
}

model Normal(layers: int = 5, d: int = 4)(x: [B, 4]) -> [B, d] {
    for i in range(layers) { x = x |> Normed(d) as h }
    return x
}

model Halves()(x: [B, 4]) -> [B, 4] {
    for i in range(3) { x = x |> Layer(4) as h }
    x = tanh(x)
    for i in range(3, 6) { x = x |> Layer(4) as h }
    return x
}

model Cells(layers: int = 3)(x: [B, 4]) -> [B, 4] {
    steps = reshape(x, [B, 2, 2])
    scan at in steps with state = zeros([B, 2]) {
        for i in range(layers) { state = tanh(state + at |> linear(2) as h) }
    }
    return concat([state, state], axis=1)
}

module trusting(beta: float = 0.9)(p: [*S], g: [*S], t: i64[], lr: []) -> [*S] {
    buffer mean: [*S] = zeros
    buffer peak: [] = ones
    new = mean * beta + g
    update mean = new
    update peak = maximum(peak, max(abs(new)))
    ratio = sqrt(sum(p * p) + 1.0) / (sqrt(sum(new * new)) + 1e-6)
    return p - lr * minimum(ratio, 2.0) * new / (peak * cast(t, float))
}

module noisy()(p: [*S], g: [*S], t: i64[], lr: []) -> [*S] {
    return p - lr * (g + 0.01 * normal([*S]))
}
"""
DATA = "batch (x: [B, 4], label: i64[B]) from synthetic(batch=8, high=4)"


def block(optimizer: str = "adam(lr=1e-2)", settings: str = "steps = 4", net: str = "Net()") -> TrainBlock:
    text = f"""
    train t {{
        net = {net}
        {DATA}
        minimize cross_entropy(net(x), label)
        optimizer = {optimizer}
        settings {{ {settings} }}
    }}
    """
    return dlc.loads(NETWORKS + text)["t"]


def both(block: TrainBlock, many: int = 2) -> tuple[Trainers, Programs, Programs]:
    trainers = Trainers(block, open_data(block, evaluating=False).sizes)
    steps = (trainers._steps("the interpreter", "f64", "f64", many=each) for each in (None, many))
    flat, stacked = steps
    for each in stacked.programs.values():
        verify(each.program)
    return trainers, flat, stacked


def run(trainers: Trainers, steps: Programs, count: int = 3) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Losses, then all that is held, by path."""
    programs = {name: each.program for name, each in steps.programs.items()}
    workspace = ReferenceWorkspace(programs, trainers._values(steps, None))
    held = StackedWorkspace(workspace, steps.stacks) if steps.stacks else workspace
    trainer = trainers._drawing(CompiledTrainer(steps, held, trainers._paths))
    data, seen = open_data(trainers.block, evaluating=False), []
    together = trainers.settings["accumulate"]
    for step in range(count):
        batches = [data.training.training(step * together + i) for i in range(together)]
        seen += trainers.turns.turn(trainer, step, batches, count)
    return seen, {**trainer.weights(), **trainer.state()}


def same(trainers: Trainers, flat: Programs, stacked: Programs) -> None:
    (one, held), (other, kept) = run(trainers, flat), run(trainers, stacked)
    np.testing.assert_allclose(_numbers(one), _numbers(other), rtol=1e-9)
    assert held.keys() == kept.keys()
    for path, value in held.items():
        np.testing.assert_allclose(value, kept[path], rtol=1e-7, atol=1e-10, err_msg=path)


def _numbers(found: Any) -> list[float]:
    """All numbers in it, in order."""
    if isinstance(found, dict):
        return _numbers(list(found.values()))
    if isinstance(found, list | tuple):
        return [number for each in found for number in _numbers(each)]
    return [] if found is None else [float(found)]


MUON = 'muon(lr=1e-2)\n optimizer "**.bias" = adamw(lr=1e-3)'
OPTIMIZERS = (
    "sgd(lr=1e-2, momentum=0.9)", "adam(lr=1e-2)", "adamw(lr=1e-2, weight_decay=0.1)", "lion(lr=1e-3)", "adafactor(lr=1e-2)",
    "adafactor()", MUON, "trusting(lr=1e-2)",
)  # fmt: skip
SETTINGS = (
    "steps = 4, clip_norm = 0.1",
    "steps = 4, accumulate = 2",
    'steps = 4, recompute = "blocks"',
    "steps = 4, accumulate = 2, clip_norm = 0.1",
    "steps = 4, precision = f16",
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer: str) -> None:
    trainers, flat, stacked = both(block(optimizer))
    assert "net.h.0-4.up.weight" in stacked.stacks
    same(trainers, flat, stacked)


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings(settings: str) -> None:
    trainers, flat, stacked = both(block(settings=settings, net="Net(p=0.2)"))
    assert stacked.stacks and not flat.stacks
    same(trainers, flat, stacked)


def test_what_layers_update() -> None:
    """Running means are stacked, too, in training and in what evaluates."""
    trainers, flat, stacked = both(block(net="Normal()"))
    assert stacked.stacks["net.h.0-4.norm.running_mean"][1] == "net.h.1.norm.running_mean"
    same(trainers, flat, stacked)


def test_layers_in_a_scan() -> None:
    trainers, flat, stacked = both(block(net="Cells()"))
    assert stacked.stacks["net.h.0-2.weight"] == tuple(f"net.h.{i}.weight" for i in range(3))
    same(trainers, flat, stacked)


def test_two_loops_over_one_list() -> None:
    trainers, flat, stacked = both(block(net="Halves()"))
    assert {"net.h.0-2.up.weight", "net.h.3-5.up.weight"} < stacked.stacks.keys()
    same(trainers, flat, stacked)


SEVERAL = f"""
train t {{
    one = Net(layers=4)
    other = Normal(layers=3)
    slow = ema(other, decay=0.9)
    {DATA}
    step first updates one with adam(lr=1e-2) {{
        minimize cross_entropy(one(stop_gradient(other(x))), label)
    }}
    step second updates other with sgd(lr=1e-2, momentum=0.9) every 2 {{
        minimize cross_entropy(one(other(x)), label)
    }}
    metric size = mean(abs(slow(x)))
    settings {{ steps = 4 }}
}}
"""


def test_several_steps() -> None:
    """What an average is taken of is read by its path: it stays in parts, and so do the layers that read it."""
    trainers, flat, stacked = both(dlc.loads(NETWORKS + SEVERAL)["t"])
    assert "one.h.0-3.up.weight" in stacked.stacks
    assert not any(path.startswith("other.") for path in stacked.stacks)
    same(trainers, flat, stacked)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (block(settings="steps = 4", net="Net(layers=2)"), "fewer layers"),
        (block("noisy(lr=1e-2)"), "an optimizer draws, for each parameter by itself"),
    ],
)
def test_layers_that_stay_apart(text: TrainBlock, why: str) -> None:
    trainers, flat, stacked = both(text, many=3)
    assert not stacked.stacks, why
    same(trainers, flat, stacked)


def test_layers_that_are_trained_in_part() -> None:
    frozen = f"""
    train t {{
        net = Net()
        freeze "net.h.0.**", "net.h.1.**"
        {DATA}
        minimize cross_entropy(net(x), label)
        optimizer = adam(lr=1e-2)
        settings {{ steps = 4 }}
    }}
    """
    trainers, flat, stacked = both(dlc.loads(NETWORKS + frozen)["t"])
    assert not stacked.stacks
    same(trainers, flat, stacked)


def test_steps_do_not_grow_with_depth() -> None:
    sizes = set()
    for layers in (16, 64):
        _, _, stacked = both(block("adamw(lr=1e-2)", "steps = 4, clip_norm = 1.0", f"Net(layers={layers})"))
        sizes.add(sum(len(list(walk(each.program.main.body))) for each in stacked.programs.values()))
    assert len(sizes) == 1


# --- on backends


DEEP = 'steps = 3, accumulate = 2, clip_norm = 0.5, recompute = "blocks"'


@pytest.mark.parametrize("optimizer", ["adamw(lr=1e-2)", MUON])
@pytest.mark.parametrize("backend", ["onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_backends_agree(backend: str, optimizer: str) -> None:
    tried = block(optimizer, DEEP, "Net(layers=17, p=0.1)")
    assert Trainers(tried, {"B": 8}).compiled(find(backend)).steps.stacks
    report = dlc.verify_training(tried, steps=3, backends=[backend])
    assert report.agree, str(report)


@pytest.mark.parametrize("backend", ["onnx", pytest.param("tvm", marks=pytest.mark.slow)])
def test_resumed_and_handed_on(backend: str, tmp_path: Path) -> None:
    """Checkpoints have what layers hold by the layers' paths: a run goes on, and other backends take it up."""
    net = "Normal(layers=16)"
    dlc.train(block(settings="steps = 4", net=net), backend=backend, out=tmp_path / "whole")
    dlc.train(block(settings="steps = 2", net=net), backend=backend, out=tmp_path / "parts")
    dlc.train(block(settings="steps = 4", net=net), backend=backend, out=tmp_path / "parts", resume=True)
    whole, parts = load(tmp_path / "whole"), load(tmp_path / "parts")
    for path, value in whole.networks["net"].items():
        assert np.array_equal(value, parts.networks["net"][path]), path
    assert whole.state.keys() == parts.state.keys()
    weights = load_file(tmp_path / "whole/net.safetensors")
    model = dlc.loads(NETWORKS)["Normal"](layers=16)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    one, other = (model.compile(name, weights=weights)(x=x) for name in ("torch", backend))
    np.testing.assert_allclose(*(next(iter(each.values())) for each in (one, other)), rtol=1e-4, atol=1e-5)


def test_files_say_what_is_stacked(tmp_path: Path) -> None:
    import onnxruntime

    tried = block("adamw(lr=1e-2)", "steps = 3", "Net(layers=16)")
    write_steps(tried, "onnx", tmp_path / "steps")
    facts = json.loads((tmp_path / "steps/t_step.json").read_text())
    held, names = load_file(tmp_path / "steps/t.safetensors"), facts["training"]["names"]
    stacks = facts["training"]["stacks"]
    assert stacks["net.h.0-15.up.weight"] == [f"net.h.{i}.up.weight" for i in range(16)]
    assert held["net.h.0-15.up.weight"].shape == (16, 8, 4)
    session = onnxruntime.InferenceSession(tmp_path / "steps/t_step.onnx")
    outputs = [each.name for each in session.get_outputs()]
    data = open_data(tried)
    for t in range(1, 4):
        feeds = dict(data.training.training(t - 1))
        feeds |= {names["t"]: np.asarray(t), names["rate"]: np.asarray(1e-2, np.float32)}
        feeds |= {name: held[path] for path, name in facts["parameters"]}
        found = dict(zip(outputs, session.run(None, feeds), strict=True))
        held |= {path: found[name] for path, name in facts["updates"]}
    dlc.train(tried, backend="onnx", out=tmp_path / "run")
    trained = load_file(tmp_path / "run/net.safetensors")
    for path, members in stacks.items():
        for i, member in enumerate(members):
            if member.startswith("net."):
                name = member.removeprefix("net.")
                np.testing.assert_allclose(held[path][i], trained[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_few_layers_are_written_out() -> None:
    made = Trainers(block(net=f"Net(layers={module.MANY - 1})"), {"B": 8}).compiled(find("onnx"))
    assert not made.steps.stacks
