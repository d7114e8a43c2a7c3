"""What generators of pictures ask of emitted classes: noise in training, settings that initial values and sizes come from, and
numbered attributes."""

from __future__ import annotations

from types import ModuleType

import torch

import dlc
from dlc.spec import Model

NOISY = """
module Noisy(out: int)(x: [B, out]) -> [B, out] {
    param strength: [] = 1.0
    buffer fixed: [out] = normal
    noise = fixed
    if training { noise = normal([B, out]) }
    return x + noise * strength
}

model M(d: int = 6)(x: [B, d]) -> [B, d] {
    return x |> Noisy(d) as noisy
}
"""
STARTING = """
module Affine(out: int, scale: float = 1.0, start: float = 0.0)(x: [B, i]) -> [B, out] {
    param weight: [out, i] = normal(scale)
    param bias: [out] = constant(start)
    return x @ weight.T + bias
}

model M(d: int = 6)(x: [B, d]) -> [B, d] {
    return x |> Affine(d) as first |> Affine(d, scale=0.0, start=1.0) as second
}
"""
NUMBERED = """
fn halves(x: [B, i]) -> (a: [B, i], b: [B, i]) {
    return x * 0.5, x * 0.25
}

module Mapping(d: int, layers: int)(x: [B, n]) -> [B, d] {
    a, b = halves(x)
    y = a + b
    for i in range(layers) {
        y = y |> linear(d) as "fc{i}" |> relu
    }
    return y
}

model M(blocks: int = 3, layers: int = 4, d: int = 6)(x: [B, 4 * 2 ** (blocks - 1)]) -> [B, d] {
    return x |> Mapping(d, layers) as mapping
}
"""


def model_of(text: str) -> Model:
    return dlc.loads(text)["M"]


def source_of(model: Model) -> str:
    (text,) = model.emit("torch").files.values()
    return text


def module_of(source: str) -> ModuleType:
    found = ModuleType("emitted")
    exec(compile(source, "emitted.py", "exec"), found.__dict__)
    return found


def test_noise_of_another_rank() -> None:
    """What reads a value that has more axes in training stands in the choice as well."""
    network = module_of(source_of(model_of(NOISY))).M()
    x = torch.zeros(4, 6)
    still = network.eval()(x)
    assert torch.equal(still, network.noisy.fixed.expand(4, 6))
    drawn = network.train()(x)
    assert (drawn != drawn[:1]).any() and not torch.equal(drawn, still)


def test_initial_values_by_a_setting() -> None:
    """0 and 1 are numbers like others where they come from a parameter."""
    source = source_of(model_of(STARTING))
    assert "self.bias = nn.Parameter(torch.full((out,), start))" in source
    network = module_of(source).M()
    assert network.first.weight.std() > 0.5 and not network.second.weight.any()
    assert not network.first.bias.any() and (network.second.bias == 1.0).all()


def test_numbered_attributes() -> None:
    """The first layer is another one, which the loop says by its number."""
    model = model_of(NUMBERED)
    source = source_of(model)
    assert 'self.add_module(f"fc{i}", nn.Linear(n if i == 0 else d, d))' in source
    assert 'for i in range(self.layers):\n            y = F.relu(getattr(self, f"fc{i}")(y))' in source
    assert "self.mapping = Mapping(4 * 2 ** (blocks - 1), d" in source
    many = source_of(model(layers=12))
    assert "for i in range(self.layers):" in many
    assert "y_" not in source + many
    assert dlc.verify(model, backends=("torch", "jax")).agree
