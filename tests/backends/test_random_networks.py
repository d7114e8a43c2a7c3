"""Random networks on all backends, of a fixed seed; `random_networks.py` runs any number of them."""

from __future__ import annotations

from collections import Counter

import pytest
from network_runs import CHECKS, faults
from properties import seeds
from random_networks import network

pytestmark = pytest.mark.draws


@pytest.mark.parametrize("seed", seeds(2))
@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_as_the_interpreter_says(seed: int, backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    check(seed, backend)


@pytest.mark.parametrize("seed", seeds(1, 1000))
def test_as_the_interpreter_says_on_tvm(seed: int) -> None:
    pytest.importorskip("tvm")
    check(seed, "tvm")


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(5, 2000))
def test_more_of_them(seed: int) -> None:
    for module in ("torch", "jax", "onnxruntime", "tvm"):
        pytest.importorskip(module)
    check(seed, "torch", "jax", "onnx", "tvm")


def check(seed: int, *backends: str) -> None:
    made = network(seed)
    found = list(faults(made, backends, list(CHECKS)))
    assert not found, "\n".join((*found, made.text))


def test_most_are_networks() -> None:
    """The others are refused in the words of the checker, and every part of the fuzzer is in some of them."""
    counts: Counter[str] = Counter()
    texts = [network(seed) for seed in seeds(40)]
    for made in texts:
        assert not list(faults(made, (), (), counts))
    assert sum(count for name, count in counts.items() if name.startswith("refused")) < 0.2 * len(texts), (
        counts
    )
    for part in (
        "copies(",
        "mixture(",
        "entry refine",
        "G: dim",
        "i32[B, T]",
        "0 <= T",
        "mask != none",
        "scan ",
    ):
        assert any(part in made.text for made in texts), part
