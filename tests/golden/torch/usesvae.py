import torch
from torch import Tensor, nn


class Vae(nn.Module):
    def __init__(self, d: int = 8, latent: int = 3) -> None:
        super().__init__()
        self.enc = nn.Linear(d, latent)
        self.dec = nn.Linear(latent, d)

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, d]
        return self.dec(torch.tanh(self.enc(x)))

    def encode(self, x: Tensor) -> Tensor:  # [B, d] -> [B, latent]
        return torch.tanh(self.enc(x))

    def eval_(self, code: Tensor) -> Tensor:  # [B, latent] -> [B, d]
        return self.dec(code)


class UsesVae(nn.Module):
    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.vae = Vae(d=d)

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, d]
        code = self.vae.encode(x)  # [B, 3]
        return self.vae.eval_(code * 2.0) + self.vae(x)
