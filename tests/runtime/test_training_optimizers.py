"""Optimizers: the same numbers from torch and jax, and those of the papers' authors or of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import BACKENDS, block, loaded, losses

import dlc
from dlc.diagnostics import SpecError

MUON = (
    "optimizer = adamw(lr=1e-3)\n    optimizer linear.weight, conv2d.weight = muon(lr=0.02, weight_decay=0.1)"
)
OPTIMIZERS = {
    "sgd": "optimizer = sgd(lr=0.1)",
    "momentum": "optimizer = sgd(lr=0.05, momentum=0.9, weight_decay=0.01)",
    "nesterov": "optimizer = sgd(lr=0.05, momentum=0.9, nesterov=true)",
    "adam": "optimizer = adam(lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)",
    "adamw": "optimizer = adamw(lr=linear(2e-3, warmup=2), weight_decay=0.1)",
    "lion": "optimizer = lion(lr=1e-4, weight_decay=0.5)",
    "adafactor": "optimizer = adafactor(lr=1e-3, weight_decay=0.1)",
    "adafactor, relative": "optimizer = adafactor()",
    "muon": MUON,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_torch_and_jax_agree(optimizer: str, tmp_path: Path) -> None:
    tried = loaded(block(optimizer, "steps = 6, clip_norm = 1.0", net="Small()"))
    for backend in BACKENDS:
        dlc.train(tried, backend=backend, out=tmp_path / backend)
    ours = losses(tmp_path / "torch")
    assert len(set(ours)) == 6
    np.testing.assert_allclose(ours, losses(tmp_path / "jax"), rtol=1e-5)


# --- against others ----------------------------------------------------------------------------------------------

Make = Callable[[list[Any]], Any]


def path_of(make: Make, steps: int = 12, lr: float | None = None) -> list[np.ndarray]:
    """Where an optimizer takes a matrix and a vector that are pulled to fixed places."""
    import torch

    rng = np.random.default_rng(0)
    start, goal = (
        [torch.tensor(rng.standard_normal(shape), dtype=torch.float32) for shape in ((6, 4), (4, 6), (5,))]
        for _ in range(2)
    )
    parameters = [each.clone().requires_grad_() for each in start]
    optimizer = make(parameters)
    for group in optimizer.param_groups if lr is not None else ():
        group["lr"] = lr
    for _ in range(steps):
        optimizer.zero_grad()
        sum((a - b).pow(2).sum() for a, b in zip(parameters, goal, strict=True)).backward()  # type: ignore[union-attr]
        optimizer.step()
    return [each.detach().numpy() for each in parameters]


def test_adafactor_is_pytorchs() -> None:
    import torch
    from dlc_torch import optimizers

    args = {"decay": 0.8, "eps": 1e-30, "clip": 1.0, "weight_decay": 0.0, "relative": True}
    ours = path_of(lambda each: optimizers.make("adafactor", args, each))
    theirs = path_of(lambda each: torch.optim.Adafactor(each, lr=1e-2, eps=(1e-30, 1e-3)))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_muon_is_pytorchs() -> None:
    """PyTorch iterates in bf16."""
    import torch
    from dlc_torch import optimizers

    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    args = {"momentum": 0.95, "nesterov": True, "steps": 5, "weight_decay": 0.1}
    ours = path_of(lambda each: optimizers.make("muon", args, each[:2]), lr=0.02)
    theirs = path_of(lambda each: torch.optim.Muon(each[:2], lr=0.02, weight_decay=0.1))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=0.02)


def test_lion_is_the_papers() -> None:
    """Algorithm 2, written out for one number."""
    import torch
    from dlc_torch import optimizers

    x = torch.tensor([1.0], requires_grad=True)
    args = {"betas": (0.9, 0.99), "weight_decay": 0.1}
    lion = optimizers.make("lion", args, [x])
    lion.param_groups[0]["lr"] = 0.01
    value, momentum = 1.0, 0.0
    for gradient in (0.5, -0.2, 0.1, -5.0, 0.3):
        x.grad = torch.tensor([gradient])
        lion.step()
        update = np.sign(0.9 * momentum + 0.1 * gradient) + 0.1 * value
        value, momentum = value - 0.01 * update, 0.99 * momentum + 0.01 * gradient
        assert x.item() == pytest.approx(value, rel=1e-6)


def test_muons_update_is_orthogonal() -> None:
    import jax.numpy as jnp
    import torch
    from dlc_jax import optimizers as jax_optimizers
    from dlc_torch import optimizers

    matrix = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    found = optimizers.orthogonal(torch.from_numpy(matrix), 5).numpy()
    assert np.linalg.svd(found, compute_uv=False) == pytest.approx(np.ones(5), abs=0.35)
    np.testing.assert_allclose(found, jax_optimizers.orthogonal(jnp.asarray(matrix), 5), rtol=1e-4, atol=1e-5)


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
