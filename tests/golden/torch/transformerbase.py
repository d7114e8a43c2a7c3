import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(length: int, d: int, device: torch.device | None = None) -> Tensor:  # -> [length, d]
    """Sines and cosines of the position, at wavelengths from 2 pi to 20,000 pi: a shift by k
    positions is a rotation, the same everywhere. Sines first, then cosines, as the authors'
    code and Marian have it; the paper interleaves them.
    """
    angles = 10000.0 ** (2 / d * torch.arange(d // 2, device=device).float())  # [d // 2]
    angles = torch.arange(length, device=device).float().unsqueeze(-1) / angles  # [length, d // 2]
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


def initial_weight(context: int, d: int) -> Tensor:  # -> [context, d]
    return sinusoids(length=context, d=d)


class Positions(nn.Module):
    """Adds the table of positions. It is never trained, but saved: checkpoints carry it."""

    weight: Tensor

    def __init__(self, d: int, context: int) -> None:
        super().__init__()
        self.register_buffer("weight", initial_weight(context=context, d=d))

    def forward(self, x: Tensor) -> Tensor:  # [B, T, d] -> [B, T, d]
        T = x.shape[1]
        return x + self.weight[:T]


class Attention(nn.Module):
    """Several attentions side by side: queries come from `x`, keys and values from `memory`.
    `mask` is true where a key may be seen; `causal` hides the positions to come.
    """

    def __init__(self, d: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        if d % heads != 0:
            raise ValueError(f"d % heads == 0 must hold, but d is {d} and heads is {heads}")
        self.heads = heads
        self.causal = causal
        self.q_proj = nn.Linear(d, d)
        self.k_proj = nn.Linear(d, d)
        self.v_proj = nn.Linear(d, d)
        self.out_proj = nn.Linear(d, d)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, T, d], memory: [B, S, d], mask: bool[B, 1, 1, S] -> [B, T, d]
        q = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.k_proj(memory).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        v = self.v_proj(memory).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if mask is not None:
            attention = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            attention = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_proj(attention.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """The norm stands behind each sum ("post-norm"), as in the paper."""

    def __init__(self, d: int, heads: int, ff: int, p: float) -> None:
        super().__init__()
        self.p = p
        self.self_attn = Attention(d, heads)
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, ff)
        self.fc2 = nn.Linear(ff, d)
        self.final_layer_norm = nn.LayerNorm(d)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, S, d], mask: bool[B, 1, 1, S] -> [B, S, d]
        x = x + F.dropout(self.self_attn(x, x, mask), self.p, training=self.training)
        x = self.self_attn_layer_norm(x)
        y = F.relu(self.fc1(x))  # [B, S, ff]
        x = x + F.dropout(self.fc2(y), self.p, training=self.training)
        return self.final_layer_norm(x)


class Encoder(nn.Module):
    embed_positions: Positions  # put here by Transformer

    def __init__(self, layers: int, d: int, heads: int, ff: int, p: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d, heads, ff, p) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, S, d], mask: bool[B, 1, 1, S] -> [B, S, d]
        for encoder_layer in self.layers:
            x = encoder_layer(x, mask)
        return x


class DecoderLayer(nn.Module):
    def __init__(self, d: int, heads: int, ff: int, p: float) -> None:
        super().__init__()
        self.p = p
        self.self_attn = Attention(d, heads, causal=True)
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.encoder_attn = Attention(d, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, ff)
        self.fc2 = nn.Linear(ff, d)
        self.final_layer_norm = nn.LayerNorm(d)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, T, d], memory: [B, S, d], mask: bool[B, 1, 1, S] -> [B, T, d]
        x = x + F.dropout(self.self_attn(x, x), self.p, training=self.training)
        x = self.self_attn_layer_norm(x)
        x = x + F.dropout(self.encoder_attn(x, memory, mask), self.p, training=self.training)
        x = self.encoder_attn_layer_norm(x)
        y = F.relu(self.fc1(x))  # [B, T, ff]
        x = x + F.dropout(self.fc2(y), self.p, training=self.training)
        return self.final_layer_norm(x)


class Decoder(nn.Module):
    embed_positions: Positions  # put here by Transformer

    def __init__(self, layers: int, d: int, heads: int, ff: int, p: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d, heads, ff, p) for _ in range(layers))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, T, d], memory: [B, S, d], mask: bool[B, 1, 1, S] -> [B, T, d]
        for decoder_layer in self.layers:
            x = decoder_layer(x, memory, mask)
        return x


class EncoderDecoder(nn.Module):
    """The two stacks on vectors, without words: what `torch.nn.Transformer` holds, which ends
    both stacks in one more norm.
    """

    shared: nn.Embedding  # put here by Transformer

    def __init__(
        self, layers: int = 6, d: int = 512, heads: int = 8, ff: int | None = None, p: float = 0.1
    ) -> None:
        super().__init__()
        ff = 4 * d if ff is None else ff
        self.encoder = Encoder(layers, d, heads, ff, p)
        self.decoder = Decoder(layers, d, heads, ff, p)

    def forward(self, src: Tensor, tgt: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        # src: [B, S, d], tgt: [B, T, d], attention_mask: i64[B, S] -> [B, T, d]
        mask = attention_mask.ne(0)[:, None, None] if attention_mask is not None else None
        memory = self.encoder(src, mask)
        return self.decoder(tgt, memory, mask)


class Transformer(nn.Module):
    """One table of words serves as input of both sides and as output. `attention_mask` is 1 at
    words and 0 at padding. The prediction for position t sees the target up to t, so the
    decoder's input is the target shifted by one.
    """

    final_logits_bias: Tensor

    def __init__(
        self,
        layers: int = 6,
        d: int = 512,
        heads: int = 8,
        ff: int | None = None,
        vocab: int = 37000,
        context: int = 512,
        p: float = 0.1,
    ) -> None:
        super().__init__()
        ff = 4 * d if ff is None else ff
        if d % 2 != 0:
            raise ValueError(f"d % 2 == 0 must hold, but d is {d}")
        self.d = d
        self.context = context
        self.p = p
        self.register_buffer("final_logits_bias", torch.zeros(1, vocab))
        self.model = EncoderDecoder(layers=layers, d=d, heads=heads, ff=ff, p=p)
        self.model.shared = nn.Embedding(vocab, d)
        self.model.encoder.embed_positions = Positions(d, context)
        self.model.decoder.embed_positions = Positions(d, context)
        self.init_weights()

    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        # input_ids: i64[B, S], decoder_input_ids: i64[B, T], attention_mask: i64[B, S]
        # -> [B, T, vocab]
        S = input_ids.shape[1]
        T = decoder_input_ids.shape[1]
        if self.context < S:
            raise ValueError(f"S must be at most {self.context}, not {S}")
        if self.context < T:
            raise ValueError(f"T must be at most {self.context}, not {T}")
        src = math.sqrt(self.d) * self.model.shared(input_ids)  # [B, S, d]
        src = self.model.encoder.embed_positions(src)
        src = F.dropout(src, self.p, training=self.training)
        tgt = math.sqrt(self.d) * self.model.shared(decoder_input_ids)  # [B, T, d]
        tgt = self.model.decoder.embed_positions(tgt)
        tgt = F.dropout(tgt, self.p, training=self.training)
        x = self.model(src, tgt, attention_mask)
        return x @ self.model.shared.weight.T + self.final_logits_bias

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=1 / math.sqrt(self.d))
        for name, parameter in self.named_parameters():
            if name.endswith("_proj.weight"):
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("_proj.bias"):
                nn.init.zeros_(parameter)
