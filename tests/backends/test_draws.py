"""What is drawn at random, by its statistics, on every backend that is installed: moments within six standard errors of what they
should be, which one draw in 500 million misses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import properties
import pytest

import dlc
from dlc import backend
from dlc.elaborate.calls.initial import INITIALS
from dlc.runtime.interpret import run

pytestmark = pytest.mark.draws

N, M = 200, 300
SIGMAS = 6

DRAWS = f"""
model Net()(x: [{N}, {M}]) -> (
    dropout: [{N}, {M}], rows: [{N * M}, 2], normal: [{N}, {M}], like: [{N}, {M}], uniform: [{N}, {M}],
    bernoulli: bool[{N}, {M}], randint: i64[{N}, {M}]
) {{
    return (
        dropout(0.3)(x), drop_path(0.25)(reshape(concat([x, x]), [{N * M}, 2])), normal([{N}, {M}]), normal_like(x),
        uniform([{N}, {M}]), bernoulli([{N}, {M}], 0.2), randint([{N}, {M}], 2, 7)
    )
}}
"""


def drawn(name: str) -> dict[str, np.ndarray]:
    """Every way to draw, in training mode, from a fixed seed."""
    model = dlc.loads(DRAWS)["Net"]
    x = np.ones((N, M), np.float32)
    seed = properties.RUN.seed
    if name == "reference":
        return run(model.training_program, {}, {"x": x}, rng=np.random.default_rng(seed))
    runnable = backend.find(name).load(model.emit(name, training=True), {})
    if name == "torch":
        import torch

        torch.manual_seed(seed)
        return runnable(x=x)
    return runnable(x=x, key=seed)


def assert_mean(values: np.ndarray, mean: float, std: float) -> None:
    """The mean of independent draws of a distribution with this mean and standard deviation."""
    assert abs(float(values.mean(dtype=np.float64)) - mean) <= SIGMAS * std / math.sqrt(values.size)


def assert_share(found: np.ndarray, share: float) -> None:
    assert_mean(found, share, math.sqrt(share * (1 - share)))


def check_dropout(x: np.ndarray) -> None:
    kept = x != 0
    np.testing.assert_allclose(x[kept], 1 / 0.7, rtol=1e-6)
    assert_share(kept, 0.7)
    # A row or a column is not dropped as a whole.
    assert np.all(np.abs(kept.mean(axis=1) - 0.7) < 0.25) and np.all(np.abs(kept.mean(axis=0) - 0.7) < 0.25)


def check_rows(x: np.ndarray) -> None:
    np.testing.assert_array_equal(x[:, 0], x[:, 1])
    kept = x[:, 0] != 0
    np.testing.assert_allclose(x[kept], 1 / 0.75, rtol=1e-6)
    assert_share(kept, 0.75)


def check_normal(x: np.ndarray) -> None:
    wide = x.astype(np.float64)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert_mean(wide**power, mean, math.sqrt(variance))
    assert_unlike_its_neighbours(wide)


def check_uniform(x: np.ndarray) -> None:
    assert x.min() >= 0 and x.max() < 1
    wide = x.astype(np.float64)
    for power in (1, 2, 3):
        mean = 1 / (power + 1)
        assert_mean(wide**power, mean, math.sqrt(1 / (2 * power + 1) - mean**2))
    assert_unlike_its_neighbours((wide - 0.5) * math.sqrt(12))


def assert_unlike_its_neighbours(x: np.ndarray) -> None:
    """Draws of mean 0 and variance 1 do not correlate with the next ones, along either axis."""
    assert_mean(x[1:] * x[:-1], 0, 1)
    assert_mean(x[:, 1:] * x[:, :-1], 0, 1)


def check_bernoulli(x: np.ndarray) -> None:
    assert_share(x, 0.2)


def check_randint(x: np.ndarray) -> None:
    assert set(np.unique(x)) == {2, 3, 4, 5, 6}
    for value in range(2, 7):
        assert_share(x == value, 0.2)


CHECKS: dict[str, Callable[[np.ndarray], None]] = {
    "dropout": check_dropout,
    "rows": check_rows,
    "normal": check_normal,
    "like": check_normal,
    "uniform": check_uniform,
    "bernoulli": check_bernoulli,
    "randint": check_randint,
}


@pytest.mark.parametrize("name", ["reference", *backend.names()])
def test_draws_have_their_distributions(name: str) -> None:
    found = drawn(name)
    for kind, check in CHECKS.items():
        check(found[kind])
    # Two draws of one kind are two.
    assert_mean(found["normal"].astype(np.float64) * found["like"], 0, 1)


# The mean and the standard deviation of a [200, 300] weight. The truncated normal's: 1 - 4 f(2) / (F(2) - F(-2)), of its variance.
HE = math.sqrt(2 / M)
GLOROT = math.sqrt(2 / (N + M))
MOMENTS: dict[str, tuple[str, float, float]] = {
    "zeros": ("zeros", 0, 0),
    "ones": ("ones", 1, 0),
    "constant": ("constant(0.5)", 0.5, 0),
    "normal": ("normal(std=0.5, mean=1.0)", 1, 0.5),
    "uniform": ("uniform(-1.0, 3.0)", 1, 4 / math.sqrt(12)),
    "truncated_normal": ("truncated_normal(std=0.5, mean=1.0)", 1, 0.5 * 0.879626),
    "xavier_uniform": ("xavier_uniform", 0, GLOROT),
    "xavier_normal": ("xavier_normal(gain=2.0)", 0, 2 * GLOROT),
    "kaiming_uniform": ("kaiming_uniform", 0, HE),
    "kaiming_normal": ('kaiming_normal(mode="fan_out", nonlinearity="linear")', 0, 1 / math.sqrt(N)),
    "orthogonal": ("orthogonal", 0, 1 / math.sqrt(M)),
    "identity": ("identity", 1 / M, math.sqrt((1 - 1 / M) / M)),
}
BOUNDS = {
    "uniform": (-1.0, 3.0),
    "truncated_normal": (0.0, 2.0),
    "xavier_uniform": (-math.sqrt(3) * GLOROT, math.sqrt(3) * GLOROT),
    "kaiming_uniform": (-math.sqrt(3) * HE, math.sqrt(3) * HE),
}


def initial(text: str) -> np.ndarray:
    spec = (
        f"model Net()(x: [B, {M}]) -> [B, {N}] {{\n    param w: [{N}, {M}] = {text}\n    return x @ w.T\n}}\n"
    )
    return dlc.loads(spec)["Net"].initial_weights(properties.RUN.seed)["w"].astype(np.float64)


def test_every_initial_value_is_tried() -> None:
    assert MOMENTS.keys() == INITIALS.keys()


@pytest.mark.parametrize("name", MOMENTS)
def test_initial_values_have_their_distributions(name: str) -> None:
    text, mean, std = MOMENTS[name]
    found = initial(text)
    if name == "orthogonal":
        np.testing.assert_allclose(found @ found.T, np.eye(N), atol=1e-5)
    if name == "identity":
        np.testing.assert_array_equal(found, np.eye(N, M))
    low, high = BOUNDS.get(name, (-math.inf, math.inf))
    assert low - 1e-6 <= found.min() and found.max() <= high + 1e-6
    assert_mean(found, mean, std)
    # No distribution that is drawn from here has a kurtosis above the normal one's, 3.
    assert_mean((found - mean) ** 2, std**2, math.sqrt(2) * std**2 + 1e-9)


def test_weights_of_other_paths_and_seeds_are_other_draws() -> None:
    layers = "x |> linear(300) as a |> linear(300) as b"
    model = dlc.loads(f"model Net()(x: [B, 300]) -> [B, 300] {{\n    return {layers}\n}}\n")["Net"]
    first, second = model.initial_weights(0), model.initial_weights(1)
    scale = math.sqrt(3) * math.sqrt(300)  # to variance 1
    for one, other in ((first["a.weight"], first["b.weight"]), (first["a.weight"], second["a.weight"])):
        assert_mean(one.astype(np.float64) * other * scale**2, 0, 1)
