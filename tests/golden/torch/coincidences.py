# Same of spec.dl (digest 7f31b912ffc38a4f), written by dlc 0.1.0.

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Part(nn.Module):
    def __init__(self, d: int, n: int) -> None:
        super().__init__()
        self.up = nn.Linear(d, n)
        self.down = nn.Linear(n, d)

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, d]
        return self.down(F.relu(self.up(x)))


class Same(nn.Module):
    def __init__(self, d: int = 8, n: int = 8, layers: int = 8, taps: int = 3) -> None:
        super().__init__()
        self.d = d
        self.n = n
        self.layers = layers
        self.taps = taps
        self.layer = nn.ModuleList(Part(d, n) for _ in range(layers))
        self.out = nn.Linear(d, 8)
        self.init_weights()

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, 8]
        for part in self.layer:
            x = part(x)
        return self.out(x) * sum(2**i for i in range(self.taps)) / (self.d + self.n)

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=1 / math.sqrt(2 * self.layers))
