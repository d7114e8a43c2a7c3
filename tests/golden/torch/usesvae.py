import torch
from torch import Tensor, nn


class Vae(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.enc = nn.Linear(d, 3)
        self.dec = nn.Linear(3, d)

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, d]
        return self.dec(torch.tanh(self.enc(x)))

    def encode(self, x: Tensor) -> Tensor:  # [B, d] -> [B, 3]
        return torch.tanh(self.enc(x))

    def eval_(self, code: Tensor) -> Tensor:  # [B, 3] -> [B, d]
        return self.dec(code)


class UsesVae(nn.Module):
    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.vae = Vae(d)

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, d]
        code = self.vae.encode(x)  # [B, 3]
        return self.vae.eval_(code * 2.0) + self.vae(x)
