from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class JoinLinears:
    """A hook of `load_state_dict`: where the public network has several layers that read the
    same value, this one has a layer that does the work of all, in which their weights follow
    one another. A state dict with this file's own names loads as it is.
    """

    def __init__(self, layers: dict[str, list[str]]) -> None:
        self.layers = layers

    def __call__(
        self,
        module: nn.Module,
        state: dict[str, Tensor],
        prefix: str,
        metadata: dict[str, Any],
        strict: bool,
        missing: list[str],
        *_: object,
    ) -> None:
        own = module.state_dict(prefix=prefix)
        for layer, parts in self.layers.items():
            for name in ("weight", "bias"):
                key = f"{prefix}{layer}.{name}"
                if key in state or key not in own:
                    continue
                public = [f"{prefix}{part}.{name}" for part in parts]
                missing += [each for each in public if each not in state]
                found = [state.pop(each) for each in public if each in state]
                state[key] = torch.cat(found) if len(found) == len(public) else own[key]


class SelfAttentionSelf(nn.Module):
    """Parts of SelfAttention, under `self`."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(d, 3 * d)


class SelfAttentionOutput(nn.Module):
    """Parts of SelfAttention, under `output`."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d, d)
        self.LayerNorm = nn.LayerNorm(d, eps=1e-12)


class SelfAttention(nn.Module):
    """Every position sees every other, except padding. Residual sums are normalised after the
    addition.
    """

    def __init__(self, d: int, heads: int, p: float) -> None:
        super().__init__()
        if d % heads != 0:
            raise ValueError(f"d % heads == 0 must hold, but d is {d} and heads is {heads}")
        self.heads = heads
        self.p = p
        self.self = SelfAttentionSelf(d)
        self.output = SelfAttentionOutput(d)
        self.register_load_state_dict_pre_hook(
            JoinLinears({"self.query_key_value": ["self.query", "self.key", "self.value"]})
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, T, d], mask: bool[B, 1, 1, T] -> [B, T, d]
        q, k, v = self.self.query_key_value(x).chunk(3, dim=-1)  # [B, T, d]
        q = q.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, T, d // heads]
        k = k.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        v = v.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if mask is not None:
            attention = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            attention = F.scaled_dot_product_attention(q, k, v)
        attention = attention.transpose(1, 2).flatten(2)  # [B, T, d]
        x = x + F.dropout(self.output.dense(attention), self.p, training=self.training)
        return self.output.LayerNorm(x)


class LayerIntermediate(nn.Module):
    """Parts of Layer, under `intermediate`."""

    def __init__(self, d: int, ff: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d, ff)


class LayerOutput(nn.Module):
    """Parts of Layer, under `output`."""

    def __init__(self, d: int, ff: int) -> None:
        super().__init__()
        self.dense = nn.Linear(ff, d)
        self.LayerNorm = nn.LayerNorm(d, eps=1e-12)


class Layer(nn.Module):
    def __init__(self, d: int, heads: int, ff: int, p: float) -> None:
        super().__init__()
        self.p = p
        self.attention = SelfAttention(d, heads, p)
        self.intermediate = LayerIntermediate(d, ff)
        self.output = LayerOutput(d, ff)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # x: [B, T, d], mask: bool[B, 1, 1, T] -> [B, T, d]
        x = self.attention(x, mask)
        y = F.gelu(self.intermediate.dense(x))  # [B, T, ff]
        x = x + F.dropout(self.output.dense(y), self.p, training=self.training)
        return self.output.LayerNorm(x)


class BERTEmbeddings(nn.Module):
    """Parts of BERT, under `embeddings`."""

    def __init__(self, d: int, vocab: int, context: int, types: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, d)
        self.position_embeddings = nn.Embedding(context, d)
        self.token_type_embeddings = nn.Embedding(types, d)
        self.LayerNorm = nn.LayerNorm(d, eps=1e-12)


class BERTEncoder(nn.Module):
    """Parts of BERT, under `encoder`."""

    def __init__(self, layers: int, d: int, heads: int, ff: int, p: float) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(d, heads, ff, p) for _ in range(layers))


class BERTPooler(nn.Module):
    """Parts of BERT, under `pooler`."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d, d)


class BERTOutput(NamedTuple):
    last_hidden_state: Tensor
    pooler_output: Tensor


class BERT(nn.Module):
    """A vector per token, and one for the whole text, read off its first token ([CLS]).
    `token_type_ids` tells the first sentence (0) from the second (1); `attention_mask` is 1
    at tokens and 0 at padding.
    """

    def __init__(
        self,
        layers: int = 2,
        d: int = 64,
        heads: int = 4,
        ff: int | None = None,
        vocab: int = 100,
        context: int = 32,
        types: int = 2,
        p: float = 0.1,
    ) -> None:
        super().__init__()
        ff = 4 * d if ff is None else ff
        self.context = context
        self.p = p
        self.embeddings = BERTEmbeddings(d, vocab, context, types)
        self.encoder = BERTEncoder(layers, d, heads, ff, p)
        self.pooler = BERTPooler(d)
        self.init_weights()

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> BERTOutput:
        # input_ids: i64[B, T], token_type_ids: i64[B, T], attention_mask: i64[B, T]
        # -> last_hidden_state: [B, T, d], pooler_output: [B, d]
        B, T = input_ids.shape
        if self.context < T:
            raise ValueError(f"T must be at most {self.context}, not {T}")
        if token_type_ids is None:
            token_type_ids = torch.zeros(B, T, dtype=torch.int64, device=input_ids.device)
        mask = attention_mask.ne(0)[:, None, None] if attention_mask is not None else None
        index = torch.arange(T, device=input_ids.device)  # i64[T]
        x = self.embeddings.word_embeddings(input_ids) + self.embeddings.position_embeddings(index)
        x = x + self.embeddings.token_type_embeddings(token_type_ids)
        x = F.dropout(self.embeddings.LayerNorm(x), self.p, training=self.training)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        pooled = torch.tanh(self.pooler.dense(x[:, 0]))  # [B, d]
        return BERTOutput(x, pooled)

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
