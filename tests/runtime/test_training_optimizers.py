"""Optimizers: the same numbers from torch and jax, and those of the papers' authors or of PyTorch."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import BACKENDS, BOUNDED, block, journal, loaded, power_failure

import dlc
from dlc.backend.installed import find
from dlc.diagnostics import SpecError
from dlc.elaborate.checks import train_arguments
from dlc.runtime.interpret import run
from dlc.runtime.verify_training import verify_training
from dlc.runtime.weights import initial_weights, read_file
from dlc.runtime.write_steps import write_steps

OPTIMIZERS = {
    "sgd": "sgd(lr=0.1)",
    "momentum": "sgd(lr=0.05, momentum=0.9, weight_decay=0.01)",
    "nesterov": "sgd(lr=0.05, momentum=0.9, nesterov=true)",
    "adam": "adam(lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)",
    "adamw": "adamw(lr=linear(2e-3, warmup=2), weight_decay=0.1)",
    "lion": "lion(lr=1e-4, weight_decay=0.5)",
    "adafactor": "adafactor(lr=1e-3, weight_decay=0.1)",
    "adafactor, relative": "adafactor()",
    "muon": "muon(lr=0.02, weight_decay=0.1)",
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_optimizers_are_what_the_library_says(optimizer: str) -> None:
    """PyTorch's and optax's own, step by step beside the library's definition, which onnx compiles."""
    rules = f"optimizer = adamw(lr=1e-3)\n    optimizer linear.weight, conv2d.weight = {optimizer}"
    tried = loaded(block(rules, "steps = 8, clip_norm = 1.0", net="Small()"))
    report = verify_training(tried, steps=8, backends=BACKENDS)
    assert report.agree, report.text()
    assert [each.backend for each in report.courses] == list(BACKENDS)
    assert max(each.loss for each in report.courses) < 1e-5, report.text()


@pytest.mark.parametrize("name", train_arguments.OPTIMIZERS)
def test_defaults_are_the_librarys(name: str) -> None:
    text = f"model Net()(p: [6, 4], g: [6, 4], t: i64[], lr: []) -> [6, 4] {{ return {name}()(p, g, t, lr) as rule }}"
    functions = dlc.loads(text)["Net"].training_program.functions
    written = {key: value for key, value in train_arguments.OPTIMIZERS[name].items() if key != "lr"}
    assert dict(functions[name].static) == written


