import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rename:
    """A hook that gives tensors of a state dict other names: attributes can't have those that
    Python or nn.Module have taken.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def __call__(
        self, module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object
    ) -> None:
        for old, new in self.names.items():
            for key in [key for key in state if f"{key}.".startswith(f"{prefix}{old}.")]:
                state[prefix + new + key[len(prefix + old) :]] = state.pop(key)


def initial_bias(d: int) -> Tensor:  # -> [d]
    return torch.arange(d).float() / d


class Attention(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        if d % heads != 0:
            raise ValueError(f"d % heads == 0 must hold, but d is {d} and heads is {heads}")
        self.heads = heads
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)

    def forward(self, x: Tensor, causal_mask: Tensor) -> Tensor:
        # x: [B, T, d], causal_mask: bool[T, T] -> [B, T, d]
        x = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = x.unbind()  # [B, heads, T, d // heads]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_mask).transpose(1, 2)
        return self.out(y.flatten(2))


class Layer(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d)
        self.attn = Attention(d, heads)
        self.norm2 = nn.LayerNorm(d)
        self.up = nn.Linear(d, 4 * d)
        self.down = nn.Linear(4 * d, d)

    def forward(self, x: Tensor, causal_mask: Tensor) -> Tensor:
        # x: [B, T, d], causal_mask: bool[T, T] -> [B, T, d]
        x = x + self.attn(self.norm1(x), causal_mask)
        y = F.gelu(self.up(self.norm2(x)))  # [B, T, 4 * d]
        return x + self.down(y)


class StackForward(nn.Module):
    """Parts of Stack, under `forward`."""

    seen: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(d))


class StackOutput(NamedTuple):
    self: Tensor
    type: Tensor


class Stack(nn.Module):
    def __init__(
        self, layers: int = 4, d: int = 32, heads: int = 2, vocab: int = 50, class_: int = 3
    ) -> None:
        super().__init__()
        self.n_layers = layers
        self.n_class_ = class_
        self.type_ = nn.Parameter(torch.ones(d))
        self.forward_ = StackForward(d)
        self.emb = nn.ModuleList([nn.Embedding(vocab, d)])
        self.layers = nn.ModuleList(Layer(d, heads) for _ in range(layers))
        self.for0 = nn.Linear(d, d)
        self.for1 = nn.Linear(d, d)
        self.for2 = nn.Linear(d, d)
        self.fc = nn.ModuleList(nn.Linear(d, d) for _ in range(3))
        self.ln = nn.ModuleList(nn.LayerNorm(d) for _ in range(3))
        self.register_state_dict_post_hook(Rename({"type_": "type", "forward_": "forward"}))
        self.register_load_state_dict_pre_hook(Rename({"type": "type_", "forward": "forward_"}))
        self.init_weights()

    def forward(self, tokens: Tensor, lambda_: Tensor) -> StackOutput:
        # tokens: i64[B, T], lambda_: [B, T, d] -> self: [B, T, d], type: [B, d]
        T = tokens.shape[1]
        if T > 100:
            raise ValueError(f"T must be at most 100, not {T}")
        if T < 2:
            raise ValueError(f"T must be at least 2, not {T}")
        x = self.emb[0](tokens)  # [B, T, d]
        causal_mask = torch.ones(T, T, dtype=torch.bool, device=tokens.device).tril().triu(-3)
        for layer in self.layers:
            x = layer(x, causal_mask)
        for for_ in (self.for0, self.for1, self.for2):
            x = for_(x)
        for fc, ln in zip(self.fc, self.ln, strict=True):
            x = ln(fc(x))
        x = x * self.type_ + lambda_ + self.forward_.seen
        nn_ = x.mean(dim=1)  # [B, d]
        return StackOutput(x, nn_)

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for name, parameter in self.state_dict(keep_vars=True).items():
            if name.startswith("layers.") and name.endswith(".up.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(self.n_class_ * self.n_layers))
            elif name.startswith("fc.") and name.endswith(".bias"):
                parameter.data.copy_(initial_bias(d=parameter.shape[0]))
