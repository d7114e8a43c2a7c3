# BERT of bert.dl, written by a test.
"""A vector per token, and one for the whole text, read off its first token ([CLS]).
`token_type_ids` tells the first sentence (0) from the second (1); `attention_mask` is 1 at
tokens and 0 at padding.

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


def dot_product_attention(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 12, T, 64], k: [B, 12, T, 64], v: [B, 12, T, 64] -> [B, 12, T, 64]
    """
    scores = q @ k.mT * 0.125  # [B, 12, T, T]
    return jax.nn.softmax(scores, axis=-1) @ v


def self_attention(params: Params, x: Array, *, heads: int) -> Array:
    """Every position sees every other, except padding. Residual sums are normalised after the
    addition.

    x: [B, T, d] -> [B, T, d]
    """
    B, T, _ = x.shape
    q = linear(params["self"]["query"], x).reshape(B, T, heads, -1).swapaxes(1, 2)
    k = linear(params["self"]["key"], x).reshape(B, T, heads, -1).swapaxes(1, 2)
    v = linear(params["self"]["value"], x).reshape(B, T, heads, -1).swapaxes(1, 2)
    y = dot_product_attention(q, k, v).swapaxes(1, 2).reshape(B, T, -1)  # [B, T, d]
    x = x + linear(params["output"]["dense"], y)
    return layer_norm(params["output"]["LayerNorm"], x, eps=1e-12)


def layer(params: Params, x: Array, *, heads: int) -> Array:
    """x: [B, T, d] -> [B, T, d]"""
    x = self_attention(params["attention"], x, heads=heads)
    y = jax.nn.gelu(linear(params["intermediate"]["dense"], x), approximate=False)  # [B, T, ff]
    x = x + linear(params["output"]["dense"], y)
    return layer_norm(params["output"]["LayerNorm"], x, eps=1e-12)


def init_layer_norm(path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `layer_norm`, from the shape of its weight."""
    return {
        f"{path}.weight": jnp.ones(shape, jnp.float32),
        f"{path}.bias": jnp.zeros(shape, jnp.float32),
    }


def init_linear(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `linear`, from the shape of its weight."""
    return {
        f"{path}.weight": 0.02 * jax.random.normal(key, shape, jnp.float32),
        f"{path}.bias": jnp.zeros(shape[:1], jnp.float32),
    }


def init(key: Array) -> Params:
    """Initial parameters and buffers, by path."""
    keys = iter(jax.random.split(key, 76))
    params: Params = {}
    params["embeddings.word_embeddings.weight"] = 0.02 * jax.random.normal(
        next(keys), (30522, 768), jnp.float32
    )
    params["embeddings.position_embeddings.weight"] = 0.02 * jax.random.normal(
        next(keys), (512, 768), jnp.float32
    )
    params["embeddings.token_type_embeddings.weight"] = 0.02 * jax.random.normal(
        next(keys), (2, 768), jnp.float32
    )
    params |= init_layer_norm("embeddings.LayerNorm", (768,))
    for i in range(12):
        params |= init_linear(next(keys), f"encoder.layer.{i}.attention.self.query", (768, 768))
        params |= init_linear(next(keys), f"encoder.layer.{i}.attention.self.key", (768, 768))
        params |= init_linear(next(keys), f"encoder.layer.{i}.attention.self.value", (768, 768))
        params |= init_linear(next(keys), f"encoder.layer.{i}.attention.output.dense", (768, 768))
        params |= init_layer_norm(f"encoder.layer.{i}.attention.output.LayerNorm", (768,))
        params |= init_linear(next(keys), f"encoder.layer.{i}.intermediate.dense", (3072, 768))
        params |= init_linear(next(keys), f"encoder.layer.{i}.output.dense", (768, 3072))
        params |= init_layer_norm(f"encoder.layer.{i}.output.LayerNorm", (768,))
    params |= init_linear(next(keys), "pooler.dense", (768, 768))
    return params


def stack(params: Params) -> Params:
    """A tree with the layers of loops stacked, for `forward`: made once for many calls."""
    tree = nest(params)
    tree["encoder"]["layer"]["0:12"] = stack_layers(
        tree["encoder"]["layer"][str(i)] for i in range(12)
    )
    return tree


def forward(params: Params, input_ids: Array) -> tuple[Array, Array]:
    """`apply` on what `stack` gives.

    input_ids: i64[B, T] -> last_hidden_state: [B, T, 768], pooler_output: [B, 768]
    """
    B, T = input_ids.shape
    if T > 512:
        raise ValueError(f"T must be at most 512, not {T}")
    token_type_ids = jnp.zeros((B, T), int)  # i64[B, T]
    x = params["embeddings"]["position_embeddings"]["weight"][jnp.arange(T)]  # [T, 768]
    y = params["embeddings"]["token_type_embeddings"]["weight"][token_type_ids]  # [B, T, 768]
    x = params["embeddings"]["word_embeddings"]["weight"][input_ids] + x + y
    x = layer_norm(params["embeddings"]["LayerNorm"], x, eps=1e-12)
    x, _ = lax.scan(
        lambda x, part: (layer(part, x, heads=12), None), x, params["encoder"]["layer"]["0:12"]
    )
    pooled = jnp.tanh(linear(params["pooler"]["dense"], x[:, 0]))  # [B, 768]
    return x, pooled


def apply(params: Params, input_ids: Array) -> tuple[Array, Array]:
    """A vector per token, and one for the whole text, read off its first token ([CLS]).
    `token_type_ids` tells the first sentence (0) from the second (1); `attention_mask` is 1 at
    tokens and 0 at padding.

    input_ids: i64[B, T] -> last_hidden_state: [B, T, 768], pooler_output: [B, 768]
    """
    return forward(stack(params), input_ids)
