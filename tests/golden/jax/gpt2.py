# GPT2 of gpt2.dl, written by a test.
"""Scores of the next token at every position.

Parameters are a flat dict, keyed by the paths of the spec: `apply(init(key), ...)`.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

Params = dict[str, Any]


def nest(params: Params) -> Params:
    """{"h.0.ln.weight": w} as {"h": {"0": {"ln": {"weight": w}}}}."""
    tree: Params = {}
    for path, value in params.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def stack_layers(layers: Iterable[Params]) -> Params:
    """Equal layers' parameters as one tree for `lax.scan`: layers are every leaf's first axis."""
    stacked: Params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    return stacked


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def layer_norm(params: Params, x: Array, *, eps: float = 1e-5) -> Array:
    """x with mean 0 and variance 1 over its last axis, scaled and shifted."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    y = (x - mean) * lax.rsqrt(variance + eps) * params["weight"]
    return y + params["bias"] if "bias" in params else y


def dot_product_attention(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 12, T, 64], k: [B, 12, T, 64], v: [B, 12, T, 64], mask: bool[T, T] -> [B, 12, T, 64]
    """
    scores = q @ k.mT * 0.125  # [B, 12, T, T]
    scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores, axis=-1) @ v


def mlp(params: Params, x: Array) -> Array:
    """Each position by itself: widen, bend, narrow. GPT-2 computes gelu by its tanh approximation.

    x: [B, T, d] -> [B, T, d]
    """
    return linear(params["c_proj"], jax.nn.gelu(linear(params["c_fc"], x)))


def attention(params: Params, x: Array, causal_mask: Array, *, heads: int) -> Array:
    """Each position gathers from those before it. Queries, keys and values come from one matrix.

    x: [B, T, d], causal_mask: bool[T, T] -> [B, T, d]
    """
    B, T, _ = x.shape
    q, k, v = linear(params["c_attn"], x).reshape(B, T, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    y = dot_product_attention(q, k, v, causal_mask).swapaxes(1, 2).reshape(B, T, -1)  # [B, T, d]
    return linear(params["c_proj"], y)


def block(params: Params, x: Array, causal_mask: Array, *, heads: int) -> Array:
    """Norms stand inside the residual branches ("pre-norm"), so the sum runs through all layers
    untouched.

    x: [B, T, d], causal_mask: bool[T, T] -> [B, T, d]
    """
    x = x + attention(params["attn"], layer_norm(params["ln_1"], x), causal_mask, heads=heads)
    return x + mlp(params["mlp"], layer_norm(params["ln_2"], x))


def init_layer_norm(path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `layer_norm`, from the shape of its weight."""
    return {
        f"{path}.weight": jnp.ones(shape, jnp.float32),
        f"{path}.bias": jnp.zeros(shape, jnp.float32),
    }


def init_linear(key: Array, path: str, shape: tuple[int, ...], *, std: float) -> Params:
    """Initial parameters of `linear`, from the shape of its weight."""
    return {
        f"{path}.weight": std * jax.random.normal(key, shape, jnp.float32),
        f"{path}.bias": jnp.zeros(shape[:1], jnp.float32),
    }


def init(key: Array) -> Params:
    """Initial parameters and buffers, by path."""
    keys = iter(jax.random.split(key, 50))
    params: Params = {}
    params["wte.weight"] = 0.02 * jax.random.normal(next(keys), (50257, 768), jnp.float32)
    params["wpe.weight"] = 0.02 * jax.random.normal(next(keys), (1024, 768), jnp.float32)
    for i in range(12):
        params |= init_layer_norm(f"h.{i}.ln_1", (768,))
        params |= init_linear(next(keys), f"h.{i}.attn.c_attn", (2304, 768), std=0.02)
        params |= init_linear(
            next(keys), f"h.{i}.attn.c_proj", (768, 768), std=0.004082482904638631
        )
        params |= init_layer_norm(f"h.{i}.ln_2", (768,))
        params |= init_linear(next(keys), f"h.{i}.mlp.c_fc", (3072, 768), std=0.02)
        params |= init_linear(
            next(keys), f"h.{i}.mlp.c_proj", (768, 3072), std=0.004082482904638631
        )
    params |= init_layer_norm("ln_f", (768,))
    return params


def stack(params: Params) -> Params:
    """A tree with the layers of loops stacked, for `forward`: made once for many calls."""
    tree = nest(params)
    tree["h"]["0:12"] = stack_layers(tree["h"][str(i)] for i in range(12))
    return tree


def forward(params: Params, tokens: Array) -> Array:
    """`apply` on what `stack` gives. tokens: i64[B, T] -> logits: [B, T, 50257]"""
    T = tokens.shape[1]
    if T > 1024:
        raise ValueError(f"T must be at most 1024, not {T}")
    x = params["wte"]["weight"][tokens] + params["wpe"]["weight"][jnp.arange(T)]  # [B, T, 768]
    causal_mask = jnp.tri(T, T, dtype=bool)  # bool[T, T]
    x, _ = lax.scan(
        lambda x, layer: (block(layer, x, causal_mask, heads=12), None), x, params["h"]["0:12"]
    )
    x = layer_norm(params["ln_f"], x)
    return x @ params["wte"]["weight"].T


def apply(params: Params, tokens: Array) -> Array:
    """Scores of the next token at every position. tokens: i64[B, T] -> logits: [B, T, 50257]"""
    return forward(stack(params), tokens)
