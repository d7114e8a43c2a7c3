"""Emitted PyTorch draws in the order of the spec, wherever what draws is written."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

import dlc

TEXT = """
module Net()(x: [B, 8]) -> [B, 8] {
    return x |> linear(8) as a |> dropout(0.5) |> linear(8) as b
}

model Long()(x: [B, 8], y: [B, 8]) -> [B] {
    net = Net()
    return mean((net(x) - 0.5 * (y + 1.0) * exp(-abs(x))) ** 2, -1) + 0.1 * mean(sum((net(x * 0.5 + 0.25 * tanh(y)) - net(y)) ** 2, axis=1, keepdims=true) / 64.0, -1)
}

model Turned()(x: [B, 8], y: [B, 8]) -> [B, 8] {
    net = Net()
    first, second = net(x), net(y)
    return second * 2.0 - first
}

model Noise()(x: [B, 8], y: [B, 8]) -> [B, 8] {
    param scale: [8] = ones
    first = normal([B, 8])
    second = normal([B, 8])
    return (x * scale + second) * tanh(y - first)
}
"""


def long(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    first = (net(x) - 0.5 * (y + 1.0) * torch.exp(-x.abs())) ** 2
    second, third = net(x * 0.5 + 0.25 * torch.tanh(y)), net(y)
    return first.mean(-1) + 0.1 * ((second - third) ** 2).sum(1) / 64.0


def turned(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    first = net(x)
    return net(y) * 2.0 - first


def noise(net: torch.nn.Module | None, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    first, second = torch.randn(3, 8), torch.randn(3, 8)
    return (x + second) * torch.tanh(y - first)


@pytest.mark.parametrize(("name", "meant"), [("Long", long), ("Turned", turned), ("Noise", noise)])
def test_order(name: str, meant: object) -> None:
    (source,) = dlc.loads(TEXT)[name].emit("torch").files.values()
    module = ModuleType("emitted")
    sys.modules["emitted"] = module
    exec(str(source), module.__dict__)
    network = getattr(module, name)().train()
    x, y = torch.rand(3, 8), torch.rand(3, 8)
    torch.manual_seed(0)
    found = network(x, y)
    torch.manual_seed(0)
    wanted = meant(getattr(network, "net", None), x, y)  # type: ignore[operator]
    torch.testing.assert_close(found, wanted)
