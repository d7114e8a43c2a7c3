"""Random programs through all backends, of a fixed seed; `random_programs.py` runs any number of them."""

from __future__ import annotations

from collections import Counter

import pytest
from properties import seeds
from random_blocks import program
from random_runs import Refused, faults, loaded

pytestmark = pytest.mark.draws


def check(seed: int, *names: str, sizes: int = 3) -> None:
    made = program(seed)
    try:
        found = list(faults(made, names, most=sizes))
    except Refused:
        return
    told = "\n".join(f"{each.backend}, {each.kind}: {each.text}" for each in found)
    assert not found, f"{told}\n{made.text()}"


@pytest.mark.parametrize("seed", seeds(10))
def test_as_the_references_say(seed: int) -> None:
    for module in ("torch", "onnxruntime"):
        pytest.importorskip(module)
    check(seed, "torch", "jax", "onnx")


@pytest.mark.parametrize("seed", seeds(5, 100))
def test_as_the_references_say_on_tvm(seed: int) -> None:
    pytest.importorskip("tvm")
    check(seed, "tvm")


def test_most_are_programs() -> None:
    """The others are refused in the words of the checker."""
    counts: Counter[str] = Counter()
    for seed in seeds(60, 200):
        try:
            loaded(program(seed))
            counts["fine"] += 1
        except Refused as refused:
            counts[refused.code] += 1
    assert counts["E0999"] == 0
    assert counts["fine"] > 0.8 * counts.total(), counts