NATIVE: dict[str, Callable[[Any, Any], Any]] = {
    "momentum": lambda optim, p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda optim, p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda optim, p: optim.Adam(p, lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    "adamw": lambda optim, p: optim.AdamW(p, lr=2e-3, weight_decay=0.1),
}


def course(
    optimizer: str, start: np.ndarray, steps: int, gradient: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Where the library's definition takes an array, in f64, where nothing hides behind rounding."""
    rate = re.search(r"lr=([0-9.e-]+)(, )?", optimizer)
    written = optimizer.replace(rate[0], "") if rate else optimizer
    size = list(start.shape)
    text = f"""
    model Net()(p: {size}, g: {size}, t: i64[], lr: []) -> {size} {{
        return {written}(p, g, t{", lr" if rate else ""}) as rule
    }}"""
    program = dlc.loads(text)["Net"].training_program
    held, now = initial_weights(program), start
    for t in range(1, steps + 1):
        updates: dict[str, np.ndarray] = {}
        given = {"p": now, "g": gradient(now), "t": np.int64(t), "lr": np.float64(rate[1] if rate else 0.0)}
        (now,) = run(program, held, given, precision="f64", updates=updates).values()
        held |= updates
    return now


def pulled(
    optimizer: str, shape: tuple[int, ...], steps: int, make: Callable[[Any], Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Where the library's definition and an optimizer of PyTorch take an array that is pulled to a fixed place."""
    import torch

    rng = np.random.default_rng(0)
    start, goal = rng.standard_normal(shape), rng.standard_normal(shape)
    native = torch.tensor(start, requires_grad=True)
    theirs = make(native)
    for _ in range(steps):
        theirs.zero_grad()
        ((native - torch.tensor(goal)) ** 2).sum().backward()
        theirs.step()
    return course(optimizer, start, steps, lambda now: 2 * (now - goal)), native.detach().numpy()


@pytest.mark.parametrize("name", NATIVE)
def test_a_hundred_steps_are_pytorchs(name: str) -> None:
    import torch

    written = OPTIMIZERS[name].replace("linear(2e-3, warmup=2)", "2e-3")
    ours, theirs = pulled(written, (6, 4), 100, lambda p: NATIVE[name](torch.optim, [p]))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


OWN = (
    BOUNDED
    + """
# No memory, and a rate of its own.
module normed()(weight: [*S], slope: [*S]) -> [*S] {
    return weight - 0.001 * slope / (norm(slope) + 1e-8)
}
"""
)
RULES = "optimizer = bounded(lr=cosine(lr=0.003, warmup=2), share=0.2)\n    optimizer linear.bias = normed()"


def test_an_optimizer_of_ones_own(tmp_path: Path) -> None:
    """On every backend; what it remembers is in checkpoints."""
    text = OWN + block(RULES, "steps = 6, clip_norm = 2.0", net="Small()")
    report = verify_training(loaded(text), steps=6, backends=BACKENDS)
    assert report.agree, report.text()
    # A rate that does not go by the number of steps: those of a run that was to end earlier are the same.
    steady = loaded(text.replace("cosine(lr=0.003, warmup=2)", "0.003"))
    for backend in BACKENDS:
        whole, parts = tmp_path / backend / "whole", tmp_path / backend / "parts"
        dlc.train(steady, backend=backend, out=whole)
        dlc.train(steady.with_settings(steps=3), backend=backend, out=parts)
        dlc.train(steady, backend=backend, out=parts, resume=True)
        first, second = (read_file(each / "net.safetensors") for each in (whole, parts))
        for path, array in first.items():
            np.testing.assert_array_equal(array, second[path], err_msg=f"{backend}: {path}")


def test_a_changed_rule_is_another_run(tmp_path: Path) -> None:
    text = OWN + block(RULES, "steps = 2", net="Small()")
    dlc.train(loaded(text), backend="torch", out=tmp_path)
    with pytest.raises(SpecError, match="own optimizers"):
        dlc.train(loaded(text.replace("0.99", "0.98")), backend="torch", out=tmp_path, resume=True)


WRONG = {
    "another input": (
        "module mine()(p: [*S], g: [*S], momentum: [*S]) -> [*S] { return p - g * momentum }",
        "mine()",
        "`mine` is no optimizer: it takes `momentum`",
    ),
    "no gradient": ("module mine()(p: [*S]) -> [*S] { return p }", "mine()", "it does not take a parameter"),
    "no rate": (
        "module mine()(p: [*S], g: [*S], lr: []) -> [*S] { return p - lr * g }",
        "mine()",
        "needs `lr`",
    ),
    "a rate that nothing takes": (
        "module mine()(p: [*S], g: [*S]) -> [*S] { return p - g }",
        "mine(lr=0.1)",
        "`mine` takes no `lr`",
    ),
    "another shape": (
        "module mine()(p: [*S], g: [*S]) -> [] { return sum(p - g) }",
        "mine()",
        "`mine` gives [] for `net.conv.weight`, which is [4, 1, 5, 5]",
    ),
    "a fault inside": (
        "module mine()(p: [a, b], g: [a, b]) -> [a, b] { return p - g }",
        "mine()",
        "net.conv.weight",
    ),
}


@pytest.mark.parametrize(("rule", "used", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_optimizer(rule: str, used: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        _ = loaded(rule + block(f"optimizer = {used}", "steps = 2", net="Small()")).plan
    shown = str(caught.value)
    assert message in shown and "E0999" not in shown, shown


# --- against others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5,)])
def test_adafactor_is_pytorchs(shape: tuple[int, ...]) -> None:
    import torch

    ours, theirs = pulled(
        "adafactor()", shape, 12, lambda p: torch.optim.Adafactor([p], lr=1e-2, eps=(1e-30, 1e-3))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_muon_is_pytorchs(shape: tuple[int, ...]) -> None:
    """PyTorch iterates in bf16."""
    import torch

    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    written = "muon(lr=0.02, weight_decay=0.1)"
    ours, theirs = pulled(written, shape, 12, lambda p: torch.optim.Muon([p], lr=0.02, weight_decay=0.1))
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_lion_is_the_papers() -> None:
    """Algorithm 2, written out for one number."""
    gradients = (0.5, -0.2, 0.1, -5.0, 0.3)
    value, momentum = 1.0, 0.0
    for steps, gradient in enumerate(gradients, 1):
        update = np.sign(0.9 * momentum + 0.1 * gradient) + 0.1 * value
        value, momentum = value - 0.01 * update, 0.99 * momentum + 0.01 * gradient
        given = iter(gradients)
        found = course(
            "lion(lr=0.01, weight_decay=0.1)",
            np.ones(1),
            steps,
            lambda _, given=given: np.array([next(given)]),
        )
        assert found.item() == pytest.approx(value, rel=1e-12)


def test_muons_update_is_orthogonal() -> None:
    gradient = np.random.default_rng(0).standard_normal((5, 9))
    moved = course("muon(lr=1.0)", np.zeros((5, 9)), 1, lambda _: gradient)
    assert np.linalg.svd(moved, compute_uv=False) == pytest.approx(np.ones(5), abs=0.35)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_backends_list_the_optimizers_that_they_know(backend: str) -> None:
    known = importlib.import_module(
        {"torch": "dlc_torch.train", "jax": "dlc_jax.optimizers"}[backend]
    ).OPTIMIZERS
    assert find(backend).optimizers == known.keys()


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "code", "said"),
    [
        ("optimizer = muon()", "E0718", "muon is for matrices, and `net.bn.weight` is [4]"),
        ('optimizer "net.last.*" = adam()', "E0701", "has no optimizer for `net.conv.weight`"),
        ("optimizer = sgd(lr=0.1, nesterov=true)", "E0703", "it must be with a momentum above 0"),
        ("optimizer = adam(lr=-1.0)", "E0703", "`lr` can't be -1.0"),
        ("optimizer = adam(betas=0.9)", "E0703", "it must be two numbers from 0 to below 1"),
        ("optimizer = adam(lr=cosine(cosine(1.0)))", "E0703", "it must be a positive number"),
        ("optimizer = sgd(lr=linear(1.0, warmup=0.1))", "E0703", "`warmup` can't be 0.1"),
        ('freeze "net.**"\n    optimizer = adam()', "E0701", "has no parameter that is trained"),
    ],
)
def test_refused(optimizer: str, code: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        _ = loaded(block(optimizer)).plan
    assert caught.value.diagnostics[0].code == code
    assert said in caught.value.diagnostics[0].message


# An optimizer that draws (Welling and Teh, 2011), beside another of the same kind.
LANGEVIN = """
module langevin(sigma: float = 0.1)(p: [*S], g: [*S], lr: []) -> [*S] {
    return p - lr * (g + sigma * normal_like(p))
}

model Net()(x: [B, 8]) -> y: [B, 4] {
    return x |> linear(6) as up |> dropout(0.2) |> linear(4) as down
}

train t {
    net = Net()
    batch (x: [B, 8], y: [B, 4]) from synthetic(batch=16)
    minimize mse(net(x), y)
    optimizer = langevin(lr=0.1)
    optimizer "net.down.*" = langevin(lr=0.2, sigma=0.5)
    settings { steps = 5, log = 1, checkpoint_every = 2, draws = "portable" }
}
"""


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"precision": "f16"}])
def test_optimizers_that_draw_are_the_same_everywhere(settings: dict[str, Any]) -> None:
    report = verify_training(dlc.loads(LANGEVIN)["t"].with_settings(**settings), backends=(*BACKENDS, "tvm"))
    assert report.agree, report.text()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_an_optimizer_draws_hangs_on_seed_and_step(backend: str, tmp_path: Path) -> None:
    tried = dlc.loads(LANGEVIN)["t"]
    dlc.train(tried, backend=backend, out=tmp_path / "whole")
    with power_failure(3), pytest.raises(RuntimeError, match="power"):
        dlc.train(tried, backend=backend, out=tmp_path / "parts")
    dlc.train(tried, backend=backend, out=tmp_path / "parts", resume=True)
    assert journal(tmp_path / "parts") == journal(tmp_path / "whole")
    dlc.train(tried.with_settings(seed=1), backend=backend, out=tmp_path / "other")
    assert journal(tmp_path / "other")[-1]["loss"] != journal(tmp_path / "whole")[-1]["loss"]


def test_what_optimizers_draw_is_listed_beside_compiled_steps(tmp_path: Path) -> None:
    write_steps(dlc.loads(LANGEVIN)["t"], "onnx", tmp_path)
    facts = json.loads((tmp_path / "t_step.json").read_text(encoding="utf-8"))
    listed = {each["name"]: each for each in facts["training"]["draws"]}
    assert sorted(each["op"] for each in listed.values()) == ["normal"] * 4 + ["uniform"]
    assert listed.keys() <= {name for name, *_ in facts["inputs"]}
