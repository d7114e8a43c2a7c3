"""Learning rates by step, against PyTorch's schedulers where it has them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dlc.elaborate.checks.plan import Named
from dlc.elaborate.checks.train_arguments import SCHEDULES
from dlc.runtime.schedules import rate

TOTAL = 50


def rates(name: str, **args: Any) -> list[float]:
    return [rate(Named(name, {**SCHEDULES[name], **args}), step, TOTAL) for step in range(TOTAL)]


def torch_rates(make: Any) -> list[float]:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    found = []
    for _ in range(TOTAL):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if len(found) < TOTAL:
            scheduler.step()
    return found


def test_a_number_stays() -> None:
    assert rate(0.3, 7, TOTAL) == 0.3
    assert rates("constant", lr=0.3) == [0.3] * TOTAL


@pytest.mark.parametrize("name", ["constant", "cosine", "linear"])
def test_warmup(name: str) -> None:
    """Ten equal steps up to the rate, which is reached once."""
    found = rates(name, lr=1.0, warmup=10)
    assert found[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(found) == found[9] == found[10] == 1.0


def test_cosine_is_pytorchs() -> None:
    found = rates("cosine", lr=0.5, end=0.1)
    wanted = torch_rates(lambda s, o: s.CosineAnnealingLR(o, T_max=TOTAL, eta_min=0.1))
    assert found == pytest.approx(wanted)


def test_linear_is_pytorchs() -> None:
    found = rates("linear", lr=0.5, end=0.05)
    wanted = torch_rates(lambda s, o: s.LinearLR(o, 1.0, 0.1, total_iters=TOTAL))
    assert found == pytest.approx(wanted)


def test_step_decay_is_pytorchs() -> None:
    found = rates("step_decay", lr=0.5, every=7, factor=0.3)
    wanted = torch_rates(lambda s, o: s.StepLR(o, 7, 0.3))
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("warmup", [0.3, 0.1, 0.9])
def test_one_cycle_is_pytorchs(warmup: float) -> None:
    found = rates("one_cycle", lr=0.5, warmup=warmup)
    wanted = torch_rates(lambda s, o: s.OneCycleLR(o, 0.5, total_steps=TOTAL, pct_start=warmup))
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_short_runs(name: str, total: int, warmup: int) -> None:
    """Also where there is nothing after the warm-up, or nothing before."""
    share = {"one_cycle": {"warmup": warmup / 5}}.get(name, {"warmup": warmup})
    args = {**SCHEDULES[name], "lr": 1.0, **share, **({"every": 1} if name == "step_decay" else {})}
    for step in range(total):
        assert 0 <= rate(Named(name, args), step, total) <= 1 and math.isfinite(
            rate(Named(name, args), step, total)
        )
