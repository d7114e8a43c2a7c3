"""Emitted PyTorch against hand-written twins: python benchmarks/torch_twin.py

The goal is a ratio of at most 1.02. Both run in one process in turn, on one thread, with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from published import let_torchvision_be_imported
from timing import side_by_side, table
from torch import Tensor, nn

import dlc

SPECS = Path(__file__).parents[1] / "specs"


class Attention(nn.Module):
    """GPT-2's attention as one would write it by hand."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        B, T, d = x.shape
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in self.c_attn(x).split(d, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, d))


class MLP(nn.Module):
    """GPT-2's feed-forward part."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """GPT-2's block."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(d), Attention(d, heads)
        self.ln_2, self.mlp = nn.LayerNorm(d), MLP(d)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """GPT-2."""

    def __init__(
        self, layers: int = 12, d: int = 768, heads: int = 12, vocab: int = 50257, context: int = 1024
    ) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, d), nn.Embedding(context, d)
        self.h = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


def resnet50() -> nn.Module:
    """torchvision's, where it is installed."""
    let_torchvision_be_imported()
    from torchvision.models import resnet50 as build

    module: nn.Module = build()
    return module


def emitted(spec: str, model: str, weights: Any) -> nn.Module:
    values = {name: each.detach().numpy() for name, each in weights.items()}
    native: nn.Module = dlc.load(SPECS / spec)[model].compile("torch", weights=values).native
    return native.eval()


def compare(title: str, twin: nn.Module, spec: str, model: str, x: Tensor, rounds: int) -> None:
    twin = twin.eval()
    ours = emitted(spec, model, twin.state_dict())
    with torch.inference_mode():
        assert torch.allclose(ours(x), twin(x), rtol=1e-4, atol=1e-4), title
        timings = side_by_side({"hand-written": lambda: twin(x), "emitted": lambda: ours(x)}, rounds=rounds)
    print(f"\n{title}\n\n{table(timings, 'hand-written')}")


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    compare(
        "GPT-2 124M, 128 tokens", GPT2(), "language/gpt2.dl", "GPT2", torch.randint(0, 50257, (1, 128)), 15
    )
    compare("ResNet-50, 224x224", resnet50(), "vision/resnet.dl", "ResNet50", torch.randn(1, 3, 224, 224), 21)


if __name__ == "__main__":
    main()
