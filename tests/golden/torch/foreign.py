import torch.nn.functional as F
from torch import Tensor, nn


class EncoderInner(nn.Module):
    """Parts of Encoder, under `inner`."""

    norm: nn.LayerNorm  # put here by Foreign

    def __init__(self, d: int) -> None:
        super().__init__()
        self.second = nn.Linear(d, d)


class Encoder(nn.Module):
    """The words stand in the encoder's part of the checkpoint, and the two share one path."""

    words: nn.Embedding  # put here by Foreign

    def __init__(self, d: int) -> None:
        super().__init__()
        self.first = nn.Linear(d, d)
        self.inner = EncoderInner(d)

    def forward(self, x: Tensor) -> Tensor:  # [B, d] -> [B, d]
        return self.inner.second(F.relu(self.first(x)))


class Foreign(nn.Module):
    def __init__(self, d: int = 6, words: int = 10) -> None:
        super().__init__()
        self.encoder = Encoder(d)
        self.encoder.words = nn.Embedding(words, d)
        self.encoder.inner.norm = nn.LayerNorm(d)

    def forward(self, index: Tensor) -> Tensor:  # i64[B] -> [B, d]
        x = self.encoder(self.encoder.words(index))  # [B, d]
        return self.encoder.inner.norm(x)
