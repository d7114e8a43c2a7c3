import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Scores are not divided by the root of the head size; the initial values make up for it."""

    relative_attention_bias: nn.Embedding  # put here by Encoder and Decoder

    def __init__(self, d: int, heads: int, head: int, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.head = head
        self.causal = causal
        self.q = nn.Linear(d, heads * head, bias=False)
        self.k = nn.Linear(d, heads * head, bias=False)
        self.v = nn.Linear(d, heads * head, bias=False)
        self.o = nn.Linear(heads * head, d, bias=False)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        causal_mask: Tensor | None = None,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        # x: [B, T, d], memory: [B, S, d], causal_mask: bool[T, S], bias: [heads, T, S],
        # mask: bool[B, 1, 1, S] -> [B, T, d]
        q = self.q(x).unflatten(-1, (self.heads, self.head)).transpose(1, 2)  # [B, heads, T, head]
        k = self.k(memory).unflatten(-1, (self.heads, self.head)).transpose(1, 2)
        v = self.v(memory).unflatten(-1, (self.heads, self.head)).transpose(1, 2)
        if mask is not None:
            if bias is not None:
                attention = F.scaled_dot_product_attention(
                    q, k, v, attn_mask=bias.masked_fill(~mask, float("-inf")), scale=1.0
                )
            else:
                attention = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        elif bias is not None:
            if self.causal:
                if causal_mask is None:
                    raise ValueError("causal_mask must be given")
                attention = F.scaled_dot_product_attention(
                    q, k, v, attn_mask=bias.masked_fill(~causal_mask, float("-inf")), scale=1.0
                )
            else:
                attention = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        else:
            attention = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return self.o(attention.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, d: int, ff: int, p: float) -> None:
        super().__init__()
        self.p = p
        self.wi = nn.Linear(d, ff, bias=False)
        self.wo = nn.Linear(ff, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, d] -> [B, T, d]
        x = F.dropout(F.relu(self.wi(x)), self.p, training=self.training)  # [B, T, ff]
        return self.wo(x)


class EncoderBlockSelfAttention(nn.Module):
    """Parts of EncoderBlock."""

    def __init__(self, d: int, heads: int, head: int) -> None:
        super().__init__()
        self.layer_norm = nn.RMSNorm(d, eps=1e-6)
        self.SelfAttention = Attention(d, heads, head)


class EncoderBlockDenseReluDense(nn.Module):
    """Parts of EncoderBlock."""

    def __init__(self, d: int, ff: int, p: float) -> None:
        super().__init__()
        self.layer_norm = nn.RMSNorm(d, eps=1e-6)
        self.DenseReluDense = FeedForward(d, ff, p)


class EncoderBlock(nn.Module):
    def __init__(self, d: int, heads: int, head: int, ff: int, p: float) -> None:
        super().__init__()
        self.p = p
        self.layer = nn.ModuleList(
            [EncoderBlockSelfAttention(d, heads, head), EncoderBlockDenseReluDense(d, ff, p)]
        )

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, S, d], bias: [heads, S, S], mask: bool[B, 1, 1, S] -> [B, S, d]
        y = self.layer[0].layer_norm(x)
        y = self.layer[0].SelfAttention(y, y, bias=bias, mask=mask)
        x = x + F.dropout(y, self.p, training=self.training)
        y = self.layer[1].DenseReluDense(self.layer[1].layer_norm(x))
        return x + F.dropout(y, self.p, training=self.training)


def bucket(distance: Tensor, edges: Tensor, count: int) -> Tensor:
    """The bucket of a distance >= 0, out of `count`: one bucket each for the near ones, then
    ever wider ones on a logarithmic scale up to `furthest`. The edges are integers that the
    compiler computes, so no rounding decides.
    """
    # distance: i64[T, T], edges: i64[count - count // 2 - 1] -> i64[T, T]
    return distance.clamp(max=count // 2) + (distance.unsqueeze(-1) >= edges).sum(dim=-1)


def relative_bias(
    x: Tensor, both_ways: bool, buckets: int, furthest: int, relative_attention_bias: nn.Embedding
) -> Tensor:  # [B, T, n0] -> [heads, T, T]
    """T5 has no other sense of place than this: each head learns a number per distance, which is
    added to its scores. An encoder tells left from right; a decoder sees the left only.
    """
    T = x.shape[1]
    offset = torch.arange(T, device=x.device).unsqueeze(-1)  # i64[T, 1]
    offset = torch.arange(T, device=x.device) - offset  # i64[T, T]
    if both_ways:
        edges = torch.tensor(
            [
                math.ceil(
                    buckets
                    // 2
                    // 2
                    * (furthest / (buckets // 2 // 2)) ** (k / (buckets // 2 - buckets // 2 // 2))
                )
                for k in range(1, buckets // 2 - buckets // 2 // 2)
            ],
            device=x.device,
        )  # i64[buckets // 2 - buckets // 4 - 1]
        index = bucket(offset.abs(), edges, count=buckets // 2) + buckets // 2 * (offset > 0).long()
    else:
        edges = torch.tensor(
            [
                math.ceil(
                    buckets // 2 * (furthest / (buckets // 2)) ** (k / (buckets - buckets // 2))
                )
                for k in range(1, buckets - buckets // 2)
            ],
            device=x.device,
        )  # i64[buckets - buckets // 2 - 1]
        index = bucket((-offset).clamp(min=0), edges, count=buckets)
    return relative_attention_bias(index).permute(2, 0, 1)


class Encoder(nn.Module):
    """All blocks of a stack share one bias. The checkpoints keep it in the first block."""

    def __init__(
        self,
        layers: int,
        d: int,
        heads: int,
        head: int,
        ff: int,
        buckets: int,
        furthest: int,
        p: float,
    ) -> None:
        super().__init__()
        self.buckets = buckets
        self.furthest = furthest
        self.p = p
        self.block = nn.ModuleList(EncoderBlock(d, heads, head, ff, p) for _ in range(layers))
        self.final_layer_norm = nn.RMSNorm(d, eps=1e-6)
        self.block[0].layer[0].SelfAttention.relative_attention_bias = nn.Embedding(buckets, heads)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, S, d], mask: bool[B, 1, 1, S] -> [B, S, d]
        bias = relative_bias(
            x,
            both_ways=True,
            buckets=self.buckets,
            furthest=self.furthest,
            relative_attention_bias=self.block[0].layer[0].SelfAttention.relative_attention_bias,
        )  # [heads, S, S]
        for encoder_block in self.block:
            x = encoder_block(x, bias, mask)
        return F.dropout(self.final_layer_norm(x), self.p, training=self.training)


class DecoderBlockSelfAttention(nn.Module):
    """Parts of DecoderBlock."""

    def __init__(self, d: int, heads: int, head: int) -> None:
        super().__init__()
        self.layer_norm = nn.RMSNorm(d, eps=1e-6)
        self.SelfAttention = Attention(d, heads, head=head, causal=True)


class DecoderBlockEncDecAttention(nn.Module):
    """Parts of DecoderBlock."""

    def __init__(self, d: int, heads: int, head: int) -> None:
        super().__init__()
        self.layer_norm = nn.RMSNorm(d, eps=1e-6)
        self.EncDecAttention = Attention(d, heads, head)


class DecoderBlockDenseReluDense(nn.Module):
    """Parts of DecoderBlock."""

    def __init__(self, d: int, ff: int, p: float) -> None:
        super().__init__()
        self.layer_norm = nn.RMSNorm(d, eps=1e-6)
        self.DenseReluDense = FeedForward(d, ff, p)


class DecoderBlock(nn.Module):
    def __init__(self, d: int, heads: int, head: int, ff: int, p: float) -> None:
        super().__init__()
        self.p = p
        self.layer = nn.ModuleList(
            [
                DecoderBlockSelfAttention(d, heads, head),
                DecoderBlockEncDecAttention(d, heads, head),
                DecoderBlockDenseReluDense(d, ff, p),
            ]
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        bias: Tensor,
        causal_mask: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        # x: [B, T, d], memory: [B, S, d], bias: [heads, T, T], causal_mask: bool[T, T],
        # mask: bool[B, 1, 1, S] -> [B, T, d]
        y = self.layer[0].layer_norm(x)
        y = self.layer[0].SelfAttention(y, y, causal_mask, bias)
        x = x + F.dropout(y, self.p, training=self.training)
        y = self.layer[1].layer_norm(x)
        y = self.layer[1].EncDecAttention(y, memory, mask=mask)
        x = x + F.dropout(y, self.p, training=self.training)
        y = self.layer[2].DenseReluDense(self.layer[2].layer_norm(x))
        return x + F.dropout(y, self.p, training=self.training)


class Decoder(nn.Module):
    def __init__(
        self,
        layers: int,
        d: int,
        heads: int,
        head: int,
        ff: int,
        buckets: int,
        furthest: int,
        p: float,
    ) -> None:
        super().__init__()
        self.buckets = buckets
        self.furthest = furthest
        self.p = p
        self.block = nn.ModuleList(DecoderBlock(d, heads, head, ff, p) for _ in range(layers))
        self.final_layer_norm = nn.RMSNorm(d, eps=1e-6)
        self.block[0].layer[0].SelfAttention.relative_attention_bias = nn.Embedding(buckets, heads)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, T, d], memory: [B, S, d], mask: bool[B, 1, 1, S] -> [B, T, d]
        T = x.shape[1]
        bias = relative_bias(
            x,
            both_ways=False,
            buckets=self.buckets,
            furthest=self.furthest,
            relative_attention_bias=self.block[0].layer[0].SelfAttention.relative_attention_bias,
        )  # [heads, T, T]
        causal_mask = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()  # bool[T, T]
        for decoder_block in self.block:
            x = decoder_block(x, memory, bias, causal_mask, mask)
        return F.dropout(self.final_layer_norm(x), self.p, training=self.training)


class T5(nn.Module):
    """One table serves the input of both stacks and, scaled down, the output. `attention_mask`
    is 1 at words, 0 at padding.
    """

    def __init__(
        self,
        layers: int = 6,
        d: int = 512,
        heads: int = 8,
        head: int = 64,
        ff: int | None = None,
        vocab: int = 32128,
        buckets: int = 32,
        furthest: int = 128,
        p: float = 0.1,
    ) -> None:
        super().__init__()
        ff = 4 * d if ff is None else ff
        self.d = d
        self.heads = heads
        self.head = head
        self.ff = ff
        self.p = p
        self.shared = nn.Embedding(vocab, d)
        self.encoder = Encoder(layers, d, heads, head, ff, buckets, furthest, p)
        self.decoder = Decoder(layers, d, heads, head, ff, buckets, furthest, p)
        self.init_weights()

    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        # input_ids: i64[B, S], decoder_input_ids: i64[B, T], attention_mask: i64[B, S]
        # -> [B, T, vocab]
        mask = attention_mask.ne(0)[:, None, None] if attention_mask is not None else None
        src = F.dropout(self.shared(input_ids), self.p, training=self.training)  # [B, S, d]
        tgt = F.dropout(self.shared(decoder_input_ids), self.p, training=self.training)  # [B, T, d]
        memory = self.encoder(src, mask)
        x = self.decoder(tgt, memory, mask)
        return x / math.sqrt(self.d) @ self.shared.weight.T

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=1 / math.sqrt(self.d))
        for name, parameter in self.named_parameters():
            if name.endswith(".relative_attention_bias.weight"):
                nn.init.normal_(parameter, std=1 / math.sqrt(self.d))
            elif name.endswith(".q.weight"):
                nn.init.normal_(parameter, std=1 / math.sqrt(self.d * self.head))
            elif name.endswith(".o.weight"):
                nn.init.normal_(parameter, std=1 / math.sqrt(self.heads * self.head))
            elif name.endswith(".wo.weight"):
                nn.init.normal_(parameter, std=1 / math.sqrt(self.ff))
