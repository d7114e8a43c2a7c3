import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rope_tables(positions: Tensor, freqs: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position's angles, in f32: one angle for each of the
    frequencies.
    """
    # positions: i64[T], freqs: [pairs] -> cos: [T, pairs], sin: [T, pairs]
    angles = positions.float().unsqueeze(-1) * freqs  # [T, pairs]
    return torch.cos(angles), torch.sin(angles)


def frequencies(
    e: int,
    base: float,
    factor: float,
    original: int,
    low: float = 1.0,
    high: float = 4.0,
    device: torch.device | None = None,
) -> Tensor:  # -> [e // 2]
    """Frequencies of the rotations: pair i of a head's numbers turns by base ** (-2i / e) per
    position. Llama 3.1 stretches the slow ones by `factor`, so that positions past the
    trained context look like ones within it: turns that complete more than `high` times in
    the original context stay, those that complete less than `low` times are slowed, and in
    between it blends.
    """
    plain = 1.0 / base ** (2 / e * torch.arange(e // 2, device=device).float())  # [e // 2]
    turns = original / (2 * math.pi) * plain
    keep = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return plain * (keep + (1.0 - keep) / factor)


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs of features by the angles whose cosines and sines are given: pairs (i, i +
    e/2), as in Llama's published weights, or neighbours where `interleaved`.
    """
    # x: [B, heads, T, e], cos: [T, pairs], sin: [T, pairs] -> [B, heads, T, e]
    cos = cos.to(x.dtype)
    sin = sin.to(x.dtype)
    a, b = x.chunk(2, dim=-1)  # [B, heads, T, e // 2]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention(nn.Module):
    """Grouped queries: several heads share one head of keys and values, which makes the cache of
    a long text small.
    """

    def __init__(self, d: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        if d % heads != 0:
            raise ValueError(f"d % heads == 0 must hold, but d is {d} and heads is {heads}")
        if heads % kv_heads != 0:
            raise ValueError(
                f"heads % kv_heads == 0 must hold, but heads is {heads} and kv_heads is {kv_heads}"
            )
        self.heads = heads
        self.kv_heads = kv_heads
        self.q_proj = nn.Linear(d, d, bias=False)
        self.k_proj = nn.Linear(d, kv_heads * (d // heads), bias=False)
        self.v_proj = nn.Linear(d, kv_heads * (d // heads), bias=False)
        self.o_proj = nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        # x: [B, T, d], cos: [T, d // (2 * heads)], sin: [T, d // (2 * heads)] -> [B, T, d]
        q = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.k_proj(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        v = self.v_proj(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        q = apply_rope(q, cos, sin)
        k = apply_rope(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """A gate decides, number by number, how much of the other half passes (SwiGLU; Shazeer,
    2020).
    """

    def __init__(self, d: int, ff: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(d, ff, bias=False)
        self.up_proj = nn.Linear(d, ff, bias=False)
        self.down_proj = nn.Linear(ff, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, d] -> [B, T, d]
        gate = F.silu(self.gate_proj(x))  # [B, T, ff]
        up = self.up_proj(x)
        return self.down_proj(gate * up)


class Block(nn.Module):
    def __init__(self, d: int, heads: int, kv_heads: int, ff: int, eps: float) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(d, eps=eps)
        self.self_attn = Attention(d, heads, kv_heads)
        self.post_attention_layernorm = nn.RMSNorm(d, eps=eps)
        self.mlp = MLP(d, ff)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        # x: [B, T, d], cos: [T, d // (2 * heads)], sin: [T, d // (2 * heads)] -> [B, T, d]
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    """Parts of Llama, under `model`."""

    def __init__(
        self, layers: int, d: int, heads: int, kv_heads: int, ff: int, vocab: int, eps: float
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, d)
        self.layers = nn.ModuleList(Block(d, heads, kv_heads, ff, eps) for _ in range(layers))
        self.norm = nn.RMSNorm(d, eps=eps)


class Llama(nn.Module):
    def __init__(
        self,
        layers: int = 32,
        d: int = 4096,
        heads: int = 32,
        kv_heads: int = 8,
        ff: int = 14336,
        vocab: int = 128256,
        context: int = 8192,
        base: float = 500000.0,
        factor: float = 1.0,
        original: int = 8192,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.d = d
        self.heads = heads
        self.context = context
        self.base = base
        self.factor = factor
        self.original = original
        self.model = LlamaModel(layers, d, heads, kv_heads, ff, vocab, eps)
        self.lm_head = nn.Linear(d, vocab, bias=False)
        self.init_weights()

    def forward(self, tokens: Tensor) -> Tensor:  # i64[B, T] -> [B, T, vocab]
        T = tokens.shape[1]
        if self.context < T:
            raise ValueError(f"T must be at most {self.context}, not {T}")
        x = self.model.embed_tokens(tokens)  # [B, T, d]
        freqs = frequencies(
            e=self.d // self.heads,
            base=self.base,
            factor=self.factor,
            original=self.original,
            device=tokens.device,
        )  # [d // (2 * heads)]
        positions = torch.arange(T, device=tokens.device)  # i64[T]
        cos, sin = rope_tables(positions, freqs)  # [T, d // (2 * heads)]
        for block in self.model.layers:
            x = block(x, cos, sin)
        x = self.model.norm(x)
        return self.lm_head(x)

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Embedding | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
