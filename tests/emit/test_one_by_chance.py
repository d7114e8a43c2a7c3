"""A static parameter that happens to be 1 in one place is not written as 1 in what serves other places, too."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.emit.settled import alike
from dlc.runtime.interpret import run

HEADS = """
module Heads(heads: int, out: int)(x: [N, d]) -> [N, out] {
    param scale: [1, heads, out] = xavier_uniform
    h = x |> linear(heads * out) as lin |> rearrange("N (heads out) -> N heads out")
    return h * scale |> rearrange("N heads out -> N (heads out)") |> reduce("N (heads out) -> N out", "mean")
}

model Two()(x: [N, 4]) -> [N, 3] {
    return x |> Heads(2, 5) as first |> Heads(1, 3) as second
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_one_head_and_several_in_one_class(backend: str) -> None:
    model = dlc.loads(HEADS)["Two"]
    weights = model.initial_weights()
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    (wanted,) = run(model.program, weights, {"x": x}, precision="f64").values()
    (found,) = model.compile(backend, weights=weights)(x=x).values()
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-5, atol=1e-6)


def test_initial_values_by_fan_are_said_by_each_shape() -> None:
    (source,) = dlc.loads(HEADS)["Two"].emit("torch").files.values()
    assert "nn.init.xavier_uniform_(torch.empty(1, heads, out))" in str(source)


SIX = """
model Six(d: int = 4, experts: int = 6)(x: [N, d], choice: i64[N, 1]) -> [N, d] {
    return x |> mixture(linear(d, bias=false), experts)(choice) as experts
}
"""


def test_six_experts_do_not_begin_by_how_many_they_are() -> None:
    # A bound of sqrt(1 / d) is sqrt(6 / (experts * d)) as well, which is kaiming_uniform over all experts.
    (source,) = dlc.loads(SIX)["Six"].emit("torch").files.values()
    assert "experts: int = 6" in str(source) and "bound = 1 / math.sqrt(" in str(source)


def test_an_exponent_that_is_whole_by_chance() -> None:
    text = "model Powers(rho: float = 3.0)(x: [B]) -> [B] {\n    return x ** rho + x ** 2.0\n}\n"
    (source,) = dlc.loads(text)["Powers"].emit("torch").files.values()
    assert "return x**rho + x**2\n" in str(source)


STACKED = """
model M(layers: int = 2, d: int = 4)(x: [B, T, d]) -> (y: _, h: _) {
    y, h = x |> gru(d, layers=layers) as gru
    return y, h + h
}
"""


def test_a_number_in_a_comment_decides_nothing() -> None:
    (text,) = dlc.loads(STACKED)["M"].emit("torch").files.values()
    assert "layers: int = 2" in str(text) and "[_, B, d]" in str(text)
    comments: dict[str, str] = {}
    assert alike("y = f(x)  # [2, d]\nz", "y = f(x)  # [4, d]\nz", comments)
    assert comments == {"y = f(x)  # [2, d]": "y = f(x)  # [_, d]"}
    assert alike("y = f(x)  # [2, d]\nz", "y = f(x)  # [6, d]\nz", comments)
    assert not alike("y = f(x, 2)  # [2, d]", "y = f(x, 3)  # [3, d]", comments)
    assert not alike('fail("# 2")', 'fail("# 3")', comments)


def test_values_of_initial_values_have_the_length_of_what_they_fill() -> None:
    spec = """
fn steps(n: int) -> [n] { return log(1 + arange(n, dtype=f32)) }
model M(d: int = 4)(x: [B, d]) -> _ {
    init "fc.bias" = steps(2 * d)
    return x |> linear(2 * d) as fc
}
"""
    (text,) = dlc.loads(spec)["M"].emit("torch").files.values()
    exec(str(text), scope := {"__name__": "emitted"})
    assert scope["M"](d=3).fc.bias.shape == (6,)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_default_that_is_the_librarys_as_well(backend: str) -> None:
    text = "model M(k: float = 1.0)(x: [B, 8, 4]) -> [B, 8, 4] { return x |> conv1d(8, 1) as a |> local_response_norm(k=k) }"
    (source,) = dlc.loads(text)["M"].emit(backend).files.values()
    assert ("k: float = 1.0" in str(source)) and ("k=config.k" if backend == "jax" else "k=self.k") in str(
        source
    )
