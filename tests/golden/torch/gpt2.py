import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Each position by itself: widen, bend, narrow. GPT-2 computes gelu by its tanh
    approximation.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(d, 4 * d)
        self.c_proj = nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, d] -> [B, T, d]
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Attention(nn.Module):
    """Each position gathers from those before it. Queries, keys and values come from one matrix."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        if d % heads != 0:
            raise ValueError(f"d % heads == 0 must hold, but d is {d} and heads is {heads}")
        self.heads = heads
        self.c_attn = nn.Linear(d, 3 * d)
        self.c_proj = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, d] -> [B, T, d]
        x = self.c_attn(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = x.unbind()  # [B, heads, T, d // heads]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        return self.c_proj(y.flatten(2))


class Block(nn.Module):
    """Norms stand inside the residual branches ("pre-norm"), so the sum runs through all layers
    untouched.
    """

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(d)
        self.attn = Attention(d, heads)
        self.ln_2 = nn.LayerNorm(d)
        self.mlp = MLP(d)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, d] -> [B, T, d]
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """Scores of the next token at every position."""

    def __init__(
        self,
        layers: int = 12,
        d: int = 768,
        heads: int = 12,
        vocab: int = 50257,
        context: int = 1024,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.context = context
        self.wte = nn.Embedding(vocab, d)
        self.wpe = nn.Embedding(context, d)
        self.h = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d)
        self.init_weights()

    def forward(self, tokens: Tensor) -> Tensor:  # i64[B, T] -> [B, T, vocab]
        T = tokens.shape[1]
        if self.context < T:
            raise ValueError(f"T must be at most {self.context}, not {T}")
        x = self.wte(tokens) + self.wpe(torch.arange(T, device=tokens.device))  # [B, T, d]
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        return x @ self.wte.weight.T

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.startswith("h.") and name.endswith(".c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.layers))
