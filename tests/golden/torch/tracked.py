import torch
from torch import Tensor, nn


class MovingMean(nn.Module):
    average: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, d]
        average = self.average.clone()  # [d]
        if self.training:
            with torch.no_grad():
                self.average.lerp_(x.mean(dim=0), 0.1)
        return x - average


class Tracked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.moving = MovingMean(4)

    def forward(self, x: Tensor) -> Tensor:  # [B, 4] -> [B, 4]
        B = x.shape[0]
        if B < 2:
            raise ValueError('needs 4 rows, {really} "many"')
        return self.moving(x)
