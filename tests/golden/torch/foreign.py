import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    """The words stand in the encoder's part of the checkpoint, and the two share one path."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.first = nn.Linear(d, d)
        self.inner = nn.ModuleDict({"second": nn.Linear(d, d)})

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, d]
        return self.inner["second"](F.relu(self.first(x)))


class Foreign(nn.Module):
    def __init__(self, d: int = 6, words: int = 10) -> None:
        super().__init__()
        self.encoder = Encoder(d)
        self.encoder.add_module("words", nn.Embedding(words, d))
        self.encoder.inner.add_module("norm", nn.LayerNorm(d))

    def forward(self, index: Tensor) -> Tensor:  # i64[B] -> [B, d]
        x = self.encoder(self.encoder.get_submodule("words")(index))  # [B, d]
        return self.encoder.inner["norm"](x)
