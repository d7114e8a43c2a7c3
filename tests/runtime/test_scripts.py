"""Emitted training scripts: they run by themselves, and their losses are those of `dlc train`, step by step."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from script_specs import (
    RULED,
    RULES,
    SETTINGS,
    SPEC,
    WRITTEN,
    block,
    compared,
    run,
    with_rules,
)


@pytest.mark.parametrize(("name", "backend"), WRITTEN)
def test_losses_are_those_of_dlc_train(name: str, backend: str, folder: Path) -> None:
    compared(block(folder, name), backend, folder)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize(
    ("rules", "settings"),
    [
        ('optimizer "net.h.0.*.*" = adamw(lr=1e-2, weight_decay=0.1)', {"precision": "f16"}),
        ('freeze "net.h.1.up.*"', {"clip_norm": 0.5}),
        (
            'optimizer "net.h.0.up.weight" = muon()\n    optimizer "net.h.1.*.*" = adafactor()',
            {"accumulate": 2},
        ),
    ],
)
def test_layers_of_a_stack_with_optimizers_of_their_own(
    rules: str, settings: dict[str, object], backend: str, folder: Path
) -> None:
    text = (folder / "spec.dl").read_text(encoding="utf-8")
    usual = "optimizer = sgd(lr=step_decay(0.1, every=4), momentum=0.9, nesterov=true)"
    assert usual in text
    (folder / "spec.dl").write_text(text.replace(usual, f"{usual}\n    {rules}"), encoding="utf-8")
    compared(block(folder, "characters").with_settings(**settings), backend, folder)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_in_all_ways(fit: str, folder: Path) -> None:
    text = (folder / "spec.dl").read_text(encoding="utf-8").replace('fit="crop"', f'fit="{fit}"')
    (folder / "spec.dl").write_text(text, encoding="utf-8")
    compared(block(folder, "gray"), "torch", folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), WRITTEN)
def test_in_bf16_too(name: str, backend: str, folder: Path) -> None:
    compared(block(folder, name).with_settings(precision="bf16", clip_norm=0.5), backend, folder)


# Its slope by a bias is 30 times the scale: f16 has no place for that until the scale has fallen five times.
OVERFLOWS = """
model Score()(x: [B, 3]) -> [B, 4] {
    return x |> linear(8) as up |> relu |> linear(4) as down
}

train overflows {
    net = Score()
    slow = ema(net, decay=0.5)
    batch (x: [B, 3]) from npz("points.npz", batch=16)
    minimize mean(sum(net(x) + 1.0, axis=-1)) * 30.0
    optimizer = adamw(lr=1e-2)
    optimizer "net.up.*" = RULE
    settings { steps = 9, log = 1, precision = f16, checkpoint_every = 6, clip_norm = 1.0 }
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("rule", ["sgd(lr=0.1, momentum=0.9)", "muon()"])
def test_steps_that_overflow_are_left_out(rule: str, backend: str, folder: Path) -> None:
    """By all optimizers, and the average with them; and a run that goes on has the scale that it had."""
    text = OVERFLOWS.replace("RULE", rule)
    text = text.replace('"net.up.*"', '"net.up.weight"') if rule == "muon()" else text
    (folder / "spec.dl").write_text(text, encoding="utf-8")
    tried = block(folder, "overflows")
    compared(tried, backend, folder)
    script = folder / "script/overflows.py"
    whole = run(script, "--out", "whole")
    shorter = script.read_text(encoding="utf-8").replace("STEPS = 9", "STEPS = 3")
    (script.parent / "shorter.py").write_text(shorter, encoding="utf-8")
    (script.parent / "shorter.safetensors").write_bytes(script.with_suffix(".safetensors").read_bytes())
    run(script.parent / "shorter.py", "--out", "parts")
    assert run(script, "--out", "parts", "--resume")[:-1] == whole[3:-1]


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_several_steps_in_bf16(accumulate: int, folder: Path) -> None:
    """Without averages or updates of parameters, which are computed in f32."""
    text = (folder / "spec.dl").read_text(encoding="utf-8")
    kept = (line for line in text.splitlines() if "smooth" not in line and "update D" not in line)
    (folder / "spec.dl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    tried = block(folder, "gan").with_settings(precision="bf16", accumulate=accumulate)
    compared(tried, "torch", folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings", "backend"), SETTINGS)
def test_settings_mean_what_they_do_in_dlc_train(
    name: str, settings: dict[str, object], backend: str, folder: Path
) -> None:
    compared(block(folder, name).with_settings(**settings), backend, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), RULED)
def test_optimizers_that_are_written_out(name: str, backend: str, folder: Path) -> None:
    """Those that no framework has: the spec's own, and the library's."""
    compared(with_rules(folder, name), backend, folder)
    assert "optimizer.net" not in load_file(folder / f"script/{RULES[name][0]}.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("late", {"precision": "bf16", "clip_norm": 0.5}),
        ("several", {"accumulate": 2}),
        ("late", {"precision": "bf16", "accumulate": 2}),
        ("turns", {"accumulate": 2}),
        ("draws", {"accumulate": 2, "clip_norm": 0.5}),
        ("draws", {"precision": "f16"}),
        ("draws in turns", {"accumulate": 2}),
    ],
)
def test_they_go_with_settings(name: str, settings: dict[str, object], backend: str, folder: Path) -> None:
    compared(with_rules(folder, name).with_settings(**settings), backend, folder)


GATHERED = """
model Gathered(layers: int = 2)(x: [B, 4]) -> [B, 4] {
    found = []
    for i in range(layers) as layer {
        x = x |> linear(4) |> dropout(0.1)
        found = found + [x]
    }
    return sum(stack(found), axis=0)
}

train gathered {
    net = Gathered()
    batch (x: [B, 4], y: [B, 4]) from synthetic(batch=8)
    minimize mse(net(x), y)
    optimizer = sgd(lr=0.1)
    settings { steps = 2, draws = "portable", log = 1 }
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_draws_of_layers_that_are_gathered(backend: str, folder: Path) -> None:
    (folder / "spec.dl").write_text(GATHERED, encoding="utf-8")
    compared(block(folder, "gathered"), backend, folder)


ORTHOGONAL = """
module Layer(d: int)(x: [B, d]) -> [B, d] {
    param own: [d, d] = orthogonal * 0.5 + 0.1
    param narrow: bf16[d, d] = orthogonal
    return x @ own + x @ cast(narrow, float)
}

model Turning()(x: [B, 4]) -> [B, 8] {
    init linear.weight = orthogonal
    return x |> linear(8) as up |> Layer(8) as layer
}

train turning {
    net = Turning()
    batch (x: [B, 4]) from synthetic(batch=8)
    minimize mean(square(net(x)))
    optimizer = sgd(lr=0.1)
    settings { steps = 2, log = 1 }
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_orthogonal_matrices_of_16_bits(precision: str, backend: str, folder: Path) -> None:
    """They begin as those of 32 bits, rounded: no framework decomposes them."""
    (folder / "spec.dl").write_text(ORTHOGONAL, encoding="utf-8")
    compared(block(folder, "turning").with_settings(precision=precision), backend, folder)


UNCALLED = {
    "digits": (
        "    net = Net()\n",
        "    net = Net()\n    late = ema(net, decay=0.9)\n    first = frozen(net)\n",
    ),
    "characters": ("    net = CharGPT()\n", "    net = CharGPT()\n    late = ema(net, decay=0.9)\n"),
    "gan": ("    D = Critic()\n", "    D = Critic()\n    late = ema(D, decay=0.9)\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("name", UNCALLED)
def test_averages_that_nobody_calls(name: str, backend: str, folder: Path) -> None:
    """They follow their networks, and are written with the others."""
    head, begun, text = SPEC.partition(f"train {name} {{")
    (folder / "spec.dl").write_text(head + begun + text.replace(*UNCALLED[name], 1), encoding="utf-8")
    compared(block(folder, name), backend, folder)
    assert (folder / "script/found/late.safetensors").exists()


SHARES = [
    ("digits(batch=64)", "digits(split=0.6, seed=7, batch=64)"),
    ('digits(split="test", batch=100)', "rest(batch=100)"),
    ("batch=8, stop=0.9)", "batch=8, split=0.8)"),
    ('text("input.txt", length=9, batch=16, start=0.9)', "rest(batch=16)"),
    ("batch=4, stop=98)", "batch=4, split=(0.2, 0.9), seed=none)"),
    ("count=64)", "count=64, split=0.5, seed=3)"),
]


@pytest.mark.parametrize("name", ["digits", "characters", "masked", "drawn"])
def test_shares_of_rows_are_those_of_dlc_train(name: str, folder: Path) -> None:
    text = (folder / "spec.dl").read_text(encoding="utf-8")
    for old, new in SHARES:
        assert old in text
        text = text.replace(old, new)
    (folder / "spec.dl").write_text(text, encoding="utf-8")
    compared(block(folder, name), "torch", folder)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_averages_that_nothing_calls(backend: str, folder: Path) -> None:
    """Of a network with buffers, whose own calls are opened."""
    text = "\n".join(line for line in SPEC.splitlines() if "mean(abs(smooth(z)))" not in line)
    text = text.replace("smooth = ema(G, decay=0.9)", "smooth = ema(G, decay=0.9)\n    first = frozen(G)")
    (folder / "spec.dl").write_text(f"{text}\n", encoding="utf-8")
    compared(block(folder, "gan"), backend, folder)


# A teacher is outside of training while its student is in it, and so may the student be itself.
TEACHERS = """
model Net(d: int = 16)(x: [B, 3]) -> [B, 2] {
    return x |> linear(d, bias=false) as a |> batch_norm as n |> relu |> dropout(0.5) |> linear(2) as c
}

train taught {
    net = Net()
    first = frozen(net)
    AVERAGE
    batch (x: [B, 3], y: [B, 2]) from npz("points.npz", batch=8)
    evaluate from npz("points.npz", batch=8, start=4)
    guess = net(x)
    minimize mse(guess, y) + mse(guess, first(x) + TARGET)
    metric still = mean(first(x))
    OTHER
    optimizer = sgd(lr=0.1)
    settings { steps = 6, log = 1, eval_every = 3, checkpoint_every = 3 }
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize(
    ("other", "average", "settings"),
    [
        ("", False, {}),
        ("metric calm = mean(eval(net)(x))", False, {}),
        ("metric calm = mean(eval(net)(x))", False, {"accumulate": 2}),
        ("", False, {"draws": "portable"}),
        ("metric calm = mean(eval(net)(x))", True, {}),
        ("", True, {}),
        ("", True, {"accumulate": 2}),
    ],
)
def test_networks_in_another_mode_than_the_rest(
    other: str, average: bool, settings: dict[str, object], backend: str, folder: Path
) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(20, n)).astype(np.float32) for name, n in (("x", 3), ("y", 2))}
    np.savez(folder / "points.npz", **arrays)
    text = TEACHERS.replace("OTHER", other)
    text = text.replace("AVERAGE", "slow = ema(net, decay=0.5, training=true)" if average else "")
    text = text.replace("TARGET", "stop_gradient(slow(x))" if average else "0.0")
    if average and not other:  # both modes in the only program that there is
        text = re.sub(r" *evaluate .*\n", "", text.replace(" |> batch_norm as n", ""))
    (folder / "spec.dl").write_text(text, encoding="utf-8")
    compared(block(folder, "taught").with_settings(**settings), backend, folder)
